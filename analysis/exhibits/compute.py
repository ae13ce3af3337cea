"""What each arm cost: optimiser steps, pairs, tokens, synthetic rows, variants, paid calls, time and memory.

An arm that wins after more steps, or looks at ten times the variants, has to say so. Time is what the runs recorded on
whatever machine they had, and the first run of a study pays for features the others find in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        frame = pd.DataFrame([row | _means(group, arm) for group, arm, row in arm_rows(study)])
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


def _means(group: Study, arm: str) -> dict[str, Any]:
    """Everything but the multiple of a run's time."""
    runs, rounds, pools = (frame[frame["arm"] == arm] for frame in (group.runs, group.rounds, group.pools))
    spent = paid(pools)
    memory = pd.DataFrame([_peak(run) for run in group.of(arm)], columns=["process_bytes", "gpu_bytes"])
    seconds = numbers(runs, "wall_seconds").mean()
    return {
        "runs": len(runs),
        **{name: numbers(runs, name).mean() for name in _OF_RUNS},
        **{name: _by_run(rounds, name) for name in _OF_ROUNDS},
        **({_TRIALS: trials} if (trials := _by_run(rounds, _TRIALS)) > 0 else {}),
        **{name: numbers(pools, name).mean() for name in _OF_POOLS},
        **{name: spent[name] / len(runs) for name in ("calls", "cost")},
        "times": seconds / _reference_seconds(group, arm),
        **{str(name): values.mean() for name, values in memory.astype(float).items()},
    }


def _by_run(rounds: pd.DataFrame, name: str) -> float:
    """Mean over runs of what their rounds sum to; NaN where no round has it."""
    return float(numbers(rounds, name).groupby(rounds["run"]).sum(min_count=1).mean())


def _reference_seconds(group: Study, arm: str) -> float:
    """Mean time of the arm's reference; NaN where it has none."""
    reference = counterpart(group.arms, arm, group.reference)
    return float(numbers(group.runs[group.runs["arm"] == reference], "wall_seconds").mean())


def _peak(run: Run) -> tuple[Any, Any]:
    peak = run.manifest.get("peak_memory_bytes")
    return (peak.get("process"), peak.get("gpu")) if isinstance(peak, Mapping) else (None, None)
