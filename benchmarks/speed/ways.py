"""Ways to train and to score with one reward model: ours, and a plain loop in two passes; `trl_trainer` is the third.

Each is given the same token ids, so that none reads less than another, and the same weights, with dropout off, AdamW, a
constant learning rate, gradients clipped at 1 and on a GPU bf16 autocast. Tokenising and loading are outside the clock,
and so is what warms the way up; of ours, as in a run, what measures how many tokens a GPU takes at once as well.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForSequenceClassification, get_constant_schedule

from benchmarks.speed.machine import synchronise
from benchmarks.speed.shapes import LENGTH
from mars.method.measure import settle
from mars.method.optimizer import new_optimizer
from mars.method.settings import TrainConfig
from mars.method.training import Course, Learner, Onlooker, TrainingSet, train_round
from mars.preferences.dialogue import render_plain
from mars.preferences.pair import SIDES, Pair
from mars.reward.backbone import BackboneConfig
from mars.reward.engine import Engine, Tuning
from mars.reward.model import RewardModel, autocast_dtype, disable_dropout
from mars.reward.tokens import Encoder
from mars.reward.weights import load_tokenizer, text_encoder

LR = 2e-5
WARM = 1  # untimed steps, or batches, before the timed ones


@dataclass(frozen=True)
class Job:
    """What all ways are given. pairs: in the order that they are trained on or scored in. batch: pairs a step."""

    backbone: BackboneConfig  # a directory of weights, head included
    device: torch.device
    pairs: Sequence[Pair]
    batch: int

    @property
    def ids(self) -> list[tuple[list[int], list[int]]]:
        """Token ids of chosen and rejected, as ours reads them: cut from the left where too long."""
        encoder: Encoder = text_encoder(self.backbone, load_tokenizer(self.backbone))
        texts = [render_plain(pair.prompt, pair.side(side)) for pair in self.pairs for side in SIDES]
        found, _ = encoder(texts)
        return list(zip(found[::2], found[1::2], strict=True))

    @property
    def tokens(self) -> int:
        """Those of all texts, of one that is there twice as well."""
        return sum(len(chosen) + len(rejected) for chosen, rejected in self.ids)

    def part(self, start: int, end: int | None) -> Job:
        """The job of some of the pairs."""
        return replace(self, pairs=self.pairs[start:end])


class Done(NamedTuple):
    """What a way took, and what it found. tokens: real ones through the model, in the time."""

    seconds: float
    tokens: int
    found: np.ndarray  # training: the loss of each timed step, where the way tells it; scoring: [N] margins
    packed: bool = False  # whether texts went through the model without padding


class Watch:
    """A clock that waits for the device at both ends."""

    def __init__(self, device: torch.device):
        self._device, self._began, self.seconds = device, 0.0, 0.0

    def start(self) -> None:
        synchronise(self._device)
        self._began = time.perf_counter()

    def stop(self) -> None:
        synchronise(self._device)
        self.seconds = time.perf_counter() - self._began


# ---- ours


def _ready(job: Job, train: TrainConfig, deterministic: bool = True) -> tuple[Engine, RewardModel, np.ndarray]:
    """(the engine, its model, [N, 2] numbers of the job's texts), as a run has them when its first round begins."""
    tuning = Tuning(deterministic=deterministic)
    engine = Engine(job.backbone, "full", job.device, train.token_budget, Path(tempfile.gettempdir()), tuning)
    numbers, model = engine.texts.add_pairs(job.pairs), engine.new_model(seed=0)
    assert isinstance(model, RewardModel)
    settle(engine, model, train)
    return engine, model, numbers


def train_ours(job: Job, warm: int = WARM, in_order: bool = False, deterministic: bool = True) -> Done:
    """in_order: pairs are not sorted by length, so that a step's loss is that of `steps_in_order`."""
    train = TrainConfig(lr=LR, schedule="constant")
    train = replace(train, window=1) if in_order else train
    engine, model, numbers = _ready(job, train, deterministic)
    course = Course(train, job.batch)
    learner, ids = Learner(model, new_optimizer(model, train)), [pair.id for pair in job.pairs]
    cut, losses, watch = warm * job.batch, list[float](), Watch(job.device)
    if warm:
        first = TrainingSet(numbers[:cut], None, ids[:cut])
        train_round(engine, learner, first, course, np.random.default_rng(0))
    data = TrainingSet(numbers[cut:], None, ids[cut:])
    watch.start()
    onlooker = Onlooker(step=lambda step: losses.append(step["loss"]))
    train_round(engine, learner, data, course, np.random.default_rng(0), onlooker)
    watch.stop()
    tokens = int(engine.inputs.lengths[numbers[cut:]].sum())
    return Done(watch.seconds, tokens, np.array(losses), model.packing is not None)


def steps_in_order(pairs: int, batch: int) -> np.ndarray:
    """[pairs] the order in which `train_ours` with `in_order` takes them, for the ways that keep the order given."""
    rng = np.random.default_rng(0)
    order = rng.permutation(pairs).reshape(-1, batch)
    return order[rng.permutation(len(order))].ravel()


def score_ours(job: Job) -> Done:
    """Each distinct text once."""
    engine, model, numbers = _ready(job, TrainConfig())
    scorer, watch = engine.scorer(model), Watch(job.device)
    scorer.margins(numbers[: WARM * job.batch])
    watch.start()
    margins = scorer.margins(numbers)
    watch.stop()
    tokens = int(engine.inputs.lengths[np.unique(numbers)].sum())
    return Done(watch.seconds, tokens, margins, model.packing is not None)


# ---- two passes, in the manner of the released notebooks


def classifier(job: Job) -> Any:
    """transformers' own model of the job's weights, on its device."""
    model = AutoModelForSequenceClassification.from_pretrained(
        job.backbone.source, num_labels=1, dtype=torch.float32, use_safetensors=True
    )
    return model.to(job.device)


def _two_passes(job: Job) -> tuple[Any, Callable[[int], tuple[torch.Tensor, torch.Tensor]]]:
    """(the model, start → scores of the chosen and of the rejected texts of the batch that begins there)."""
    model = classifier(job)
    disable_dropout(model.config)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    pad, autocast = model.config.pad_token_id, autocast_dtype(job.backbone, job.device)
    columns = []
    for side in zip(*job.ids, strict=True):
        padded = [torch.tensor(ids + [pad] * (LENGTH - len(ids))) for ids in side]
        lengths = torch.tensor([len(ids) for ids in side])
        columns.append((torch.stack(padded), (torch.arange(LENGTH) < lengths[:, None]).long()))

    def scores(start: int) -> tuple[torch.Tensor, torch.Tensor]:
        found = []
        for ids, mask in columns:
            batch = (part[start : start + job.batch].to(job.device) for part in (ids, mask))
            with torch.autocast(job.device.type, dtype=autocast, enabled=autocast is not None):
                found.append(model(**dict(zip(("input_ids", "attention_mask"), batch, strict=True))).logits[:, 0])
        return found[0], found[1]

    return model, scores


def train_two_passes(job: Job, warm: int = WARM) -> Done:
    """Chosen and rejected one after the other, every text padded to the limit, in the order given."""
    model, scores = _two_passes(job)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    schedule, losses, watch = get_constant_schedule(optimizer), list[float](), Watch(job.device)
    for start in range(0, len(job.pairs), job.batch):
        if start == warm * job.batch:
            watch.start()
            losses.clear()
        chosen, rejected = scores(start)
        loss = -F.logsigmoid(chosen.float() - rejected.float()).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    watch.stop()
    return Done(watch.seconds, job.part(warm * job.batch, None).tokens, np.array(losses))


@torch.inference_mode()
def score_two_passes(job: Job) -> Done:
    """Each row on its own, whether its texts were met before or not."""
    model, scores = _two_passes(job)
    model.eval()
    scores(0)
    watch = Watch(job.device)
    watch.start()
    found = [(c - r).float().cpu() for c, r in (scores(at) for at in range(0, len(job.pairs), job.batch))]
    watch.stop()
    return Done(watch.seconds, job.tokens, torch.cat(found).double().numpy())


class Way(NamedTuple):
    """A way by its name: how it trains, how it scores, and how it trains so that each step's loss can be compared."""

    name: str
    train: Callable[[Job], Done]
    score: Callable[[Job], Done] | None  # None: as another way does
    check: Callable[[Job], Done]


OURS = Way("ours", train_ours, score_ours, partial(train_ours, warm=0, in_order=True))
UNORDERED = Way(  # what the same bits on a GPU cost
    "ours, deterministic=false",
    partial(train_ours, deterministic=False),
    None,
    partial(train_ours, warm=0, in_order=True, deterministic=False),
)
TWO_PASSES = Way("two passes", train_two_passes, score_two_passes, partial(train_two_passes, warm=0))
