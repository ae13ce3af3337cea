"""How many labels is an arm worth? "MARS with n labels equals uniform with m", from a study of several dataset sizes.

m is where the reference arm's learning curve reaches the arm's level at n. The curve is the isotonic regression of its
means over replicates, since more labels are not worse in truth, and straight between two sizes over log n. Its interval
holds every m at which the two levels cannot be told apart on the same replicates: the arm at n less the curve at m is a
number for each replicate (and pair), judged as any difference between arms is. So the arms of a replicate are paired,
and what few replicates leave uncertain is in it. A percentile bootstrap of replicates has neither property with eight
of them. Nothing is extrapolated: where the level lies outside the curve, m is more than the largest size or fewer than
the smallest.

    python -m mars.run experiment=learning_curves
    python -m benchmarks.speed coverage
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.inference.comparability import why_not_comparable
from analysis.inference.comparisons import counterpart
from analysis.inference.contrasts import Judge, outcomes
from analysis.inference.difference import Difference
from analysis.inference.pairing import ENDPOINTS
from analysis.study.arm_names import fits, settings_of, without
from analysis.study.study import NothingToShow, Study, once_a_study

COLUMNS = [
    "dataset", "backbone", "split", "endpoint", "arm", "labels", "level", "reference", "equal", "equal_lo", "equal_hi",
    "smallest", "largest", "replicates", "not_compared",
]  # fmt: skip
NO_AUGMENTATION = "none_matched"
_STEPS = 6  # of the search for the interval's ends, between two sizes
_HALVINGS = 8  # of such a step


class Equal(NamedTuple):
    """The reference's labels that do what the arm's do.

    lo, hi: of the 95 % interval; NaN where there is none. Each is 0 where it lies below the smallest size, and infinite
    where it lies above the largest.
    """

    labels: float
    lo: float = math.nan
    hi: float = math.nan


class Sizes(NamedTuple):
    """A dataset × backbone that ran with several numbers of base pairs. groups: by size, ascending."""

    dataset: str
    backbone: str
    groups: dict[int, Study]


def of_sizes(study: Study) -> list[Sizes]:
    """What of the study is a learning curve. Raises NothingToShow where no dataset ran with several sizes."""
    found: dict[tuple[str, str], dict[int, Study]] = {}
    for _, group in study.groups():
        dataset, backbone = group.runs[["dataset", "backbone"]].iloc[0]
        size = settings_of(dataset).get("size", "")
        if size.isdigit():
            found.setdefault((without(dataset, "size"), backbone), {})[int(size)] = group
    curves = [Sizes(*key, dict(sorted(groups.items()))) for key, groups in found.items() if len(groups) > 1]
    if not curves:
        raise NothingToShow("no dataset ran with several sizes (python -m mars.run experiment=learning_curves)")
    return curves


@once_a_study
def equivalences(study: Study) -> pd.DataFrame:
    """COLUMNS, a row for each size, endpoint and pair of arms: the arm in focus against the reference, and the
    reference against NO_AUGMENTATION. Raises NothingToShow as `of_sizes`, and where no such two arms ran at all sizes.
    """
    rows = [row for of in of_sizes(study) for row in _rows(study, of)]
    if not rows:
        raise NothingToShow(
            f"no two of {study.focus}, {study.reference} and {NO_AUGMENTATION} ran at all sizes (python -m mars.run "
            "experiment=learning_curves)"
        )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"labels": "Int64", "replicates": "Int64"})


def _rows(study: Study, of: Sizes) -> Iterator[dict[str, Any]]:
    arms = [arm for arm in study.arms if all(arm in group.arms for group in of.groups.values())]
    first = next(iter(of.groups.values()))
    split = first.splits[0] if first.splits else ""
    confounded = next(filter(None, map(why_not_comparable, of.groups.values())), "")
    for (arm, reference), endpoint in itertools.product(_pairs(arms, study), ENDPOINTS):
        both = [(group, name) for name in (arm, reference) for group in of.groups.values()]
        found = None if confounded else outcomes(both, split, endpoint)
        for place, size in enumerate(of.groups):
            row = {
                **{"dataset": of.dataset, "backbone": of.backbone, "split": split, "endpoint": endpoint.metric},
                **{"arm": arm, "labels": size, "reference": reference},
                **{"smallest": min(of.groups), "largest": max(of.groups)},
            }
            if found is None:
                why = f"arms differ in {confounded}" if confounded else "no seed and pair with scores in common"
                yield row | {"not_compared": why}
                continue
            ours, curve = found.cells[place], found.cells[len(of.groups) :]
            equal = equal_labels(ours, curve, list(of.groups), found.judge)
            yield row | {
                **{"level": found.judge(ours).difference, "equal": equal.labels},
                **{"equal_lo": equal.lo, "equal_hi": equal.hi},
                **{"replicates": found.replicates, "not_compared": _why_none(equal, found.replicates)},
            }


def _pairs(arms: list[str], study: Study) -> Iterator[tuple[str, str]]:
    """(arm, reference) of the arms that ran at every size."""
    for focus, against in ((study.focus, study.reference), (study.reference, NO_AUGMENTATION)):
        for arm in arms:
            reference = counterpart(arms, arm, against) if fits(arm, focus) else None
            if reference not in (None, arm):
                yield arm, reference


def _why_none(equal: Equal, replicates: int) -> str:
    if not math.isnan(equal.lo):
        return ""
    return "one replicate, so no interval" if replicates < 2 else "alike in every replicate, so no interval"


# ---- one curve


def equal_labels(level: np.ndarray, curve: np.ndarray, sizes: Sequence[int], judge: Judge) -> Equal:
    """The labels m at which the reference's curve reaches the arm's level.

    level: [S, E] the arm's outcomes, of seeds and examples. curve: [K, S, E] the reference's at `sizes` [K], ascending.
    judge: of [S, E] differences.
    """
    weights = monotone(np.array([judge(own).difference for own in curve]))
    curve = np.tensordot(weights, curve, axes=1)
    means, goal = np.array([judge(own).difference for own in curve]), judge(level).difference
    at = np.log(np.array(sizes, float))
    reached = _reached(goal, means, at)

    def gap(x: float) -> Difference:
        """The arm less the curve at log m = x."""
        k = min(int(np.searchsorted(at, x, side="right")) - 1, len(at) - 2)
        share = (x - at[k]) / (at[k + 1] - at[k])
        return judge(level - ((1 - share) * curve[k] + share * curve[k + 1]))

    smallest, largest = float(sizes[0]), float(sizes[-1])
    ends = {-math.inf: 0.0, at[0]: smallest, at[-1]: largest}  # as they are, not as their logarithms round
    return Equal(*(ends.get(end, math.exp(end)) for end in (reached, *_interval(reached, at, gap))))


def _interval(reached: float, at: np.ndarray, gap: Callable[[float], Difference]) -> tuple[float, float]:
    """The ends, in log m, of every m whose gap may be 0: of their hull, where there are several stretches."""
    places = {float(x) for low, high in itertools.pairwise(at) for x in np.linspace(low, high, _STEPS + 1)}
    xs = sorted(places | ({reached} if math.isfinite(reached) else set()))
    gaps = [gap(x) for x in xs]
    if any(math.isnan(one.lo) for one in gaps):
        return math.nan, math.nan
    held = [place for place, one in enumerate(gaps) if one.lo <= 0 <= one.hi]
    if not held:  # the whole curve is too low, so that m is larger, or too high
        return (xs[-1], math.inf) if gaps[-1].lo > 0 else (-math.inf, xs[0])
    first, last = held[0], held[-1]
    lo = -math.inf if first == 0 else _edge(xs[first - 1], xs[first], lambda x: gap(x).lo > 0)
    hi = math.inf if last == len(xs) - 1 else _edge(xs[last + 1], xs[last], lambda x: gap(x).hi < 0)
    return lo, hi


def _edge(out: float, inside: float, is_out: Callable[[float], bool]) -> float:
    """Where the interval ends between a place outside it and one inside; the outer end of what is left."""
    for _ in range(_HALVINGS):
        middle = (out + inside) / 2
        out, inside = (middle, inside) if is_out(middle) else (out, middle)
    return out


def monotone(means: np.ndarray) -> np.ndarray:
    """[K, K] weights of the isotonic regression of `means` [K]: each row averages the block that its size is pooled in.

    Pool adjacent violators. Weights, so that the replicates' curves are pooled as their mean is.
    """
    blocks: list[list[int]] = []
    for place in range(len(means)):
        blocks.append([place])
        while len(blocks) > 1 and means[blocks[-2]].mean() > means[blocks[-1]].mean():
            last = blocks.pop()
            blocks[-1] += last
    weights = np.zeros((len(means), len(means)))
    for block in blocks:
        weights[np.ix_(block, block)] = 1 / len(block)
    return weights


def _reached(goal: float, means: np.ndarray, at: np.ndarray) -> float:
    """The smallest x at which the curve through (`at`, `means`), which never falls, is `goal`; infinite beyond it."""
    if not means[0] < goal <= means[-1]:
        return float(at[0]) if goal == means[0] else math.inf if goal > means[-1] else -math.inf
    k = int(np.searchsorted(means, goal, side="left"))
    share = (goal - means[k - 1]) / (means[k] - means[k - 1])
    return float(at[k - 1] + share * (at[k] - at[k - 1]))
