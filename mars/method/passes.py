"""The passes of training: a step's gradient, one micro-batch after another, in whatever memory there is.

A GPU is never waited for in between. Inputs are made ahead of it in a thread of their own, and a step's loss and norm
are read when the next step's passes are under way.

A micro-batch that does not fit the memory takes its step back to where it began, random numbers included, and the step
is made anew in smaller ones: as it would have been under the smaller budget.

Of a run of several processes each makes the passes of its share of a step's pairs, and their gradients are added up
(`mars.process.ranks`). How a step is shared out changes its loss and gradient by rounding alone.

Under `train.bf16_weights` a pass reads bf16 copies of the weights, and hands their gradients on to the weights
themselves: these, the sums over micro-batches and the optimiser stay in fp32, and so does the scalar head.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from mars.config import UserError
from mars.method import randomness
from mars.method.settings import TrainConfig
from mars.reward import sharding
from mars.reward.batching import Step, micro_batches, packed_batches
from mars.reward.engine import Engine
from mars.reward.feeding import Feed
from mars.reward.loss import Told, bradley_terry
from mars.reward.memory import fits, moved
from mars.reward.model import RewardModel, scalar_head

Wanted = TypeVar("Wanted")
Made = TypeVar("Made")

_AHEAD = 2  # micro-batches that are made before a GPU asks for them


class TrainingError(UserError):
    """Training that cannot go on."""


@dataclass(frozen=True)
class TrainingSet:
    """Rows of one round: base pairs first, then what the strategy drew."""

    numbers: np.ndarray  # [M, 2] text numbers
    weights: np.ndarray | None  # [M]
    ids: Sequence[str]  # [M], for messages
    noise: np.ndarray | None = None  # [M] NEFTune's α, 0 where a row stays clean
    parents: np.ndarray | None = None  # [M] the base pair each row is, or is a variant of
    agreement: np.ndarray | None = None  # [M] p of the loss (`mars.reward.loss`), None: 1
    offsets: np.ndarray | None = None  # [M] m of the loss, None: 0

    @property
    def loss_weights(self) -> np.ndarray:
        """[M]; all one where none are set."""
        return np.ones(len(self.numbers)) if self.weights is None else self.weights


class Job(NamedTuple):
    """The pairs of one pass, by row number. counted: False for a pass that is made to keep step with other ranks."""

    pairs: np.ndarray
    counted: bool = True


class MicroBatch(NamedTuple):
    """b pairs as the model takes them: 2b texts, chosen first, and [b] loss weights; what their labels say beside."""

    inputs: dict[str, Any]
    weights: torch.Tensor
    told: Told


class Reading:
    """A step's loss and gradient norm, on their way from the device."""

    def __init__(self, loss: torch.Tensor, norm: torch.Tensor):
        self._values = torch.stack([loss, norm]).to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if loss.is_cuda else None
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(loss.device))

    def values(self) -> tuple[float, float]:
        """(loss, norm), once the device has come to the end of that step; what follows it is not waited for."""
        if self._arrived is not None:
            self._arrived.synchronize()
        loss, norm = self._values.tolist()
        return loss, norm


