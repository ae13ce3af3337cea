"""Whether a run that is killed and started again ends in the bits of one that nobody disturbed.

    python -m benchmarks.kill                                 (30 kills; minutes)
    python -m benchmarks.kill --kills 5 --kinds head --folder /tmp/kills

Runs of the tiny backbone, one for each way to train, say when they enter and leave each phase. An undisturbed run tells
how long each takes. Then a fresh one is stopped with SIGKILL at a random moment of a phase, started again with the same
settings, cache and directory, and its files are compared byte by byte: weights, metrics, selections, scores, and
rounds.csv without its timings. Every phase of every kind comes first, and more are drawn at random. A report is killed
likewise. `lost` is the time from what was last saved to the kill, the start of the process where nothing was. Runs keep
a checkpoint at every step, so that most kills are within a round. Exits with 1 where one pair of runs is not equal.
"""

from __future__ import annotations

import argparse
import functools
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from mars.cli import composed
from mars.config import UserError
from mars.plugins import resolve
from mars.record.layout import DONE, METRICS, ROUNDS
from mars.record.run_directory import RunDirectory

REPORT = "report"
PHASES = {  # what a process is at: the functions that do it
    "feature writing": ("mars.reward.encoder:FrozenEncoder._keep",),
    "pool filling": ("mars.pool.store:Store._make",),
    "scoring": ("mars.reward.scoring:ModelScorer._score",),
    "training": ("mars.method.trainer:train_round",),
    "checkpointing": ("mars.method.state:State.save",),
    "W&B logging": ("mars.method.logger:WandbLogger.step", "mars.method.logger:WandbLogger.round"),
    "model writing": ("mars.reward.engine:Engine.save",),
    "score writing": ("mars.record.run_directory:RunDirectory.write_evaluation",),
    "table writing": ("mars.conduct:Conductor._write_tables",),
    "report writing": ("analysis.report.build:_write",),
}
KINDS = {
    "head": ["train=head"],
    "full": ["train=full", "train.dropout=true", "rounds.schedule=continue", "rounds.history=accumulate"],
    "lora": ["train=lora", "train.dropout=true"],
}
_RUN = ["scale=tiny", "dataset.size=16", "batch_size=8", "rounds.steps=8", "checkpoint_minutes=0", "threads=1"]
_RUN += ["augmenter=paraphrase", "augmenter.returned=1", "augmenter.beams=1", "augmenter.prompt_tokens=4"]
_RUN += ["augmenter.response_tokens=4", "pool.width=1", "rounds.budget=16"]
_LOG = "process.log"  # what the last process printed
_PRELOADED = ["mars.assembly", "mars.conduct", "benchmarks.protocols.in_distribution", "wandb", "peft"]
_PRELOADED += ["transformers.models.t5.modeling_t5", "transformers.models.bert.modeling_bert"]
_PATIENCE = 300.0  # seconds that a child may say nothing

Visit = tuple[str, float, float]  # phase, seconds from the child's start to its begin and to its end


@dataclass(frozen=True)
class Moment:
    """When a process was killed: its phase, and the clock's time of its start and of its end."""

    phase: str
    started: float
    at: float


@dataclass(frozen=True)
class Kill:
    """What a kill hit, and whether the run that went on is the same."""

    kind: str
    phase: str
    moment: float  # seconds from the start of the process
    lost: float  # seconds of work
    unequal: Sequence[str]  # files

    def row(self) -> str:
        """Of the table that is printed."""
        told = "equal" if not self.unequal else f"NOT EQUAL: {', '.join(self.unequal)}"
        return f"| {self.kind} | {self.phase} | {self.moment:.2f} s | {self.lost:.2f} s | {told} |"


HEADER = "| run | killed in | after | lost | afterwards |\n|---|---|---:|---:|---|"


def run(config: dict[str, Any]) -> None:
    """The child's work, a run."""
    resolve("mars.run:execute")(config)


def report(study: str) -> None:
    """The child's work, a report."""
    resolve("analysis.report.build:report")(study)


