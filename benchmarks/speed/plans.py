"""Whether a plan is right about time: what `mars plan` says from two replicates, beside what the study then takes.

    python -m benchmarks.speed plans ../shared/data/hh_rlhf/harmless-base
    python -m benchmarks.speed plans ../shared/data/hh_rlhf/harmless-base --replicates 4 --workers 1,2
    python -m benchmarks.speed plans ../shared/data/hh_rlhf/harmless-base --only planted_full

Three experiments: planted text, HH-RLHF's rows with rules (both a linear head), and planted text with a small model
that is fine-tuned. The study has replicates of its own and an empty cache, as the pilot has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mars.config import UserError, choose

_HEAD = "experiment=settle method=none_matched,uniform,mars"
_SMALL = "dataset.size=300 dataset.validation=100 rounds.steps=15"
EXPERIMENTS = {
    "planted_head": f"{_HEAD} {_SMALL} dataset.test_size=200",
    "hh_rlhf_head": f"{_HEAD} dataset=hh_rlhf dataset.path={{rows}} augmenter=rules dataset.test_size=200 {_SMALL}",
    "planted_full": f"{_HEAD} train=full backbone=tiny {_SMALL} dataset.test_size=300",
}
_RATIO = 1.5


def _told(*command: str) -> str:
    """What a command prints. Raises UserError with the end of its complaint."""
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env={**os.environ, **quiet}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{' '.join(command)}: {done.stderr[-800:]}")
    return done.stdout


def _replicates(first: int, number: int) -> str:
    return "replicate=" + ",".join(str(first + i) for i in range(number))


def main(rows: str, replicates: int = 4, workers: str = "1,2", only: str = "") -> None:
    for name in [only] if only else EXPERIMENTS:
        asked = choose(EXPERIMENTS, name, "--only").format(rows=rows).split()
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            _told("mars.run", *asked, _replicates(0, 2), f"study={place}/pilot", f"cache={place}/cache")
            for number in workers.split(","):
                how = [f"replicates={replicates}", f"workers={number}", f"pilot={place}/pilot", "detect=1", "json=true"]
                planned = json.loads(_told("analysis.plan", *asked, *how))["cost"]["totals"]["as told"]["elapsed"]
                study = [f"study={place}/{number}", f"cache={place}/cache-{number}", f"workers={number}"]
                began = time.perf_counter()
                _told("mars.run", *asked, _replicates(2, replicates), *study)
                took = time.perf_counter() - began
                ratio = max(planned / took, took / planned)
                said = "within" if ratio <= _RATIO else "NOT within"
                print(f"{name}, workers={number}: planned {planned:.0f} s, took {took:.0f} s; {said} a factor {_RATIO}")
                sys.stdout.flush()
