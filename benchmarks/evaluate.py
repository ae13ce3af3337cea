"""Score any reward model on one protocol.

    python -m benchmarks.evaluate model=outputs/quick/RUN benchmark=robustness
    python -m benchmarks.evaluate model=Skywork/Skywork-Reward-V2-Qwen3-0.6B benchmark=reward_bench
    python -m benchmarks.evaluate study=outputs/matched benchmark=files benchmark.path=pairs.jsonl
    python -m benchmarks.evaluate model=DIR benchmark=reward_bench engine=ray engine.actors=4

Standard output is the summary as JSON; `scores/LABEL.parquet` has every example and `evaluations/LABEL.json` the whole
record, in the run's own directory where the model is a run of ours. A result is never replaced unasked: the same
question again prints what is there, another one under the same label is an error.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.settings import EvaluateConfig
from mars import files
from mars.cluster.shards import open_actors
from mars.config import UserError, build
from mars.progress import counted
from mars.record.run_directory import finished_runs

log = logging.getLogger("benchmarks.evaluate")  # also when it runs as __main__

_NOT_PRINTED = ("details", "environment")


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
    models = _models(settings)
    from benchmarks.judging import judge  # here, because torch comes with it

    failures: list[UserError] = []
    with open_actors(settings.engine, Path(settings.cache).expanduser()) as actors:
        for model in models:
            try:
                record = judge(settings, model, actors)
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
        raise UserError(
            f"study: {len(failures)} of {counted(len(models), 'run')} could not be judged; the first: {failures[0]}"
        )


def main() -> None:
    from mars.cli import command

    command("evaluate", run, "nothing is half-written; the same command scores again")()


if __name__ == "__main__":
    main()
