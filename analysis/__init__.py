"""From a study's directory to the report: statistics, tables, figures, a verdict. `load` is the way in."""

from analysis.loading import load
from analysis.results import NothingToShow, Study

__all__ = ["NothingToShow", "Study", "load"]
