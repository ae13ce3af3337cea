"""One run: `python -m mars.run method=mars seed=0`; a sweep: `python -m mars.run -m method=none,mars seed=0,1`.

Reads the config, has its pieces put together (`mars.assembly`), and writes the run directory; `DONE` is written last,
so a directory without it is unfinished: it is resumed, never counted.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mars import dry_run, files, show
from mars.assembly import Pieces, Settings, assemble
from mars.choices import effective, load, shaping
from mars.cli import command, task_overrides
from mars.config import UserError, build, nearest
from mars.method.logger import Logger, Loggers, TerminalLogger, WandbConfig, WandbLogger
from mars.method.loop import Loop, run_rounds
from mars.method.observer import Observer
from mars.method.state import State
from mars.method.trainer import Trainer
from mars.plugins import resolve
from mars.record import manifest, tables
from mars.record.run_directory import ALLOCATION, LOG, SELECTION, SEMANTIC, SPECTRA, VARIANTS, RunDirectory
from mars.reward.backbone import BackboneConfig
from mars.reward.model import weights_id

log = logging.getLogger("mars.run")  # also when it runs as __main__


def execute(config: Mapping[str, Any]) -> Path:
    """Run `config` (conf/config.yaml, resolved) to its end and return its directory. A finished run is left as it is.

    Raises UserError (bad setting, data or backbone; a loss that is not finite) with the directory left without DONE.
    """
    config = effective(config)
    settings = build(Settings, config, "")
    preferences = load(settings.dataset)
    config_hash = files.config_hash(shaping(config), preferences.digests)
    parts = (settings.method.get("name"), settings.dataset.get("name"), settings.backbone.name)
    run_id = f"{'-'.join(map(str, parts))}-s{settings.seed}-{config_hash}"
    directory = Path(settings.out) if settings.out else Path(settings.study) / run_id
    place = RunDirectory(directory)
    place.claim(config_hash)
    if place.finished and not settings.force:
        log.info("%s is finished (force=true runs it again)", directory)
        return directory
    pieces = assemble(settings, preferences)  # every setting is checked before anything is written or replaced
    if settings.dry_run:
        print(dry_run.report(pieces, settings.rounds))
        return directory
    if settings.force:
        place.clear()
    place.stamp(config_hash)
    handler = logging.FileHandler(directory / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        log.info("run %s", directory)
        names = {
            "run_id": run_id,
            "config_hash": config_hash,
            **dict(zip(("method", "dataset", "backbone"), parts, strict=True)),
            "seed": settings.seed,
            "steps_may_differ": settings.steps_may_differ,
            "batch_size": settings.batch_size,
            "train_sha256": files.digest(config["train"]),
            "pool_sha256": files.digest([shaping(config)[key] for key in ("augmenter", "pool", "semantic")]),
            "semantic_layer": settings.semantic.get("name", ""),
            "drop_prompt": bool(settings.method.get("drop_prompt", False)),
            "overrides": task_overrides(),
        }
        _run(settings, config, names, place, pieces)
    except UserError as error:
        log.error("%s: %s", run_id, error)
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    return directory


def _run(
    settings: Settings, config: Mapping[str, Any], names: Mapping[str, Any], place: RunDirectory, pieces: Pieces
) -> None:
    """Train, judge and write; `DONE` last."""
    place.write_config(config)
    began = time.perf_counter()
    saved = State.load(place.state) or State()
    before, paid = saved.seconds, saved.costs
    logger = _open_logger(settings, place.path, config)
    try:
        if pieces.refiner and pieces.refiner.config.which == "all":
            pieces.refiner.refine(range(len(pieces.pool.base)))

        def save(state: State) -> None:
            seconds = before + time.perf_counter() - began
            replace(state, seconds=seconds, costs=_costs(pieces, paid)).save(place.state)

        loop = _loop(settings, pieces, saved, logger)
        outcome = run_rounds(loop, pieces.strategy, save)
        if settings.save_model:
            pieces.engine.save(loop.learner.model, place.model)
        about = _about(settings, names["run_id"], place.model)
        judged = {}
        for asked, question in pieces.benchmarks:
            scorer = pieces.engine.scorer(loop.learner.model)
            record = asked.judge(scorer, pieces.preferences, place.path, question, about)
            judged[asked.label] = record["metrics"]
            logger.summary(manifest.logged_metrics(record))
        place.write_rounds(outcome.records)
        place.write_table(SELECTION, tables.selection_table(outcome.drawn, pieces.pool))
        place.write_table(ALLOCATION, tables.allocation_table(outcome.drawn, outcome.margins, pieces.pool))
        if any(outcome.spectra):
            place.write_table(SPECTRA, tables.spectra_table(outcome.spectra))
        place.write_table(VARIANTS, pieces.pool.table())
        if pieces.refiner:
            place.write_table(SEMANTIC, pieces.refiner.record())
        done = manifest.manifest(pieces.preferences, pieces.engine, outcome, loop.start)
        done["strategy"] = vars(pieces.strategy)
        costs = _costs(pieces, paid)
        done["pool"] = manifest.pool_record(pieces.pool, pieces.supply, outcome) | costs["pool"]
        if pieces.refiner and pieces.writer:
            done["semantic"] = pieces.refiner.summary() | {"writer": pieces.writer.record() | costs["writer"]}
            log.info("%s", pieces.refiner.line())
        log.info("%s", manifest.pool_line(done["pool"]))
        seconds = before + time.perf_counter() - began
        done = {**names, **done, "wall_seconds": seconds}
        place.write_manifest(done)
        if settings.save_model:
            resolve("benchmarks.card:write_card")(place.path)
        logger.summary(manifest.logged_manifest(done))
    except BaseException:
        with suppress(OSError):  # what was paid in the unfinished round counts too; the state is the last whole one
            last = State.load(place.state) or State()
            replace(last, costs=_costs(pieces, paid)).save(place.state)
        logger.close(failed=True)
        raise
    logger.close(failed=False)
    place.finish()
    split, values = next(iter(judged["in_distribution"].items()))
    log.info("%s: %s accuracy %.4f", names["run_id"], split, values["accuracy"])


def _loop(settings: Settings, pieces: Pieces, saved: State, logger: Logger) -> Loop:
    """The loop of a run, as `saved` left it; it records curvature where that is asked for, or costs little."""
    trainer = Trainer(pieces.engine, pieces.pool, pieces.preferences.validation, settings.plan, pieces.start)
    curvature = settings.train.mode == "head" if settings.curvature is None else settings.curvature
    return Loop(trainer, saved, logger, Observer(pieces.engine, trainer.inputs, settings.seed) if curvature else None)


def _about(settings: Settings, run_id: str, model: Path) -> dict[str, Any]:
    """What a judged run's record says of its model."""
    saved = weights_id(BackboneConfig(run_id, str(model))) if settings.save_model else None
    reading = {key: getattr(settings.backbone, key) for key in ("template", "max_length", "truncation")}
    return {"name": run_id, "weights": saved, **reading}


