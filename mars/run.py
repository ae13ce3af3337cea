"""One run: `python -m mars.run method=mars seed=0`; a sweep: `python -m mars.run -m method=none,mars seed=0,1`.

Reads the config and tells a run that is finished, before torch is loaded. Else the run is claimed in its study's
ledger, the pieces are put together (`mars.assembly`), and it is carried to its end (`mars.conduct`); `DONE` is written
last, so a directory without it is unfinished: it is resumed, never counted.
"""

from __future__ import annotations

import gc
import logging
import logging.handlers
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mars import files
from mars.choices import Settings, check_replicate, effective, load, read, shaping
from mars.cli import MISTAKES, command, end, task_overrides
from mars.commands.completion import answered
from mars.commands.overview import overview
from mars.config import build, naming_runs, nearest
from mars.files import reason
from mars.launch.sweep import DONE_HERE, FAILED, FOUND, HELD, Outcome
from mars.plugins import resolve
from mars.process import ranks, reader
from mars.process.program import program
from mars.process.stopping import Stopped, listening
from mars.record.layout import JOB_LOG_VARIABLE, LOG, MAIN, STAMP
from mars.record.ledger import Held, Ledger, job_of
from mars.record.run_directory import RunDirectory
from mars.record.run_log import kept, logged

# Sub-command: the module whose `main` it calls. Its settings are conf/NAME.yaml, where there is such a file.
COMMANDS = {
    "plan": "analysis.plan",
    "pool": "mars.fill",
    "evaluate": "benchmarks.evaluate",
    "judge": "benchmarks.judge",
    "report": "analysis.report",
    "leaderboard": "analysis.leaderboard",
    "submission": "analysis.submission",
    "replies": "benchmarks.replies",
    "share": "benchmarks.share",
    "wandb_report": "analysis.wandb_report",
    "label_noise": "analysis.label_noise",
    "look": "mars.commands.look",
    "show": "mars.commands.show",
    "status": "mars.commands.status",
    "doctor": "mars.commands.doctor",
    "cache": "mars.commands.cache",
}
_OTHER = re.compile(r"\w[\w-]*$|until=|hydra/(launcher|sweeper)=")  # arguments of what is not one run
log = logging.getLogger("mars.run")  # also when it runs as __main__


def execute(config: Mapping[str, Any]) -> Path:
    """Run `config` (conf/config.yaml, resolved) to its end and return its directory. A finished run is left as it is.

    Waits where another process works on it, and takes over what a dead one left. Raises UserError (bad setting, data or
    backbone; a loss that is not finite) with the directory left without DONE.
    """
    run = Run.of(config, task_overrides())
    if not run.finish():
        log.info("%s is finished (force=true runs it again)", run.place.path)
    return run.place.path


def execute_in_sweep(config: Mapping[str, Any], began: float, overrides: Sequence[str]) -> Outcome:
    """How the run of `config` ends in a sweep that began at that second: it waits for nobody and raises no mistake.

    overrides: what the sweep asks for it by.
    """
    job, start, run = job_of(overrides), time.monotonic(), None
    try:
        run = Run.of(config, overrides)
        outcome = run.in_sweep(job, began)
    except Exception as error:
        if run is None:
            Ledger(Path(config["study"])).refuse(job, reason(error))
        name = run.name if run else job
        outcome = Outcome(FAILED, name, why=reason(error), log=run.log if run else "")
    return outcome._replace(seconds=time.monotonic() - start)


