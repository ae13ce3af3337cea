"""What a study shows, one file a topic: its tables and its figures, each in the order a reader wants them.

`TABLES` and `FIGURES` name every `Exhibit`; reports and `LoadedStudy.table` and `.figure` loop over them. A further one
is a class in its topic's file and a line here. Beside the topics stand `exhibit` (what one is), `table`, `sheet`,
`style` and `fonts` (how all of them look), `measures`, `ranking` and `downstream` (what several take from a study) and
`reference` (published numbers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mars.config import choose
from mars.plugins import resolve

if TYPE_CHECKING:  # a topic is imported when it is asked for
    from collections.abc import Mapping

TABLES = {  # in the order of a results section
    "regimes": "analysis.exhibits.regimes:Regimes",
    "main": "analysis.exhibits.accuracy:Main",
    "comparisons": "analysis.exhibits.comparisons:Comparisons",
    "bit_comparisons": "analysis.exhibits.comparisons:OfInformation",
    "label_equivalence": "analysis.exhibits.learning_curves:LabelEquivalence",
    "pools_by_allocation": "analysis.exhibits.pools_by_allocation:PoolsByAllocation",
    "sensitivity": "analysis.exhibits.sensitivity:Sensitivity",
    "rates": "analysis.exhibits.sensitivity:Rates",
    "variance": "analysis.exhibits.variance:Variance",
    "aggregate": "analysis.exhibits.accuracy:Aggregate",
    "splits": "analysis.exhibits.accuracy:Splits",
    "label_noise": "analysis.exhibits.label_noise:ByEvidence",
    "rewardbench": "analysis.exhibits.benchmarks:RewardBenchTable",
    "benchmarks": "analysis.exhibits.benchmarks:Further",
    "best_of_n": "analysis.exhibits.best_of_n:ByArm",
    "trained_policy": "analysis.exhibits.trained_policy:ByArm",
    "foretelling": "analysis.exhibits.foretelling:Foretelling",
    "win_rates": "analysis.exhibits.win_rates:ByArm",
    "judges": "analysis.exhibits.win_rates:Judges",
    "allocation": "analysis.exhibits.allocation:ByRound",
    "curvature": "analysis.exhibits.curvature:ByArm",
    "bound": "analysis.exhibits.bound:ByArm",
    "information": "analysis.exhibits.information:Correlations",
    "compute": "analysis.exhibits.compute:Compute",
    "pools": "analysis.exhibits.runs:Pools",
    "data": "analysis.exhibits.data:Data",
    "runs": "analysis.exhibits.runs:Runs",
    "left_out": "analysis.exhibits.runs:LeftOut",
}

# The map, the learning curves and what pools are worth where there are any, is there a difference, what leaves it
# uncertain, what kind of model makes it, how wrong are labels, how did training get there, where did the budget go,
# what did that do to curvature and information, what if it had been set otherwise, can the scores be believed
# elsewhere, are the models any good downstream and was that to be foretold, does a judge think so, and where did the
# time go.
FIGURES = {
    "regimes": "analysis.exhibits.regimes:Regimes",
    "learning_curves": "analysis.exhibits.learning_curves:LearningCurves",
    "pools_by_allocation": "analysis.exhibits.pools_by_allocation:PoolsByAllocation",
    "accuracy": "analysis.exhibits.by_arm:Accuracy",
    "comparisons": "analysis.exhibits.comparisons:Comparisons",
    "bits": "analysis.exhibits.by_arm:Bits",
    "bit_comparisons": "analysis.exhibits.comparisons:OfInformation",
    "variance": "analysis.exhibits.variance:Variance",
    "auc": "analysis.exhibits.by_arm:Auc",
    "margins": "analysis.exhibits.margins:Margins",
    "mean_margin": "analysis.exhibits.by_arm:MeanMargin",
    "snr": "analysis.exhibits.by_arm:Snr",
    "label_noise": "analysis.exhibits.label_noise:BySize",
    "rounds": "analysis.exhibits.training:Rounds",
    "steps": "analysis.exhibits.training:Steps",
    "allocation": "analysis.exhibits.allocation:Allocation",
    "curvature": "analysis.exhibits.curvature:OverRounds",
    "spectra": "analysis.exhibits.curvature:Spectra",
    "bound": "analysis.exhibits.bound:Bound",
    "gains": "analysis.exhibits.information:OfArms",
    "information": "analysis.exhibits.information:OfRounds",
    "sensitivity": "analysis.exhibits.sensitivity:Sensitivity",
    "tau_sweep": "analysis.exhibits.sweeps:TauSweep",
    "budget_sweep": "analysis.exhibits.sweeps:BudgetSweep",
    "reliability": "analysis.exhibits.margins:Reliability",
    "sections": "analysis.exhibits.benchmarks:Sections",
    "best_of_n": "analysis.exhibits.best_of_n:Curves",
    "trained_policy": "analysis.exhibits.trained_policy:Curves",
    "foretelling": "analysis.exhibits.foretelling:Foretelling",
    "win_rates": "analysis.exhibits.win_rates:Bars",
    "costs": "analysis.exhibits.costs:Costs",
}


def find(declared: Mapping[str, str], name: str, noun: str) -> Any:
    """The `Exhibit` of that name in TABLES or FIGURES; noun: `table` or `figure`. Raises ConfigError for another."""
    return resolve(choose(declared, name, noun))()
