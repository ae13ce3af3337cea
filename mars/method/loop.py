"""The loop of the paper: score, select, train, validate, record; then again with the better model.

The loop is the same for every arm. What differs is the strategy's choice of rows, so a comparison compares that.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import nn

from mars import files
from mars.config import ConfigError
from mars.method import allocation, checkpoint
from mars.method.best import Watch
from mars.method.checkpoint import Keeper
from mars.method.logger import Logger
from mars.method.measure import settle
from mars.method.observer import Observer
from mars.method.optimizer import new_optimizer
from mars.method.state import Snapshot, Spectra, State
from mars.method.strategy import Round, Selection, Strategy
from mars.method.trainer import DRAW, Trainer
from mars.method.training import Learner, Onlooker, RoundStats, TrainingSet, Underway
from mars.preferences.labels import information, log_loss, tied
from mars.process.ranks import Ranks
from mars.progress import counted
from mars.reward import sharding

log = logging.getLogger(__name__)


def run_rounds(loop: Loop, strategy: Strategy, keep: Keeper) -> State:
    """The state after the last round, from the one that `loop` was made with; `keep` is given each on the way.

    The loop's model is then the one to be judged.
    """
    state = loop.state
    for _ in range(state.round, loop.trainer.plan.rounds.number):
        view = loop.view(state)  # margins are scored when asked for
        selection = loop.select(strategy, view, state)  # allocate, draw
        data = loop.rows(state, selection)
        seen, spectra = loop.observe(state, selection, data)  # curvature, where it is recorded
        state = state.begin(view, selection, seen, spectra)  # interrupted from here on, the round goes on from here
        stats = loop.train(state, data, keep)
        record = loop.validate(state, view, selection, data, stats) | seen | loop.clock.columns()
        with loop.clock("recording"):
            state = state.after(record, loop.snapshot(loop.learner))
            keep(state)
        loop.report(strategy, view, selection, loop.costed(state))
        keep.stop.obey()
    loop.watch.hand_over(loop.learner.model, steps_of(state))  # the best model, where that is wanted
    return state


class Loop:
    """A run's model and optimiser as they stand, and what makes a round with them.

    state: where to begin, a fresh `State()` for a new run. observer: records curvature, where that is asked for.
    """

    def __init__(self, trainer: Trainer, state: State, logger: Logger, observer: Observer | None = None):
        self.trainer, self.state, self._logger, self._observer = trainer, state, logger, observer
        self.pool, self.clock = trainer.inputs.pool, trainer.clock
        if state.memory:
            trainer.engine.recall(state.memory)
        model = trainer.start()
        self.start = files.state_digest(sharding.state_of(model))  # sha256 of the starting weights
        if state.model is not None:
            checkpoint.restore(model, state.model)
            log.info("resuming %s", state.whereabouts)
        settle(trainer.engine, model, trainer.plan.train)
        self.learner = Learner(model, new_optimizer(model, trainer.plan.train))
        wanted = trainer.plan.rounds.keep == "best"
        self.watch = Watch(self._held_out, trainer.held_out_agreement, wanted, state.best)
        if state.optimizer is not None:
            sharding.load_optimizer(self.learner.optimizer, state.optimizer)
        if observer is not None:
            with self.clock("curvature"):
                observer.foretell(model, trainer.plan.rounds.number - state.round)
        # A resumed run counts what it saw.
        with self.clock("pool"):
            self.pool.look_at([cell for cell in state.cells if cell not in self.pool.looked_at])
        if state.begun:
            self.clock.resume(state.begun.seconds)

    def view(self, state: State) -> Round:
        """What the arm may look at in the next round; of one that has begun, with what it looked at."""
        trainer, t = self.trainer, state.round
        scorer, numbers = trainer.engine.scorer(self.learner.model), trainer.inputs.numbers

        def asked(score: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
            with self.clock("scoring"):
                return score(numbers(rows))

        view = Round(
            t,
            trainer.plan.rounds.budget,
            self.pool.base,
            self.pool,
            np.random.default_rng([trainer.plan.seed, DRAW, t]),
            scores=functools.partial(asked, scorer.scores),
            differences=functools.partial(asked, scorer.differences),
            tried=functools.partial(trainer.trial, t, self.learner, state.drawn),
            weights=state.weights,
            held_out_agreement=trainer.held_out_agreement,
            clock=self.clock,
        )
        if state.begun:
            vars(view).update(state.begun.counted)
            if state.begun.margins is not None:
                view.margins = state.begun.margins
        return view

    def select(self, strategy: Strategy, view: Round, state: State) -> Selection:
        """What the arm trains on; the view counts the texts scored for it. Raises ConfigError for a bad setting."""
        if state.begun:
            return state.begun.selection
        before = self.trainer.engine.texts.scored
        try:
            with self.clock("selection"):
                selection = strategy.select(view)
        except ValueError as error:
            raise ConfigError(f"round {view.index}: {error}") from error
        view.texts_scored = self.trainer.engine.texts.scored - before
        _check_alike(self.trainer.engine.ranks, state.round, selection)
        return selection

    def rows(self, state: State, selection: Selection) -> TrainingSet:
        """Base pairs and synthetic ones, as text numbers. Raises ConfigError for what an arm may not return."""
        with self.clock("selection"):
            return self.trainer.data(state.round, state.drawn, selection)

    def observe(self, state: State, selection: Selection, data: TrainingSet) -> tuple[dict[str, float], Spectra]:
        """(columns, spectra) of curvature under the model before it trains; both empty where it is not recorded."""
        if state.begun:
            return state.begun.seen, state.begun.spectra
        if self._observer is None:
            return {}, {}
        with self.clock("curvature"):
            return self._observer.observe(self.learner.model, state.round, data, selection)

    def train(self, state: State, data: TrainingSet, keep: Keeper) -> RoundStats:
        """Train on `data`; what it took. From here on the loop's model is the trained one.

        A round that was left underway goes on. `keep` is given the state between two steps whenever it is due.
        """
        before = steps_of(state)

        def on_step(metrics: dict[str, float]) -> None:
            # Counted from the run's beginning, so that a resumed run's curve goes on.
            self._logger.step({**metrics, "step": before + metrics["step"] + 1})

        def kept(learner: Learner, training: Underway) -> None:
            with self.clock("recording"):
                keep(state.midway(training, self.clock.columns(), self.snapshot(learner, optimizer=True)))
            keep.stop.obey()

        def look(learner: Learner, done: int) -> None:
            self.watch.look(learner.model, state.round, before + done)

        underway = state.begun.training if state.begun else None
        with self.clock("training"), keep.stop.deferred():
            onlooker = Onlooker(on_step, self.watch.moments, look, keep.due, kept, underway)
            self.learner, stats = self.trainer.fit(state.round, self.learner, data, onlooker)
        return stats

    def validate(
        self, state: State, view: Round, selection: Selection, data: TrainingSet, stats: RoundStats
    ) -> dict[str, Any]:
        """The round's row of rounds.csv, less what the observer adds: training, drawing, validation, allocation."""
        base, drawn = len(view.pairs), selection.rows
        held_out = self._held_out(self.learner.model)
        self.watch.consider(self.learner.model, held_out, view.index, steps_of(state) + stats.steps)
        return {
            "round": view.index,
            **{k: v for k, v in asdict(stats).items() if k != "loss"},
            "train_loss": stats.loss,
            "base_pairs": base,
            "drawn": len(drawn),
            "unspent": max(0, view.budget - len(drawn)),
            "rows_refused": view.refused,
            "rows_flipped": view.flipped,
            "synthetic_pairs": len(data.numbers) - base,
            "repeated_rows": len(drawn) - len(np.unique(drawn)),
            "variants_drawn": len(self.pool.looked_at),
            "texts_scored": view.texts_scored,
            "trial_steps": view.trial_steps,
            "pairs_per_second": stats.pairs / stats.seconds,
            **held_out_columns(held_out, self.trainer.held_out_agreement),
            **self.watch.columns(),
            **(allocation.budget_diagnostics(view.budgets(drawn)) if len(drawn) else {}),
            **selection.diagnostics,
            **(_margin_columns(view) if view.asked else {}),
        }

    def _held_out(self, model: nn.Module) -> np.ndarray:
        """[V] margins of the validation pairs."""
        with self.clock("validation"):
            return self.trainer.engine.scorer(model).margins(self.trainer.held_out)

    def snapshot(self, learner: Learner, optimizer: bool = False) -> Snapshot:
        """The living parts as they are, with the optimiser where it is asked for or outlives its round."""
        optimizer = optimizer or self.trainer.plan.rounds.schedule == "continue"
        return Snapshot(
            model=checkpoint.moving(learner.model),
            optimizer=sharding.optimizer_state(learner.optimizer) if optimizer else None,
            cells=list(self.pool.looked_at),
            memory=self.trainer.engine.memory(),
            best=self.watch.best,
        )

    def costed(self, state: State) -> dict[str, Any]:
        """The last round's row with all its seconds, those of recording it included; the next round counts anew."""
        state.records[-1].update(self.clock.columns())
        self.clock.restart()
        return state.records[-1]

    def report(self, strategy: Strategy, view: Round, selection: Selection, record: Mapping[str, Any]) -> None:
        """The round to the logger, and to the log what it fell short of."""
        arrays = {"margins": view.margins} if view.asked else {}
        self._logger.round(record, arrays | {"budgets": view.budgets(selection.rows)})
        _warn_if_flat(record, strategy)
        _warn_if_short(record, view.budget)


