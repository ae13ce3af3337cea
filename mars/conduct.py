"""A run from its pieces to its directory: train, judge, write; `DONE` last.

Apart from `mars.run`, which tells a finished run and shows help without torch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mars import files
from mars.assembly import Pieces
from mars.choices import Settings
from mars.config import UserError
from mars.method.checkpoint import Keeper
from mars.method.journal import Journal
from mars.method.logger import Logger
from mars.method.loop import Loop, run_rounds
from mars.method.observer import MOST_NUMBERS, Observer
from mars.method.state import COSTS, State
from mars.method.trainer import Trainer
from mars.method.wandb_logger import WandbConfig, WandbLogger
from mars.plugins import resolve
from mars.pool import unchanged
from mars.process.ranks import Ranks
from mars.process.stopping import Stop
from mars.record import manifest, tables
from mars.record.layout import ALLOCATION, SELECTION, SEMANTIC, SPECTRA, VARIANTS
from mars.record.run_directory import RunDirectory
from mars.reward import leading
from mars.reward.backbone import BackboneConfig
from mars.reward.features import Features
from mars.reward.memory import device_errors
from mars.reward.weights import weights_id

log = logging.getLogger(__name__)


class Conductor:
    """One run: its settings, its pieces and its directory, with the clock and the costs of earlier attempts."""

    def __init__(self, settings: Settings, pieces: Pieces, place: RunDirectory, names: Mapping[str, Any]):
        self.settings, self.pieces, self.place, self.names = settings, pieces, place, names
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        self._saved = _saved(place.checkpoints, pieces.engine.ranks)
        self._paid = _paid(place.checkpoints / COSTS)  # by earlier attempts
        self._home = place.identity()
        self._journal = Journal(place.checkpoints, f"rank{pieces.engine.ranks.number}", settings.checkpoint_minutes)
        pieces.engine.journal = self._journal

    def run(self, config: Mapping[str, Any], stop: Stop | None = None) -> None:
        """Everything from the first round to `DONE`. config: as it is written down. stop: whether it is to end."""
        self.place.write_config(config)
        logger = self._logger(config)
        try:
            with device_errors():
                judged = self._worked(logger, Keeper(self._save, self.settings.checkpoint_minutes, stop))
        except BaseException:
            with suppress(UserError):  # what was paid in the unfinished round counts too
                self._save_costs()
            logger.close(failed=True)
            raise
        logger.close(failed=False)
        self.place.check_same(self._home)
        self.place.check_whole()
        self.place.finish()
        split, values = next(iter(judged["in_distribution"].items()))
        log.info("%s: %s accuracy %.4f", self.names["run_id"], split, values["accuracy"])

    def follow(self, stop: Stop) -> None:
        """What the other ranks do of it: they train and score, and write nothing."""
        with device_errors():
            self._refine_all()
            loop, engine = self._loop(Logger()), self.pieces.engine
            run_rounds(loop, self.pieces.strategy, Keeper(lambda state: self._journal.clear(), stop=stop))
            if self.settings.save_model:
                engine.save(loop.learner.model, self.place.model)
            leading.follow(engine.scorer(loop.learner.model), engine.ranks)

    def _refine_all(self) -> None:
        refiner = self.pieces.refiner
        if refiner and refiner.config.which == "all":
            refiner.refine(range(len(self.pieces.pool.base)))

    def _worked(self, logger: Logger, keep: Keeper) -> dict[str, Any]:
        """{label: metrics} of the trained and judged model, all of it written."""
        pieces, settings = self.pieces, self.settings
        self._refine_all()
        loop = self._loop(logger)
        outcome = run_rounds(loop, pieces.strategy, keep)
        self.place.check_same(self._home)
        if settings.save_model:
            pieces.engine.save(loop.learner.model, self.place.model)
        judged = self._judged(loop, logger)
        self._write_tables(outcome)
        done = self._manifest(outcome, loop.start)
        self.place.write_manifest(done)
        if settings.save_model:
            resolve("benchmarks.card:write_card")(self.place.path)
            logger.files("model", [self.place.model])
        logger.files("evaluation", self.place.evaluations())
        logger.summary(manifest.logged_manifest(done))
        return judged

    def _loop(self, logger: Logger) -> Loop:
        """The loop as the saved state left it; it records curvature where that is asked for, or costs little."""
        pieces, settings = self.pieces, self.settings
        trainer = Trainer(pieces.engine, pieces.pool, pieces.preferences.validation, settings.plan, pieces.start)
        curvature = self._cheap_curvature() if settings.curvature is None else settings.curvature
        observer = Observer(pieces.engine, trainer.inputs, settings.seed, trainer.targets) if curvature else None
        return Loop(trainer, self._saved, logger, observer)

    def _cheap_curvature(self) -> bool:
        """Whether recording curvature costs little beside the run: a linear head, and not too many pairs."""
        inputs = self.pieces.engine.inputs
        if not isinstance(inputs, Features):
            return False
        pairs, most = len(self.pieces.pool.base), MOST_NUMBERS // inputs.dimension
        if pairs > most:
            log.info("no curvature is recorded of %d pairs (over %d; curvature=true records it)", pairs, most)
        return pairs <= most

    def _save(self, state: State) -> None:
        self._save_costs()
        replace(state, seconds=self._seconds()).save(self.place.checkpoints)
        self._journal.clear()

    def _save_costs(self) -> None:
        self.place.check_same(self._home)
        files.write_json(self.place.checkpoints / COSTS, self._costs())

    def _judged(self, loop: Loop, logger: Logger) -> dict[str, Any]:
        """{label: metrics} of every benchmark, each scored, measured and written."""
        about, judged = self._about(), {}
        for asked, question in self.pieces.benchmarks:
            scorer = self.pieces.engine.leading_scorer(loop.learner.model)
            record = asked.judge(scorer, self.pieces.preferences, self.place.path, question, about)
            judged[asked.label] = record["metrics"]
            logger.summary(manifest.logged_metrics(record))
        leading.dismiss(self.pieces.engine.ranks)
        return judged

    def _write_tables(self, outcome: State) -> None:
        pieces, place = self.pieces, self.place
        place.write_rounds(outcome.records)
        place.write_parts(SELECTION, tables.selections(outcome.drawn, pieces.pool))
        place.write_parts(ALLOCATION, tables.allocations(outcome.drawn, outcome.margins, pieces.pool))
        if any(outcome.spectra):
            place.write_table(SPECTRA, tables.spectra_table(outcome.spectra))
        place.write_table(VARIANTS, pieces.pool.table())
        if pieces.refiner:
            place.write_table(SEMANTIC, pieces.refiner.record())

    def _manifest(self, outcome: State, start: str) -> dict[str, Any]:
        """manifest.json. start: sha256 of the starting weights."""
        pieces, costs = self.pieces, self._costs()
        done = manifest.manifest(pieces.preferences, pieces.engine, outcome, start)
        done["strategy"] = vars(pieces.strategy)
        done["pool"] = manifest.pool_record(pieces.pool, pieces.supply, outcome) | costs["pool"]
        if pieces.refiner and pieces.writer:
            done["semantic"] = pieces.refiner.summary() | {"writer": pieces.writer.record() | costs["writer"]}
            log.info("%s", pieces.refiner.line())
        log.info("%s", manifest.pool_line(done["pool"]))
        if remark := unchanged.remark(done["pool"]):
            log.warning("%s", remark)
        # Of this attempt and process alone: a rate needs no more, and others of the run are not known here.
        busy = (time.process_time() - self._cpu_began) / (time.perf_counter() - self._began)
        return {**self.names, **done, "wall_seconds": self._seconds(), "busy_cores": busy}

    def _seconds(self) -> float:
        """Wall time of this attempt and of those before it."""
        return self._saved.seconds + time.perf_counter() - self._began

    def _costs(self) -> dict[str, Any]:
        """What the pool and the semantic layer's writer have made and paid, in this process and before it."""
        supplies = {"pool": self.pieces.supply, "writer": self.pieces.writer}
        paid = self._paid
        return {name: manifest.total(supply.costs(), paid.get(name, {})) for name, supply in supplies.items() if supply}

    def _about(self) -> dict[str, Any]:
        """What a judged run's record says of its model."""
        name, model = self.names["run_id"], self.place.model
        saved = weights_id(BackboneConfig(name, str(model))) if self.settings.save_model else None
        reading = {key: getattr(self.settings.backbone, key) for key in ("template", "max_length", "truncation")}
        return {"name": name, "weights": saved, **reading}

    def _logger(self, config: Mapping[str, Any]) -> Logger:
        if self.settings.logger == "terminal":
            return Logger()
        group = Path(self.settings.study).name
        return WandbLogger(self.settings.wandb or WandbConfig(), self.place.path, config, group)


def _saved(checkpoints: Path, ranks: Ranks) -> State:
    """The state to go on from, the same on every rank. Raises UserError where their disks differ.

    Rank 0 looks first and clears away what is damaged. Each reads for itself: a state may be as large as the memory.
    """
    saved = State.load(checkpoints) if ranks.first else None
    ranks.told(lambda: None)
    if not ranks.first:
        saved = State.load(checkpoints)
    where = "none" if saved is None else saved.whereabouts
    facts = {f"of {checkpoints.parent} a view": checkpoints.parent.is_dir(), f"in {checkpoints} a checkpoint": where}
    ranks.agree(facts, "a run's directory has to be on a disk that all share")
    return saved or State()


def _paid(file: Path) -> dict[str, Any]:
    """What earlier attempts made and paid, as they wrote it down; nothing where they did not."""
    if not file.exists():
        return {}
    try:
        return files.read_json(file)
    except UserError as error:
        log.warning("%s; what earlier attempts paid is not counted", error)
        return {}
