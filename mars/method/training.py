"""One round of optimisation: batches in, a better model and its numbers out.

A step's loss is the weighted sum over all its pairs divided by their weight, so cutting it into micro-batches changes
memory and speed and nothing else (`mars.method.passes`). A loss or gradient that is not finite stops the run before the
next step is taken and names the pairs: what trains on after that is noise.

Between any two steps a round can be left, and gone on with later in the same bits (`Underway`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mars.method import randomness
from mars.method.passes import Passes, Reading, TrainingError, TrainingSet
from mars.method.settings import TrainConfig
from mars.progress import Progress
from mars.reward.backbone import Mode
from mars.reward.batching import Step, epoch_steps, padding_efficiency
from mars.reward.engine import Engine


@dataclass(frozen=True)
class RoundStats:
    """What a round of training cost and reached."""

    steps: int
    loss: float  # pair-weighted mean over the round
    first_loss: float  # mean over the first quarter of the steps
    last_loss: float  # mean over the last quarter
    grad_norm: float  # mean over steps, before clipping
    pairs: int
    tokens: int  # real tokens through the model, both sides; none pass through a head on cached features
    padding_efficiency: float
    seconds: float


class Learner(NamedTuple):
    """A model and the optimiser that trains it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class Underway:
    """A round's training between two steps: with its model and optimiser, all that the rest depends on."""

    steps: Sequence[Step]  # of the whole round, in their order and as they are cut
    losses: Sequence[float]  # of the steps done
    norms: Sequence[float]
    seconds: float  # so far
    random: Sequence[randomness.State]  # of each rank

    def as_tree(self) -> dict[str, Any]:
        """All of it as arrays and plain values: of many steps few arrays."""
        batches = [batch for step in self.steps for batch in step]
        return {
            "pairs": np.concatenate(batches),
            "batches": np.array([len(batch) for batch in batches]),
            "steps": np.array([len(step) for step in self.steps]),
            "losses": np.array(self.losses),
            "norms": np.array(self.norms),
            "seconds": self.seconds,
            "random": self.random[0],
            "random_of_others": self.random[1:],
        }

    @classmethod
    def of_tree(cls, tree: Mapping[str, Any]) -> Underway:
        """What `as_tree` made this of."""
        batches = iter(np.split(tree["pairs"], np.cumsum(tree["batches"])[:-1]))
        steps = [[next(batches) for _ in range(count)] for count in tree["steps"]]
        losses, norms = tree["losses"].tolist(), tree["norms"].tolist()
        random = [tree["random"], *tree.get("random_of_others", [])]
        return cls(steps, losses, norms, tree["seconds"], random)


@dataclass(frozen=True)
class Onlooker:
    """Who is told of a round's training, and may look at it and keep it between two steps.

    step: told of every step. moments: after how many of so many steps to look. look: given the learner, and the steps
    done. due: whether to keep it now. keep: given the training as it stands. underway: where to go on from, None for a
    round that begins.
    """

    step: Callable[[dict[str, float]], None] = lambda metrics: None
    moments: Callable[[int], Collection[int]] = lambda steps: ()
    look: Callable[[Learner, int], None] = lambda learner, done: None
    due: Callable[[], bool] = lambda: False
    keep: Callable[[Learner, Underway], None] = lambda learner, underway: None
    underway: Underway | None = None


@dataclass(frozen=True)
class Course:
    """How much training a round is.

    epochs: passes over the pairs. steps: optimiser steps, whatever that takes in passes; `epochs` then has no say.
    start, end: the part of the learning-rate schedule that the round covers.
    """

    train: TrainConfig
    batch_size: int
    epochs: int = 1
    steps: int | None = None
    start: float = 0.0
    end: float = 1.0


def lr_factor(progress: float, cfg: TrainConfig) -> float:
    """Share of the peak learning rate at `progress` in [0, 1] through the schedule."""
    if progress < cfg.warmup:
        return progress / cfg.warmup
    rest = (progress - cfg.warmup) / (1 - cfg.warmup)
    return {"linear": 1 - rest, "cosine": 0.5 * (1 + math.cos(math.pi * rest)), "constant": 1.0}[cfg.schedule]


def train_round(
    engine: Engine,
    learner: Learner,
    data: TrainingSet,
    course: Course,
    rng: np.random.Generator,
    onlooker: Onlooker | None = None,
) -> RoundStats:
    """What training `learner` on `data` took; its model and optimiser are changed in place.

    rng: orders the pairs. To go on with what an onlooker kept, `learner` has to stand where it stood. Raises
    TrainingError on a loss or gradient that is not finite.
    """
    training = _Training(engine, learner, data, course, rng, onlooker or Onlooker())
    training.run()
    return training.stats()


