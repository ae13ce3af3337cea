"""Finished shards on the disk, and what an actor is dealt, without a cluster."""

from __future__ import annotations

import logging
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from support.cluster import RAY, Here

from mars.cluster import shards
from mars.cluster.nodes import Home, Lack
from mars.cluster.settings import Need
from mars.cluster.shards import Actor, Actors, Shard, Work
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


def test_a_shard_that_cannot_be_read_is_one_line_and_made_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Here, "made", made := [])
    some, ours = [Shard(f"n{n}", str(n).encode()) for n in range(4)], Here(RAY, Need(), 1, tmp_path)
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

    class Silent(Actors):
        def dataset(self, work: Work, rows: list[dict[str, Any]]) -> SimpleNamespace:
            return SimpleNamespace(iter_rows=lambda: iter(ended.wait, True))

    with pytest.raises(UserError, match="the head is gone"):
        list(Silent(RAY, Need(), 1, tmp_path).map(WORK, [Shard("n", b"1")]))
    ended.set()


def test_an_actor_takes_its_part_of_the_cards(monkeypatch):
    for name in (machine.SHARE, machine.VISIBLE):
        monkeypatch.setenv(name, "before")
    Actor(Home(program(), os.getcwd()), 0.5, WORK.target, ())
    assert (os.environ[machine.SHARE], os.environ[machine.VISIBLE]) == ("0.5", "before")
    Actor(Home(program(), os.getcwd()), 2, WORK.target, ())
    assert (os.environ[machine.SHARE], os.environ[machine.VISIBLE]) == ("0.5", "before")
    Actor(Home(program(), os.getcwd()), 0, WORK.target, ())
    assert os.environ[machine.VISIBLE] == ""
