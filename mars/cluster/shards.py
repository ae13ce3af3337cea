"""Work in shards, done by Ray actors that hold what is dear to load, and kept as parquet until all of it is used.

Ray Data's `map_batches` deals the shards out to actors. A shard is named by what is in it, so the same work finds after
a kill what was finished before, whatever the number of actors. What comes back is written here, by one process: workers
need no folder in common. A worker that dies (out of memory, a lost node) is started anew and its shard tried again.

    with open_actors(EngineConfig("ray"), cache) as actors:
        for number, table in actors.map(Work("package.module:Class", (...), identity), shards): ...
        actors.forget(work)
"""

from __future__ import annotations

import logging
import os
import queue
import re
import shutil
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mars import files
from mars.cluster.nodes import LOOK, Home, Lack, check_room, connected, lacks_program, nodes
from mars.cluster.settings import EngineConfig, Need
from mars.config import UserError
from mars.plugins import resolve
from mars.process.machine import take_cards
from mars.process.program import program
from mars.progress import counted

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_TRIES = 3  # of a shard whose worker dies


class Shard(NamedTuple):
    """A part of some work. key: names what is in it, as a file name can. content: what the worker gets."""

    key: str
    content: bytes


@dataclass(frozen=True)
class Work:
    """What is done with shards.

    target: `"module:Class"`, made once in each worker with `arguments`; the object turns the content of a shard into
    columns, {name: sequence}. identity: JSON, all that shapes a result besides the shard. paths: what a worker has to
    see on its disks.
    """

    target: str
    arguments: tuple[Any, ...]
    identity: Any
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Actors:
    """`number` actors of a cluster. directory: where finished shards are kept."""

    ray: Any
    need: Need
    number: int
    directory: Path

    def map(self, work: Work, shards: Sequence[Shard]) -> Iterator[tuple[int, pa.Table]]:
        """(number of the shard, its columns) of every one: those that are there already, then others as they are done.

        Raises UserError where a worker cannot begin, or dies at the same shards again and again.
        """
        missing = []
        for number, shard in enumerate(shards):
            table = _read(self._file(work, shard))
            if table is None:
                missing.append(number)
            else:
                yield number, table
        found = len(shards) - len(missing)
        log.info(
            "ray: %s for %s of %s%s", counted(len(missing), "shard"), counted(self.number, "worker"), self.need,
            f"; {found} are there already" if found else "",
        )  # fmt: skip
        for number, table in self._make(work, {number: shards[number].content for number in missing}):
            _write(self._file(work, shards[number]), table)
            yield number, table

    def forget(self, work: Work) -> None:
        """Deletes the finished shards of `work`, which are in use or stored elsewhere by now."""
        shutil.rmtree(self._folder(work), ignore_errors=True)

    def _folder(self, work: Work) -> Path:
        return self.directory / files.digest([work.target, work.identity])[:16]

    def _file(self, work: Work, shard: Shard) -> Path:
        return self._folder(work) / f"{shard.key}.parquet"

    def _make(self, work: Work, contents: Mapping[int, bytes]) -> Iterator[tuple[int, pa.Table]]:
        if not contents:
            return
        import pyarrow as pa

        rows = [{"shard": number, "content": content} for number, content in contents.items()]
        left = set(contents)
        try:
            for row in self._heard(self.dataset(work, rows)):
                if row["mistake"]:
                    raise UserError(row["mistake"])
                left.discard(row["shard"])
                yield row["shard"], pa.ipc.open_stream(row["table"]).read_all()
        except self._deadly as error:
            raise _told(error, len(contents) - len(left), len(contents)) from error

    def _heard(self, dataset: Any) -> Iterator[dict[str, Any]]:
        """Its rows as they come. A thread waits for them: Ray would wait in silence for a head or nodes now gone."""
        found: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()
        over, lack = threading.Event(), Lack(self.need)

        def hear() -> None:
            try:
                for row in dataset.iter_rows():
                    found.put(row)
                    if over.is_set():
                        return
                found.put(None)
            except Exception as error:  # which is raised where the rows are used
                found.put(error)

        threading.Thread(target=hear, daemon=True).start()
        try:
            while True:
                try:
                    row = found.get(timeout=LOOK)
                except queue.Empty:
                    lack.look(self.ray)
                    continue
                if row is None:
                    return
                if isinstance(row, Exception):
                    raise row
                yield row
        finally:
            over.set()

    @property
    def _deadly(self) -> tuple[type[Exception], ...]:
        """What Ray raises when a worker has died as often as it may."""
        of = self.ray.exceptions
        return of.RayActorError, of.OutOfMemoryError, of.WorkerCrashedError, of.NodeDiedError

    def dataset(self, work: Work, rows: list[dict[str, Any]]) -> Any:
        """A dataset of Ray whose rows are what an `Actor` makes of `rows`, in the order in which they are done."""
        import ray.data

        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # it logs tracebacks of what is raised anyway
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        home = Home(program(), os.getcwd(), work.paths)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `max_restarts` has no other way in before Ray 2.64
            return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                Actor,
                fn_constructor_args=(home, self.need.gpus, work.target, work.arguments),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(self.number, len(rows)), max_tasks_in_flight_per_actor=2),
                max_restarts=_TRIES - 1,
                max_task_retries=_TRIES - 1,
                **self.need.options,
            )


