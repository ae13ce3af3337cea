"""What a sweep adds to its runs, whether several processes share one study, and how soon `mars status` answers.

    python -m benchmarks.speed sweeps                        (a study of 40 runs and a sweep of 1,000, tiny runs)
    python -m benchmarks.speed sweeps --runs 200 --shared 0  (the overhead alone)

--shared: runs of the study that --processes work through together, once undisturbed and once with one of them killed
(kill -9) when it has a run in hand. The overhead of a run is the time between two runs, from the one's end to the
other's claim, as the ledger has it: composing, naming, claiming. The processor time of the repetition, which finds
every run finished, does not grow when others use the machine. `mars status` is timed on what the sweep left, from the
interpreter's start.
"""

from __future__ import annotations

import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.speed.clock import timed
from mars.config import UserError
from mars.record.layout import LOG
from mars.record.ledger import Ledger
from mars.record.run_directory import finished_runs

_TINY = ("scale=tiny", "rounds.number=1", "rounds.steps=1", "dataset.test_size=8", "save_model=false", "threads=1")
_QUIET = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def command(study: Path, runs: int) -> list[str]:
    """A sweep of `runs` tiny runs of a head."""
    seeds = f"seed=range(0,{runs // 2})"
    where = [f"study={study}", f"cache={study.parent}/cache"]
    return [sys.executable, "-m", "mars.run", "-m", *_TINY, *where, "method=uniform,mars", seeds]


def started(study: Path, runs: int) -> subprocess.Popen[str]:
    """The sweep in a process of its own."""
    return subprocess.Popen(
        command(study, runs), env={**os.environ, **_QUIET}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def measure_shared(study: Path, runs: int, processes: int, kill: bool) -> None:
    """Prints what `processes` sweeps of one study did. Raises UserError where a run is missing."""
    began = time.perf_counter()
    sweeps = [started(study, runs) for _ in range(processes)]
    if kill:
        _kill(sweeps.pop(0), Ledger(study))
    said = [sweep.communicate()[1] for sweep in sweeps]
    seconds = time.perf_counter() - began
    starts = Counter((path.parent / LOG).read_text().count(f" run {path.parent}\n") for path in study.glob(f"*/{LOG}"))
    finished = len(finished_runs(study))
    if finished != runs or any(sweep.returncode for sweep in sweeps):
        raise UserError(f"{finished} of {runs} runs were finished: {said[0][-500:]}")
    here = [int((re.findall(r"(\d+) done here", text) or ["0"])[-1]) for text in said]
    line = f"{processes} processes{', one killed' if kill else ''}, {runs} runs: all finished in {seconds:.1f} s"
    print(f"{line}; begun once {starts[1]}, twice {starts[2]}; done by each {here}", flush=True)


def _kill(sweep: subprocess.Popen[str], ledger: Ledger) -> None:
    """Kills the sweep when it has a run in hand and has done another."""
    mine = f"process {sweep.pid} "
    held: set[str] = set()
    while sweep.poll() is None:
        held |= {name for name, run in ledger.contents().runs.items() if run.who.startswith(mine)}
        if len(held) > 1:
            sweep.kill()
        time.sleep(0.005)
    sweep.communicate()


def measure_overhead(study: Path, runs: int) -> None:
    """Prints what a sweep takes a run beside the run, what its repetition takes, and what `mars status` takes."""
    for name in ("sweep", "repetition"):
        before = os.times()
        sweep = started(study, runs)
        text = sweep.communicate()[1]
        if sweep.returncode:
            raise UserError(text[-500:])
        processor = 1000 * _processor(before) / runs
        print(f"{name} of {runs} runs: {processor:.0f} ms of processor a run, start included", flush=True)
    times = sorted((run.began or 0.0, run.ended or 0.0) for run in Ledger(study).contents().runs.values())
    between = [after[0] - before[1] for before, after in itertools.pairwise(times)]
    inside = [ended - began for began, ended in times[1:]]  # the first loads what all use
    for what, of in (("a run itself", inside), ("added by the sweep", between)):
        print(f"{what}: {1000 * statistics.mean(of):.0f} ms, median {1000 * statistics.median(of):.0f} ms")
    asked = [sys.executable, "-m", "mars.run", "status", str(study)]
    before = os.times()
    done, seconds = timed(lambda: subprocess.run(asked, capture_output=True, text=True, check=True), repeats=3)
    print(f"status of {runs} runs: {seconds.clock:.2f} s, {_processor(before) / 3:.2f} s of processor; {done.stdout}")


def _processor(before: os.times_result) -> float:
    """Seconds of processor that child processes took since then."""
    now = os.times()
    return now.children_user + now.children_system - before.children_user - before.children_system


def main(runs: int = 1000, shared: int = 40, processes: int = 4) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if shared:
            for kill in (False, True):
                measure_shared(Path(folder) / f"shared-{kill}", shared, processes, kill)
        if runs:
            measure_overhead(Path(folder) / "sweep", runs)
