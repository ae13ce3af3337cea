"""The model to judge a run by, where it is not the last one: that of its best moment (rounds.keep=best).

A run that trains too long forgets what it knew, and an arm that over-fits less then looks better for that alone. Under
keep=best every arm is judged at its own best length. Moments are the end of every round and the steps at each eighth of
it, so every sixth of a head's 47 steps. What counts is the held-out information, of validation pairs alone; of equal
moments the earliest.

Training does not change by it: rows, steps and bits are those of keep=last. It costs the scores of the validation pairs
MOMENTS times a round in the place of once, and one more copy of what training moves (`checkpoint.moving`), in the
machine's memory, not the GPU's, and in every checkpoint. The best of several numbers flatters itself, so what is kept
of it says when, and the test pairs say how good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mars.method import checkpoint
from mars.preferences.labels import information

log = logging.getLogger(__name__)

MOMENTS = 8  # of a round, its end included


@dataclass(frozen=True)
class Best:
    """A run's model at its best moment so far."""

    information: float  # of the validation pairs, bits a pair
    round: int
    step: int  # optimiser steps of the run by then
    model: dict[str, torch.Tensor]  # a copy of what training can change


class Watch:
    """Looks at a run's model at its moments and holds on to the best one; at none where that is not wanted.

    margins: [V] of the validation pairs under a model. agreement: [V] theirs (`Labels`). best: of an earlier attempt.
    """

    def __init__(
        self,
        margins: Callable[[nn.Module], np.ndarray],
        agreement: np.ndarray | None,
        wanted: bool,
        best: Best | None = None,
    ):
        self._margins, self._agreement, self._wanted, self.best = margins, agreement, wanted, best

    def moments(self, steps: int) -> frozenset[int]:
        """After how many of a round's steps it looks; the round's end is another moment and not among them."""
        if not self._wanted:
            return frozenset()
        return frozenset(steps * part // MOMENTS for part in range(1, MOMENTS)) - {0, steps}

    def look(self, model: nn.Module, index: int, step: int) -> None:
        """Scores the validation pairs in the middle of round `index`. step: as of `Best`."""
        self.consider(model, self._margins(model), index, step)

    def consider(self, model: nn.Module, margins: np.ndarray, index: int, step: int) -> None:
        """Holds on to `model`, whose validation pairs have `margins`, where it is better than any before."""
        if not self._wanted:
            return
        found = information(margins, self._agreement)
        if self.best is None or found > self.best.information:
            copied = {name: of.detach().to("cpu", copy=True) for name, of in checkpoint.moving(model).items()}
            self.best = Best(found, index, step, copied)

    def columns(self) -> dict[str, float]:
        """Of rounds.csv: the best moment so far; empty where none is wanted."""
        best = self.best
        if best is None:
            return {}
        return {"best_information": best.information, "best_round": best.round, "best_step": best.step}

    def hand_over(self, model: nn.Module, steps: int) -> None:
        """Makes `model`, the last one, the best one. steps: of the run."""
        if self.best is None:
            return
        log.info(
            "kept: the model of round %d after %d of %d steps, %.4f bits a validation pair",
            *(self.best.round, self.best.step, steps, self.best.information),
        )
        checkpoint.restore(model, self.best.model)
