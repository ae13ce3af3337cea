"""Score any reward model on one protocol.

    python -m benchmarks.evaluate model=outputs/quick/RUN benchmark=robustness
    python -m benchmarks.evaluate model=Skywork/Skywork-Reward-V2-Qwen3-0.6B benchmark=reward_bench
    python -m benchmarks.evaluate study=outputs/matched benchmark=files benchmark.path=pairs.jsonl

Standard output is the summary as JSON; `scores/LABEL.parquet` has every example and `evaluations/LABEL.json` the whole
record, in the run's own directory where the model is a run of ours. A result is never replaced unasked: the same
question again prints what is there, another one under the same label is an error.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.card import write_card
from benchmarks.models import model_files, pretrained
from benchmarks.protocol import Asked
from mars import assembly, choices, files
from mars.config import ConfigError, UserError, build
from mars.method.logger import WandbConfig, WandbLogger
from mars.preferences.dialogue import Template
from mars.record.manifest import logged_metrics
from mars.record.run_directory import RunDirectory, finished_runs, record_of, scores_of
from mars.reward.backbone import Truncation
from mars.reward.scoring import ModelScorer

log = logging.getLogger("benchmarks.evaluate")  # also when it runs as __main__

_NOT_PRINTED = ("details", "environment")


@dataclass(frozen=True)
class EvaluateConfig:
    """conf/evaluate.yaml, checked; benchmark and dataset are built by their owners."""

    benchmark: dict[str, Any]
    model: str | None
    study: str | None
    out: str | None
    label: str | None
    revision: str | None
    trust_remote_code: bool
    template: Template | None
    max_length: int | None
    truncation: Truncation | None
    dtype: Literal["auto", "float32", "bfloat16"]
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"]
    token_budget: int
    batch_size: int | None
    device: str
    threads: int | None
    cache: str
    scale: str
    force: bool
    debug: bool
    logger: Literal["terminal", "wandb"]
    wandb: WandbConfig | None
    dataset: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("max_length", "token_budget", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: must be at least 1, not {value}")
        if not (self.model or self.study):
            raise ValueError("model: is required (model=DIR_OR_HUB_ID, or study=DIR for every finished run in it)")
        if self.model and self.study:
            raise ValueError("study: judges every finished run in it (leave model=… away)")
        if self.study is not None and self.out is not None:
            raise ValueError("out: results of study=DIR go into its runs (leave out=DIR away)")
        if self.label is not None and not re.fullmatch(r"[\w-][\w. -]{0,99}", self.label):
            raise ValueError(f'label: "{self.label}" cannot name a file')

    @property
    def options(self) -> pretrained.Options:
        names = ("template", "max_length", "truncation", "dtype", "attention", "trust_remote_code", "token_budget")
        return pretrained.Options(**{name: getattr(self, name) for name in names})


def evaluate(settings: EvaluateConfig, model: str) -> dict[str, Any]:
    """The record of `model` on the benchmark, written beside its scores; what is there already is not done again.

    Raises UserError for a model, a file or a setting that cannot be used.
    """
    place = Path(settings.cache).expanduser(), assembly.device(settings.device)
    asked: Asked = assembly.benchmark(settings.benchmark, place, settings.label or "")
    found = model_files.find(model, settings.revision, settings.trust_remote_code)
    dataset = _dataset(settings, found.run, asked.name) if asked.benchmark.needs_dataset else None
    if dataset and settings.dataset and not settings.label:
        asked = replace(asked, label=f"{asked.name}-{dataset['name']}")
    preferences = choices.load(dataset) if dataset else None
    question = assembly.question(asked, preferences, dataset, settings.options.unusual)
    weights = model_files.weights(found)
    directory = _directory(settings, found, weights)
    if not settings.force and (known := _answered(directory, asked.label, question, weights)):
        return known
    judged = pretrained.load(found, settings.options, *place)
    scorer = ModelScorer(judged.model, judged.texts, settings.token_budget, _most(settings))
    record = asked.judge(scorer, preferences, directory, question, {"name": found.name, **judged.about})
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


def _directory(settings: EvaluateConfig, found: model_files.Found, weights: str) -> Path:
    if settings.out:
        return Path(settings.out)
    if found.run:
        return found.run
    read = files.digest([weights, settings.options.unusual])[:8]
    return Path("outputs") / "evaluations" / f"{found.name.replace('/', '--')}-{read}"


def _answered(directory: Path, label: str, question: Mapping[str, str], weights: str) -> dict[str, Any] | None:
    """The record there that answers this question about this model. Raises ConfigError where it answers another."""
    path = directory / record_of(label)
    instead = "name this one with label=NAME, or replace it with force=true"
    if not path.exists():
        if (scores := directory / scores_of(label)).exists():
            raise ConfigError(f"label: {scores} holds scores without a record ({instead})")
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"label: {path} is not JSON: {error} ({instead})") from None
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


def _models(settings: EvaluateConfig) -> list[str]:
    if settings.model is not None:
        return [settings.model]
    done = finished_runs(Path(str(settings.study)))
    if not done:
        raise UserError(f"study: {settings.study} holds no finished run")
    return [str(run.path) for run in done]


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/evaluate.yaml, resolved. Prints a JSON document for each model."""
    settings = build(EvaluateConfig, cfg, "")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    failures: list[UserError] = []
    models = _models(settings)
    for model in models:
        try:
            record = evaluate(settings, model)
        except UserError as error:
            if settings.study is None:
                raise
            log.error("%s: %s", model, error)
            failures.append(error)
            continue
        printed = {key: value for key, value in record.items() if key not in _NOT_PRINTED}
        printed["baselines"] = record["details"].get("baselines")
        print(json.dumps(files.as_json(printed), indent=2, ensure_ascii=False), flush=True)
    if failures:
        raise UserError(f"study: {len(failures)} of {len(models)} runs could not be judged; the first: {failures[0]}")


def main() -> None:
    from mars.cli import command

    command("evaluate", run, "nothing is half-written; the same command scores again")()


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
