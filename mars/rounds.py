"""The loop of the paper: score, select, train, validate, record; then again with the better model.

The loop is the same for every arm. What differs is the strategy's choice of rows, so a comparison compares that.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from mars import allocation, checkpoint, files
from mars.config import ConfigError
from mars.data import Pair
from mars.engine import Engine
from mars.logger import Logger
from mars.pool import Pool
from mars.rows import RowInputs
from mars.strategy import Round, Selection, Strategy
from mars.training import TrainConfig, TrainingSet, new_optimizer, train_round

log = logging.getLogger(__name__)

# Streams of the run's seed, so that no two uses share random numbers.
_DRAW, _ORDER = 1, 2


@dataclass(frozen=True)
class RoundsConfig:
    """The loop's shape (conf `rounds:`).

    history: "replace" trains a round on its own draw alone (the authors' code), "accumulate" on every draw so far (the
    paper's D_t = D_{t−1} ∪ D_syn). start: "continue" keeps the weights from round to round, "reinitialise" trains each
    round from the study's start. schedule: "restart" gives every round its own optimiser and learning-rate schedule,
    "continue" runs one of each over all rounds. steps: optimiser steps a round, whatever the arm drew; the rows are
    passed over as often as that takes, and `epochs` has no say. warmup: epochs on the base pairs alone before the first
    round, by one model that all arms and seeds of the study start from (`mars.start`); 0 starts from a fresh head.
    """

    number: int = 5
    epochs: int = 1
    steps: int | None = None
    budget: int = 2000
    history: Literal["replace", "accumulate"] = "replace"
    start: Literal["continue", "reinitialise"] = "continue"
    schedule: Literal["restart", "continue"] = "restart"
    warmup: int = 0
    warmup_seed: int = 0

    def __post_init__(self) -> None:
        least = {"number": 1, "epochs": 1, "steps": 1, "budget": 0, "warmup": 0, "warmup_seed": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ValueError(f"{name}: must be at least {bound}, not {value}")
        if self.start == "reinitialise" and self.schedule == "continue":
            raise ValueError("schedule: an optimiser cannot continue over re-initialised weights (use restart)")


@dataclass(frozen=True)
class Outcome:
    """A finished loop: the trained model and what it recorded."""

    model: nn.Module
    start: str  # sha256 of the starting weights
    records: list[dict[str, Any]]  # one a round
    drawn: list[np.ndarray]  # pool rows by round
    margins: list[np.ndarray | None]  # [N] by round, those the arm chose by; None where it did not ask


def run_rounds(
    engine: Engine,
    strategy: Strategy,
    pool: Pool,
    validation: Sequence[Pair],
    cfg: RoundsConfig,
    train: TrainConfig,
    batch_size: int,
    seed: int,
    start: Callable[[], nn.Module],
    saved: checkpoint.State,
    save: Callable[[checkpoint.State], None],
    logger: Logger,
) -> Outcome:
    """Train `cfg.number` rounds from `saved` (a fresh `State()` for a new run), calling `save(state)` after each.

    start: makes a fresh copy of the study's starting point.
    """
    began, before = time.perf_counter(), saved.seconds
    inputs = RowInputs(pool, engine)
    base = inputs.numbers(pool.copies)
    held_out = engine.add(validation)

    model = start()
    started_from = files.state_digest(model.state_dict())
    state = saved
    if state.model is not None:
        model.load_state_dict(state.model)
        log.info("resuming after round %d", state.round)
    optimizer = new_optimizer(model, train)
    if state.optimizer is not None:
        optimizer.load_state_dict(state.optimizer)
    drawn = [np.array(rows, dtype=np.int64) for rows in state.drawn]
    unknown = len(drawn) - len(state.margins)  # rounds of a checkpoint that did not keep them yet
    state.margins = [*[None] * unknown, *state.margins]
    pool.look_at([cell for cell in state.cells if cell not in pool.looked_at])  # a resumed run counts what it saw

    for t in range(state.round, cfg.number):
        scored = engine.texts_scored
        round = Round(
            t,
            cfg.budget,
            pool.base,
            pool,
            np.random.default_rng([seed, _DRAW, t]),
            scores=functools.partial(inputs.scores, model),
            weights=None if state.weights is None else np.array(state.weights),
        )
        selection = _select(strategy, round)
        scored = engine.texts_scored - scored
        drawn.append(selection.rows)
        data = _training_set(inputs, selection, _history(cfg, drawn, selection, pool), t)
        if cfg.start == "reinitialise" and t > 0:
            model = start()
        if cfg.schedule == "restart":
            optimizer = new_optimizer(model, train)
        span = (0.0, 1.0) if cfg.schedule == "restart" else (t / cfg.number, (t + 1) / cfg.number)
        torch.manual_seed(seed + 1_000_003 * (t + 1))  # of dropout and noise
        stats = train_round(
            engine,
            model,
            optimizer,
            data,
            train,
            batch_size,
            cfg.epochs,
            np.random.default_rng([seed, _ORDER, t]),
            cfg.steps,
            span,
            on_step=functools.partial(_log_step, logger, sum(r["steps"] for r in state.records)),
        )
        budgets = np.bincount(pool.parents(selection.rows), minlength=len(base))
        record = {
            "round": t,
            **{k: v for k, v in asdict(stats).items() if k != "loss"},
            "train_loss": stats.loss,
            "base_pairs": len(base),
            "drawn": len(selection.rows),
            "unspent": max(0, cfg.budget - len(selection.rows)),
            "rows_refused": round.refused,
            "rows_flipped": round.flipped,
            "synthetic_pairs": len(data.numbers) - len(base),
            "repeated_rows": len(selection.rows) - len(np.unique(selection.rows)),
            "variants_drawn": len(pool.looked_at),
            "texts_scored": scored,
            "pairs_per_second": stats.pairs / stats.seconds,
            **_validation(engine.margins(model, held_out)),
            **(allocation.budget_diagnostics(budgets) if len(selection.rows) else {}),
            **selection.diagnostics,
        }
        asked = "margins" in vars(round)  # scored by the strategy, so worth showing
        if asked:
            record |= allocation.margin_diagnostics(round.margins)
        state.margins.append(torch.from_numpy(round.margins) if asked else None)
        state.records.append(files.as_json(record))
        state.seconds = before + time.perf_counter() - began
        state.round, state.drawn = t + 1, [rows.tolist() for rows in drawn]
        state.cells = list(pool.looked_at)
        state.weights = None if selection.weights is None else selection.weights[: len(base)].tolist()
        state.model = model.state_dict()
        state.optimizer = optimizer.state_dict() if cfg.schedule == "continue" else None
        save(state)
        logger.round(record, {"margins": round.margins, "budgets": budgets} if asked else {"budgets": budgets})
        _say_if_flat(record, strategy)
        _say_if_short(record, cfg.budget)
    margins = [None if known is None else known.numpy() for known in state.margins]
    return Outcome(model, started_from, state.records, drawn, margins)


def _log_step(logger: Logger, before: int, metrics: dict[str, float]) -> None:
    """`metrics` with the step counted from the run's beginning, so that a resumed run's curve goes on."""
    logger.step({**metrics, "step": before + metrics["step"] + 1})


def _select(strategy: Strategy, round: Round) -> Selection:
    try:
        return strategy.select(round)
    except ValueError as error:
        raise ConfigError(f"round {round.index}: {error}") from error


def _history(cfg: RoundsConfig, drawn: Sequence[np.ndarray], selection: Selection, pool: Pool) -> np.ndarray:
    """The synthetic rows this round trains on: its own draw, or under `accumulate` every draw so far.

    Draws accumulate as a set: a row drawn again in a later round is not added twice, while a row repeated within its
    round keeps its repeats. Copies of base pairs are repeats on purpose, and always added.
    """
    if cfg.history == "replace":
        return selection.rows
    if selection.weights is not None and any(len(rows) for rows in drawn):
        raise ConfigError("rounds.history: this arm weights its rows, round by round (use replace)")
    rows = drawn[0]
    for later in drawn[1:]:
        rows = np.concatenate([rows, later[~np.isin(later, rows) | np.isin(later, pool.copies)]])
    return rows


def _training_set(inputs: RowInputs, selection: Selection, rows: np.ndarray, index: int) -> TrainingSet:
    """Base pairs first, then the synthetic ones, as text numbers. Raises ConfigError for what an arm may not return."""
    pool = inputs.pool
    whole = np.concatenate([pool.copies, rows])
    weights, noise = selection.weights, None
    if weights is not None and len(weights) != len(whole):
        raise ConfigError(f"round {index}: the arm weighted {len(weights)} of {len(whole)} rows")
    if selection.noise is not None:
        alpha = selection.noise.features if inputs.engine.mode == "head" else selection.noise.tokens
        noise = np.where(np.arange(len(whole)) < len(pool.copies), 0.0, alpha)
    ids = [pair.id for pair in pool.base] + pool.names(rows)
    return TrainingSet(inputs.numbers(whole), weights, ids, noise)


def _validation(margins: np.ndarray) -> dict[str, float]:
    """Held-out accuracy (a tie counts ½), log-loss and margins; empty without a validation split."""
    if not len(margins):
        return {}
    return {
        "validation_accuracy": float((margins > 0).mean() + 0.5 * (margins == 0).mean()),
        "validation_loss": float(np.logaddexp(0, -margins).mean()),
        "validation_margin_mean": float(margins.mean()),
        "validation_margin_sd": float(margins.std()),
    }


def _say_if_short(record: Mapping[str, Any], budget: int) -> None:
    if record["rows_refused"] and record["drawn"] < budget:
        log.warning(
            "round %d: %d of %d rows drawn, the gates let no more pass", record["round"], record["drawn"], budget
        )


def _say_if_flat(record: Mapping[str, Any], strategy: Strategy) -> None:
    if record.get("steering") == 0.0 and record["drawn"]:
        log.warning(
            "round %d: the margins are not steering anything: every pair gets %d to %d rows, within one of an equal "
            "share of %.2f, as in stratified uniform sampling (margin sd %.3g, %s)",
            record["round"],
            record["budget_min"],
            record["budget_max"],
            record["drawn"] / record["base_pairs"],
            record.get("margin_sd", float("nan")),
            ", ".join(f"{name} {value}" for name, value in vars(strategy).items()),
        )
