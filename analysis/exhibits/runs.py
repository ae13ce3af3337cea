"""Every run that counts, with its accuracy; every run that does not, with the reason; what pools gave the arms."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.measures import whole
from analysis.exhibits.table import Column
from analysis.study.pools import by_reason, numbers, pool_table
from analysis.study.study import NothingToShow, Study


class Runs(Exhibit):
    """A row a run: the numbers behind every mean."""

    name, title = "runs", "Runs"
    caption = (
        "Accuracy on the main test split. Kept after: steps of the model that was judged, where that need not be the "
        "last one. Commit: of the code a run was made with, a + where it had changes that no commit has; empty for an "
        "installed package."
    )
    columns = (
        Column("arm", "arm"),
        Column("seed", "seed", "d"),
        Column("accuracy", "accuracy %", ".1f", 100),
        Column("steps", "steps", "d"),
        Column("kept_step", "kept after", "d"),
        Column("code", "commit"),
        Column("source", "source"),
        Column("run", "run"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        parts = []
        for _, group in study.groups():
            split = group.splits[0] if group.splits else ""
            m = group.metrics
            of_split = m[(m["benchmark"] == "in_distribution") & (m["split"] == split) & (m["metric"] == "accuracy")]
            accuracy = of_split.set_index("run")["value"]
            places = group.runs["arm"].map({arm: place for place, arm in enumerate(group.arms)})
            rows = group.runs.iloc[np.lexsort([group.runs["seed"], places])]
            parts.append(rows.assign(split=split, accuracy=rows["run"].map(accuracy), steps=numbers(rows, "steps")))
        frame = pd.concat(parts, ignore_index=True)
        nothing = pd.Series("", frame.index)
        commits = frame["commit"].fillna("").astype(str) if "commit" in frame else nothing
        dirty = frame["dirty"].eq(True) if "dirty" in frame else nothing.eq("dirty")
        frame = frame.assign(
            code=commits.str[:8] + dirty.map({True: "+", False: ""}), commit=commits, source=_short(frame["source"])
        )
        names = ["dataset", "backbone", "arm", "seed", "split", "accuracy", "steps", "code", "commit", "source", "run"]
        if "kept_step" in frame and frame["kept_step"].notna().any():
            names.insert(names.index("steps") + 1, "kept_step")
        return whole(frame[names], "steps", "kept_step")


class LeftOut(Exhibit):
    """A row for each run that is not counted."""

    name, title, caption, by = "left_out", "Runs left out", "Found and not counted.", ()
    columns = (Column("run", "run"), Column("source", "source"), Column("reason", "reason"))

    def frame(self, study: Study) -> pd.DataFrame:
        if study.left_out.empty:
            raise NothingToShow("every run that was found is counted")
        frame = study.left_out[["run", "source", "reason"]]
        return frame.assign(source=_short(frame["source"])).sort_values(["source", "run"], kind="stable")


def _short(sources: pd.Series) -> pd.Series:
    """Sources by their last name, so that a report does not hang on where a study lies, unless two share it."""
    last = {source: PurePath(source).name for source in sources.unique()}
    twice = {name for name in last.values() if list(last.values()).count(name) > 1}
    return sources.map({source: source if name in twice else name for source, name in last.items()})


class Pools(Exhibit):
    """What each arm's pool gave it (`analysis.study.pools` has the numbers and says what they mean)."""

    name, title = "pools", "Pools by arm"
    columns = (
        Column("arm", "arm"),
        Column("augmenter", "augmenter"),
        Column("runs", "runs", "d"),
        Column("looked_at", "looked at", ",d"),
        Column("made", "made", ",d"),
        Column("possible", "possible", ",d"),
        Column("unchanged", "unchanged", ",d"),
        Column("why", "unchanged because of"),
        Column("refused", "refused"),
        Column("rows", "rows", ",d"),
        Column("repeats", "rows that repeat", ",d"),
        Column("known", "rows known", ",d"),
        Column("kept", "preference kept %", ".2f", 100),
        Column("true", "label true %", ".2f", 100),
        Column("calls", "calls", ",d"),
        Column("tokens", "tokens", ",d"),
        Column("cost", "cost", ".4f"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        frame = pool_table(study)
        if frame[["looked_at", "rows"]].isna().all(axis=None):
            raise NothingToShow("no run recorded its pool (runs of this version do; force=true runs older ones again)")
        return frame.assign(why=by_reason(frame, "unchanged_by"), refused=by_reason(frame, "refused"))

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        paid = " Calls, tokens and cost are of what was made now." if "cost" in frame else ""
        return (
            "Distinct variants, summed over an arm's runs: looked at; made now (the others were stored); as many as "
            "the whole pool would hold; equal to their source, and why; refused by the gates. Rows are those drawn; of "
            "them, how many repeat their base pair because no variant differs from it. Known on planted data only: of "
            "the rows drawn, how many keep their parent's gold preference, and in how many the chosen side is truly "
            f"the better one.{paid}"
        )
