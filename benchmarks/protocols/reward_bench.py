"""RewardBench 1, split `filtered`: does the model score the better of two responses higher? Officially weighted.

Accuracy by subset; a section is Σ count·accuracy / Σ count with the official counts, which are those of the rows except
that math-prm counts 984 for its 447; overall is the mean of the four sections. Before 2024-09-10 the counts of the two
xstest subsets were swapped, so a result says which it used. The leaderboard's term for prior test sets is left out.
Officially a tie loses. v2's protocol on the split `raw` is `benchmarks.protocols.reward_bench_raw`.

No row is dropped: one is scored as it stands, empty or identical texts included and counted, and one that cannot be
read stops the evaluation. A file that lacks rows is judged on those it has, with a warning, and the protocol says under
`partial` that this is no RewardBench number. Intervals resample rows within subsets, the way the counts are fixed; a
subset of one row therefore adds nothing to them.

    python -m benchmarks.evaluate model=DIR benchmark=reward_bench benchmark.path=filtered.parquet
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd

from benchmarks.hub_rows import (
    Draws,
    HubRows,
    Ties,
    bootstrap,
    bootstrap_named,
    enter,
    interval,
    known_subset,
    open_rows,
    rule_of,
    shortfall,
    stated,
    subset_column,
    warn_if_partial,
    whole_rows,
)
from benchmarks.protocol import PAIR_KINDS, Measure, Parts, Result, Scorer, finite, pair_table
from mars.preferences.pair import DataError, Pair, Preferences
from mars.preferences.rows import Defect, examine
from mars.preferences.schemas import plain
from mars.preferences.sources import Source

# RewardBench 1: the official count of each subset since 2024-09-10.
SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 154, "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984,
        "hep-cpp": 164, "hep-go": 164, "hep-java": 164, "hep-js": 164, "hep-python": 164, "hep-rust": 164,
    },
}  # fmt: skip
HEADLINE = ("overall", *SECTIONS)
COUNTS = {subset: count for section in SECTIONS.values() for subset, count in section.items()}
BEFORE = COUNTS | {"xstest-should-refuse": 250, "xstest-should-respond": 154}
ROWS = COUNTS | {"math-prm": 447}  # of the split: 2985

FAMILY = "RewardBench"
Weights = Literal["since_2024-09-10", "before_2024-09-10"]
TIE_RULES: dict[Ties, str] = {"official": "official: ties lose", "half": "half credit"}


@dataclass(frozen=True)
class RewardBench(HubRows):
    """Rows of prompt, chosen, rejected, subset, id. weights: the date of the official counts."""

    title: ClassVar = "RewardBench"
    kinds: ClassVar = PAIR_KINDS
    measures: ClassVar = tuple(Measure(part, "accuracy", part, chance=0.5) for part in HEADLINE)
    family: ClassVar = FAMILY

    hub: str = "allenai/reward-bench"
    weights: Weights = "since_2024-09-10"

    @classmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> RewardBench:
        weights = str(protocol["weights_of"]).replace(" ", "_")
        if weights not in get_args(Weights):
            raise ValueError(f"weights of {weights}")
        return cls(weights=weights, ties=rule_of(TIE_RULES, protocol), resamples=resamples)  # type: ignore[arg-type]

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, dict[str, Any]]:
        """`protocol.PAIR_COLUMNS`, ids being subset/id. Raises DataError with file and row."""
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


BENCHMARK = RewardBench


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


def read_pairs(source: Source) -> tuple[list[Pair], dict[str, Any]]:
    """Every row in file order, and what the record says of them. A file without ids numbers its rows."""
    pairs: list[Pair] = []
    places: dict[str, str] = {}
    doubts: Counter[str] = Counter()
    for place, number, raw in whole_rows(source, ("prompt", "chosen", "rejected", "subset")):
        subset = known_subset(place, raw["subset"], COUNTS)
        try:
            row = plain(raw)
        except Defect as defect:
            raise DataError(f"{place}: {defect}") from None
        for doubt in examine(row, None):
            if doubt.kind not in ("empty", "identical"):
                raise DataError(f"{place}: {doubt}")
            doubts[doubt.kind] += 1
        name = enter(places, f"{subset}/{row.id or number}", place)
        pairs.append(Pair(name, row.prompt, row.chosen, row.rejected, subset=subset))
    told = {"rows": len(pairs), "empty_texts": doubts["empty"], "identical_pairs": doubts["identical"]}
    return pairs, {**source.identity, **told}
