"""What a table or figure takes from a study: rows by arm, a metric over seeds, what runs were judged on further.

The record under evaluations/ says which protocol a label is of and whether the rows were all of it; runs that came
through W&B have none, and their label alone has to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.study.study import BENCHMARK, Run, Study

OVER_REPLICATES = "mean over replicates with its 95 % t interval, none for a single one"


_SHARES = ("accuracy", "auc", "flip_rate", "win_rate", "repetition", "cut_off")  # metrics that end so lie in 0 to 1
REWARD_BENCH = "RewardBench"  # the family of benchmarks that share a table and a figure


CHANCE = 0.5


def arm_rows(study: Study) -> Iterator[tuple[Study, str, dict[str, Any]]]:
    """(its group, the arm, {dataset, backbone, arm}) of every arm, group by group."""
    for _, group in study.groups():
        dataset, backbone = group.runs[["dataset", "backbone"]].iloc[0]
        for arm in group.arms:
            yield group, arm, {"dataset": dataset, "backbone": backbone, "arm": arm}


def values_by_arm(group: Study, benchmark: str = BENCHMARK) -> dict[tuple[str, str], pd.DataFrame]:
    """{(arm, part): [replicates × metrics]} of one benchmark's label, without what was not measured."""
    rows = group.metrics[(group.metrics["benchmark"] == benchmark) & group.metrics["value"].notna()]
    of_label = group.means[group.means.index.get_level_values("benchmark") == benchmark]
    wide = of_label.droplevel("benchmark").unstack("metric")
    return {
        (str(arm), str(part)): wide.loc[(arm, part)].dropna(axis="columns", how="all")
        for arm, part in rows[["arm", "split"]].drop_duplicates().itertuples(index=False)
    }


def over_replicates(key: str, values: pd.Series | None, metric: str = "") -> dict[str, float]:
    """KEY, KEY_lo and KEY_hi of a metric [R] by replicate, NaN where there is none.

    metric: its name, `key` unless told; the interval of a share ends at 0 and 1, which a t interval over few seeds does
    not know.
    """
    found = np.array([]) if values is None else values.to_numpy(float)
    known = found[~np.isnan(found)]
    if not len(known):
        return dict.fromkeys((key, f"{key}_lo", f"{key}_hi"), math.nan)
    mean, lo, hi = stats.mean_interval(known)
    if (metric or key).endswith(_SHARES):
        lo, hi = (float(np.clip(end, 0.0, 1.0)) for end in (lo, hi))
    return {key: mean, f"{key}_lo": lo, f"{key}_hi": hi}


def column(values: pd.DataFrame | None, metric: str) -> pd.Series | None:
    """[S] of what `values_by_arm` found, None where it was not measured."""
    return None if values is None or metric not in values else values[metric]


def whole(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """`frame` with counts that may be missing as whole numbers."""
    return frame.assign(**{name: frame[name].round().astype("Int64") for name in names if name in frame})


def by_replicate(group: Study, split: str, metric: str, benchmark: str = BENCHMARK) -> pd.DataFrame:
    """arm, replicate, value, mean, lo and hi: a row for each replicate of each arm, NaN for an arm without any."""
    parts = []
    for arm in group.arms:
        found = group.values(arm, split, metric, benchmark)
        interval = stats.mean_interval(found.to_numpy()) if len(found) else stats.Interval(math.nan, math.nan, math.nan)
        own = found if len(found) else pd.Series([math.nan], index=[math.nan])
        parts.append(pd.DataFrame({"arm": arm, "replicate": own.index, "value": own.to_numpy(), **interval._asdict()}))
    return pd.concat(parts, ignore_index=True)


def partial(runs: list[Run], label: str) -> str:
    """Why numbers of these runs are not the benchmark's, in a line; empty where no record says so."""
    protocols = [run.record(label).get("protocol") for run in runs if label in run.metrics]
    why = [str(protocol["partial"]) for protocol in protocols if isinstance(protocol, dict) and protocol.get("partial")]
    return "; ".join(dict.fromkeys(why))


def has_records(runs: list[Run], label: str) -> bool:
    """Whether every number of these runs under a label has its record."""
    return all(run.record(label) for run in runs if label in run.metrics)
