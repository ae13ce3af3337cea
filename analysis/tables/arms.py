"""A row for each arm of each group, and how a metric over its seeds becomes a number with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.study.study import BENCHMARK, Study

OVER_SEEDS = "mean over training seeds with its 95 % t interval, none for a single seed"
_SHARES = ("accuracy", "auc", "flip_rate", "win", "tie", "lose")  # metrics that end so lie in 0 to 1


def arm_rows(study: Study) -> Iterator[tuple[Study, str, dict[str, Any]]]:
    """(its group, the arm, {dataset, backbone, arm}) of every arm, group by group."""
    for _, group in study.groups():
        dataset, backbone = group.runs[["dataset", "backbone"]].iloc[0]
        for arm in group.arms:
            yield group, arm, {"dataset": dataset, "backbone": backbone, "arm": arm}


def measured(group: Study, benchmark: str = BENCHMARK) -> dict[tuple[str, str], pd.DataFrame]:
    """{(arm, part): [S seeds × metrics]} of one benchmark's label, without what was not measured."""
    rows = group.metrics[(group.metrics["benchmark"] == benchmark) & group.metrics["value"].notna()]
    wide = rows.pivot_table(index=["arm", "split", "seed"], columns="metric", values="value")
    return {
        (str(arm), str(part)): wide.loc[(arm, part)].dropna(axis="columns", how="all")
        for arm, part in rows[["arm", "split"]].drop_duplicates().itertuples(index=False)
    }


def over_seeds(key: str, values: pd.Series | None, metric: str = "") -> dict[str, float]:
    """KEY, KEY_lo and KEY_hi of a metric [S] by seed, NaN where there is none.

    metric: its name, `key` unless told; the interval of a share ends at 0 and 1, which a t interval over few seeds does
    not know.
    """
    known = np.array([]) if values is None else values.dropna().to_numpy(float)
    if not len(known):
        return dict.fromkeys((key, f"{key}_lo", f"{key}_hi"), math.nan)
    mean, lo, hi = stats.mean_interval(known)
    if (metric or key).endswith(_SHARES):
        lo, hi = (float(np.clip(end, 0.0, 1.0)) for end in (lo, hi))
    return {key: mean, f"{key}_lo": lo, f"{key}_hi": hi}


def column(values: pd.DataFrame | None, metric: str) -> pd.Series | None:
    """[S] of what `measured` found, None where it was not measured."""
    return None if values is None or metric not in values else values[metric]


def whole(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """`frame` with counts that may be missing as whole numbers."""
    return frame.assign(**{name: frame[name].round().astype("Int64") for name in names if name in frame})