def steps_of(state: State) -> int:
    """Optimiser steps of the rounds done."""
    return sum(record["steps"] for record in state.records)


def held_out_columns(margins: np.ndarray, agreement: np.ndarray | None = None) -> dict[str, float]:
    """Accuracy (scores that tie count ½), log-loss, information and margins of [V] held-out margins; empty without any.

    agreement: [V] of the pairs (`Labels`). Log-loss and information are of the cross entropy with it; the other columns
    are of pairs that have a better reply, and left out where none has.
    """
    if not len(margins):
        return {}
    loss = {
        "validation_loss": float(log_loss(margins, agreement).mean()),
        "validation_information": information(margins, agreement),
    }
    if agreement is not None:
        margins = margins[~tied(agreement)]
    if not len(margins):
        return loss
    return {
        "validation_accuracy": float((margins > 0).mean() + 0.5 * (margins == 0).mean()),
        **loss,
        "validation_margin_mean": float(margins.mean()),
        "validation_margin_sd": float(margins.std()),
    }


def _margin_columns(view: Round) -> dict[str, float]:
    """Of the margins of base pairs that have a better reply; empty where none has."""
    margins = view.margins[~view.tied] if view.tied.any() else view.margins
    return allocation.margin_diagnostics(margins) if len(margins) else {}


def _check_alike(ranks: Ranks, index: int, selection: Selection) -> None:
    """Raises UserError where ranks selected other rows: what they train from there on would be no run."""
    if ranks.count == 1:
        return
    parts = [selection.rows, *([] if selection.weights is None else [selection.weights])]
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    ranks.agree({f"in round {index} a selection of sha256": digest[:16]}, "all of them need processors of one kind")


def _warn_if_short(record: Mapping[str, Any], budget: int) -> None:
    if record["rows_refused"] and record["drawn"] < budget:
        log.warning(
            "round %d: %d of %d rows drawn, the gates let no more pass", record["round"], record["drawn"], budget
        )


def _share(least: int, most: int) -> str:
    return counted(least, "row") if least == most else f"{least} or {most} rows"


def _warn_if_flat(record: Mapping[str, Any], strategy: Strategy) -> None:
    if record.get("steering") == 0.0 and record["drawn"]:
        log.warning(
            "round %d: the margins steer nothing: every pair gets %s, its equal share, as in stratified sampling "
            "(margin sd %.3g, %s)",
            record["round"],
            _share(record["budget_min"], record["budget_max"]),
            record.get("margin_sd", float("nan")),
            ", ".join(f"{name} {value}" for name, value in vars(strategy).items()),
        )
