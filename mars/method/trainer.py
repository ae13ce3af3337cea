"""How one round trains: its rows, its optimiser, its random streams.

Apart from the loop, so that a round and a trial of one (`Round.trial`) are the same code: what a trial finds is what
the round would have done. A trial costs a copy of the model, and of the optimiser where one runs over all rounds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from mars.config import ConfigError
from mars.method.clock import Clock
from mars.method.optimizer import new_optimizer
from mars.method.row_inputs import RowInputs
from mars.method.settings import Plan
from mars.method.strategy import Selection
from mars.method.targets import Targets
from mars.method.training import Course, Learner, Onlooker, RoundStats, TrainingSet, train_round
from mars.pool.pool import Pool
from mars.preferences.labels import Labels
from mars.preferences.pair import Pair
from mars.reward import sharding
from mars.reward.engine import Engine

# Streams of the run's seed, so that no two uses share random numbers.
DRAW, ORDER = 1, 2


class Trainer:
    """What all rounds of a run share.

    start: makes a fresh copy of the study's starting point. inputs: text numbers of the pool's rows. held_out: [V, 2]
    text numbers of the validation pairs. held_out_agreement: [V] theirs (`Labels`). clock: counts from here on, so the
    first round has the base pairs' tokens too.
    """

    def __init__(
        self, engine: Engine, pool: Pool, validation: Sequence[Pair], plan: Plan, start: Callable[[], nn.Module]
    ):
        self.engine, self.plan, self.start = engine, plan, start
        self.clock = Clock()
        self.inputs = RowInputs(pool, engine.texts, self.clock)
        self.inputs.numbers(pool.copies)  # base pairs first, whatever is drawn later
        self.targets = Targets.of(pool.base, plan.train, pool.labels)
        with self.clock("tokenising"):
            self.held_out = engine.texts.add_pairs(validation)
        self.held_out_agreement = Labels.of(validation).agreement

    def data(self, index: int, drawn: Sequence[np.ndarray], selection: Selection) -> TrainingSet:
        """What round `index` trains on: base pairs first, then the synthetic ones, as text numbers.

        drawn: pool rows of the rounds before it. Raises ConfigError for what an arm may not return.
        """
        pool = self.inputs.pool
        rows = self._history([*drawn, selection.rows], selection, pool)
        whole = np.concatenate([pool.copies, rows])
        weights, noise = selection.weights, None
        if weights is not None and len(weights) != len(whole):
            raise ConfigError(f"round {index}: the arm weighted {len(weights)} of {len(whole)} rows")
        if selection.noise is not None:
            alpha = selection.noise.features if self.engine.mode == "head" else selection.noise.tokens
            noise = np.where(np.arange(len(whole)) < len(pool.copies), 0.0, alpha)
        targets = self.targets.of_rows(pool, whole, selection.labelled)
        return TrainingSet(
            self.inputs.numbers(whole),
            targets.weighted(weights),
            pool.ids(rows),
            noise,
            pool.parents(whole),
            targets.agreement,
            targets.offsets,
        )

    def _history(self, drawn: Sequence[np.ndarray], selection: Selection, pool: Pool) -> np.ndarray:
        """The synthetic rows a round trains on: its own draw, or under `accumulate` every draw so far.

        Draws accumulate as a set: a row drawn again in a later round is not added twice, while a row repeated within
        its round keeps its repeats. Copies of base pairs are repeats on purpose, and always added.
        """
        if self.plan.rounds.history == "replace":
            return selection.rows
        if selection.weights is not None and any(len(rows) for rows in drawn):
            raise ConfigError("rounds.history: this arm weights its rows, round by round (use replace)")
        rows = drawn[0]
        for later in drawn[1:]:
            rows = np.concatenate([rows, later[~np.isin(later, rows) | np.isin(later, pool.copies)]])
        return rows

    def fit(
        self,
        index: int,
        learner: Learner,
        data: TrainingSet,
        onlooker: Onlooker | None = None,
    ) -> tuple[Learner, RoundStats]:
        """(what was trained, what it took): `learner` in place, or a fresh one where rounds re-initialise.

        A round that was left underway goes on with `learner` as it is.
        """
        rounds, train = self.plan.rounds, self.plan.train
        course = Course(train, self.plan.batch_size, rounds.epochs, rounds.steps)
        if rounds.schedule == "continue":
            course = replace(course, start=index / rounds.number, end=(index + 1) / rounds.number)
        if onlooker is None or onlooker.underway is None:
            learner = self._beginner(index, learner)
        torch.manual_seed(self.engine.ranks.seed(self.plan.seed + 1_000_003 * (index + 1)))  # of dropout and noise
        rng = np.random.default_rng([self.plan.seed, ORDER, index])
        return learner, train_round(self.engine, learner, data, course, rng, onlooker)

    def _beginner(self, index: int, learner: Learner) -> Learner:
        """Who trains in round `index`: fresh weights or a fresh optimiser where the plan says so."""
        model, optimizer = learner
        if self.plan.rounds.start == "reinitialise" and index > 0:
            model = self.start()
        if self.plan.rounds.schedule == "restart":
            optimizer = new_optimizer(model, self.plan.train)
        return Learner(model, optimizer)

    def trial(
        self, index: int, learner: Learner, drawn: Sequence[np.ndarray], selection: Selection
    ) -> tuple[np.ndarray, int]:
        """([V] held-out margins, optimiser steps) of a copy of `learner` trained for round `index` on `selection`.

        `learner` does not change. Raises ConfigError where there is no validation pair.
        """
        if not len(self.held_out):
            raise ConfigError(
                "dataset.validation: this arm chooses by validation pairs and finds none (set it above 0)"
            )
        if sharding.is_sharded(learner.model):
            raise ConfigError("train.shard: this arm trains copies of the whole model (set it to none)")
        model = copy.deepcopy(learner.model)
        optimizer = new_optimizer(model, self.plan.train)
        # Loading alone would share its tensors.
        optimizer.load_state_dict(copy.deepcopy(learner.optimizer.state_dict()))
        data = self.data(index, drawn, selection)
        trained, stats = self.fit(index, Learner(model, optimizer), data)
        return self.engine.scorer(trained.model).margins(self.held_out), stats.steps
