"""One run by one process and by two that have a core each: pairs a second in training, pairs a second scored.

    python -m benchmarks.speed ranks                         (backbone=minilm, planted rows; some minutes)
    python -m benchmarks.speed ranks --pairs 512 --repeats 5

Each is a whole run of two rounds, started by torchrun, whose second round counts. The two take turns; numbers are
medians over the repeats. Processes are pinned, so that the one does not use the other's core.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from mars.config import UserError
from mars.process import ranks
from mars.record.layout import MANIFEST, ROUNDS
from mars.run import main as run

_ONE_CORE = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def command(processes: int, *overrides: str) -> list[str]:
    """A run by so many pinned processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [*launcher, "-m", "benchmarks.speed.ranks", *overrides]


def measure(processes: int, pairs: int, backbone: str) -> tuple[float, float]:
    """(pairs a second in training, base and validation pairs a second scored) of the run's second round."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ["method=mars", "train=full", f"backbone={backbone}", f"dataset.size={pairs}", "rounds.number=2"]
        settings += [
            f"rounds.budget={pairs}",
            "dataset.validation=64",
            "dataset.test_size=8",
            "save_model=false",
            "threads=1",
            f"out={folder}",
        ]
        done = subprocess.run(
            command(processes, *settings), env={**os.environ, **_ONE_CORE}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"{processes} processes: {done.stderr[-1000:]}")
        last = pd.read_csv(Path(folder) / ROUNDS).iloc[-1]
        validated = len(pd.read_json(Path(folder) / MANIFEST, typ="series")["validation_ids"])
    return last["pairs_per_second"], (pairs + validated) / (last["seconds_scoring"] + last["seconds_validation"])


def main(pairs: int = 256, repeats: int = 3, processes: int = 2, backbone: str = "minilm") -> None:
    cores = len(os.sched_getaffinity(0))
    if cores < processes:
        raise UserError(f"processes: {processes} need a core each, and there are {cores}")
    counts = (1, processes)
    found = {count: list[tuple[float, float]]() for count in counts}
    for repeat in range(repeats):
        for count in counts if repeat % 2 == 0 else counts[::-1]:
            found[count].append(measure(count, pairs, backbone))
            print(f"{count} processes: {found[count][-1][0]:.1f} pairs/s", flush=True)
    for number, what in enumerate(("training", "scoring")):
        one, several = ([speeds[number] for speeds in found[count]] for count in counts)
        ratio = statistics.median(many / single for many, single in zip(several, one, strict=True))
        print(
            f"{what}: 1 process {statistics.median(one):.1f} pairs/s, {processes} processes "
            f"{statistics.median(several):.1f} pairs/s, ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[ranks.of_machine()[0]]})
    run()
