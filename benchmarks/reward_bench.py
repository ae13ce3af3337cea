"""RewardBench 1, split `filtered`: does the model score the better of two responses higher? Officially weighted.

Accuracy by subset; a section is Σ count·accuracy / Σ count with the official counts, which are those of the rows except
that math-prm counts 984 for its 447; overall is the mean of the four sections. Before 2024-09-10 the counts of the two
xstest subsets were swapped, so a result says which it used. The leaderboard's term for prior test sets is left out.
Officially a tie loses. v2's protocol on the split `raw` is `benchmarks.reward_bench_raw`.

No row is dropped: one is scored as it stands, empty or identical texts included and counted, and one that cannot be
read stops the evaluation. A file that lacks rows is judged on those it has, with a warning, and the protocol says under
`partial` that this is no RewardBench number. Intervals resample rows within subsets, the way the counts are fixed; a
subset of one row therefore adds nothing to them.

    python -m benchmarks.evaluate model=DIR benchmark=reward_bench benchmark.path=filtered.parquet
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.protocol import Result, Scorer, finite, pair_table
from benchmarks.reward_bench_rows import (
    HubRows,
    Ties,
    enter,
    known_subset,
    open_rows,
    shortfall,
    stated,
    warn_if_partial,
    whole_rows,
)
from benchmarks.reward_bench_subsets import BEFORE, COUNTS, HEADLINE, ROWS, SECTIONS
from mars.config import UserError, nearest
from mars.preferences import schemas
from mars.preferences.pair import DataError, Pair, Preferences
from mars.preferences.sources import Source

log = logging.getLogger(__name__)

Draws = dict[str, np.ndarray]  # [1 + resamples] of each thing estimated, the estimate first
Parts = dict[str, dict[str, float]]  # as `judging.Result.metrics`

TIE_RULES = {"official": "official: ties lose", "half": "half credit"}


@dataclass(frozen=True)
class RewardBench(HubRows):
    """Rows of prompt, chosen, rejected, subset, id. weights: the date of the official counts."""

    hub: str = "allenai/reward-bench"
    weights: Literal["since_2024-09-10", "before_2024-09-10"] = "since_2024-09-10"

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, dict[str, Any]]:
        """`judging.PAIR_COLUMNS`, ids being subset/id. Raises DataError with file and row."""
        pairs, data = self._read()
        warn_if_partial(shortfall(Counter(pair.subset for pair in pairs), ROWS), data)
        return pair_table(pairs, scorer, "filtered"), data

    def _read(self) -> tuple[list[Pair], dict[str, Any]]:
        return read_pairs(open_rows(self.path, self.hub, self.revision, "filtered"))

    def evaluate(self, table: pd.DataFrame) -> Result:
        """Accuracy of overall, sections and subsets; overall is absent unless all four sections are there.

        Raises UserError for a table without the columns it needs, or with scores that are not finite.
        """
        margins, longer, subsets = pair_columns(table, "reward_bench")
        counts = Counter(subsets)
        official = COUNTS if self.weights == "since_2024-09-10" else BEFORE
        weights = {subset: count for subset, count in official.items() if counts[subset]}

        def parts(margins: np.ndarray) -> Parts:
            rng = np.random.default_rng(self.seed)
            credit = tie_credit(margins, self.ties)
            return summaries(accuracies(credit, subsets, weights, self.resamples, rng), counts)

        protocol = {
            "name": "RewardBench",
            "split": "filtered",
            "weights_of": self.weights.replace("_", " "),
            "weights": weights,
            "ties": TIE_RULES[self.ties],
            **stated(shortfall(counts, ROWS)),
            **completeness(counts),
            "rows_that_differ": {
                subset: {"rows": counts[subset], "official": rows}
                for subset, rows in ROWS.items()
                if counts[subset] not in (0, rows)
            },
            "intervals": bootstrap_named("rows within subsets", self.resamples, self.seed),
        }
        return Result(protocol, parts(margins), {"baselines": pair_baselines(parts(longer))})


def accuracies(
    credit: np.ndarray,
    subsets: np.ndarray,
    weights: Mapping[str, int],
    resamples: int,
    rng: np.random.Generator,
    copies: np.ndarray | None = None,
) -> Draws:
    """Accuracy of overall (where all sections are there), sections and subsets.

    credit: [N] of each row. weights: of each subset in its section. copies: [N] how often a row counts in its subset.
    """
    copies = np.ones(len(credit)) if copies is None else copies
    found: Draws = {}
    for subset in weights:
        rows = subsets == subset
        right_of_all = np.column_stack([credit[rows] * copies[rows], copies[rows]])

        def accuracy(counts: np.ndarray, values: np.ndarray = right_of_all) -> dict[str, np.ndarray]:
            right, of_all = (counts @ values).T
            return {"accuracy": right / of_all}

        found[subset] = bootstrap(accuracy, len(right_of_all), resamples, rng)["accuracy"]
    sections: Draws = {}
    for section, names in SECTIONS.items():
        present = [name for name in names if name in found]
        if present:
            counts = [weights[name] for name in present]
            sections[section] = np.average([found[name] for name in present], axis=0, weights=counts)
    overall = {"overall": np.mean(list(sections.values()), axis=0)} if len(sections) == len(SECTIONS) else {}
    return overall | sections | {f"subset/{name}": draws for name, draws in found.items()}


def summaries(estimates: Draws, counts: Mapping[str, int]) -> Parts:
    """{part: accuracy, its interval, and n, the rows it rests on}. counts: rows of each subset."""
    subsets_of = {"overall": COUNTS, **SECTIONS, **{f"subset/{name}": {name: 0} for name in COUNTS}}
    return {
        part: interval("accuracy", draws) | {"n": float(sum(counts.get(name, 0) for name in subsets_of[part]))}
        for part, draws in estimates.items()
    }


def tie_credit(margins: np.ndarray, ties: Ties) -> np.ndarray:
    """[N] 1 where chosen scores higher, 0 where lower; a tie 0 (official) or ½ (half)."""
    return np.where(margins == 0, 0.5 if ties == "half" else 0.0, margins > 0)


def pair_baselines(by_length: Parts) -> dict[str, Parts]:
    """What length alone gets in the headline parts, and scores that carry no information (and never tie)."""
    headline = [part for part in HEADLINE if part in by_length]
    return {
        "length_only": {part: by_length[part] for part in headline},
        "random": {part: {"accuracy": 0.5} for part in headline},
    }


def completeness(counts: Counter[str]) -> dict[str, Any]:
    """Which subsets have no rows, and whether there is an overall."""
    absent = [section for section, names in SECTIONS.items() if not any(counts[name] for name in names)]
    return {
        "missing_subsets": [subset for subset in COUNTS if not counts[subset]],
        "overall": f"absent: no rows of {', '.join(absent)}" if absent else "mean of the four sections",
    }


def pair_columns(table: pd.DataFrame, benchmark: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[N] each: chosen − rejected score, chosen − rejected length, subset. Raises UserError."""
    columns = ("chosen_score", "rejected_score", "chosen_length", "rejected_length")
    values = finite(table, columns, benchmark)
    subsets = subset_column(table, COUNTS, benchmark)
    return values[:, 0] - values[:, 1], values[:, 2] - values[:, 3], subsets


