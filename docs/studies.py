"""Runs the studies that the site shows: `make studies`, `make studies GPU=1`, `make studies SCALE=tiny`.

    python docs/studies.py                         # all of docs/studies.yaml that this machine can run, in its order
    python docs/studies.py --list                  # what each asks and takes, and how far it is; runs nothing
    python docs/studies.py settle settle_hh --data ../shared/data

Every study is the two commands that are printed before they run, and nothing else: `python -m mars.run` skips runs that
are finished, so whatever stopped the set, the same command goes on. A study that fails does not stop the others.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path

import yaml

from mars.cli import swept
from mars.config import UserError, build, choose, nearest
from mars.record.run_directory import finished_runs

DOCS = Path(__file__).parent
DECLARED = DOCS / "studies.yaml"
DATA = Path("../shared/data")
TINY, AT_ONCE = "scale=tiny", 2
ROWS = "{rows}"  # in a setting: where the rows are
_STOPPED = (75, 130, -2, -15)  # exit codes of a sweep that was asked to stop
Run = Callable[[Sequence[str]], int]  # a command of `python -m` to its exit code


@dataclass(frozen=True)
class Declared:
    """A study as studies.yaml has it, with its name."""

    name: str
    asks: str
    run: list[str]
    minutes: int
    page: str
    report: list[str] = field(default_factory=list)
    tiny: list[str] = field(default_factory=list)
    rows: str | None = None
    gpu: bool = False

    def sweep(self, data: Path, tiny: bool = False) -> list[str]:
        """The settings of `mars.run`. Raises UserError for a preset that is not there."""
        known = sorted(file.stem for file in (DOCS.parent / "conf" / "experiment").glob("*.yaml"))
        for preset in (one.partition("=")[2] for one in self.run if one.startswith("experiment=")):
            if preset not in known:
                missing = f'no preset "{preset}" in conf/experiment{nearest(preset, known)}'
                raise UserError(f"docs/{DECLARED.name}: {self.name}: {missing}")
        settings = self.run
        if self.rows:
            settings = [one.replace(ROWS, str(data / self.rows)) for one in self.run]
            settings += [f"dataset.path={data / self.rows}"] if settings == self.run else []
        return [*settings, f"name={self.name}", *([TINY, *self.tiny] if tiny else [])]

    def directory(self, tiny: bool = False) -> Path:
        """Where `mars.run` puts it, as conf/config.yaml says."""
        return Path("outputs") / (f"{self.name}_tiny" if tiny else self.name)

    def runs(self, data: Path, tiny: bool = False) -> int:
        """As many as the sweep has."""
        sweep = self.sweep(data, tiny)
        return prod(len(values) for _, values in swept("config", sweep)[1].items())

    def commands(self, data: Path, tiny: bool = False) -> tuple[list[str], list[str]]:
        """What is run after `python -m`; at toy size in one process, as several studies run at once."""
        study, told = f"study={self.directory(tiny)}", any(one.startswith("workers=") for one in self.run)
        workers = [] if tiny or told else ["workers=auto"]
        return ["mars.run", "-m", *self.sweep(data, tiny), *workers], ["analysis.report", study, *self.report]

    def why_not(self, data: Path, gpu: bool, tiny: bool) -> str:
        """Why this machine does not run it; empty where it does."""
        if self.gpu and not gpu:
            return "wants a GPU (make studies GPU=1)"
        if self.rows and tiny:
            return "reads real rows, which toy size does not"
        if self.rows and not (data / self.rows).exists():
            return f"its rows are not in {data / self.rows} (make studies DATA=DIR)"
        return ""


def declared(file: Path = DECLARED) -> dict[str, Declared]:
    """{name: study} in the order of `file`. Raises UserError for an entry that cannot be used."""
    entries: Mapping[str, Mapping[str, object]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {
        name: build(Declared, {"name": name, **entry}, f"docs/{file.name}: {name}") for name, entry in entries.items()
    }


def asked_for(names: Sequence[str], known: Mapping[str, Declared]) -> list[Declared]:
    """The studies of these names, all without any, in the order of the declaration. Raises UserError for another."""
    chosen = {name: choose(known, name, "study") for name in names or known}
    return [study for name, study in known.items() if name in chosen]


def said(study: Declared, data: Path, tiny: bool) -> str:
    """What it asks and takes, and how far it is."""
    runs, done = study.runs(data, tiny), len(finished_runs(study.directory(tiny)))
    takes = "" if tiny else f", about {study.minutes} minutes on {'one GPU' if study.gpu else 'two cores'}"
    return f"{study.name}: {runs} runs ({done} finished){takes}: {study.asks}"


def run_all(studies: Sequence[Declared], data: Path, tiny: bool, run: Run) -> Iterator[str]:
    """Runs the studies; yields what came of each. Raises KeyboardInterrupt where a sweep was asked to stop."""
    one = partial(run_one, data=data, tiny=tiny, run=run)
    if not tiny:
        yield from map(one, studies)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:  # most of their time is that of starting
        yield from pool.map(one, studies)


def run_one(study: Declared, data: Path, tiny: bool, run: Run) -> str:
    """Runs one; returns what came of it. Raises KeyboardInterrupt as `run_all`."""
    began = time.monotonic()
    for command in study.commands(data, tiny):
        print(f"  python -m {shlex.join(command)}", flush=True)
        code = run(command)
        if code in _STOPPED:
            raise KeyboardInterrupt
        if code:
            return f"{study.name}: failed, exit code {code} of {command[0]}"
    return f"{study.name}: {_time(time.monotonic() - began)}, {study.directory(tiny)}/report/index.html"


def as_process(command: Sequence[str]) -> int:
    """`python -m` of the command, as somebody would type it."""
    return subprocess.run([sys.executable, "-m", *command], check=False).returncode


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def main(arguments: Sequence[str] | None = None, run: Run = as_process) -> int:
    """Returns the exit code: 1 where a study failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="studies of docs/studies.yaml; all without any")
    parser.add_argument("--data", type=Path, default=DATA, help="where real rows are")
    parser.add_argument("--gpu", action="store_true", help="those that want a GPU, too")
    parser.add_argument("--tiny", action="store_true", help="at toy size; their numbers mean nothing")
    parser.add_argument("--list", action="store_true", help="say what there is, run nothing")
    asked = parser.parse_args(arguments)
    studies = asked_for(asked.names, declared())
    why = {study.name: study.why_not(asked.data, asked.gpu, asked.tiny) for study in studies}
    able = [study for study in studies if not why[study.name]]
    for study in studies:
        if reason := why[study.name]:
            print(f"not run: {study.name}: {reason}")
        else:  # a preset that is missing is said here, before hours are spent
            print(said(study, asked.data, asked.tiny))
    if asked.list:
        return 0
    minutes = "" if asked.tiny else f", about {sum(study.minutes for study in able)} minutes"
    print(f"{len(able)} of {len(studies)} studies{minutes}; the same command goes on from wherever it is stopped")
    began, came = time.monotonic(), []
    try:
        for line in run_all(able, asked.data, asked.tiny, run):
            came.append(line)
    except KeyboardInterrupt:
        came.append("stopped; the same command goes on from there")
    print("\n".join([*came, f"{_time(time.monotonic() - began)} in all"]))
    return int(any(re.search(r": failed|^stopped", line) for line in came))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
