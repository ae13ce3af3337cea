"""The tables of a study, by name: `study.table("main")`, and all of them in `DIR/report/tables/`."""

from __future__ import annotations

from collections.abc import Callable

from analysis.exhibits.table import Table
from analysis.study.study import Study
from analysis.tables import (
    aggregate,
    allocation,
    benchmarks,
    comparisons,
    compute,
    curvature,
    data,
    main,
    pools,
    regimes,
    rewardbench,
    runs,
    splits,
    win_rates,
)
from mars.config import choose

TABLES: dict[str, Callable[[Study], Table]] = {  # in the order of a results section
    "regimes": regimes.table,
    "main": main.main,
    "comparisons": comparisons.comparisons,
    "aggregate": aggregate.aggregate,
    "splits": splits.splits,
    "rewardbench": rewardbench.rewardbench,
    "benchmarks": benchmarks.further,
    "win_rates": win_rates.win_rates,
    "allocation": allocation.allocation,
    "curvature": curvature.curvature,
    "bound": curvature.bound,
    "information": curvature.information,
    "compute": compute.compute,
    "pools": pools.pools,
    "data": data.data,
    "runs": runs.runs,
    "left_out": runs.left_out,
}


def build(study: Study, name: str) -> Table:
    """Raises ConfigError for an unknown name, NothingToShow where the study has nothing to fill it with."""
    return choose(TABLES, name, "table")(study)
