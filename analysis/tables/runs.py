"""Every run that counts, with its accuracy, and every run that does not, with the reason."""

from __future__ import annotations

from pathlib import PurePath

import pandas as pd

from analysis.exhibits.table import Column, Table
from analysis.study.pools import numbers
from analysis.study.study import NothingToShow, Study
from analysis.tables.arms import whole

_RUNS = (
    Column("arm", "arm"),
    Column("seed", "seed", "d"),
    Column("accuracy", "accuracy %", ".1f", 100),
    Column("steps", "steps", "d"),
    Column("code", "commit"),
    Column("source", "source"),
    Column("run", "run"),
)
_LEFT_OUT = (Column("run", "run"), Column("source", "source"), Column("reason", "reason"))


def runs(study: Study) -> Table:
    """A row a run: the numbers behind every mean."""
    parts = []
    for _, group in study.groups():
        split = group.splits[0] if group.splits else ""
        m = group.metrics
        of_split = m[(m["benchmark"] == "in_distribution") & (m["split"] == split) & (m["metric"] == "accuracy")]
        accuracy = of_split.set_index("run")["value"]
        rows = pd.concat([group.runs[group.runs["arm"] == arm].sort_values("seed") for arm in group.arms])
        parts.append(rows.assign(split=split, accuracy=rows["run"].map(accuracy), steps=numbers(rows, "steps")))
    frame = pd.concat(parts, ignore_index=True)
    nothing = pd.Series("", frame.index)
    commits = frame["commit"].fillna("").astype(str) if "commit" in frame else nothing
    dirty = frame["dirty"].eq(True) if "dirty" in frame else nothing.eq("dirty")
    frame = frame.assign(
        code=commits.str[:8] + dirty.map({True: "+", False: ""}), commit=commits, source=_short(frame["source"])
    )
    names = ["dataset", "backbone", "arm", "seed", "split", "accuracy", "steps", "code", "commit", "source", "run"]
    caption = (
        "Accuracy on the main test split. Commit: of the code a run was made with, a + where it had changes that no "
        "commit has; empty for an installed package."
    )
    return Table("runs", "Runs", caption, whole(frame[names], "steps"), _RUNS)


def left_out(study: Study) -> Table:
    """Raises NothingToShow where every run counts."""
    if study.left_out.empty:
        raise NothingToShow("every run that was found is counted")
    frame = study.left_out[["run", "source", "reason"]]
    frame = frame.assign(source=_short(frame["source"])).sort_values(["source", "run"], kind="stable")
    return Table("left_out", "Runs left out", "Found and not counted.", frame, _LEFT_OUT, ())


def _short(sources: pd.Series) -> pd.Series:
    """Sources by their last name, so that a report does not hang on where a study lies, unless two share it."""
    last = {source: PurePath(source).name for source in sources.unique()}
    twice = {name for name in last.values() if list(last.values()).count(name) > 1}
    return sources.map({source: source if name in twice else name for source, name in last.items()})
