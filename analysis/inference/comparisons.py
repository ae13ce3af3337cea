"""The comparisons a study is judged by, named before its numbers are seen: MARS against each other arm.

Each is judged by two endpoints, accuracy and information, and gets a verdict by either. Which it is, all comparisons of
a study being one family, is said by `analysis.inference.verdicts`.

    python -m analysis.report study=outputs/matched              # MARS against all others
    python -m analysis.report study=outputs/mine focus=my_arm    # an arm of your own
    python -m analysis.report study=outputs/tau_sweep "reference='mars tau=0'"   # every τ against none
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.inference.comparability import why_not_comparable
from analysis.inference.design import design
from analysis.inference.lengths import KEPT, kept_steps
from analysis.inference.pairing import ACCURACY, ENDPOINTS, Endpoint, Paired, difference_of
from analysis.inference.verdicts import as_family
from analysis.study.arm_names import fits, method_of, settings_of
from analysis.study.naming import text
from analysis.study.study import Study, once_a_study
from baselines import ARMS

AGAINST = tuple(arm.name for arm in sorted(ARMS, key=lambda arm: arm.declared))  # in the order of the verdict
COLUMNS = [
    "dataset", "backbone", "split", "arm", "reference", "endpoint", "difference", "difference_lo", "difference_hi", "p",
    "p_adjusted", "margin", "equivalence_p", "equivalence_p_adjusted", "verdict", "more_replicates",
    "larger_replicates", "larger_examples", "larger_rows", "detectable", "bootstrap_lo", "bootstrap_hi", "mcnemar_p",
    "replicates", "examples", "steps", "reference_steps", "family", "not_compared",
]  # fmt: skip


@once_a_study
def compare(study: Study) -> pd.DataFrame:
    """COLUMNS, a row for each endpoint and comparison: arms in focus against the reference and each of AGAINST.

    Differences are shares of pairs or bits a pair, for new replicates and examples. margin: within which arms are
    equivalent. p_adjusted, equivalence_p_adjusted, family: adjusted for, and number of, the comparisons that have a p.
    detectable: at the level that the family demands. more_replicates: that would about settle it. larger_…: where
    no number would, how many replicates would, judged on how many examples and drawn from how many rows; NaN where
    those there are will do. mcnemar_p: of the seeds' exact tests of accuracy, combined. verdict: empty where
    `not_compared` says why there is none. Where replicates have test pairs of their own, `own_rows` says so of a
    comparison and examples are those of a replicate. Where runs kept their best models, KEPT are columns too.
    """
    rows = [row for _, group in study.groups() for row in _of_group(group)]
    kept = [*KEPT] if any(math.isfinite(row[name]) for row in rows for name in KEPT) else []
    return as_family(rows, [*COLUMNS, *kept], study.settled)


def counterpart(arms: list[str], arm: str, reference: str) -> str | None:
    """The arm `arm` is compared with: the only one `reference` fits, else the one whose other settings it shares.

    Of several such the one that names most of them: `mars keep=best` goes with `uniform keep=best`, not `uniform`.
    """
    candidates = [a for a in arms if fits(a, reference)]
    if arm in candidates or len(candidates) == 1:
        return arm if arm in candidates else candidates[0]
    fitting = [a for a in candidates if set(a.split()) - set(reference.split()) <= set(arm.split()[1:])]
    most = max((len(a.split()) for a in fitting), default=0)
    fitting = [a for a in fitting if len(a.split()) == most]
    return fitting[0] if len(fitting) == 1 else None


class Declared(NamedTuple):
    """A declared comparison by one endpoint. row: those of COLUMNS that name it. found: None where `row` says why."""

    row: dict[str, Any]
    endpoint: Endpoint
    found: Paired | None


def declared_pairs(group: Study) -> Iterator[Declared]:
    """One group's comparisons, each with its two arms paired: all by the first endpoint, then all by the second."""
    declared = list(declared_comparisons(group))
    confounded = why_not_comparable(group)
    for endpoint in ENDPOINTS:
        for one in declared:
            row, found = {**one, "endpoint": endpoint.metric, "margin": group.margins[endpoint.metric]}, None
            if confounded:
                row["not_compared"] = f"arms differ in {confounded}"
            elif row["not_compared"] == "":
                found = difference_of(group, row["arm"], row["reference"], row["split"], endpoint)
            yield Declared(row, endpoint, found)


