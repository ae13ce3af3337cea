"""Claims: two owners never hold one key, a living owner keeps what it holds, and a dead one's is free."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from mars.cache import Cache
from mars.claims import LEASE, TABLE, Claims, _born, _host, free, key_of, living

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


HERE, HOUR = "here", 3600.0


def put(path: Path, host: str, expires: float) -> None:
    """A claim on A by a process that lives: this one's parent, or one that cannot be seen."""
    pid = os.getppid()
    row = ("other", _host() if host == HERE else host, pid, _born(pid), expires, A)
    with claims(path).file.open() as database:
        database.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?)", row)


def held(path: Path) -> bool:
    with claims(path).claim(free([A])) as claim:
        return not claim.keys


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_who_is_seen_to_live_keeps_what_it_holds_when_the_clock_jumps(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, HERE, time.time() + 60)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    monkeypatch.setattr(os, "utime", refuse)  # no clock but this machine's
    assert held(tmp_path)


def test_a_claim_that_could_not_be_dropped_is_free_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner lives and does not prolong it: on a full disk a claim cannot be dropped."""
    put(tmp_path, HERE, time.time() - 1)
    assert held(tmp_path)
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + LEASE)
    assert not held(tmp_path)


def test_what_this_process_could_not_drop_is_free_at_once(tmp_path: Path) -> None:
    with claims(tmp_path).claim(free([A])):
        assert held(tmp_path)
        with claims(tmp_path).file.open() as database:  # nothing can be dropped, as on a full disk
            database.execute("CREATE TRIGGER full BEFORE DELETE ON claims BEGIN SELECT RAISE(IGNORE); END")
    assert len(owners(tmp_path)) == 1
    with claims(tmp_path).file.open() as database:
        database.execute("DROP TRIGGER full")
    assert not held(tmp_path)


def test_a_machine_whose_clock_is_ahead_goes_by_that_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "elsewhere", time.time() + 60)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + HOUR)
    assert held(tmp_path)
    with claims(tmp_path).claim(free([B])), claims(tmp_path).file.open() as database:
        [(expires,)] = database.execute("SELECT expires FROM claims WHERE owner != 'other'").fetchall()
    assert abs(expires - now() - 60) < 30


def test_a_lease_from_a_clock_that_was_ahead_is_cut_short(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere", time.time() + 1000 * HOUR)
    assert held(tmp_path)
    with claims(tmp_path).file.open() as database:
        [(expires,)] = database.execute("SELECT expires FROM claims").fetchall()
    assert expires < time.time() + 2 * LEASE


def refuse(*_: object) -> None:
    raise OSError