class Passes:
    """The passes of one model over one set of rows."""

    def __init__(self, engine: Engine, model: nn.Module, data: TrainingSet, cfg: TrainConfig):
        self.engine, self.model, self.data, self.cfg = engine, model, data, cfg
        self.weights = data.loss_weights
        self._feed = Feed(model, engine.inputs)
        self._lengths = engine.inputs.lengths[data.numbers]
        self._ranks, self._sharded = engine.ranks, sharding.is_sharded(model)
        self._listen = bool(engine.determinism.without)  # in the next step, for more that has no deterministic form

    @property
    def packed(self) -> bool:
        """Whether texts go to the model without padding."""
        return self._feed.packing is not None

    def cut(self, pairs: np.ndarray, tokens: int) -> Step:
        """The micro-batches of `pairs`, row numbers, with up to `tokens` in one pass."""
        if self.packed:
            return packed_batches(pairs, self._lengths.sum(axis=1), tokens)
        return micro_batches(pairs, self._lengths.max(axis=1), tokens)

    def make(self, pairs: np.ndarray, share: bool = True) -> MicroBatch:
        """`pairs` on the device. share: False computes what texts have in common for each of them."""
        # Chosen and rejected in one forward: [2b] scores, chosen first. NEFTune's noise differs between texts.
        inputs = self._feed.batch(self.data.numbers[pairs].T.ravel(), share and self.data.noise is None)
        extra = {"weights": torch.as_tensor(self.weights[pairs], dtype=torch.float32)}
        if self.data.noise is not None:
            extra["noise"] = torch.as_tensor(np.tile(self.data.noise[pairs], 2), dtype=torch.float32)
        for name in Told._fields:
            if (said := getattr(self.data, name)) is not None:
                extra[name] = torch.as_tensor(said[pairs], dtype=torch.float32)
        extra = moved(extra, self.engine.device)
        weights, told = extra.pop("weights"), Told(*(extra.pop(name, None) for name in Told._fields))
        return MicroBatch({**inputs, **extra}, weights, told)

    def _made(self, job: Job) -> MicroBatch:
        batch = self.make(job.pairs)
        return batch if job.counted else batch._replace(weights=torch.zeros_like(batch.weights))

    def backward(self, batch: MicroBatch, total: float) -> torch.Tensor:
        """The loss of `batch` over a step of `total` weight, detached; its gradient is added to the parameters'."""
        cfg = self.cfg
        with bf16_weights(self.model) if cfg.bf16_weights else nullcontext():
            chosen, rejected = self.model(**batch.inputs).chunk(2)
            summed = bradley_terry(chosen, rejected, batch.weights, cfg.label_smoothing, cfg.centering, batch.told)
            loss = summed / total
            loss.backward()
        return loss.detach()

    def gradients(self, steps: list[Step], done: int = 0) -> Generator[Reading, None, None]:
        """What each step reads, its clipped gradient then in the parameters; `steps` are cut smaller if need be.

        done: how many of them are behind already.
        """
        while done < len(steps):
            jobs = (job for step in steps[done:] for job in self._jobs(step))
            with closing(ahead(self._made, jobs, _AHEAD if self.engine.device.type == "cuda" else 0)) as feed:
                for step in steps[done:]:
                    before = randomness.of_training(self.engine.device)
                    found = self._gradient(step, feed)
                    if found is None or isinstance(found, int):
                        break
                    yield found
                    done += 1
                else:
                    return
            randomness.restore(before, self.engine.device)
            if found is not None:
                self._make_room(self._jobs(step)[found].pairs)
                steps[done:] = [self.cut(np.concatenate(one), self.engine.budget.tokens) for one in steps[done:]]

    def _gradient(self, step: Step, feed: Iterator[MicroBatch]) -> Reading | int | None:
        """The step's reading; or the number of the micro-batch that did not fit, or None where it is to be repeated."""
        self.model.zero_grad(set_to_none=True)
        total = float(sum(self.weights[pairs].sum() for pairs in step)) or 1.0  # of pairs that weigh nothing: loss 0
        loss = torch.zeros((), device=self.engine.device)

        def add() -> None:
            nonlocal loss
            loss += self.backward(next(feed), total)

        with ExitStack() as stack:
            if self._listen:
                stack.enter_context(self.engine.determinism.listening())
                self._listen = False
            for number in range(len(self._jobs(step))):
                try:
                    if self._sharded:  # of which no rank can repeat a pass alone
                        add()
                    elif not fits(add):
                        self.model.zero_grad(set_to_none=True)
                        return number
                except RuntimeError as error:
                    if not self.engine.determinism.excuse(error):
                        raise
                    self._listen = True
                    return None
        trained = [p for p in self.model.parameters() if p.requires_grad]
        if not self._sharded:  # else they have been added up on the way
            self._ranks.add([p.grad for p in trained if p.grad is not None])
        self._ranks.add([loss])
        norm = nn.utils.clip_grad_norm_(trained, self.cfg.max_grad_norm)
        return Reading(loss, sharding.whole(norm))

    def _jobs(self, step: Step) -> list[Job]:
        """This rank's passes of `step`, at least one; of a sharded model as many as every other rank makes."""
        ranks = self._ranks
        if ranks.count == 1:
            return [Job(pairs) for pairs in step]
        pairs = np.concatenate(step)
        shares = [self.cut(pairs[rank :: ranks.count], self.engine.budget.tokens) for rank in range(ranks.count)]
        jobs = [Job(batch) for batch in shares[ranks.number]]
        passes = max(map(len, shares)) if self._sharded else 1
        return jobs + [Job(pairs[-1:], counted=False)] * (passes - len(jobs))

    def _make_room(self, pairs: np.ndarray) -> None:
        """Makes a micro-batch of `pairs` need less memory from now on. Raises TrainingError where it cannot."""
        if not self.engine.budget.lower(pairs, self.cut) and not self.engine.checkpoint(self.model):
            pair = int(pairs[0])
            raise TrainingError(
                f"pair {self.data.ids[pair]}, of {self._lengths[pair].max()} tokens, does not fit the GPU's memory by "
                f"itself (lower backbone.max_length, or set train=lora)"
            )


def ahead(make: Callable[[Wanted], Made], jobs: Iterable[Wanted], most: int) -> Generator[Made, None, None]:
    """`make(job)` of each job in order; up to `most` of them are made before they are asked for, in a thread."""
    if not most:
        yield from map(make, jobs)
        return
    with ThreadPoolExecutor(1) as worker:
        jobs = iter(jobs)
        waiting: deque[Future[Made]] = deque(worker.submit(make, job) for job in itertools.islice(jobs, most))
        while waiting:
            first = waiting.popleft()
            waiting.extend(worker.submit(make, job) for job in itertools.islice(jobs, 1))
            yield first.result()


@contextmanager
def bf16_weights(model: nn.Module) -> Iterator[None]:
    """Inside, forward and backward passes read bf16 copies of the weights, all but the scalar head's, and no autocast.

    Gradients go through the copying to the weights themselves. Autocast would turn every norm, and all that is added to
    it, back to fp32.
    """
    assert isinstance(model, RewardModel)
    head = set(scalar_head(model.model).parameters())
    places = [
        (module, name, weight)
        for module in model.modules()
        for name, weight in module._parameters.items()
        if weight is not None and weight not in head
    ]
    copies: dict[torch.Tensor, Any] = {weight: weight.to(torch.bfloat16) for _, _, weight in places}
    autocast, model.autocast = model.autocast, None
    try:
        for module, name, weight in places:
            module._parameters[name] = copies[weight]
        yield
    finally:
        model.autocast = autocast
        for module, name, weight in places:
            module._parameters[name] = weight
