"""`mars status`: what is done, at work, failed and waiting, from the run directories and the ledger."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import run_here

from mars.commands.status import Failed, Running, Status, status
from mars.config import UserError
from mars.record.layout import DONE, LOG, STAMP
from mars.record.ledger import FILE, Contents, Entry, Ledger
from mars.run import main


def directory(study: Path, name: str, *files: str) -> None:
    (study / name).mkdir(parents=True)
    for file in files:
        (study / name / file).touch()


def finish(study: Path, name: str, job: str = "") -> None:
    with Ledger(study).work(name, job):
        directory(study, name, STAMP, DONE)


def test_every_state_is_told(tmp_path: Path) -> None:
    study = tmp_path / "study"
    with Ledger(study).sweep([f"seed={i}" for i in range(5)]):
        finish(study, "a", "seed=0")
        directory(study, "b", STAMP, LOG)
        with pytest.raises(UserError), Ledger(study).work("b", "seed=1"):
            raise UserError("no room")
        directory(study, "c", STAMP)
        with pytest.raises(KeyboardInterrupt), Ledger(study).work("c", "seed=2"):
            raise KeyboardInterrupt
        finish(study, "deleted")
        directory(study, "older", DONE)  # than the ledger
        directory(study, "report")  # no run
        for file in (study / "deleted").iterdir():
            file.unlink()
        with Ledger(study).work("d", "seed=3"):
            found = status(study)
            shown = list(found.lines(study, found.running[0].since + 125))
    assert (found.done, found.waiting, found.total) == (["a", "older"], ["c", "seed=4"], 6)
    assert found.failed == [Failed("b", "no room", f"{study}/b/{LOG}")]
    assert shown[0].startswith(f"{study}: 2 of 6 runs done, 1 running, 1 failed, 2 waiting; ")
    assert re.match(r"running  d: process \d+ on .* since \d\d:\d\d:\d\d, for 2 min$", shown[1])
    assert shown[2:5] == [f"failed   b: no room ({study}/b/run.log)", "waiting  c", "waiting  seed=4"]


def test_a_clock_that_jumped_is_not_taken_for_a_run_s_time() -> None:
    """Runs that took 10 s, one of them as the clock was set back and one as it was set forward."""
    ended = {"a": (0, 10), "b": (20, 31), "c": (40, -1e6), "d": (-1e6, 60), "e": (70, 79)}
    runs = {name: Entry(1e7 + began, 1e7 + end, "") for name, (began, end) in ended.items()}
    found = Status.of({}, Contents({**runs, "f": Entry(1e7 + 100, None, "", "process 1")}, {}))
    assert found.seconds == 10.5
    assert found.left(now=1e7) == 10.5  # that which runs began in a time to come


def test_what_is_left_is_shared_by_those_at_work() -> None:
    at_work = [Running("a", "", 100.0), Running("b", "", 90.0)]
    assert Status([], at_work, [], ["c", "d", "e"], 20.0).left(now=105.0) == (15 + 5 + 60) / 2
    assert Status([], at_work, [], [], 20.0).left(now=1000.0) == 0
    assert Status([], [], [], ["c"], 20.0).left(now=0.0) is None
    assert Status([], at_work, [], ["c"], None).left(now=0.0) is None


def test_a_long_list_of_waiting_runs_is_cut(tmp_path: Path) -> None:
    shown = list(Status(["x"], [], [], [f"run {i}" for i in range(30)], None).lines(tmp_path, 0.0))
    assert shown[0] == f"{tmp_path}: 1 of 31 runs done, 30 waiting"
    assert shown[-2:] == ["waiting  run 9", "waiting  and 20 more"]


@pytest.mark.parametrize("arguments", [["STUDY"], ["study=STUDY"], ["STUDY", "--watch"], ["study=STUDY", "watch=true"]])
def test_the_command_takes_the_study_and_writes_nothing(arguments: list[str], tmp_path: Path) -> None:
    finish(tmp_path / "study", "a")
    done = run_here(main, "status", *(one.replace("STUDY", f"{tmp_path}/study") for one in arguments))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/study: 1 of 1 run done\n")
    (tmp_path / "study" / FILE).write_bytes(b"damaged" * 1000)
    assert run_here(main, "status", f"{tmp_path}/study").stdout == done.stdout
    assert (tmp_path / "study" / FILE).stat().st_size == 7000


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "usage: status STUDY [--watch]"),
        (["one", "two"], "usage: status STUDY [--watch]"),
        (["--follow"], "usage: status STUDY [--watch]"),
        (["study=nowhere"], "study: nowhere is no directory"),
        (["empty"], "study: empty holds no run and no ledger.sqlite"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], line: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_here(main, "status", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"error: {line}\n")


def test_a_run_of_its_own_directory_is_shown(tmp_path: Path) -> None:
    with Ledger(tmp_path / "mine").work("mine", ""):
        directory(tmp_path, "mine/model")
        (tmp_path / "mine" / STAMP).touch()
        assert [run.name for run in status(tmp_path / "mine").running] == ["mine"]
    (tmp_path / "mine" / DONE).touch()
    assert status(tmp_path / "mine").done == ["mine"]


def test_it_comes_without_what_takes_long_to_load(tmp_path: Path) -> None:
    finish(tmp_path / "study", "a")
    code = "import sys; from mars.run import main; main(); print(*sys.modules)"
    command = [sys.executable, "-c", code, "status", str(tmp_path / "study")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pandas", "transformers"} & set(loaded)
