"""What the scored pairs of a data set's test splits say, split by split: every metric of the in-distribution protocol.

A table of PAIRS to numbers; `benchmarks.metrics` has the arithmetic, of arrays under weights. Without torch, and point
estimates alone where nothing else is asked for: an interval costs a thousand times as much, and a study of a thousand
runs is checked each time it is read.

    recompute_splits({"test": pd.read_parquet("RUN/scores/in_distribution.parquet")})["test"]["accuracy"]

Where annotators voted, a pair counts as labelled by the majority, as if all had agreed, and a tie is left out: neither
reply is the better one, so no order of scores is right. `log_loss_soft` alone reads the votes, those of ties too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.calibration import fit_temperature, held_out_temperature, information
from benchmarks.protocol import Parts
from mars.config import UserError
from mars.preferences.labels import log_loss, tied

Columns = pd.DataFrame | Mapping[str, Any]  # arrays [N] by name
Table = TypeVar("Table", bound=Columns)
VALIDATION = "validation"
# What `recompute_splits` reads of a table of pairs; one without gold_margin knows no gold, without agreement no votes.
PAIRS = ("split", "chosen_score", "rejected_score", "chosen_length", "rejected_length", "gold_margin", "agreement")
LABEL_TIES = {"label_ties": "left out, but for log_loss_soft"}  # of the protocol of a table with agreement


def decided(table: Table) -> Table:
    """The rows whose pair has a better reply: `table` itself where it has no votes, else all but its ties."""
    if "agreement" not in table:
        return table
    rows = ~tied(np.asarray(table["agreement"], float))
    if isinstance(table, pd.DataFrame):
        return table[rows]
    return {name: values[rows] for name, values in table.items()}  # type: ignore[return-value]


def soft_estimates(table: Columns, weights: np.ndarray) -> dict[str, np.ndarray]:
    """log_loss_soft, [R] under weights [R, N]: the mean cross entropy of σ(Δ) with the votes of N pairs, ties included.

    table: PAIRS with agreement. Its least is the entropy of the votes, not 0.
    """
    losses = log_loss(_margins(table), np.asarray(table["agreement"], float))
    return {"log_loss_soft": metrics.means(losses[:, None], weights)[:, 0]}


def pair_estimates(
    table: Columns, temperature: float | None, bits: np.ndarray | None, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Every metric of one split, [R] each, under weights [R, N]: those that `in_distribution.split_metrics` explains.

    table: PAIRS of N rows. bits: [N] of `calibration.information`. NaN where a metric is not defined. Raises UserError
    for a score that is not finite.
    """
    chosen, rejected, chosen_length, rejected_length = _columns(table)
    gold = np.asarray(table["gold_margin"], float) if "gold_margin" in table else np.full(len(chosen), np.nan)
    margins, longer, truth = chosen - rejected, np.sign(chosen_length - rejected_length), np.sign(gold)
    known = np.isin(truth, (-1.0, 1.0)).astype(float)
    agrees = np.where(known > 0, metrics.correctness(margins * np.nan_to_num(truth)), 0.0)
    length, agreed, judged = metrics.means(np.column_stack([metrics.correctness(longer), agrees, known]), weights).T
    found = metrics.estimates(chosen, rejected, weights) | {
        "length_controlled_accuracy": metrics.length_controlled(metrics.correctness(margins), longer, weights),
        "length_accuracy": length,
        "gold_accuracy": np.divide(agreed, judged, out=np.full_like(agreed, np.nan), where=judged > 0),
    }
    if bits is not None:
        found["information"] = metrics.means(bits[:, None], weights)[:, 0]
    if temperature is not None:
        scaled = metrics.forecasts(margins / temperature, weights)
        found |= {f"{name}_scaled": value for name, value in scaled.items()}
    return found


def split_bits(tables: Mapping[str, Columns]) -> dict[str, np.ndarray]:
    """{test split: [N] of `calibration.information`} of decided rows; tables and errors as in `recompute_splits`."""
    of_all = held_out_temperature(_held_out(tables))
    return {
        split: information(_margins(decided(rows)), of_all) for split, rows in tables.items() if split != VALIDATION
    }


def recompute_splits(tables: Mapping[str, Columns], bits: Mapping[str, np.ndarray] | None = None) -> Parts:
    """{split: point estimates}, n among them, from PAIRS of each split, validation pairs for the temperature alone.

    bits: of `split_bits`, where they are known. Raises UserError for a missing column, no test split, a split of ties
    alone, or a score that is not finite.
    """
    if not tables.keys() - {VALIDATION}:
        raise UserError("in_distribution: there is nothing to judge (no test split in the table)")
    bits, held_out = split_bits(tables) if bits is None else bits, _held_out(tables)
    temperature = fit_temperature(held_out).value if len(held_out) else None
    return {split: _split(split, tables[split], temperature, own) for split, own in bits.items()}


def _held_out(tables: Mapping[str, Columns]) -> np.ndarray:
    return _margins(decided(tables[VALIDATION])) if VALIDATION in tables else np.empty(0)


def only_ties(benchmark: str, split: str) -> UserError:
    """What to raise for a split that nothing can be ranked right in."""
    return UserError(f"{benchmark}: there are no pairs to judge (all of the split {split} are ties)")


def _split(split: str, rows: Columns, temperature: float | None, bits: np.ndarray) -> dict[str, float]:
    table = decided(rows)
    pairs = len(table["chosen_score"])
    if not pairs and len(rows["chosen_score"]):
        raise only_ties("in_distribution", split)
    estimated = pair_estimates(table, temperature, bits, np.ones((1, pairs)))
    if "agreement" in rows:
        estimated |= soft_estimates(rows, np.ones((1, len(rows["chosen_score"]))))
    found = {name: float(value[0]) for name, value in estimated.items() if not np.isnan(value[0])}
    return found | ({} if temperature is None else {"temperature": temperature}) | {"n": float(pairs)}


def _margins(table: Columns) -> np.ndarray:
    chosen, rejected, *_ = _columns(table)
    return chosen - rejected


def _columns(table: Columns) -> list[np.ndarray]:
    """[N] each: scores, then lengths, of chosen and rejected. Raises UserError."""
    names = PAIRS[1:5]
    if missing := [name for name in names if name not in table]:
        raise UserError(f"in_distribution: the score table lacks {', '.join(missing)}")
    found = [np.asarray(table[name], float) for name in names]
    if bad := sum(int((~np.isfinite(values)).sum()) for values in found):
        raise UserError(f"in_distribution: {bad} scores or lengths of the table are missing or not finite")
    return found