class _Training:
    """A round's training from its first step, or from where an onlooker kept it, to its last."""

    def __init__(
        self,
        engine: Engine,
        learner: Learner,
        data: TrainingSet,
        course: Course,
        rng: np.random.Generator,
        onlooker: Onlooker,
    ):
        self.engine, self.learner, self.course, self.onlooker, self.ids = engine, learner, course, onlooker, data.ids
        self.lengths = engine.inputs.lengths[data.numbers]
        self.passes = Passes(engine, learner.model, data, course.train)
        self.began = time.perf_counter()  # moved by what onlookers took, and by what was trained before
        self.losses: list[float] = []  # of the steps that were read
        self.norms: list[float] = []
        if onlooker.underway is None:
            self.steps = _steps(self.lengths, course, engine.budget.tokens, rng, self.passes.packed)
        else:
            self._go_on(onlooker.underway)

    def _go_on(self, kept: Underway) -> None:
        self.steps, self.losses, self.norms = list(kept.steps), list(kept.losses), list(kept.norms)
        self.began -= kept.seconds
        ranks = self.engine.ranks
        if ranks.number < len(kept.random):  # else the rank is new
            randomness.restore(kept.random[ranks.number], self.engine.device)

    def run(self) -> None:
        """Take all steps that are left. Raises TrainingError."""
        done = len(self.losses)
        moments = self.onlooker.moments(len(self.steps))
        self.learner.model.train()
        with (
            few_threads(self.engine.mode),
            self.engine.determinism.held(),
            Progress(len(self.steps), "training", "steps", done=done) as progress,
            closing(self.passes.gradients(self.steps, done)) as readings,
        ):
            unread: list[tuple[int, float, Reading]] = []  # read a step late: by then the device has come to it
            for number, reading in enumerate(readings, done):
                self._read(unread, progress)
                unread.append((number, self._step(number), reading))
                looking, due = number + 1 in moments, self.onlooker.due()
                if looking or due:
                    self._read(unread, progress)
                    self._pause(number + 1, looking, due)
            self._read(unread, progress)

    def _step(self, number: int) -> float:
        """One step of the optimiser. Returns its learning rate."""
        cfg, start, end = self.course.train, self.course.start, self.course.end
        lr = cfg.lr * lr_factor(start + (end - start) * number / len(self.steps), cfg)
        for group in self.learner.optimizer.param_groups:
            group["lr"] = lr
        self.learner.optimizer.step()
        return lr

    def _read(self, unread: list[tuple[int, float, Reading]], progress: Progress) -> None:
        """Note what came of the steps that are not read yet; then there are none."""
        for number, lr, reading in unread:
            loss, norm = reading.values()
            if not (math.isfinite(loss) and math.isfinite(norm)):
                ids = [self.ids[i] for i in np.concatenate(self.steps[number])]
                raise TrainingError(_not_finite(number, loss, norm, ids))
            self.losses.append(loss)
            self.norms.append(norm)
            progress.advance(1)
            self.onlooker.step({"step": number, "loss": loss, "grad_norm": norm, "lr": lr})
        unread.clear()

    def _pause(self, done: int, looking: bool, due: bool) -> None:
        """Let the onlooker look at the model after `done` steps, and keep the training; neither counts as training."""
        paused = time.perf_counter()
        if looking:
            with self.engine.determinism.released():
                self.onlooker.look(self.learner, done)
            self.learner.model.train()  # who looks scores, which takes a model out of it
        if due:
            random = self.engine.ranks.gather(randomness.of_all(self.engine.device))
            seconds = paused - self.began
            self.onlooker.keep(self.learner, Underway(self.steps, self.losses, self.norms, seconds, random))
        self.began += time.perf_counter() - paused

    def stats(self) -> RoundStats:
        """Of all steps."""
        steps, lengths, weights = self.steps, self.lengths, self.passes.weights
        quarter = max(1, len(steps) // 4)
        in_head = self.engine.mode == "head"
        return RoundStats(
            steps=len(steps),
            loss=float(np.average(self.losses, weights=[weights[np.concatenate(step)].sum() for step in steps])),
            first_loss=float(np.mean(self.losses[:quarter])),
            last_loss=float(np.mean(self.losses[-quarter:])),
            grad_norm=float(np.mean(self.norms)),
            pairs=sum(len(batch) for step in steps for batch in step),
            tokens=0 if in_head else sum(int(lengths[batch].sum()) for step in steps for batch in step),
            padding_efficiency=1.0 if self.passes.packed else padding_efficiency(lengths, steps),
            seconds=time.perf_counter() - self.began,
        )


def _steps(lengths: np.ndarray, course: Course, tokens: int, rng: np.random.Generator, packed: bool) -> list[Step]:
    """The round's steps over pairs of [M, 2] tokens; the last epoch is cut short where a number of steps is set.

    tokens: of one pass through the model. packed: without padding.
    """
    steps: list[Step] = []
    passes = 0
    while (len(steps) < course.steps) if course.steps else (passes < course.epochs):
        steps += epoch_steps(lengths, course.batch_size, tokens, course.train.window, rng, packed)
        passes += 1
    return steps[: course.steps]


@contextmanager
def few_threads(mode: Mode) -> Iterator[None]:
    """Inside, torch computes on one thread for a linear head: its tensors are too small to share among several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if mode == "head" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _not_finite(step: int, loss: float, norm: float, ids: list[str]) -> str:
    """The message of a step whose loss or gradient is not finite."""
    shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
    return f"step {step}: loss {loss}, gradient norm {norm}; the pairs of the step: {shown} (lower train.lr?)"
