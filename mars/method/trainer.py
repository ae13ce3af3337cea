"""How one round trains: its rows, its optimiser, its random streams.

Apart from the loop, so that a round and a trial of one (`Round.trial`) are the same code: what a trial finds is what
the round would have done. A trial costs a copy of the model, and of the optimiser where one runs over all rounds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mars.config import ConfigError
from mars.method.row_inputs import RowInputs
from mars.method.settings import RoundsConfig, TrainConfig
from mars.method.strategy import Selection
from mars.method.training import RoundStats, TrainingSet, new_optimizer, train_round
from mars.pool.pool import Pool
from mars.reward.engine import Engine

# Streams of the run's seed, so that no two uses share random numbers.
DRAW, ORDER = 1, 2


@dataclass(frozen=True)
class Trainer:
    """What all rounds of a run share.

    start: makes a fresh copy of the study's starting point. held_out: [V, 2] text numbers of the validation pairs.
    """

    engine: Engine
    inputs: RowInputs
    rounds: RoundsConfig
    train: TrainConfig
    batch_size: int
    seed: int
    start: Callable[[], nn.Module]
    held_out: np.ndarray

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
        ids = [pair.id for pair in pool.base] + pool.names(rows)
        parents = pool.parents(whole)
        return TrainingSet(self.inputs.numbers(whole), weights, ids, noise, parents)

    def _history(self, drawn: Sequence[np.ndarray], selection: Selection, pool: Pool) -> np.ndarray:
        """The synthetic rows a round trains on: its own draw, or under `accumulate` every draw so far.

        Draws accumulate as a set: a row drawn again in a later round is not added twice, while a row repeated within
        its round keeps its repeats. Copies of base pairs are repeats on purpose, and always added.
        """
        if self.rounds.history == "replace":
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
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        data: TrainingSet,
        on_step: Callable[[dict[str, float]], None] = lambda metrics: None,
    ) -> tuple[nn.Module, torch.optim.Optimizer, RoundStats]:
        """Train `model`, or a fresh one where rounds re-initialise, in place; what was trained, and what it took."""
        rounds, train = self.rounds, self.train
        if rounds.start == "reinitialise" and index > 0:
            model = self.start()
        if rounds.schedule == "restart":
            optimizer = new_optimizer(model, train)
        restarts = rounds.schedule == "restart"
        span = (0.0, 1.0) if restarts else (index / rounds.number, (index + 1) / rounds.number)
        torch.manual_seed(self.seed + 1_000_003 * (index + 1))  # of dropout and noise
        stats = train_round(
            self.engine,
            model,
            optimizer,
            data,
            train,
            self.batch_size,
            rounds.epochs,
            np.random.default_rng([self.seed, ORDER, index]),
            rounds.steps,
            span,
            on_step=on_step,
        )
        return model, optimizer, stats

    def trial(
        self,
        index: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        drawn: Sequence[np.ndarray],
        selection: Selection,
    ) -> tuple[np.ndarray, int]:
        """([V] held-out margins, optimiser steps) of a copy of `model` trained for round `index` on `selection`.

        Neither `model` nor `optimizer` changes. Raises ConfigError where there is no validation pair.
        """
        if not len(self.held_out):
            raise ConfigError(
                "dataset.validation: this arm chooses by validation pairs and finds none (set it above 0)"
            )
        tried = copy.deepcopy(model)
        adam = new_optimizer(tried, self.train)
        adam.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # loading alone would share its tensors
        tried, _, stats = self.fit(index, tried, adam, self.data(index, drawn, selection))
        return self.engine.margins(tried, self.held_out), stats.steps
