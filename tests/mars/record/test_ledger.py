"""The ledger of a study: one owner a run, how each ended, what a sweep asks for; lost or damaged it costs no run."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from mars.config import UserError
from mars.record.ledger import FILE, Held, Ledger, job_of


def test_a_run_is_one_owner_s_until_it_has_ended(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.work("a", ""):
        with pytest.raises(Held, match=rf"a: process {os.getpid()} on .* works on it"), Ledger(tmp_path).work("a", ""):
            pass
        with ledger.work("b", ""):  # another run
            assert {name for name, run in ledger.contents().runs.items() if run.who} == {"a", "b"}
        assert ledger.wait(["a", "b"]) == ["b"]
    found = ledger.contents().runs["a"]
    assert found.who == found.why == ""
    assert found.began
    assert found.ended
    assert 0 <= found.ended - found.began < 60


@pytest.mark.parametrize(
    ("error", "why"), [(UserError("no\nroom"), "no room"), (KeyError("x"), "KeyError: 'x'"), (OSError(), "OSError")]
)
def test_a_failure_is_kept_until_the_run_is_tried_again(error: Exception, why: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(type(error)), ledger.work("a", ""):
        raise error
    failure = ledger.failure("a")
    assert failure
    assert failure.why == why
    with ledger.work("a", ""):
        assert ledger.failure("a") is None
    assert ledger.failure("a") is None
    assert ledger.failure("never begun") is None


def test_what_is_interrupted_has_not_failed_and_is_nobody_s(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(KeyboardInterrupt), ledger.work("a", ""):
        raise KeyboardInterrupt
    assert ledger.contents().runs["a"][1:] == (None, "", "")


def test_a_job_waits_until_its_run_is_known(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    jobs = [job_of(["seed=1", "study=x", "threads=2", "method=mars"]), "bad=1", "done=1"]
    assert jobs[0] == "method=mars seed=1"
    with ledger.sweep(jobs), ledger.work("mars-1", jobs[0]):
        ledger.refuse("bad=1", "is no setting")
        ledger.know("done=1", "old")
        ledger.know("another sweep's", "old")
    found = ledger.contents()
    assert found.jobs == {"method=mars seed=1": "mars-1", "bad=1": "bad=1", "done=1": "old"}
    assert found.runs["bad=1"].why == "is no setting"
    ledger.know("bad=1", "mended")  # its settings are good now
    assert "bad=1" not in ledger.contents().runs


def test_jobs_of_a_sweep_that_ended_are_forgotten_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    with Ledger(tmp_path).sweep(["a", "b"]):
        Ledger(tmp_path).know("a", "run-a")
        with Ledger(tmp_path).sweep(["c"]):
            pass
        assert set(Ledger(tmp_path).contents().jobs) == {"a", "b", "c"}
    assert set(Ledger(tmp_path).contents().jobs) == {"a", "b", "c"}
    with Ledger(tmp_path).sweep(["d"]):
        assert set(Ledger(tmp_path).contents().jobs) == {"a", "d"}  # that "a" is a run is no sweep's alone


def test_a_damaged_ledger_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    assert Ledger(tmp_path).contents() == ({}, {})
    assert (tmp_path / FILE).read_bytes().startswith(b"not")  # looking changes nothing
    with Ledger(tmp_path).work("a", ""), pytest.raises(Held), Ledger(tmp_path).work("a", ""):
        pass
    assert (tmp_path / f"{FILE}.damaged").read_bytes().startswith(b"not")
    assert "is not a database" in caplog.text
    assert Ledger(tmp_path).contents().runs["a"].ended


def test_a_ledger_that_is_lost_or_torn_meanwhile_costs_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.work("a", ""):
        (tmp_path / FILE).unlink()
    assert ledger.contents().runs["a"].ended
    with ledger.work("b", ""):
        (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:5000])
    assert ledger.contents().runs["b"].ended


def test_where_there_can_be_no_ledger_runs_go_on_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).mkdir()
    for name in ("a", "b"):
        with Ledger(tmp_path).work(name, ""), Ledger(tmp_path).sweep([]):
            assert Ledger(tmp_path).failure(name) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "runs are not claimed" in caplog.text


def test_a_claim_whose_file_was_lost_is_made_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, lease=0.2)
    with ledger.work("a", ""):
        (tmp_path / FILE).unlink()
        end = time.monotonic() + 30
        while not (tmp_path / FILE).exists() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.2)
        with pytest.raises(Held), Ledger(tmp_path).work("a", ""):
            pass


@pytest.mark.parametrize(("ago", "since"), [(-5, True), (5, False), (-1e6, False)])
def test_what_ended_in_a_time_to_come_ended_before_the_clock_was_set_back(
    ago: float, since: bool, tmp_path: Path
) -> None:
    began = time.time() - 10
    assert Ledger(tmp_path).since(began, began - ago) is since


def _work(path: Path, working: Any) -> None:
    with Ledger(path).work("a", ""):
        working.set()
        time.sleep(3600)


def test_a_killed_owner_s_run_is_free_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    working = spawn.Event()
    process = spawn.Process(target=_work, args=(tmp_path, working))
    process.start()
    assert working.wait(60)
    with pytest.raises(Held), Ledger(tmp_path).work("a", ""):
        pass
    process.kill()
    process.join()
    assert Ledger(tmp_path).contents().runs["a"].who == ""
    with Ledger(tmp_path).work("a", ""):
        pass


def test_a_ledger_of_another_version_is_not_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("CREATE TABLE runs (id INTEGER)")
    with Ledger(tmp_path).work("a", ""):
        pass
    assert Ledger(tmp_path).contents() == ({}, {})
    assert "runs are not claimed" in caplog.text
