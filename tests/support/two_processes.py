"""What both processes of a run do in tests/mars/process/test_ranks.py: several runs one after the other, in one start.

python -m torch.distributed.run --standalone --nproc_per_node=2 tests/support/two_processes.py FOLDER

FOLDER/configs.json: {name: config} of the runs; what each rank finds out is FOLDER/RANK.json. The last run fails on
rank 1, which ends both processes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mars.config import UserError
from mars.method.passes import Passes
from mars.process import ranks
from mars.process.stopping import Stopped
from mars.run import execute, main


@contextlib.contextmanager
def at_pass(count: int, rank: int, what: Any) -> Iterator[None]:
    """Inside, `what` is called on `rank` before the backward pass of that number."""
    real, passes = Passes.backward, []

    def backward(self: Passes, *arguments: Any) -> torch.Tensor:
        passes.append(1)
        if len(passes) == count and ranks.number() == rank:
            what()
        return real(self, *arguments)

    Passes.backward = backward  # type: ignore[method-assign]
    try:
        yield
    finally:
        Passes.backward = real  # type: ignore[method-assign]


def stopped(config: dict[str, Any], count: int, rank: int) -> bool:
    """Whether the run stopped when `rank` was sent a signal in that pass."""
    with at_pass(count, rank, lambda: os.kill(os.getpid(), signal.SIGUSR1)):
        try:
            execute(config)
        except Stopped:
            if ranks.count() > 1:  # a run to come is another one
                ranks.here().gather(None)  # each has read there by now how the first one ended
                ranks.here().told(lambda: [ranks._store().delete_key(key) for key in ("left", "end")])
            return True
    return False


def failing() -> None:
    raise UserError("a card fell out")


def run(folder: Path) -> None:
    configs = json.loads((folder / "configs.json").read_text())
    found: dict[str, Any] = {}
    logging.getLogger("mars").setLevel(logging.INFO)
    execute(configs["whole"])
    execute(configs["whole"])  # finished
    found["stopped"] = stopped(configs["stopped"], 7, rank=1)  # resumed by one process
    execute(configs["begun_by_one"])
    execute(configs["dropout"])
    found["dropout_stopped"] = stopped(configs["dropout_stopped"], 3, rank=0)
    execute(configs["dropout_stopped"])
    found["sharded_stopped"] = stopped(configs["sharded"], 7, rank=1)
    execute(configs["sharded"])
    try:
        ranks.here().agree({"rows": f"of {ranks.number()}"}, "share a disk")
    except UserError as error:
        found["disagreed"] = str(error)
    (folder / f"{ranks.number()}.json").write_text(json.dumps(found))
    with at_pass(3, rank=1, what=failing):
        sys.argv[1:] = json.loads((folder / "failing.json").read_text())
        main()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
