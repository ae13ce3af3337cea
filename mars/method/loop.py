"""The loop of the paper: score, select, train, validate, record; then again with the better model.

The loop is the same for every arm. What differs is the strategy's choice of rows, so a comparison compares that.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from mars import files
from mars.config import ConfigError
from mars.method import allocation, checkpoint
from mars.method.logger import Logger
from mars.method.observer import Observer, Spectra
from mars.method.row_inputs import RowInputs
from mars.method.settings import RoundsConfig, TrainConfig
from mars.method.strategy import Round, Selection, Strategy
from mars.method.trainer import DRAW, Trainer
from mars.method.training import new_optimizer
from mars.pool.pool import Pool
from mars.preferences.pair import Pair
from mars.reward.engine import Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A finished loop: the trained model and what it recorded."""

    model: nn.Module
    start: str  # sha256 of the starting weights
    records: list[dict[str, Any]]  # one a round
    drawn: list[np.ndarray]  # pool rows by round
    margins: list[np.ndarray | None]  # [N] by round, those the arm chose by; None where it did not ask
    spectra: list[Spectra]  # by round; empty where curvature is not recorded or not defined


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
    curvature: bool = False,
) -> Outcome:
    """Train `cfg.number` rounds from `saved` (a fresh `State()` for a new run), calling `save(state)` after each.

    start: makes a fresh copy of the study's starting point. curvature: also record what `mars.method.observer` does.
    """
    began, before = time.perf_counter(), saved.seconds
    inputs = RowInputs(pool, engine)
    base = inputs.numbers(pool.copies)
    held_out = engine.add(validation)

    trainer = Trainer(engine, inputs, cfg, train, batch_size, seed, start, held_out)
    observer = Observer(inputs, seed) if curvature else None
    model = start()
    started_from = files.state_digest(model.state_dict())
    state = saved
    if state.model is not None:
        model.load_state_dict(state.model)
        log.info("resuming after round %d", state.round)
    optimizer: torch.optim.Optimizer = new_optimizer(model, train)
    if state.optimizer is not None:
        optimizer.load_state_dict(state.optimizer)
    drawn = [np.array(rows, dtype=np.int64) for rows in state.drawn]
    # A checkpoint of an earlier version may know less of its rounds.
    state.margins = [*[None] * (len(drawn) - len(state.margins)), *state.margins]
    state.spectra = [*[{} for _ in range(len(drawn) - len(state.spectra))], *state.spectra]
    pool.look_at([cell for cell in state.cells if cell not in pool.looked_at])  # a resumed run counts what it saw

    for t in range(state.round, cfg.number):
        scored = engine.texts_scored
        round = Round(
            t,
            cfg.budget,
            pool.base,
            pool,
            np.random.default_rng([seed, DRAW, t]),
            scores=functools.partial(inputs.scores, model),
            differences=functools.partial(inputs.differences, model),
            tried=functools.partial(trainer.trial, t, model, optimizer, list(drawn)),
            weights=None if state.weights is None else np.array(state.weights),
        )
        selection = _select(strategy, round)
        scored = engine.texts_scored - scored
        data = trainer.data(t, drawn, selection)
        seen, spectra = observer.observe(model, t, data, selection) if observer else ({}, {})
        drawn.append(selection.rows)
        on_step = functools.partial(_log_step, logger, sum(r["steps"] for r in state.records))
        model, optimizer, stats = trainer.fit(t, model, optimizer, data, on_step)
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
            "trial_steps": round.trial_steps,
            "pairs_per_second": stats.pairs / stats.seconds,
            **_validation(engine.margins(model, held_out)),
            **(allocation.budget_diagnostics(budgets) if len(selection.rows) else {}),
            **selection.diagnostics,
        }
        asked = "margins" in vars(round)  # scored by the strategy, so worth showing
        if asked:
            record |= allocation.margin_diagnostics(round.margins)
        record |= seen
        state.margins.append(torch.from_numpy(round.margins) if asked else None)
        state.spectra.append(spectra)
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
    return Outcome(model, started_from, state.records, drawn, margins, state.spectra)


def _log_step(logger: Logger, before: int, metrics: dict[str, float]) -> None:
    """`metrics` with the step counted from the run's beginning, so that a resumed run's curve goes on."""
    logger.step({**metrics, "step": before + metrics["step"] + 1})


def _select(strategy: Strategy, round: Round) -> Selection:
    try:
        return strategy.select(round)
    except ValueError as error:
        raise ConfigError(f"round {round.index}: {error}") from error


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
