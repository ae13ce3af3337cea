"""The comparisons a study is judged by, named before its numbers are seen: MARS against each other arm, on accuracy.

One family for the whole study: every p is adjusted (Holm) for all comparisons that were made, over all datasets and
backbones, so that a false "better" appears in at most one null study in twenty. Each comparison also says what
difference the study could have found, without which "no difference" says nothing. Sub-groups, other metrics and other
splits are shown elsewhere and not tested.

    python -m analysis.report study=outputs/matched              # MARS against all others
    python -m analysis.report study=outputs/mine focus=my_arm    # an arm of your own
    python -m analysis.report study=outputs/tau_sweep "reference='mars tau=0'"   # every τ against none
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.inference.comparability import why_not_comparable
from analysis.study.naming import text
from analysis.study.study import Pairs, Study
from baselines import ARMS
from benchmarks.metrics import correctness

AGAINST = tuple(arm.name for arm in sorted(ARMS, key=lambda arm: arm.declared))  # in the order of the verdict
COLUMNS = [
    "dataset", "backbone", "split", "arm", "reference", "difference", "difference_lo", "difference_hi", "p", "p_holm",
    "bootstrap_lo", "bootstrap_hi", "mcnemar_p", "detectable", "seeds", "examples", "steps", "reference_steps",
    "family", "verdict", "not_compared",
]  # fmt: skip


class Paired(NamedTuple):
    """Two arms on what both were judged on.

    differences: of each of S seeds, [E] of its examples. own_rows: whether these are the seed's own.
    """

    result: stats.Difference
    differences: Sequence[np.ndarray]
    own_rows: bool

    @property
    def seeds(self) -> int:
        return len(self.differences)

    @property
    def examples(self) -> int:
        """Of a seed; their mean where seeds have unlike numbers of their own."""
        return round(float(np.mean([len(own) for own in self.differences]))) if self.seeds else 0

    @property
    def cells(self) -> np.ndarray:
        """[S, E], or [S, 1] a mean each where seeds have examples of their own: what a bootstrap draws from."""
        return np.array([[own.mean()] if self.own_rows else own for own in self.differences])


def compare(study: Study) -> pd.DataFrame:
    """COLUMNS, a row for each arm that is the study's focus and each of its reference and AGAINST it ran beside.

    Differences are shares of pairs, for new seeds and examples.
    p_holm, family: adjusted for, and number of, the comparisons that have a p. detectable: at the level the smallest p
    of the family has to pass. mcnemar_p: of the seeds' exact tests, combined. verdict: better, worse or inconclusive;
    empty where `not_compared` says why there is none. Where seeds have test pairs of their own, `own_rows` says so of
    each comparison and examples are those of a seed.
    """
    return _compare(study).copy()  # asked for by table, figure and verdict alike


@functools.lru_cache(maxsize=4)
def _compare(study: Study) -> pd.DataFrame:
    rows = [row for _, group in study.groups() for row in _of_group(group)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    p = table["p"].to_numpy(float)
    family = int(np.isfinite(p).sum())
    table["p_holm"], table["family"] = stats.holm(p), family
    table["detectable"] = [stats.detectable(row.get("spread"), stats.ALPHA / max(1, family)) for row in rows]
    if any(row.get("own_rows") for row in rows):
        table["own_rows"] = [bool(row.get("own_rows")) for row in rows]
    found = table["p_holm"] < stats.ALPHA
    table["verdict"] = np.where(found, np.where(table["difference"] > 0, "better", "worse"), "inconclusive")
    table.loc[np.isnan(p), "verdict"] = ""
    return table


def counterpart(arms: list[str], arm: str, reference: str) -> str | None:
    """The arm `arm` is compared with: the only one `reference` fits, else the one whose other settings it shares."""
    method, *named = reference.split()
    candidates = [a for a in arms if a.split()[0] == method and set(named) <= set(a.split()[1:])]
    if arm in candidates or len(candidates) == 1:
        return arm if arm in candidates else candidates[0]
    fitting = [a for a in candidates if set(a.split()[1:]) - set(named) <= set(arm.split()[1:])]
    return fitting[0] if len(fitting) == 1 else None


def shared_pairs(arm: Pairs, reference: Pairs) -> tuple[Pairs, Pairs]:
    """Both on the seeds they share and the examples all of these were judged on."""
    seeds = np.intersect1d(arm.seeds, reference.seeds)
    ids = arm.ids if arm.ids.equals(reference.ids) else arm.ids[arm.ids.isin(reference.ids)]
    both = [p.on(seeds, ids) for p in (arm, reference)]
    known = ~np.any([np.isnan(p.margins).any(axis=0) for p in both], axis=0)
    ours, theirs = (p.on(seeds, ids[known]) for p in both)
    return ours, theirs


def paired_difference(arm: Pairs, reference: Pairs) -> Paired:
    """arm − reference in correctness on the seeds and examples they share.

    Where seeds have examples of their own, each seed is compared on those both arms were judged on, and examples are
    nested in seeds (`stats.nested_difference`); otherwise every seed is on the examples that all of them share.
    """
    if arm.own_rows and reference.own_rows:
        return _nested_difference(arm, reference)
    ours, theirs = (correctness(pairs.margins) for pairs in shared_pairs(arm, reference))
    found = stats.paired_difference(ours, theirs) if ours.size else stats.Difference(math.nan)
    return Paired(found, ours - theirs if ours.size else [], False)


def _nested_difference(arm: Pairs, reference: Pairs) -> Paired:
    seeds = np.intersect1d(arm.seeds, reference.seeds)
    ids = arm.ids if arm.ids.equals(reference.ids) else arm.ids[arm.ids.isin(reference.ids)]
    ours, theirs = (pairs.on(seeds, ids).margins for pairs in (arm, reference))
    judged = ~(np.isnan(ours) | np.isnan(theirs))
    differences = [
        correctness(own[known]) - correctness(other[known])
        for own, other, known in zip(ours, theirs, judged, strict=True)
        if known.any()
    ]
    found = stats.nested_difference(differences) if differences else stats.Difference(math.nan)
    return Paired(found, differences, True)


def _of_group(group: Study) -> list[dict[str, Any]]:
    """One group's comparisons, unadjusted."""
    rows = list(_declared_comparisons(group))
    confounded = why_not_comparable(group)
    cells = {}
    for place, row in enumerate(rows):
        if confounded:
            row["not_compared"] = f"arms differ in {confounded}"
        elif row["not_compared"] == "":
            ours, theirs = (group.pairs(row[arm], row["split"]) for arm in ("arm", "reference"))
            numbers, differences = _compare_pair(paired_difference(ours, theirs))
            row |= numbers
            cells[place] = differences
    for shape in {differences.shape for differences in cells.values() if differences.size}:
        alike = [place for place in cells if cells[place].shape == shape]
        ends = stats.bootstrap_intervals(np.array([cells[place] for place in alike]))
        for place, (low, high) in zip(alike, ends, strict=True):
            rows[place] |= {"bootstrap_lo": low, "bootstrap_hi": high}
    return rows


