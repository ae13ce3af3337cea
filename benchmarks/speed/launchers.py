"""What a second worker saves, by each way to have one, and whether the bits are those of one process.

    python -m benchmarks.speed launchers                             (12 runs of `matched`, `workers=1` and `workers=2`)
    python -m benchmarks.speed launchers --ways workers,slurm,ray    (with a Slurm that answers, and Ray here)
    python -m benchmarks.speed launchers --cache ~/.cache/mars       (with the features that are there)
    python -m benchmarks.speed launchers --repeats 3                 (medians of so many, by turns)

The sweep runs once in one process, which fills the cache of features; then by each way with one worker and with two,
start and end included. Each worker has one thread, so that a second one has a core of its own. Cores share more than a
clock: two processes that have nothing to do with each other, side by side, say what a second worker can save at best.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mars.config import UserError, choose
from mars.record.layout import METRICS
from mars.record.run_directory import finished_runs

# What gives a sweep one worker, and two, on two cores.
_SLURM = "hydra/launcher=slurm hydra.launcher.cpus_per_task=1 hydra.launcher.mem_gb=4 hydra.launcher.array_parallelism"
WAYS = {
    "workers": ("workers=1", "workers=2"),
    "slurm": (f"{_SLURM}=1", f"{_SLURM}=2"),
    "ray": ("hydra/launcher=ray hydra.launcher.cpus=2", "hydra/launcher=ray hydra.launcher.cpus=1"),
}
_RUNS = "method=none_matched,uniform,stratified,eda,mars,mars_tempered seed=0,1"


def swept(study: Path, cache: Path, *settings: str) -> float:
    """Seconds that a sweep takes. Raises UserError with the end of what it said where a run failed."""
    command = [sys.executable, "-m", "mars.run", f"study={study}", f"cache={cache}", *settings]
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    began = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(done.stderr[-1000:])
    return time.perf_counter() - began


def metrics(study: Path) -> dict[str, bytes]:
    """{name of a run: its metrics.json}."""
    return {run.path.name: (run.path / METRICS).read_bytes() for run in finished_runs(study)}


def main(
    experiment: str = "matched", runs: str = _RUNS, ways: str = "workers", cache: str = "", repeats: int = 1
) -> None:
    if repeats < 1:
        raise UserError(f"--repeats: must be at least 1, not {repeats}")
    asked = [f"experiment={experiment}", *runs.split()]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        kept = Path(cache).expanduser() if cache else place / "cache"
        swept(place / "first", kept, *asked)
        expected = metrics(place / "first")
        alone = swept(place / "process", kept, *asked)
        print(f"{len(expected)} runs in one process: {alone:.1f} s", flush=True)
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: swept(place / name, kept, *asked), ("one", "other")))
        both = time.perf_counter() - began
        best = f"two workers take {both / alone / 2:.2f} of one's time at best"
        print(f"two such processes at once: {both:.1f} s, so {best}", flush=True)
        for way in ways.split(","):
            numbered = list(enumerate(choose(WAYS, way, "--ways"), 1))
            seconds: dict[int, list[float]] = {number: [] for number, _ in numbered}
            for repeat in range(repeats):
                for number, settings in numbered[:: (-1) ** repeat]:
                    study = place / f"{way}-{number}-{repeat}"
                    seconds[number].append(swept(study, kept, *asked, *settings.split()))
                    if metrics(study) != expected:
                        raise UserError(f"{way}, {number} workers: metrics.json of some runs are not as in one process")
            one, two = (statistics.median(some) for some in seconds.values())
            said = " and ".join(f"{min(some):.1f}–{max(some):.1f}" for some in seconds.values() if repeats > 1)
            of = f" (medians of {repeats}; {said})" if said else ""
            saved = f"{one:.1f} s with one, {two:.1f} s with two, {two / one:.2f} of it"
            print(f"{way}: {saved}{of}; the same metrics.json", flush=True)
