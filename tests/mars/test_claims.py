"""Claims: two owners never hold one key, a living owner keeps what it holds, and a dead one's is free."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from mars.cache import Cache
from mars.claims import TABLE, Claims, free, key_of, living

A, B = key_of("a"), key_of("b")


def claims(path: Path, lease: float = 60) -> Claims:
    file = Cache(path / "claims.sqlite", "claims", "owner", TABLE, "delete the file")
    file.create()
    return Claims(file, lease)


def owners(path: Path) -> list[str]:
    with claims(path).file.open() as database:
        return [owner for (owner,) in database.execute("SELECT owner FROM claims")]


def test_a_key_that_is_held_is_not_claimed_again_until_it_is_dropped(tmp_path: Path) -> None:
    with claims(tmp_path).claim(free([A])) as first:
        with claims(tmp_path).claim(free([A, B])) as second:
            assert (first.keys, second.keys) == ([A], [B])
            assert second.others[A].startswith(f"process {os.getpid()} on ")
        with claims(tmp_path).claim(free([A])) as third:
            assert third.keys == []
        assert owners(tmp_path) == [first.owner]
    assert owners(tmp_path) == []
    with claims(tmp_path).claim(free([A])) as again:
        assert again.keys == [A]


def test_what_goes_wrong_inside_gives_the_claim_up(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claims(tmp_path).claim(free([A])):
        raise KeyboardInterrupt
    assert owners(tmp_path) == []


def test_a_claim_can_be_dropped_with_what_was_made(tmp_path: Path) -> None:
    held = claims(tmp_path)
    with held.claim(free([A])) as claim:
        with held.file.transaction() as database:
            claim.drop(database)
        assert owners(tmp_path) == []


def test_slow_work_keeps_its_lease(tmp_path: Path) -> None:
    with claims(tmp_path, lease=0.2).claim(free([A])):
        time.sleep(0.5)
        with claims(tmp_path).claim(free([A])) as other:
            assert other.keys == []


def _hold(path: Path, held) -> None:
    with claims(path).claim(free([A])):
        held.set()
        time.sleep(3600)


def test_what_a_killed_process_held_is_taken_over_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    process = spawn.Process(target=_hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    process.kill()
    process.join()
    with claims(tmp_path).claim(free([A])) as claim:
        assert claim.keys == [A]


def test_a_claim_from_elsewhere_counts_until_its_lease_runs_out(tmp_path: Path) -> None:
    row = ("other", "elsewhere", 1, "", time.time() + 0.3, A)
    with claims(tmp_path).file.open() as database:
        database.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?)", row)
    with claims(tmp_path).claim(free([A])) as early:
        assert (early.keys, early.others) == ([], {A: "process 1 on elsewhere"})
    time.sleep(0.3)
    with claims(tmp_path).claim(free([A])) as late:
        assert late.keys == [A]


def test_a_claim_of_a_number_that_now_is_another_process_is_void(tmp_path: Path) -> None:
    with claims(tmp_path).claim(free([A])) as claim, claims(tmp_path).file.open() as database:
        [(host, pid)] = database.execute("SELECT host, pid FROM claims").fetchall()
        row = ("an earlier one", host, pid, "1", time.time() + 60, B)
        database.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?)", row)
        assert living(database).keys() == {A}
        assert database.execute("SELECT owner FROM claims").fetchall() == [(claim.owner,)]