def subset_column(table: pd.DataFrame, known: Mapping[str, int], benchmark: str) -> np.ndarray:
    """[N] subset of each row. Raises UserError where one is not `known`."""
    if "subset" not in table:
        raise UserError(f"{benchmark}: the score table lacks subset")
    unknown = sorted(set(table["subset"].astype(str)) - set(known))
    if unknown:
        raise UserError(f'{benchmark}: the score table holds the subset "{unknown[0]}"{nearest(unknown[0], known)}')
    return table["subset"].to_numpy(object)


def bootstrap(estimate: metrics.Estimator, n: int, resamples: int, rng: np.random.Generator) -> Draws:
    """The estimate over n examples, then that of each resample; those of independent strata combine one by one."""
    blocks = [estimate(np.ones((1, n))), *map(estimate, metrics.resample_counts(n, resamples, rng))]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def interval(name: str, draws: np.ndarray) -> dict[str, float]:
    """`name`, `name_lo` and `name_hi` of what `bootstrap` gives."""
    low, high = metrics.percentiles(draws[1:])
    return {name: float(draws[0]), f"{name}_lo": low, f"{name}_hi": high}


def bootstrap_named(units: str, resamples: int, seed: int) -> str:
    return f"95 %, percentile bootstrap of {units}, {resamples} resamples, seed {seed}"


def read_pairs(source: Source) -> tuple[list[Pair], dict[str, Any]]:
    """Every row in file order, and what the record says of them. A file without ids numbers its rows."""
    pairs: list[Pair] = []
    places: dict[str, str] = {}
    doubts: Counter[str] = Counter()
    for place, number, raw in whole_rows(source, ("prompt", "chosen", "rejected", "subset")):
        subset = known_subset(place, raw["subset"], COUNTS)
        try:
            row = schemas.files(raw)
        except schemas.Defect as defect:
            raise DataError(f"{place}: {defect}") from None
        for doubt in schemas.examine(row, None):
            if doubt.kind not in ("empty", "identical"):
                raise DataError(f"{place}: {doubt}")
            doubts[doubt.kind] += 1
        name = enter(places, f"{subset}/{row.id or number}", place)
        pairs.append(Pair(name, row.prompt, row.chosen, row.rejected, subset=subset))
    told = {"rows": len(pairs), "empty_texts": doubts["empty"], "identical_pairs": doubts["identical"]}
    return pairs, {**source.identity, **told}