@contextmanager
def open_actors(engine: EngineConfig, cache: Path) -> Iterator[Actors | None]:
    """The workers that `engine` asks for, None where all is done in this process. Raises ConfigError."""
    if engine.name == "local":
        yield None
        return
    with connected(engine.address, "engine.address") as ray:
        number = check_room(ray, engine.need, engine.actors, "engine", "actors")
        log.info("ray: %s on a cluster of %s", counted(number, "worker"), counted(len(nodes(ray)), "node"))
        yield Actors(ray, engine.need, number, cache / "shards")


class Actor:
    """An actor: what it works with, made once. A user's mistake comes back as its text, an error is raised."""

    def __init__(self, home: Home, gpus: float, target: str, arguments: tuple[Any, ...]):
        self._mistake, self._work = "", None
        take_cards(gpus)
        try:
            home.enter()
            self._work = resolve(target)(*arguments)
        except UserError as error:
            self._mistake = str(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        table = b""
        if not self._mistake:
            try:
                table = _packed(self._work(batch["content"][0]))  # type: ignore[misc]
            except UserError as error:
                return {"shard": [int(batch["shard"][0])], "table": [b""], "mistake": [str(error)]}
        return {"shard": [int(batch["shard"][0])], "table": [table], "mistake": [self._mistake]}


def _packed(columns: Mapping[str, Any]) -> bytes:
    import pyarrow as pa

    table, sink = pa.table(dict(columns)), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _read(file: Path) -> pa.Table | None:
    """The columns in it; None where it is not there, or is no whole Parquet file."""
    if not file.exists():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        log.warning("%s: cannot be read and is made again: %s", file, files.reason(error))
        return None


def _write(file: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    with files.aside(file) as other:
        pq.write_table(table, other)


def _told(error: Exception, kept: int, number: int) -> UserError:
    if lacking := lacks_program(error):
        return lacking
    text = " ".join(str(error).split())
    pid, node = (re.search(rf"\b{name}: (\S+)", text) for name in ("pid", "ip"))
    where = f" (pid {pid[1]} on {node[1]})" if pid and node else ""
    why = "the node ran out of memory" if "low on memory" in text else "out of memory, or a crash of a library"
    return UserError(
        f"ray: a worker{where} died {_TRIES} times over one shard: {why} (fewer engine.actors on a node need less); "
        f"{kept} of {number} shards are kept, and the same command goes on with the others"
    )