@dataclass(frozen=True)
class Run:
    """What a config asks for. config: as the arm has it. names: see `_names`."""

    config: Mapping[str, Any]
    settings: Settings
    names: Mapping[str, Any]
    place: RunDirectory

    @classmethod
    def of(cls, config: Mapping[str, Any], overrides: Sequence[str] = ()) -> Run:
        """Raises UserError for settings or data that make no run, and for a directory that holds another one.

        overrides: what the command was given, for the record.
        """
        replicate, config = config.get("replicate"), effective(config)
        settings = build(Settings, config, "")
        rows = read(settings.dataset)
        check_replicate(replicate, rows)
        config_hash = files.config_hash(shaping(config), rows.digests)
        names = _names(settings, config, config_hash) | {"replicate": replicate, "overrides": list(overrides)}
        place = RunDirectory(Path(settings.out) if settings.out else Path(settings.study) / names["run_id"])
        place.claim(config_hash)
        return cls(config, settings, names, place)

    @property
    def name(self) -> str:
        """As the ledger knows it."""
        return self.place.path.name

    @property
    def log(self) -> str:
        """The path of its log; "" where it has none."""
        return str(self.place.file(LOG) or "")

    @property
    def ledger(self) -> Ledger:
        """That of its study; a directory that is given as out=DIR has one in itself."""
        return Ledger(self.place.path if self.settings.out else self.place.path.parent)

    def finish(self, job: str = "", since: float | None = None) -> bool:
        """As `carry_out`, after others that work on it."""
        told = False
        while True:
            try:
                return self.carry_out(job, since)
            except Held as held:
                if not told:
                    log.info("%s; waiting until it has ended", held)
                    told = True
                self.ledger.wait([held.name])

    def found(self, job: str, began: float) -> Outcome | None:
        """How it has ended for a sweep that began at that second; None where it is to be worked on.

        What failed is not tried again unless that is asked for. job: what the sweep asks for it by.
        """
        ledger, again = self.ledger, self.settings.force or self.settings.retry
        ledger.know(job, self.name)
        failed = ledger.failure(self.name)
        new = failed is not None and ledger.since(began, failed.ended or 0)
        if failed and not self.place.finished and not (again and not new):
            return Outcome(FOUND, self.name, new, why=failed.why, log=self.log)
        if self._is_made(began):
            return Outcome(FOUND, self.name, ledger.since(began, self.place.ended))
        return None

    def in_sweep(self, job: str, began: float) -> Outcome:
        """How it ends in a sweep."""
        if found := self.found(job, began):
            return found
        carry_out = self.finish if self.settings.out else self.carry_out  # the sweep waits for runs of the study
        try:
            if not carry_out(job, began):
                return Outcome(FOUND, self.name, self.ledger.since(began, self.place.ended))
        except Held:
            return Outcome(HELD, self.name)
        test = next(iter(self.place.stated().get(MAIN, {}).items()), None)
        return Outcome(DONE_HERE, self.name, result=f"{test[0]} accuracy {test[1]['accuracy']:.4f}" if test else "")

    def carry_out(self, job: str = "", since: float | None = None) -> bool:
        """Works on the run to its end; False where it is finished, with force=true since that second.

        job: what a sweep asks for it by. Raises Held where another process works on it, UserError as `execute` does.
        """
        if ranks.number():
            if going := self._agreed(False):
                self._work()
            return going
        if self._is_made(since):
            return self._agreed(False)
        if self.settings.dry_run:
            self._agreed(True)
            self._work()
            return True
        with self.ledger.work(self.name, job):
            if self._is_made(since):  # meanwhile
                return self._agreed(False)
            self._agreed(True)
            self._work(since)
        return True

    def _agreed(self, going: bool) -> bool:
        """Whether the processes of the run go to work on it, which rank 0 says; the others may say what they like.

        Raises UserError where they are about different runs.
        """
        together = ranks.here()
        decided = together.told(lambda: going)
        if decided and together.count > 1:
            facts = {f"rows {name}": digest for name, digest in read(self.settings.dataset).digests.items()}
            facts |= {f"version {part}": version for part, version in program().items()}
            facts |= {"settings": self.names["config_hash"]}
            together.agree(facts, "all processes of a run need the same data, settings and versions")
        return decided

    def _is_made(self, since: float | None) -> bool:
        if not self.place.finished or not self.settings.force:
            return self.place.finished
        return since is not None and self.ledger.since(since, self.place.ended)

    def _is_begun(self, since: float | None) -> bool:
        """Whether it was begun since that second, by whomever, so that force=true goes on with it."""
        stamp = None if since is None or self.place.finished else self.place.file(STAMP)
        return stamp is not None and since is not None and self.ledger.since(since, stamp.stat().st_mtime)

    def _work(self, since: float | None = None) -> None:
        from mars import dry_run  # here, because torch comes with these three
        from mars.assembly import assemble
        from mars.conduct import Conductor

        settings, place, together = self.settings, self.place, ranks.here()
        with together.one_end(), kept() as early:
            # Every setting is checked before anything is written or replaced.
            pieces = assemble(settings, load(settings.dataset))
            if settings.dry_run:
                if together.first:
                    print(dry_run.report(pieces, settings.rounds))
                return
            if not together.first:
                with listening(together.any) as stop:
                    Conductor(settings, pieces, place, self.names).follow(stop)
                return
            if settings.force and not self._is_begun(since):
                place.clear()
            place.stamp(self.names["config_hash"])
            if job_log := os.environ.get(JOB_LOG_VARIABLE):
                place.link_job(Path(job_log))
            with logged(place.path / LOG, early), listening(together.any) as stop:
                log.info("run %s", place.path)
                try:
                    with together.one_end():
                        Conductor(settings, pieces, place, self.names).run(self.config, stop)
                except Exception as error:
                    log.info("%s: %s", self.names["run_id"], reason(error), exc_info=not isinstance(error, MISTAKES))
                    raise
                except Stopped:
                    log.info("%s was asked to stop: the same command goes on from its last checkpoint", self.name)
                    raise


