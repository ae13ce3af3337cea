"""Finished shards on the disk, and what an actor is dealt, without a cluster."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from mars.cluster import shards
from mars.cluster.nodes import Home, Lack
from mars.cluster.settings import Need
from mars.cluster.shards import Actors, Shard, Work, _Actor
from mars.config import UserError
from mars.process import machine
from mars.process.program import program

pa = pytest.importorskip("pyarrow")


class Twice:
    """In an actor."""

    def __call__(self, content: bytes) -> dict[str, list[int]]:
        """A row."""
        return {"twice": [2 * int(content)]}


WORK = Work(f"{__name__}:Twice", (), "twice")


def actors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Actors, list[int]]:
    """Actors that are this process, and the shards that they make."""
    made: list[int] = []

    def mapped(self: Actors, work: Work, rows: list[dict[str, object]]) -> SimpleNamespace:
        actor = _Actor(Home(program(), os.getcwd()), 1, work.target, work.arguments)
        done = [actor({name: [row[name]] for name in row}) for row in rows]
        made.extend(row["shard"] for row in rows)  # type: ignore[misc]
        return SimpleNamespace(iter_rows=lambda: ({name: one[name][0] for name in one} for one in done))

    monkeypatch.setattr(Actors, "_mapped", mapped)
    dead = dict.fromkeys(("RayActorError", "OutOfMemoryError", "WorkerCrashedError", "NodeDiedError"), RuntimeError)
    return Actors(SimpleNamespace(exceptions=SimpleNamespace(**dead)), Need(), 1, tmp_path), made


def test_a_shard_that_cannot_be_read_is_one_line_and_made_again(tmp_path, monkeypatch, caplog):
    some, (ours, made) = [Shard(f"n{n}", str(n).encode()) for n in range(4)], actors(tmp_path, monkeypatch)
    assert len(dict(ours.map(WORK, some))) == 4
    whole, torn, empty, foreign = files = sorted(tmp_path.rglob("*.parquet"))
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    empty.write_bytes(b"")
    foreign.write_text("no Parquet at all, in more letters than its head and its foot have")
    made.clear()
    with caplog.at_level(logging.WARNING, "mars.cluster.shards"):
        again = dict(ours.map(WORK, some))
    assert {n: table["twice"].to_pylist() for n, table in again.items()} == {n: [2 * n] for n in range(4)}
    assert made == [1, 2, 3]
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.partition(": ")[0] for line in lines] == [str(file) for file in (torn, empty, foreign)]
    assert all("cannot be read and is made again: " in line and "\n" not in line for line in lines)
    assert sorted(tmp_path.rglob("*")) == sorted([whole.parent, *files])  # nothing half-written beside them


def test_the_cluster_is_looked_at_while_no_shard_comes(tmp_path, monkeypatch):
    """A head that is gone would be waited for for ever."""
    monkeypatch.setattr(shards, "LOOK", 0.001)
    ended = threading.Event()

    def gone(lack: Lack, ray: object) -> None:
        raise UserError("the head is gone")

    monkeypatch.setattr(Lack, "look", gone)
    ours, _ = actors(tmp_path, monkeypatch)
    with pytest.raises(UserError, match="the head is gone"):
        list(ours._heard(SimpleNamespace(iter_rows=lambda: iter(ended.wait, True))))
    ended.set()


def test_an_actor_takes_its_part_of_the_cards(monkeypatch):
    for name in (machine.SHARE, machine.VISIBLE):
        monkeypatch.setenv(name, "before")
    _Actor(Home(program(), os.getcwd()), 0.5, WORK.target, ())
    assert (os.environ[machine.SHARE], os.environ[machine.VISIBLE]) == ("0.5", "before")
    _Actor(Home(program(), os.getcwd()), 2, WORK.target, ())
    assert (os.environ[machine.SHARE], os.environ[machine.VISIBLE]) == ("0.5", "before")
    _Actor(Home(program(), os.getcwd()), 0, WORK.target, ())
    assert os.environ[machine.VISIBLE] == ""
