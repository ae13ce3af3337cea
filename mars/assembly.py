"""From a resolved config to the pieces of a run: choices by name, and every setting checked before anything is written.

With `mars/run.py` the only module that knows every room. What a name stands for is said in `mars.choices`, for
benchmarks in `benchmarks.registry`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from mars.augment.named import augmenter_of
from mars.augment.variant import Augmenter, Request, Variant
from mars.choices import Settings, shaping, strategies
from mars.config import ConfigError, build, renamed
from mars.files import digest
from mars.method.start import warm_start
from mars.method.strategy import Strategy
from mars.method.targets import Targets
from mars.method.training import Course
from mars.plugins import find, resolve
from mars.pool.gates import Gates, GatesConfig
from mars.pool.pool import Pool
from mars.pool.rows import PoolConfig
from mars.pool.semantic import Refiner
from mars.pool.semantic_settings import semantic_config
from mars.pool.store import Store, Supply
from mars.preferences.pair import Pair, Preferences
from mars.process import devices, ranks
from mars.reward import determinism
from mars.reward.backbone import BackboneConfig
from mars.reward.encoder import Embed, frozen_encoder, sentence_embedder
from mars.reward.engine import Engine, Tuning
from mars.reward.memory import Budget
from mars.reward.scoring import ModelScorer
from mars.worlds import gaussian

Made = TypeVar("Made")
log = logging.getLogger(__name__)


class Asked(Protocol):
    """A benchmark with its settings, as a run sees one (`benchmarks.protocol.Asked`)."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def label(self) -> str: ...

    def brings(self, preferences: Preferences | None) -> Mapping[str, Any]:
        """What names the rows it brings itself. Raises UserError for rows that cannot be judged on."""

    def judge(
        self,
        scorer: ModelScorer,
        preferences: Preferences | None,
        directory: Path,
        question: Mapping[str, str],
        model: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Scores, measures and writes under `directory`; returns the record."""


@dataclass(frozen=True)
class Pieces:
    """What a run is made of."""

    preferences: Preferences
    strategy: Strategy
    supply: Supply  # of the pool's variants
    pool: Pool
    writer: Supply | None  # of the semantic layer's rewrites
    refiner: Refiner | None
    engine: Engine
    start: Callable[[], nn.Module]  # a fresh copy of the study's starting point
    benchmarks: tuple[tuple[Asked, dict[str, str]], ...]  # with their questions; in_distribution first


def question(
    asked: Asked, preferences: Preferences | None, dataset: Mapping[str, Any] | None, how: Any
) -> dict[str, str]:
    """What `asked` asks of a model, as digests: the same question about the same model needs no second answer.

    how: the settings, other than usual, with which text reaches the model. Where the rows are is no part of it. Raises
    UserError for rows that cannot be judged on.
    """
    where = ("path", "train", "test", "policy")  # a policy is named by its weights among the rows
    rows = {key: value for key, value in (dataset or {}).items() if key not in where}
    sources = preferences.report.get("sources") if preferences else None
    brought = asked.brings(preferences)
    settings = {key: value for key, value in asked.settings.items() if key not in where}
    return {
        "settings": digest(shaping(settings)),
        "rows": digest([brought, rows, sources]),
        "reading": digest(how),
    }


def assemble(settings: Settings, preferences: Preferences) -> Pieces:
    """The run's pieces from its settings (`effective`). Raises ConfigError."""
    method = dict(settings.method)
    strategy_type = find("strategies", strategies(), method.pop("name", ""), "method.name")
    strategy: Strategy = build(strategy_type, method, "method")
    _check_ranks(settings)
    _check_keep(settings, preferences)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    determinism.prepare()
    place = Path(settings.cache).expanduser(), devices.device(settings.device)
    usual = resolve("benchmarks.registry:USUAL")
    first = [] if settings.benchmark.get("name") == usual["name"] else [usual]
    asked = [benchmark(one, place) for one in (*first, settings.benchmark)]
    questions = [(one, question(one, preferences, settings.dataset, {})) for one in asked]
    for label, one in settings.downstream.items():
        with renamed("benchmark", f"downstream.{label}"):
            further = benchmark(one, place, label)
            questions.append((further, question(further, preferences, settings.dataset, {})))
    if (preferences.name == "gaussian") != (settings.backbone.source == gaussian.SOURCE):
        raise ConfigError("backbone: dataset=gaussian and backbone=gaussian go together, addresses and their vectors")
    if preferences.name == "gaussian" and settings.augmenter.get("name") not in ("gaussian", "none"):
        raise ConfigError("augmenter: dataset=gaussian has no words to rewrite (augmenter=gaussian)")
    engine, start = _engine(settings, preferences, *place)
    supply = supply_of(settings.augmenter, "augmenter", *place)
    check_width(supply.augmenter, settings.pool)
    tokens = Budget.of(settings.train.token_budget).tokens
    semantic, writer, refiner = semantic_config(settings.semantic), None, None
    if semantic:
        writer = supply_of(semantic.writer, "semantic.writer", *place)
        refiner = Refiner(
            semantic,
            preferences.base,
            _embedder(semantic.encoder, "semantic.encoder", tokens, *place),
            _of_first(_renaming(writer.fill, "semantic.writer")),
            _label_check(engine, start) if settings.rounds.warmup else None,
        )
    refine = refiner.refine if refiner else None
    gates = gates_of(settings.pool.gates, preferences, tokens, *place)
    pool = Pool(preferences.base, supply.augmenter, settings.pool, _of_first(supply.fill), refine, gates)
    Targets.of(pool.base, settings.train, pool.labels)  # raises for strengths that are asked for and not told
    return Pieces(preferences, strategy, supply, pool, writer, refiner, engine, start, tuple(questions))


def _engine(
    settings: Settings, preferences: Preferences, cache: Path, device: torch.device
) -> tuple[Engine, Callable[[], nn.Module]]:
    """The engine, and what makes the study's starting point: a warmed-up model, or a fresh head drawn from the seed."""
    train, rounds = settings.train, settings.rounds
    lora = {"r": train.lora_rank, "lora_alpha": train.lora_alpha}
    engine = Engine(
        settings.backbone,
        train.mode,
        device,
        train.token_budget,
        cache,
        Tuning(
            train.dropout,
            train.gradient_checkpointing,
            lora if train.mode == "lora" else None,
            train.packing,
            settings.deterministic,
            train.shard == "fsdp",
        ),
    )
    if not rounds.warmup:
        return engine, functools.partial(engine.new_model, settings.seed)
    course = Course(train, settings.batch_size, rounds.warmup)
    return engine, lambda: warm_start(engine, preferences.base, course, rounds.warmup_seed, cache)


def benchmark(settings: Mapping[str, Any], place: tuple[Path, torch.device], label: str = "") -> Any:
    """The benchmark of conf/benchmark/*.yaml; `place`: cache and device of its models. Raises ConfigError."""

    def fill(augmenter: Mapping[str, Any], path: str) -> Callable[[Sequence[Request]], list[Variant]]:
        return _renaming(supply_of(augmenter, path, *place).fill, path)

    return resolve("benchmarks.registry:ask")(settings, fill, label).at(*place)


def supply_of(settings: Mapping[str, Any], path: str, cache: Path, device: torch.device) -> Supply:
    """The augmenter of conf/augmenter/*.yaml with its store in `cache`. path: the config key. Raises ConfigError."""
    with renamed("augmenter", path):
        return Supply(augmenter_of(settings, "augmenter", cache, device), Store(cache / "variants"))


def check_width(augmenter: Augmenter, pool: PoolConfig) -> None:
    """Raises ConfigError for more variants of a text than the augmenter returns."""
    if 1 < augmenter.together < pool.width:
        raise ConfigError(
            f"pool.width: {pool.width} variants of a text are asked for, and {augmenter.name} returns "
            f"{augmenter.together} (lower pool.width or raise what the augmenter returns)"
        )


def gates_of(
    config: GatesConfig, preferences: Preferences, token_budget: int, cache: Path, device: torch.device
) -> Gates:
    """The gates of a pool of `preferences`. token_budget: of the encoder's passes. Raises ConfigError."""
    embed = None
    if config.similarity is not None:
        if config.encoder is None:
            raise ConfigError("pool.gates.encoder: similarity needs one (+backbone@pool.gates.encoder=minilm)")
        embed = _embedder(config.encoder, "pool.gates.encoder", token_budget, cache, device)
    held_out = {pair.content for pairs in (preferences.validation, *preferences.tests.values()) for pair in pairs}
    return Gates(config, embed, held_out)


def _embedder(encoder: BackboneConfig, path: str, token_budget: int, cache: Path, device: torch.device) -> Embed:
    with renamed("backbone", path):
        frozen = frozen_encoder(encoder, cache, device, token_budget)
    return _of_first(sentence_embedder(frozen))


def _of_first(make: Callable[[Any], Made]) -> Callable[[Any], Made]:
    """`make`, which rank 0 alone calls and tells the others the result: made once, and the same everywhere."""
    return lambda asked: ranks.here().told(lambda: make(asked))


def _check_ranks(settings: Settings) -> None:
    """Raises ConfigError for what several processes cannot do together."""
    train, count = settings.train, ranks.count()
    if count == 1:
        return
    if train.mode == "head":
        raise ConfigError(
            f"train: a linear head trains in one process, and torchrun started {count} (leave torchrun out, or set "
            f"train=full or train=lora)"
        )
    if settings.batch_size < count:
        raise ConfigError(
            f"batch_size: {settings.batch_size} pairs a step are fewer than the {count} processes that share them "
            f"(raise it or lower --nproc_per_node)"
        )
    judged = [settings.benchmark, *settings.downstream.values()]
    if any(one.get("name") == "trained_policy" for one in judged):
        raise ConfigError(
            "benchmark: trained_policy trains a policy in one process (leave it out here, and judge the finished run "
            "by mars evaluate)"
        )
    if train.shard == "fsdp" and settings.rounds.keep == "best":
        raise ConfigError("rounds.keep: best copies whole models (set it to last, or train.shard to none)")
    if train.shard == "fsdp" and settings.curvature:
        raise ConfigError("curvature: it is taken of whole models (set it to false, or train.shard to none)")


def _check_keep(settings: Settings, preferences: Preferences) -> None:
    """Raises ConfigError where the best model is asked for and no validation pair can tell which that is."""
    if settings.rounds.keep == "best" and all(pair.tied for pair in preferences.validation):
        raise ConfigError(
            "dataset.validation: rounds.keep=best chooses by validation pairs and finds none that has a better reply "
            "(set it above 0, or rounds.keep=last)"
        )


def _renaming(fill: Callable[[Sequence[Request]], list[Variant]], path: str) -> Callable[..., list[Variant]]:
    """`fill`, its mistakes reported under `path`."""

    def filled(requests: Sequence[Request]) -> list[Variant]:
        with renamed("augmenter", path):
            return fill(requests)

    return filled


def _label_check(engine: Engine, start: Callable[[], nn.Module]) -> Callable[[Sequence[Pair]], np.ndarray]:
    """Which pairs the study's start, a trained one, ranks as they are labelled; a tie is never ranked wrong."""
    model = functools.cache(start)

    def ranked(pairs: Sequence[Pair]) -> np.ndarray:
        margins = engine.scorer(model()).margins(engine.texts.add_pairs(pairs))
        return (margins > 0) | np.array([pair.tied for pair in pairs], dtype=bool)

    return ranked
