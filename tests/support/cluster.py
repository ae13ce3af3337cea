"""What tests of a Ray cluster give its workers to do, and workers without a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from mars.cluster.nodes import Home
from mars.cluster.shards import Actor, Actors, Work
from mars.launch.sweep import Outcome
from mars.process.program import program
from mars.run import Run, execute_in_sweep

DEAD = dict.fromkeys(("RayActorError", "OutOfMemoryError", "WorkerCrashedError", "NodeDiedError"), RuntimeError)
RAY = SimpleNamespace(exceptions=SimpleNamespace(**DEAD))


class Here(Actors):
    """Actors that are this process. made: the shards that they make."""

    made: ClassVar[list[int]] = []

    def dataset(self, work: Work, rows: list[dict[str, Any]]) -> SimpleNamespace:
        actor = Actor(Home(program(), os.getcwd()), 1, work.target, work.arguments)
        done = [actor({name: [row[name]] for name in row}) for row in rows]
        self.made.extend(row["shard"] for row in rows)
        return SimpleNamespace(iter_rows=lambda: ({name: one[name][0] for name in one} for one in done))


class Square:
    """Squares; at `deadly` its process dies as often as `deaths` says. Leaves a line in `notes` for every number."""

    def __init__(self, notes: str, deadly: int = -1, deaths: int = 0):
        self.notes, self.deadly, self.deaths = Path(notes), deadly, deaths

    def __call__(self, content: bytes) -> dict[str, list[int]]:
        number = int(content)
        with self.notes.open("a") as file:
            file.write(f"{number}\n")
        if number == self.deadly and self.notes.read_text().split().count(str(number)) <= self.deaths:
            os._exit(1)
        return {"square": [number**2]}


def carried_out_unless_doomed(config: Mapping[str, Any], began: float, overrides: Sequence[str]) -> Outcome:
    """`execute_in_sweep`; on the node that STUDY/doomed names the run is claimed, STUDY/hangs is written, and no more.

    Leaves a line in STUDY/notes for every run that it carries to its end.
    """
    import ray

    study = Path(config["study"])
    if (study / "doomed").read_text() == ray.get_runtime_context().get_node_id():
        Run._work = lambda self, *_: ((study / "hangs").write_text(self.name), time.sleep(600))  # type: ignore
    outcome = execute_in_sweep(config, began, overrides)
    with (study / "notes").open("a") as file:
        file.write(f"{outcome.state} {outcome.name}\n")
    return outcome