def _of_group(group: Study) -> list[dict[str, Any]]:
    """The rows of `declared_pairs` with their numbers, unadjusted."""
    rows: list[dict[str, Any]] = []
    cells: dict[int, np.ndarray] = {}
    size = design(group).size
    for row, endpoint, found in declared_pairs(group):
        if found is not None:
            row |= numbers(found, endpoint) | {"size": size}
            cells[len(rows)] = found.cells
        rows.append(row)
    for shape in {differences.shape for differences in cells.values() if differences.size}:
        alike = [place for place in cells if cells[place].shape == shape]
        ends = stats.bootstrap_intervals(np.array([cells[place] for place in alike]))
        for place, (low, high) in zip(alike, ends, strict=True):
            rows[place] |= {"bootstrap_lo": low, "bootstrap_hi": high}
    return rows


def declared_comparisons(group: Study) -> Iterator[dict[str, Any]]:
    """One group's pairs of arms to be compared, still without numbers: the columns that name them.

    A focus that tells settings of one method apart (`mars score=absolute`) is compared with its other settings too, of
    those that were judged at the same length where there are any.
    """
    ours = [arm for arm in group.arms if group.in_focus(arm)]
    method = method_of(group.focus)
    siblings = [arm for arm in group.arms if method_of(arm) == method and arm not in ours]
    steps = group.runs.groupby("arm")["steps"].mean() if "steps" in group.runs else pd.Series(dtype=float)
    kept, place = kept_steps(group), group.runs[["dataset", "backbone"]].iloc[0]
    for arm in ours:
        told: set[str | None] = {arm}
        as_long = [other for other in siblings if math.isnan(kept[other]) == math.isnan(kept[arm])]
        for other in dict.fromkeys((group.reference, *AGAINST, *(as_long or siblings))):
            reference = counterpart(group.arms, arm, other)
            if reference in told or not any(method_of(a) == method_of(other) for a in group.arms):
                continue
            told |= {reference} - {None}
            yield {
                **place,
                "split": group.splits[0] if group.splits else "",
                "arm": arm,
                "reference": reference or other,
                "steps": steps.get(arm, math.nan),
                "reference_steps": steps.get(reference, math.nan),
                **{name: kept.get(of, math.nan) for name, of in zip(KEPT, (arm, reference), strict=True)},
                "not_compared": _why_none(group, arm, reference, other, kept),
            }


def _why_none(group: Study, arm: str, reference: str | None, other: str, kept: pd.Series) -> str:
    """kept: of `kept_steps`."""
    if reference is None:
        return f"several arms of {other}, none with this arm's settings"
    if math.isnan(kept[arm]) != math.isnan(kept[reference]):
        return f"{arm} and {reference} were judged at other lengths (run both with rounds.keep=last,best)"
    return "" if same_variants(group, arm, reference) else f"{other} ran with other variants only"


def same_variants(group: Study, arm: str, reference: str) -> bool:
    """Whether the augmenter's settings that an arm is named by are also the reference's.

    A reference that ran with one kind of variants is not named by it, and would otherwise stand for every kind.
    """
    config = group.of(reference)[0].config
    named = {key: value for key, value in settings_of(arm).items() if key.partition(".")[0] == "augmenter"}
    return all(text(config.get(key if "." in key else f"{key}.name")) == value for key, value in named.items())


def numbers(found: Paired, endpoint: Endpoint, example: str = "pair") -> dict[str, Any]:
    """One comparison's numbers. example: what is judged, by its name."""
    size = {"replicates": found.replicates, "examples": found.examples}
    if not found.replicates:
        return size | {"not_compared": f"no seed and {example} with scores in common"}
    exact = [stats.mcnemar(own[None], np.zeros((1, len(own)))) for own in found.by_seed]
    return size | {
        "difference": found.result.difference,
        "difference_lo": found.result.lo,
        "difference_hi": found.result.hi,
        "p": found.result.p,
        "spread": found.result.spread,
        "mcnemar_p": stats.combined_p(np.concatenate(exact)) if endpoint is ACCURACY else math.nan,
        "own_rows": found.own_rows,
        "not_compared": why_not(found, example),
    }


def why_not(found: Paired, example: str = "pair") -> str:
    """Why a difference has no interval; empty where it has one."""
    if found.result.spread is not None:
        return ""
    if found.replicates < 2:
        return "one replicate, so no interval"
    if min(map(len, found.differences)) < stats.FEWEST:
        return f"fewer than {stats.FEWEST} {example}s, so no interval"
    return f"alike on every {example} and seed, so no interval"
