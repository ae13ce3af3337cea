"""From a study's directory to the report: statistics, exhibits, a verdict. `load` is the way in.

    from analysis import load
    study = load("outputs/quick")
    study.table("main"); study.figure("margins"); study.verdict()

The rooms, lowest first, and the commands beside them:

study/             run directories → `Study`
inference/         how sure we are
exhibits/          tables and figures by topic
report/, boards/   what a reader gets
plan, plan_text, planned_sweep   how many replicates a study needs, and what it would run
settle             a study that adds replicates until its comparisons are settled
label_noise        how many labels are wrong, and where
leaderboard, submission   studies of many people on one board
wandb_report       the report at W&B
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.study import loading
from analysis.study.study import NothingToShow, Study

if TYPE_CHECKING:  # matplotlib is imported when a figure is asked for
    from matplotlib.figure import Figure

    from analysis.exhibits.table import Table

__all__ = ["LoadedStudy", "NothingToShow", "Study", "load"]


class LoadedStudy(Study):
    """A study with what can be asked of it by name."""

    def table(self, name: str) -> Table:
        """A table by name (`analysis.exhibits.TABLES`). Raises UserError for one that is unknown or has no content."""
        from analysis.exhibits import TABLES, find

        return find(TABLES, name, "table").table(self)

    def figure(self, name: str) -> Figure:
        """A figure by name (`analysis.exhibits.FIGURES`). Raises UserError as `table` does."""
        from analysis.exhibits import FIGURES, find

        return find(FIGURES, name, "figure").figure(self)

    def verdict(self) -> tuple[str, ...]:
        """What the study settles, in sentences: the declared comparisons of its arm in focus, then what is beside."""
        from analysis.inference.comparisons import compare
        from analysis.report.verdict import sentences

        return sentences(self, compare(self))


def load(*sources: str | Path) -> LoadedStudy:
    """Read one or more studies, as `analysis.study.loading.load` does, to be asked for tables, figures and a verdict.

    A source is a study's directory, a run's, an `offline-run-…` of W&B's or a folder that holds some, or the text
    `wandb:ENTITY/PROJECT[/GROUP]`, which needs a key. Raises UserError when a source is missing or cannot be read, or
    no run remains.
    """
    study = loading.load(*sources)
    return LoadedStudy(**{field.name: getattr(study, field.name) for field in fields(study)})
