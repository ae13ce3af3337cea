"""The map: where an arm wins, ties and loses against the reference, over kinds of data and of variants.

A cell is a dataset in one setting (label noise, share of rare pairs) with variants of one kind, and only arms of one
cell are held against each other. Accuracy is against the true reward where that is known: labels of test pairs carry
the noise too, and would hide a part of every difference. One family for the whole map (Holm), so that of a map of
nothing one in twenty shows a win or a loss anywhere.

    python -m mars.run experiment=regimes
    python -m analysis.report study=outputs/regimes
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.inference.comparability import why_not_comparable
from analysis.inference.comparisons import counterpart, same_variants, why_not
from analysis.inference.design import design
from analysis.inference.pairing import paired_difference
from analysis.study.arm_names import parted
from analysis.study.study import NothingToShow, Pairs, Study, once_a_study
from benchmarks.metrics import correctness

COLUMNS = [
    "dataset", "backbone", "variants", "arm", "strategy", "reference", "split", "measure", "value", "reference_value",
    "difference", "difference_lo", "difference_hi", "p", "p_holm", "outcome", "replicates", "examples", "steps",
    "reference_steps", "not_compared",
]  # fmt: skip
GOLD, LABEL = "gold", "label"


@once_a_study
def regimes(study: Study) -> pd.DataFrame:
    """COLUMNS, a row for each cell and arm but the reference. Raises NothingToShow for a study of one cell.

    variants: the augmenter's settings in which arms differ. strategy: the arm without these. measure: GOLD or LABEL,
    what a pair is right by. outcome: win, tie or loss by p_holm; empty where `not_compared` says why there is none.
    """
    cells = {(title, split_arm(arm)[0]) for title, group in study.groups() for arm in group.arms}
    if len(cells) < 2:
        raise NothingToShow("one kind of data and of variants is no map (python -m mars.run experiment=regimes)")
    rows = [row for _, group in study.groups() for row in _of_group(group)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    if table.empty:
        raise NothingToShow(f"no arm ran beside {study.reference} (name another with reference=ARM)")
    table["p_holm"] = stats.holm(table["p"].to_numpy(float))
    found = table["p_holm"] < stats.ALPHA
    table["outcome"] = np.where(found, np.where(table["difference"] > 0, "win", "loss"), "tie")
    table.loc[table["p"].isna(), "outcome"] = ""
    return table.astype({"replicates": "Int64", "examples": "Int64"})


def split_arm(arm: str) -> tuple[str, str]:
    """An arm's variants and its strategy: `mars augmenter.noise=0.3 tau=2` is (`noise=0.3`, `mars tau=2`)."""
    variants, strategy = parted(arm, "augmenter.", "augmenter=")
    return " ".join(word.removeprefix("augmenter.") for word in variants), strategy


def _of_group(group: Study) -> Iterator[dict[str, Any]]:
    steps = group.runs.groupby("arm")["steps"].mean() if "steps" in group.runs else pd.Series(dtype=float)
    confounded, split = why_not_comparable(group), group.splits[0] if group.splits else ""
    scores = functools.cache(lambda arm: _scores(group, arm, split))
    for arm in group.arms:
        reference = counterpart(group.arms, arm, group.reference)
        if reference == arm:
            continue
        variants, strategy = split_arm(arm)
        row = {
            **group.runs[["dataset", "backbone"]].iloc[0],
            **{"variants": variants, "arm": arm, "strategy": strategy, "reference": reference or group.reference},
            **{"split": split, "steps": steps.get(arm, math.nan), "reference_steps": steps.get(reference, math.nan)},
        }
        if confounded:
            yield row | {"not_compared": f"arms differ in {confounded}"}
        elif reference is None or not same_variants(group, arm, reference):
            yield row | {"not_compared": f"no arm of {group.reference} with this arm's settings"}
        else:
            yield row | _compare_cell(scores(arm), scores(reference), design(group).overlap)


def _scores(group: Study, arm: str, split: str) -> dict[str, Pairs]:
    return {GOLD: group.pairs(arm, split, gold=True), LABEL: group.pairs(arm, split)}


def _compare_cell(ours: dict[str, Pairs], theirs: dict[str, Pairs], overlap: float) -> dict[str, Any]:
    known = all(np.isfinite(pairs[GOLD].margins).any() for pairs in (ours, theirs))
    measure = GOLD if known else LABEL
    found = paired_difference(ours[measure], theirs[measure], overlap=overlap)
    result = found.result
    return {
        "measure": measure,
        "value": _accuracy(ours[measure]),
        "reference_value": _accuracy(theirs[measure]),
        "difference": result.difference,
        "difference_lo": result.lo,
        "difference_hi": result.hi,
        "p": result.p,
        "replicates": found.replicates,
        "examples": found.examples,
        "not_compared": why_not(found) if found.replicates else "no seed and pair with scores in common",
    }


def _accuracy(pairs: Pairs) -> float:
    """Mean over seeds."""
    judged = [own[np.isfinite(own)] for own in pairs.margins]
    return (
        float(np.mean([correctness(own).mean() for own in judged if len(own)])) if any(map(len, judged)) else math.nan
    )
