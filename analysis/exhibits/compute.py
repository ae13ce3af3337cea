"""What each arm cost: optimiser steps, pairs, tokens, synthetic rows, variants, paid calls, time and memory.

An arm that wins after more steps, or looks at ten times the variants, has to say so. Time is what the runs recorded on
whatever machine they had, and the first run of a study pays for features the others find in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.measures import arm_rows
from analysis.exhibits.table import Column
from analysis.inference.comparisons import counterpart
from analysis.study.pools import numbers, paid
from analysis.study.study import NothingToShow, Run, Study

_GIB = 2.0**-30


_OF_RUNS = ("steps", "pairs_trained", "tokens", "wall_seconds")


_OF_ROUNDS = ("synthetic_pairs", "texts_scored")


_TRIALS = "trial_steps"
_MEMORY = ("process_bytes", "gpu_bytes")


_OF_POOLS = ("looked_at", "made")


_COLUMNS = (
    Column("arm", "arm"),
    Column("runs", "runs", "d"),
    Column("steps", "steps", ",d"),
    Column(_TRIALS, "of trials", ",d"),
    Column("pairs_trained", "pairs", ",d"),
    Column("tokens", "tokens", ",d"),
    Column("synthetic_pairs", "synthetic rows", ",d"),
    Column("texts_scored", "texts scored", ",d"),
    Column("looked_at", "variants looked at", ",d"),
    Column("made", "made", ",d"),
    Column("calls", "calls", ",d"),
    Column("cost", "cost", ".4f"),
    Column("wall_seconds", "seconds", ",.1f"),
    Column("process_bytes", "memory GiB", ".2f", _GIB),
    Column("gpu_bytes", "GPU GiB", ".2f", _GIB),
)


class Compute(Exhibit):
    """What each arm cost, means over its runs."""

    name, title = "compute", "Compute by arm"

    def frame(self, study: Study) -> pd.DataFrame:
        means = {group: _means(group) for _, group in study.groups()}
        frame = pd.DataFrame([row | means[group][arm] for group, arm, row in arm_rows(study)])
        if frame[["steps", "wall_seconds"]].isna().all(axis=None):
            raise NothingToShow("no run recorded steps or time (were they written by another version?)")
        return frame

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        caption = (
            "Means over an arm's runs. Pairs and tokens are those trained on, repeats included, tokens 0 where "
            "features of a frozen backbone stood for them; synthetic rows are among the pairs. Texts scored: to choose "
            "rows. Variants: distinct ones looked at, and of them made now, where the others were stored. Calls and "
            "cost: of what an endpoint was asked. Seconds of wall time as recorded, which hang on the machine and on "
            f"who filled a shared cache first; × {study.reference}: as a multiple of that arm's. Memory: the peak of "
            "the process so far, earlier runs of it included, and of the GPU."
        )
        if _TRIALS in frame:
            caption += " Of trials: further steps, on copies of the model, that the choice of rows took."
        return caption

    def table_columns(self, study: Study, frame: pd.DataFrame) -> tuple[Column, ...]:
        after = [column.key for column in _COLUMNS].index("wall_seconds") + 1
        return (*_COLUMNS[:after], Column("times", f"× {study.reference}", ".2f"), *_COLUMNS[after:])


def _means(group: Study) -> dict[str, dict[str, Any]]:
    """What each arm's runs took."""
    usage = [name for name in map(str, group.pools) if "usage." in name]
    pools = {str(arm): rows for arm, rows in group.pools[["arm", *usage]].groupby("arm")}
    of_runs, of_pools = _by_arm(group.runs, _OF_RUNS), _by_arm(group.pools, _OF_POOLS)
    of_rounds = _by_arm(_by_run(group.rounds), (*_OF_ROUNDS, _TRIALS))
    memory = pd.DataFrame([_peak(group.members[name]) for name in group.runs["run"]], group.runs.index, _MEMORY)
    of_memory: Any = _by_arm(memory.assign(arm=group.runs["arm"]), _MEMORY).to_dict("index")
    means: Any = of_runs.join([of_rounds, of_pools]).to_dict("index")
    found = {}
    for arm in group.arms:
        own, runs, spent = means[arm], len(group.of(arm)), paid(pools[arm])
        if not own[_TRIALS] > 0:
            del own[_TRIALS]
        reference = means.get(str(counterpart(group.arms, arm, group.reference)), {})
        found[arm] = {
            "runs": runs,
            **own,
            **{name: spent[name] / runs for name in ("calls", "cost")},
            "times": own["wall_seconds"] / reference.get("wall_seconds", math.nan),
            **of_memory[arm],
        }
    return found


def _by_arm(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Each arm's mean of some columns, NaN of one that is not there."""
    return pd.DataFrame({name: numbers(frame, name) for name in names}).astype(float).groupby(frame["arm"]).mean()


def _by_run(rounds: pd.DataFrame) -> pd.DataFrame:
    """What the rounds of a run sum to; NaN where no round has it."""
    sums = pd.DataFrame({name: numbers(rounds, name) for name in (*_OF_ROUNDS, _TRIALS)})
    return sums.groupby([rounds["arm"], rounds["run"]]).sum(min_count=1).reset_index()


def _peak(run: Run) -> tuple[Any, Any]:
    peak = run.manifest.get("peak_memory_bytes")
    return (peak.get("process"), peak.get("gpu")) if isinstance(peak, Mapping) else (None, None)
