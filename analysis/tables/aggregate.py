"""Arms over all datasets and backbones at once (Agarwal et al. 2021, arXiv 2108.13264).

The interquartile mean drops the best and worst quarter of the runs, so that one dataset cannot speak for all; the
probability of improvement asks how often a run of the arm beats one of uniform. Arms that ran in different groups have
different tasks: compare those with as many groups only.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from analysis.exhibits.table import Column, Table
from analysis.inference import stats
from analysis.inference.comparability import forbidden
from analysis.inference.comparisons import counterpart
from analysis.study.naming import place
from analysis.study.study import NothingToShow, Study


def aggregate(study: Study) -> Table:
    """Raises NothingToShow where no run has an accuracy."""
    scores: dict[str, dict[str, np.ndarray]] = {}  # arm: group: accuracies
    against: dict[str, dict[str, str]] = {}  # arm: group: what it may be compared with
    for title, group in study.groups():
        arms, confounded = group.arms, forbidden(group)
        for arm in arms if group.splits else []:
            accuracy = group.values(arm, group.splits[0], "accuracy").to_numpy(float)
            if accuracy.size:
                scores.setdefault(arm, {})[title] = accuracy
                reference = counterpart(arms, arm, study.reference)
                if reference not in (None, arm) and not confounded:
                    against.setdefault(arm, {})[title] = str(reference)
    if not scores:
        raise NothingToShow("no run has an accuracy on its main test split")
    rows = [_row(arm, scores, against.get(arm, {})) for arm in sorted(scores, key=place)]
    caption = (
        "Over all runs of an arm in all dataset × backbone groups where it ran, on their main test splits. "
        "Interquartile mean: of the middle half of the accuracies. P: how often a run of the arm beats one of "
        f"{study.reference} in the same group, a tie counting ½, mean over the groups where both ran and may be "
        "compared; 50 is no improvement. Intervals are 95 %, from resampling seeds within groups: too narrow for few "
        "seeds, and none where a group has a single one. Arms over different groups do not compare. No value is "
        "tested, so none is bold."
    )
    columns = (
        Column("arm", "arm"),
        Column("groups", "groups", "d"),
        Column("runs", "runs", ",d"),
        Column("iqm", "interquartile mean of accuracy %", ".1f", 100, interval=True),
        Column("improvement", f"P(better than {study.reference}) %", ".0f", 100, interval=True),
        Column("compared", "groups compared", "d"),
    )
    frame = pd.DataFrame(rows).astype({"compared": "Int64"})
    return Table("aggregate", "Over all groups", caption, frame, columns, ())


def _row(arm: str, scores: dict[str, dict[str, np.ndarray]], against: dict[str, str]) -> dict[str, object]:
    ours = scores[arm]
    both = [title for title in ours if title in scores.get(against.get(title, ""), {})]
    middle = stats.interquartile_mean(list(ours.values()))
    better = stats.Interval(math.nan, math.nan, math.nan)
    if both:
        theirs = [scores[against[title]][title] for title in both]
        better = stats.probability_of_improvement([ours[title] for title in both], theirs)
    return {
        "arm": arm,
        "groups": len(ours),
        "runs": sum(map(len, ours.values())),
        **{f"iqm{end}": value for end, value in zip(("", "_lo", "_hi"), middle, strict=True)},
        **{f"improvement{end}": value for end, value in zip(("", "_lo", "_hi"), better, strict=True)},
        "compared": len(both) or None,
    }