def _names(settings: Settings, config: Mapping[str, Any], config_hash: str) -> dict[str, Any]:
    """What the manifest says of a run before it starts: its id, and what it may be compared by."""
    parts = (settings.method.get("name"), settings.dataset.get("name"), settings.backbone.name)
    return {
        "run_id": f"{'-'.join(map(str, parts))}-s{settings.seed}-{config_hash}",
        "config_hash": config_hash,
        **dict(zip(("method", "dataset", "backbone"), parts, strict=True)),
        "seed": settings.seed,
        "steps_may_differ": settings.steps_may_differ,
        "batch_size": settings.batch_size,
        "train_sha256": files.digest(naming_runs(config)["train"]),
        "pool_sha256": files.digest([shaping(config)[key] for key in ("augmenter", "pool", "semantic")]),
        "semantic_layer": settings.semantic.get("name", ""),
        "drop_prompt": bool(settings.method.get("drop_prompt", False)),
    }


def main() -> None:
    """`python -m mars.run`, which the console script `mars` is too: a run, a sub-command, or what there is to do."""
    gc.set_threshold(100_000)  # a run makes many small objects that live as long as it does, and hardly a cycle
    if answered(sys.argv[1:], COMMANDS):
        return
    first = re.sub(r"(?<=\w)-", "_", sys.argv[1]) if len(sys.argv) > 1 else ""  # wandb-report, and not -m
    if ranks.count() > 1 and (other := next(filter(_OTHER.match, sys.argv[1:]), "")):
        end(
            f"error: torchrun starts the processes of one run, and {other} is not for one (leave one of the two out)", 1
        )
    elif len(sys.argv) == 1 and ranks.count() == 1:
        with reader.may_leave():
            print("\n".join(overview(COMMANDS)))
    elif first in COMMANDS:
        del sys.argv[1]
        with reader.may_leave():
            resolve(f"{COMMANDS[first]}:main")()
    elif first.isidentifier():
        sys.exit(f'error: "{first}" is no sub-command{nearest(first, COMMANDS)}')
    elif any(argument.startswith("until=") for argument in sys.argv[1:]):
        resolve("analysis.settle:main")()
    else:
        command("config", execute, "the same command goes on from the last checkpoint", "mars.run:execute_in_sweep")()
        ranks.part()


if __name__ == "__main__":
    main()