def _child(work: Callable[[Any], None], given: Any, told: Connection, log: Path) -> None:
    """Does `work` and says where it is: (phase, True) at a begin and (phase, False) at an end. log: what it prints."""
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", WANDB_SILENT="true")
    logging.disable(logging.INFO)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(sink, stream.fileno())
    for phase, targets in PHASES.items():
        if (phase == "report writing") == (work is report):
            for target in targets:
                _tell(target, phase, told)
    told.send(("", True))  # ready
    work(given)


def _tell(target: str, phase: str, told: Connection) -> None:
    """From now on the function `target` tells when it begins and ends."""
    module, _, path = target.partition(":")
    *owner, name = path.split(".")
    place = functools.reduce(getattr, owner, import_module(module))
    function = getattr(place, name)

    @functools.wraps(function)
    def telling(*given: Any, **named: Any) -> Any:
        told.send((phase, True))
        try:
            return function(*given, **named)
        finally:
            told.send((phase, False))

    setattr(place, name, telling)


class Killer:
    """Starts processes that say where they are, and kills them there. seed: of the moments."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self._context = multiprocessing.get_context("forkserver")  # imports once: a child starts in no time
        self._context.set_forkserver_preload(_PRELOADED)

    @contextmanager
    def _started(self, work: Callable[[Any], None], given: Any) -> Iterator[tuple[Any, Connection]]:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_child, args=(work, given, theirs, self.folder / _LOG))
        process.start()
        theirs.close()
        try:
            _heard(ours)
            yield process, ours
        finally:
            process.kill()
            process.join()

    def undisturbed(self, work: Callable[[Any], None], given: Any) -> list[Visit]:
        """Every visit of a phase. Raises UserError where the work fails."""
        visits, begun = list[Visit](), dict[str, float]()
        with self._started(work, given) as (process, told):
            start = time.monotonic()
            while (word := _heard(told)) is not None:
                phase, begins = word
                now = time.monotonic() - start
                if begins:
                    begun[phase] = now
                else:
                    visits.append((phase, begun.pop(phase), now))
            process.join()
            if process.exitcode:
                said = (self.folder / _LOG).read_text(encoding="utf-8").strip().splitlines() or [""]
                raise UserError(f"a process that nobody killed ended with {process.exitcode}: {said[-1]}")
        return visits

    def killed(self, work: Callable[[Any], None], given: Any, visits: Sequence[Visit], phase: str) -> Moment:
        """Where a process was when it was killed at a random moment of `phase`."""
        times = [end - begin for name, begin, end in visits if name == phase]
        visit = int(self.rng.integers(len(times)))
        delay = float(self.rng.uniform(0, times[visit]))
        with self._started(work, given) as (process, told):
            started = time.time()
            inside: list[str] = []
            while visit >= 0 and (word := _heard(told)) is not None:
                _note(inside, *word)
                visit -= word == (phase, True)
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            at = time.time()
            process.join()
            while (word := _heard(told)) is not None:
                _note(inside, *word)
        return Moment(inside[-1] if inside else f"after {phase}", started, at)


def _note(inside: list[str], phase: str, begins: bool) -> None:
    """The phases that a process is in, the innermost last."""
    if begins:
        inside.append(phase)
    else:
        inside.remove(phase)


def _heard(told: Connection) -> tuple[str, bool] | None:
    """The child's next word; None when it has ended. Raises UserError where it says nothing for too long."""
    try:
        if not told.poll(_PATIENCE):
            raise UserError(f"a process said nothing for {_PATIENCE:.0f} s")
        return told.recv()
    except (EOFError, ConnectionResetError):
        return None


def unequal(one: Path, other: Path) -> list[str]:
    """Names of the files of two finished runs in which they differ."""
    if not RunDirectory(other).finished:
        return [DONE]
    names = [
        str(path.relative_to(one)) for path in sorted(one.rglob("*")) if path.suffix in (".parquet", ".safetensors")
    ]
    differ = [name for name in [*names, METRICS] if _bytes(one / name) != _bytes(other / name)]
    return differ + ([ROUNDS] if _untimed(one / ROUNDS) != _untimed(other / ROUNDS) else [])


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _untimed(path: Path) -> str:
    import pandas as pd

    table = pd.read_csv(path)
    timings = [name for name in map(str, table) if name.startswith("seconds") or name == "pairs_per_second"]
    return table.drop(columns=timings).to_csv()


