"""One model judged on one benchmark: found, loaded, scored, measured and written; or read where it was judged before.

Apart from `benchmarks.evaluate`, which tells a mistake and shows help without torch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.card import write_card
from benchmarks.models import model_files, pretrained
from benchmarks.models.on_workers import ModelAsked, ModelElsewhere
from benchmarks.protocol import Asked
from benchmarks.settings import EvaluateConfig
from mars import assembly, choices, files
from mars.cluster.shards import Actors
from mars.config import ConfigError, UserError
from mars.files import digest
from mars.method.journal import Journal
from mars.method.wandb_logger import WandbConfig, WandbLogger
from mars.preferences.pair import SIDES, Preferences
from mars.process import devices
from mars.record.layout import record_of, scores_of
from mars.record.manifest import logged_metrics
from mars.record.run_directory import RunDirectory
from mars.reward.encoder import FrozenEncoder
from mars.reward.features import Features
from mars.reward.memory import Budget, device_errors
from mars.reward.scoring import ModelScorer
from mars.reward.texts import Texts

log = logging.getLogger("benchmarks.evaluate")


@device_errors()
def judge(settings: EvaluateConfig, model: str, actors: Actors | None = None) -> dict[str, Any]:
    """The record of `model` on the benchmark, written beside its scores; what is there already is not done again.

    actors: who makes its forward passes, where it is not this process. Raises UserError for a model, a file or a
    setting that cannot be used.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    options = _options(settings)
    place = Path(settings.cache).expanduser(), devices.device(settings.device)
    asked: Asked = assembly.benchmark(settings.benchmark, place, settings.label or "")
    found = model_files.find(model, settings.revision, settings.trust_remote_code)
    dataset = _dataset(settings, found.run, asked.name) if asked.benchmark.asks_dataset else None
    if dataset and settings.dataset and not settings.label:
        asked = replace(asked, label=f"{asked.name}-{dataset['name']}")
    preferences = choices.load(dataset) if dataset else None
    question = assembly.question(asked, preferences, dataset, options.unusual)
    weights = model_files.weights(found)
    directory = _directory(settings, found, digest([weights, options.unusual]))
    if not settings.force and (known := _answered(directory, asked.label, question, weights)):
        return known
    judged = pretrained.load(found, options, *place)
    with _passes(settings, found, judged, actors) as passes:
        if isinstance(judged.texts.inputs, Features) and passes and preferences:
            _encode(judged.texts, preferences)
        journal = Journal(RunDirectory(directory).checkpoints, asked.label)
        budget = Budget(settings.token_budget, most=_most(settings))
        scorer = ModelScorer(judged.model, judged.texts, budget, elsewhere=passes, journal=journal)
        record = asked.judge(scorer, preferences, directory, question, {"name": found.name, **judged.about})
        journal.clear()
    if passes:
        passes.forget()
    lost = record["truncated"]
    if lost["response"]:
        log.info("%d of %d texts lost part of the response to max_length", lost["response"], lost["texts"])
    if found.run == directory:
        try:
            write_card(directory)
        except (UserError, KeyError) as error:
            log.warning("the model card could not be written anew: %s", error)
    if settings.logger == "wandb":
        _to_wandb(settings, found, directory, record)
    log.info("%s", directory / record_of(asked.label))
    return record


@contextmanager
def _passes(
    settings: EvaluateConfig, found: model_files.Found, judged: pretrained.Judged, actors: Actors | None
) -> Iterator[ModelElsewhere | None]:
    """Forward passes by `actors`, for a linear head those of its encoder inside; None where no text takes one."""
    encoder = judged.texts.inputs.encoder if isinstance(judged.texts.inputs, Features) else None
    if actors is None or not isinstance(encoder, FrozenEncoder | None):
        yield None
        return
    asked = ModelAsked(
        found=found,
        options=_options(settings),
        most=_most(settings),
        cache=Path(settings.cache).expanduser(),
        device=settings.engine.device(settings.device),
        threads=settings.threads or settings.engine.cpus,
        about=judged.about,
    )
    passes = ModelElsewhere(actors, asked)
    if encoder is None:
        yield passes
        return
    encoder.elsewhere = passes
    try:
        yield passes
    finally:  # the next of this process to use the encoder may have no cluster
        encoder.elsewhere = None


def _encode(texts: Texts, preferences: Preferences) -> None:
    """Features of all test texts at once: workers start anew for each call of the scorer, and there is one a split."""
    pairs = [pair for split in preferences.tests.values() for pair in split]
    rendered = [texts.render(pair.prompt, pair.side(side)) for pair in pairs for side in SIDES]
    if rendered:
        texts.inputs.encoder(rendered)  # type: ignore[attr-defined]


def _most(settings: EvaluateConfig) -> int | None:
    """Texts of a forward pass, at most."""
    return None if settings.batch_size is None else 2 * settings.batch_size


def _dataset(settings: EvaluateConfig, run: Path | None, benchmark: str) -> dict[str, Any]:
    """The dataset named, else the one the run was tested on."""
    if settings.dataset:
        return settings.dataset
    if run is None:
        raise ConfigError(f"dataset: {benchmark} judges on a dataset's rows (dataset=hh_rlhf dataset.path=DIR, say)")
    return RunDirectory(run).config()["dataset"]


def _options(settings: EvaluateConfig) -> pretrained.Options:
    names = ("template", "max_length", "truncation", "dtype", "attention", "trust_remote_code", "token_budget")
    return pretrained.Options(**{name: getattr(settings, name) for name in names})


def _directory(settings: EvaluateConfig, found: model_files.Found, question: str) -> Path:
    """Where the result goes. question: what names the model, and how text reaches it."""
    if settings.out:
        return Path(settings.out)
    if found.run:
        return found.run
    return Path("outputs") / "evaluations" / f"{found.name.replace('/', '--')}-{question[:8]}"


def _answered(directory: Path, label: str, question: Mapping[str, str], weights: str) -> dict[str, Any] | None:
    """The record there that answers this question about this model. Raises ConfigError where it answers another."""
    path = directory / record_of(label)
    instead = "name this one with label=NAME, or replace it with force=true"
    if not path.exists():
        if (scores := directory / scores_of(label)).exists():
            raise ConfigError(f"label: {scores} holds scores without a record ({instead})")
        return None
    try:
        record = files.read_json(path, instead)
    except UserError as error:
        raise ConfigError(f"label: {error}") from None
    asked = {**question, "model": weights}
    answers = {**(record.get("question") or {}), "model": record.get("model", {}).get("weights")}
    if differing := [what for what, told in asked.items() if answers.get(what) != told]:
        raise ConfigError(f"label: {path} holds another evaluation, of other {' and '.join(differing)} ({instead})")
    log.info("%s is there already (force=true does it again)", path)
    return record


def _to_wandb(settings: EvaluateConfig, found: model_files.Found, directory: Path, record: Mapping[str, Any]) -> None:
    """Metrics as a summary: of the run's own W&B run where the model is a run of ours."""
    config = {} if found.run else {"model": record["model"], "protocol": record["protocol"]}
    group = found.run.parent.name if found.run else "evaluations"
    logger = WandbLogger(settings.wandb or WandbConfig(), directory, config, group)
    logger.summary(logged_metrics(record))
    logger.close(failed=False)
