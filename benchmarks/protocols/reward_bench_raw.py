"""RewardBench 1, split `raw`, as the MARS authors' v2 judges: two draws of 500 of its 5123 rows, stratified by subset.

Each drawn row counts once in its section, so math-prm is not weighted up; Core is the mean of the four sections; a tie
loses; mean and sd (ddof 0) over the two draws. The seeds are theirs, 188 and 144; their rows are not known, so ours
are drawn afresh and marked in the table. Only drawn rows are scored.

An sd of two draws of rows says nothing about how well 500 rows can tell: ±4.3 points at an accuracy of 60 %, more for a
mean of unequal sections. So every part carries its half-width. Both draws hold as many rows of each subset, and some
rows twice; the interval of their mean resamples the distinct rows, and is that much narrower than one draw's. The table
keeps the number of rows drawn from: draws from a part of the split are no number of this protocol, and say so.

    python -m benchmarks.evaluate model=DIR benchmark=reward_bench_raw benchmark.path=raw.parquet
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from benchmarks.hub_rows import (
    HubRows,
    bootstrap_named,
    open_rows,
    rule_of,
    stated,
    warn_if_partial,
)
from benchmarks.protocol import PAIR_KINDS, Measure, Parts, Result, Scorer, pair_table
from benchmarks.protocols.reward_bench import (
    COUNTS,
    FAMILY,
    HEADLINE,
    SECTIONS,
    TIE_RULES,
    accuracies,
    completeness,
    pair_baselines,
    pair_columns,
    read_pairs,
    summaries,
    tie_credit,
)
from mars.config import UserError
from mars.preferences.pair import Pair, Preferences

ROWS = 5123  # of the split
SEEDS = (188, 144)
DRAW_ROWS = 500
DRAWS = tuple(f"draw_{seed}" for seed in SEEDS)


@dataclass(frozen=True)
class RewardBenchRaw(HubRows):
    """Rows of prompt, chosen, rejected, subset, id. seed: of the bootstrap; the draws have seeds of their own."""

    title: ClassVar = "RewardBench, 500-row draws"
    kinds: ClassVar = {**PAIR_KINDS, "file_rows": "count", **dict.fromkeys(DRAWS, "flag")}
    measures: ClassVar = (
        Measure("overall", "accuracy", "Core", chance=0.5),
        *(Measure(section, "accuracy", section, chance=0.5) for section in SECTIONS),
    )
    family: ClassVar = FAMILY

    hub: str = "allenai/reward-bench"

    @classmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> RewardBenchRaw:
        return cls(ties=rule_of(TIE_RULES, protocol), resamples=resamples)

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, dict[str, Any]]:
        """`protocol.PAIR_COLUMNS` of the rows drawn, a bool column for each draw, and file_rows. Raises DataError."""
        pairs, data = self._read()
        drawn = stratified_draws([pair.subset for pair in pairs])
        used = np.any(list(drawn.values()), axis=0)
        warn_if_partial(raw_shortfall(Counter(pair.subset for pair in pairs), len(pairs)), data)
        table = pair_table([pairs[i] for i in np.flatnonzero(used)], scorer, "raw").assign(file_rows=len(pairs))
        return table.assign(**{name: rows[used] for name, rows in drawn.items()}), data | {"official_rows": ROWS}

    def _read(self) -> tuple[list[Pair], dict[str, Any]]:
        return read_pairs(open_rows(self.path, self.hub, self.revision, "raw"))

    def evaluate(self, table: pd.DataFrame) -> Result:
        """Parts of the mean of both draws, then `draw_SEED/part` of each; accuracy_sd is over the draws.

        Raises UserError for a table without the columns it needs, or with scores that are not finite.
        """
        margins, longer, subsets = pair_columns(table, "reward_bench_raw")
        drawn = _draw_columns(table, subsets)
        protocol = {
            "name": "RewardBench, v2's 500-row draws",
            "split": "raw",
            "weights_of": "rows in a draw",
            "weights": _rows_by_subset(subsets, drawn[DRAWS[0]]),
            "ties": TIE_RULES[self.ties],
            **stated(raw_shortfall(Counter(subsets), int(table["file_rows"].iloc[0]))),
            **completeness(Counter(subsets)),
            "draws": {name: int(rows.sum()) for name, rows in drawn.items()},
            "sd": "over the draws, ddof 0",
            "intervals": bootstrap_named("rows within subsets", self.resamples, self.seed),
        }
        parts = self._parts(margins, subsets, drawn)
        baselines = pair_baselines(self._parts(longer, subsets, drawn))
        return Result(protocol, parts, {"baselines": baselines})

    def _parts(self, margins: np.ndarray, subsets: np.ndarray, drawn: Mapping[str, np.ndarray]) -> Parts:
        credit = tie_credit(margins, self.ties)
        rng = np.random.default_rng(self.seed)
        weights = _rows_by_subset(subsets, drawn[DRAWS[0]])
        copies = np.sum(list(drawn.values()), axis=0).astype(float)
        parts = summaries(accuracies(credit, subsets, weights, self.resamples, rng, copies), Counter(subsets))
        for name, rows in drawn.items():
            own = summaries(accuracies(credit[rows], subsets[rows], weights, self.resamples, rng), weights)
            parts |= {f"{name}/{part}": own[part] for part in HEADLINE if part in own}
        for part in parts.keys() & set(HEADLINE):
            parts[part]["accuracy_sd"] = float(np.std([parts[f"{name}/{part}"]["accuracy"] for name in DRAWS]))
        for told in parts.values():
            told["accuracy_half_width"] = (told["accuracy_hi"] - told["accuracy_lo"]) / 2
        return parts


BENCHMARK = RewardBenchRaw


def raw_shortfall(counts: Mapping[str, int], file_rows: int) -> str:
    """Why draws from these rows make no number of this protocol; empty where they do.

    counts: rows of each subset, in the file or drawn, which comes to the same: a draw leaves no subset out.
    """
    missing = sum(not counts.get(subset) for subset in COUNTS)
    if file_rows == ROWS and not missing:
        return ""
    lacking = f", {missing} of {len(COUNTS)} subsets missing" if missing else ""
    return f"{file_rows} of {ROWS} rows{lacking}: not a RewardBench number"


def allocation(counts: Mapping[str, int], size: int = DRAW_ROWS) -> dict[str, int]:
    """Rows each subset gives to a draw of `size`, or of all where there are fewer.

    The floor of its share, at least one, then by largest remainder; where the ones overshoot, the subsets furthest
    above their share give back first.
    """
    total = sum(counts.values())
    size = min(size, total)
    rows = {name: max(1, size * count // total) for name, count in counts.items()}

    def remainder(name: str) -> int:  # of its share, in units of 1 / total
        return size * counts[name] - total * rows[name]

    while sum(rows.values()) < size:
        rows[max(rows, key=remainder)] += 1
    while sum(rows.values()) > size:
        rows[min((name for name in rows if rows[name] > 1), key=remainder)] -= 1
    return rows


def stratified_draws(subsets: Sequence[str]) -> dict[str, np.ndarray]:
    """{draw_SEED: [N] bool}, without replacement. Which rows of a subset depends on the seed and that subset alone."""
    names = np.array(subsets, dtype=object)
    counts = Counter(subsets)
    wanted = allocation({name: counts[name] for name in COUNTS if counts[name]})
    drawn = {}
    for draw, seed in zip(DRAWS, SEEDS, strict=True):
        drawn[draw] = np.zeros(len(names), dtype=bool)
        for name, number in wanted.items():
            rng = np.random.default_rng([seed, *name.encode()])
            drawn[draw][rng.choice(np.flatnonzero(names == name), number, replace=False)] = True
    return drawn


def _draw_columns(table: pd.DataFrame, subsets: np.ndarray) -> dict[str, np.ndarray]:
    """{draw_SEED: [N] bool}. Raises UserError where they are not two draws of the same make-up that cover the table."""
    absent = [name for name in (*DRAWS, "file_rows") if name not in table]
    if absent:
        raise UserError(f"reward_bench_raw: the score table lacks {', '.join(absent)}")
    drawn = {name: table[name].to_numpy(bool) for name in DRAWS}
    first, second = (_rows_by_subset(subsets, rows) for rows in drawn.values())
    if first != second or not np.any(list(drawn.values()), axis=0).all():
        raise UserError("reward_bench_raw: the two draws of the score table differ in how many rows a subset has")
    return drawn


def _rows_by_subset(subsets: np.ndarray, rows: np.ndarray) -> dict[str, int]:
    counts = Counter(subsets[rows])
    return {name: counts[name] for name in COUNTS if counts[name]}