def kill_runs(kills: int, kinds: Sequence[str], folder: Path, seed: int, tell: Callable[[Kill], None]) -> list[Kill]:
    """The outcome of each kill; `tell` is given each as it comes. kinds: of KINDS, and REPORT of a study of them."""
    killer, done = Killer(folder, seed), list[Kill]()
    trained = [kind for kind in kinds if kind != REPORT]

    def config(kind: str, name: str, logger: str) -> dict[str, Any]:
        place = [f"out={folder}/{name}", f"cache={folder}/cache-{Path(name).name}", f"logger={logger}"]
        return composed("config", [*_RUN, *KINDS[kind], *place])

    visits = {kind: killer.undisturbed(run, config(kind, f"study/{kind}", "wandb")) for kind in trained}
    study = str(folder / "study")
    if REPORT in kinds:
        visits[REPORT] = killer.undisturbed(report, study)
    pairs = [(kind, phase) for kind in visits for phase in PHASES if any(one[0] == phase for one in visits[kind])]
    while len(pairs) < kills:
        kind = trained[int(killer.rng.integers(len(trained)))]
        pairs.append((kind, ("training", "checkpointing")[int(killer.rng.integers(2))]))
    for number, (kind, phase) in enumerate(pairs[:kills]):
        if kind == REPORT:
            done.append(_report_killed(killer, visits[kind], Path(study)))
        else:
            logger = "wandb" if phase.startswith("W&B") else "terminal"
            done.append(_run_killed(killer, kind, config(kind, f"{number}-{kind}", logger), visits[kind], phase))
        tell(done[-1])
    return done


def _run_killed(killer: Killer, kind: str, config: dict[str, Any], visits: Sequence[Visit], phase: str) -> Kill:
    place = Path(config["out"])
    moment = killer.killed(run, config, visits, phase)
    saved = [path.stat().st_mtime for path in (place / "checkpoint").glob("[0-9]*/sha256.json")]
    killer.undisturbed(run, config)
    differ = unequal(killer.folder / "study" / kind, place)
    if len({path.name.rsplit("-", 1)[1] for path in place.glob("wandb/offline-run-*")}) > 1:
        differ.append("wandb/id")
    shutil.rmtree(place)
    shutil.rmtree(config["cache"])
    return Kill(kind, moment.phase, moment.at - moment.started, moment.at - max([moment.started, *saved]), differ)


def _report_killed(killer: Killer, visits: Sequence[Visit], study: Path) -> Kill:
    whole = study.with_name("report")
    shutil.copytree(study / "report", whole, dirs_exist_ok=True)
    shutil.rmtree(study / "report")
    moment = killer.killed(report, str(study), visits, visits[0][0])
    killer.undisturbed(report, str(study))
    written = sorted(
        {p.relative_to(root) for root in (whole, study / "report") for p in root.rglob("*") if p.is_file()}
    )
    differ = [str(name) for name in written if _bytes(whole / name) != _bytes(study / "report" / name)]
    after = moment.at - moment.started
    return Kill(REPORT, moment.phase, after, after, differ)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: prints a row for each kill, and how many are equal."""
    parser = argparse.ArgumentParser("python -m benchmarks.kill", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--kinds", default=",".join([*KINDS, REPORT]), help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: %(default)s")
    parser.add_argument("--folder", type=Path, default=None, help="for the runs; default: a temporary one")
    asked = parser.parse_args(arguments)
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (asked.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        told = functools.partial(print, flush=True)
        done = kill_runs(asked.kills, asked.kinds.split(","), folder, asked.seed, lambda kill: told(kill.row()))
    equal = sum(not kill.unequal for kill in done)
    print(f"\n{equal} of {len(done)} equal; at most {max(kill.lost for kill in done):.2f} s of work lost")
    sys.exit(int(equal < len(done)))


if __name__ == "__main__":
    main()
