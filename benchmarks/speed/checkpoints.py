"""What checkpoints add to a fine-tune: a run that keeps them now and then, beside one that keeps none within its round.

    python -m benchmarks.speed checkpoints DIR               (DIR holds rows of HH; a quarter of an hour on two cores)
    python -m benchmarks.speed checkpoints DIR --steps 12 --minutes 0.1

One round of `train=full`, `steps` steps of 64 pairs. The share is taken twice: by the clock around each saving, beside
the whole run; and as the difference of the two runs, which all else that uses the machine moves as well.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mars.cli import composed
from mars.method import checkpoint
from mars.run import execute

_NEVER = 1e6  # minutes


class Took(NamedTuple):
    """Seconds of a clock and of the processor."""

    clock: float
    processor: float

    @classmethod
    def now(cls) -> Took:
        """Both clocks."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, began: Took) -> Took:
        """What has passed."""
        return Took(self.clock - began.clock, self.processor - began.processor)


def run(rows: str, backbone: str, steps: int, minutes: float) -> tuple[Took, list[Took]]:
    """(the run, each saving) of a fresh run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, _saved() as savings:
        settings = [f"dataset.path={rows}", f"backbone={backbone}", f"rounds.steps={steps}", f"out={folder}/run"]
        settings += [f"checkpoint_minutes={minutes}", f"cache={folder}/cache", "dataset=hh_rlhf", "train=full"]
        config = composed(
            "config", [*settings, "method=none", "rounds.number=1", "dataset.test_size=64", "dataset.validation=64"]
        )
        began = Took.now()
        execute(config)
        return Took.now().since(began), savings


@contextmanager
def _saved() -> Iterator[list[Took]]:
    """What each saving takes, as it is done."""
    real, savings = checkpoint.write, list[Took]()

    def write(directory: Path, tree: Any) -> None:
        began = Took.now()
        real(directory, tree)
        savings.append(Took.now().since(began))

    checkpoint.write = write
    try:
        yield savings
    finally:
        checkpoint.write = real


def main(rows: str, backbone: str = "minilm", steps: int = 60, minutes: float = 1.0) -> None:
    run(rows, backbone, 1, _NEVER)  # loads what all use
    plain, last = run(rows, backbone, steps, _NEVER)
    kept, savings = run(rows, backbone, steps, minutes)
    print(f"{steps} steps: {len(savings)} checkpoints, {len(savings) - len(last)} of them within the round")
    for what in Took._fields:
        inside, whole = sum(getattr(one, what) for one in savings), getattr(kept, what)
        beside = whole / getattr(plain, what) - 1
        print(
            f"{what}: {whole:.1f} s, {inside / whole:.1%} of it saving ({inside:.2f} s); {beside:+.1%} beside the other"
        )
