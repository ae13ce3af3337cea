"""The runs of a sweep as tasks of a Ray cluster: `hydra/launcher=ray`.

A task is a run. Ray finds it a node with room; where its process or node dies, Ray begins it anew on another one, and
it goes on from its last checkpoint, which is in the study's directory and so has to be on disks that all nodes see. The
study's claims hold there as everywhere: a run that somebody else has in hand is left to them.

    python -m mars.run -m experiment=matched hydra/launcher=ray hydra.launcher.address=10.0.0.1:6379
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher

from mars.cluster.nodes import LOOK, Home, Lack, check_room, connected, nodes
from mars.cluster.settings import ClusterConfig
from mars.config import ConfigError, UserError, build
from mars.launch.sweep import Outcome, log_to
from mars.launch.tasks import Task, prepare_process
from mars.process.machine import take_cards
from mars.process.program import program
from mars.process.stopping import EXIT_CODE, Stopped, listening
from mars.progress import counted

log = logging.getLogger("mars.launch.sweep")  # among what a sweep shows

_KEY = "hydra.launcher"
_ANYWHERE = ("cache", "study", "out")  # may be another place on each node; the study's is looked at in any case


@dataclass(frozen=True)
class RayConfig(ClusterConfig):
    """conf/hydra/launcher/ray.yaml, checked."""

    retries: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.retries < 0:
            raise ValueError(f"retries: must not be negative, and is {self.retries}")


class RayLauncher(Launcher):
    """A `Carrier` that Hydra makes of conf/hydra/launcher/ray.yaml."""

    def __init__(self, **settings: Any):
        self._settings = settings

    def setup(self, **_: Any) -> None:
        """Nothing: what Hydra would hand over, a task has."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        """Raises ConfigError always: jobs that go through no ledger are not carried out elsewhere."""
        raise ConfigError(
            "hydra/launcher=ray: carries out the runs of a sweep, none with debug=true or dry_run=true, and no other "
            "command (evaluate and pool have engine=ray)"
        )

    def carry_out(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        """As `Carrier` has it. Raises UserError for a cluster that will not do, or fails."""
        config = build(RayConfig, self._settings, _KEY)
        need = config.need
        with connected(config.address, f"{_KEY}.address") as ray, listening():  # Ray listens for the same signals
            places = check_room(ray, need, None, _KEY)
            log.info("Ray: room for %s at once on %s", counted(places, "run"), counted(len(nodes(ray)), "node"))
            begin = ray.remote(**need.options, max_retries=config.retries, retry_exceptions=False)(_carried)
            home, rest, at_work = Home(program(), os.getcwd()), iter(tasks), dict[Any, Task]()
            lack = Lack(need)
            while True:
                room = lack.look(ray)
                while len(at_work) < max(1, room) and (task := next(rest, None)) is not None:
                    at_work[begin.remote(home.needing(_paths(task.config)), task, config.gpus)] = task
                if not at_work:
                    return
                ready, _ = ray.wait(list(at_work), timeout=LOOK)
                for one in ready:
                    task = at_work.pop(one)
                    yield task.number, _outcome(ray, one, task, config)


def _outcome(ray: Any, reference: Any, task: Task, config: RayConfig) -> Outcome:
    """How the task ended. Raises UserError where a node will not do, and whatever the program raised."""
    of = ray.exceptions
    try:
        outcome = ray.get(reference)
    except (of.WorkerCrashedError, of.OutOfMemoryError, of.NodeDiedError) as error:
        full = isinstance(error, of.OutOfMemoryError)
        why = "its node ran out of memory" if full else "its process died (out of memory?)"
        return task.lost(f"{why}, {config.retries + 1} times ({_KEY}.memory or .cpus leave fewer runs on a node)")
    if isinstance(outcome, str):
        raise UserError(outcome)
    return outcome


def _carried(home: Home, task: Task, gpus: float) -> Outcome | str:
    """In a process of the cluster: how the task ends, or why it cannot be done on this node."""
    os.environ["TQDM_DISABLE"] = "1"
    take_cards(gpus)  # of those that Ray leaves visible
    prepare_process()
    log_to(logging.StreamHandler())
    try:
        home.enter()
    except UserError as error:
        return str(error)
    try:
        return task.carry_out()
    except Stopped:  # the node is taken away: Ray begins the task on another one
        os._exit(EXIT_CODE)


def _paths(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The files and folders that a config names and that are here: a worker has to see them too."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            for inner in value.values():
                yield from walk(inner)
        elif isinstance(value, str) and "/" in value and Path(value).exists():
            yield value

    named = walk({key: value for key, value in config.items() if key not in _ANYWHERE})
    return tuple(dict.fromkeys([str(config["study"]), *named]))