def _declared_comparisons(group: Study) -> Iterator[dict[str, Any]]:
    """What is to be compared, still without numbers."""
    method, *named = group.focus.split()
    ours = [arm for arm in group.arms if arm.split()[0] == method and set(named) <= set(arm.split()[1:])]
    steps = group.runs.groupby("arm")["steps"].mean() if "steps" in group.runs else pd.Series(dtype=float)
    for arm in ours:
        for other in dict.fromkeys((group.reference, *AGAINST)):
            reference = counterpart(group.arms, arm, other)
            if reference == arm or not any(a.split()[0] == other.split()[0] for a in group.arms):
                continue
            yield {
                **group.runs[["dataset", "backbone"]].iloc[0],
                "split": group.splits[0] if group.splits else "",
                "arm": arm,
                "reference": reference or other,
                "steps": steps.get(arm, math.nan),
                "reference_steps": steps.get(reference, math.nan),
                "not_compared": _why_none(group, arm, reference, other),
            }


def _why_none(group: Study, arm: str, reference: str | None, other: str) -> str:
    if reference is None:
        return f"several arms of {other}, none with this arm's settings"
    return "" if same_variants(group, arm, reference) else f"{other} ran with other variants only"


def same_variants(group: Study, arm: str, reference: str) -> bool:
    """Whether the augmenter's settings that an arm is named by are also the reference's.

    A reference that ran with one kind of variants is not named by it, and would otherwise stand for every kind.
    """
    config = group.of(reference)[0].config
    named = (word.partition("=") for word in arm.split()[1:] if word.startswith(("augmenter.", "augmenter=")))
    return all(text(config.get(key if "." in key else f"{key}.name")) == value for key, _, value in named)


def _compare_pair(found: Paired) -> tuple[dict[str, Any], np.ndarray]:
    """One comparison's numbers, and the differences that are drawn from to bootstrap it."""
    seeds, examples = found.seeds, found.examples
    if not seeds:
        missing = {"not_compared": "no seed and pair with scores in common", "seeds": seeds, "examples": examples}
        return missing, np.empty(0)
    by_seed = [own[None] for own in found.differences]
    numbers = {
        "difference": found.result.difference,
        "difference_lo": found.result.lo,
        "difference_hi": found.result.hi,
        "p": found.result.p,
        "spread": found.result.spread,
        "mcnemar_p": stats.combined_p(np.concatenate([stats.mcnemar(own, 0 * own) for own in by_seed])),
        "seeds": seeds,
        "examples": examples,
        "own_rows": found.own_rows,
        "not_compared": why_not(found),
    }
    return numbers, found.cells


def why_not(found: Paired) -> str:
    """Why a difference has no interval; empty where it has one."""
    if found.result.spread is not None:
        return ""
    if found.seeds < 2:
        return "one seed only, so no interval"
    if min(map(len, found.differences)) < stats.FEWEST:
        return f"fewer than {stats.FEWEST} pairs, so no interval"
    return "alike on every pair and seed, so no interval"