def _costs(pieces: Pieces, paid: Mapping[str, Any]) -> dict[str, Any]:
    """What the pool and the semantic layer's writer have made and paid, in this process and, `paid`, before it."""
    supplies = {"pool": pieces.supply, "writer": pieces.writer}
    return {name: manifest.total(supply.costs(), paid.get(name, {})) for name, supply in supplies.items() if supply}


def _open_logger(settings: Settings, directory: Path, config: Mapping[str, Any]) -> Logger:
    loggers: list[Logger] = [TerminalLogger()]
    if settings.logger == "wandb":
        group = Path(settings.study).name
        loggers.append(WandbLogger(settings.wandb or WandbConfig(), directory, config, group))
    return Loggers(loggers)


def main() -> None:
    """`python -m mars.run`, and with a sub-command the console script `mars`: evaluate, report, leaderboard, …"""
    commands: dict[str, Callable[[], None]] = {
        "evaluate": _module("benchmarks.evaluate"),
        "leaderboard": _module("analysis.leaderboard"),
        "report": _module("analysis.report.build"),
        "share": _module("benchmarks.share"),
        "show": show.main,
        "submission": _module("analysis.submission"),
    }
    gc.set_threshold(100_000)  # a run makes many small objects that live as long as it does, and hardly a cycle
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first in commands:
        commands[sys.argv.pop(1)]()
    elif first.isidentifier():
        sys.exit(f'error: "{first}" is no sub-command{nearest(first, commands)}')
    else:
        command("config", execute, "the same command resumes after the last finished round")()


def _module(name: str) -> Callable[[], None]:
    """`main` of a module that is imported when it is called."""
    return lambda: resolve(f"{name}:main")()


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
