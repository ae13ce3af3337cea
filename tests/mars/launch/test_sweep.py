"""A sweep: no run twice in several processes, none lost with a killed one, failures listed, settings where they fit."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from support import BRIEFLY
from support.commands import run_apart, run_here

from mars.launch import sweep
from mars.launch.sweep import DONE_HERE, FOUND, Outcome, Sweep
from mars.record.ledger import Ledger
from mars.record.run_directory import finished_runs
from mars.run import Run, execute, main

Compose = Callable[..., dict[str, Any]]
SHORT = ["scale=tiny", "rounds.number=1", "rounds.steps=1"]
TINY = [*SHORT, "dataset.test_size=8", *BRIEFLY]


def sweeping(path: Path, *arguments: str, settings: Sequence[str] = TINY) -> CompletedProcess[str]:
    """A sweep that is called in this process."""
    return run_here(main, "-m", *settings, f"study={path}/study", f"cache={path}/cache", *arguments)


def starts(path: Path) -> Counter[str]:
    """How often each run of the study was begun."""
    logs = (path / "study").glob("*/run.log")
    return Counter({log.parent.name: log.read_text().count(f" run {log.parent}\n") for log in logs})


def lines(done: CompletedProcess[str]) -> list[str]:
    """What a sweep showed, without the time of day."""
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in done.stderr.splitlines()]


def test_three_processes_do_every_run_once_and_one_that_is_killed_loses_none(tmp_path: Path) -> None:
    command = ["-m", *TINY, f"study={tmp_path}/study", f"cache={tmp_path}/cache"]
    command += ["method=none,uniform,mars", "seed=0,1,2", "threads=1"]
    heard = [tmp_path / f"said-{number}" for number in range(3)]
    processes = [run_apart(main, command, file) for file in heard]
    ledger, end = Ledger(tmp_path / "study"), time.monotonic() + 120
    killed = f"process {processes[0].pid} "
    while not any(run.who.startswith(killed) for run in ledger.contents().runs.values()):
        assert time.monotonic() < end
        time.sleep(0.01)
    processes[0].kill()
    for process in processes:
        process.join()
    said = [file.read_text() for file in heard]
    assert [process.exitcode for process in processes[1:]] == [0, 0], said
    begun = starts(tmp_path)
    assert len(finished_runs(tmp_path / "study")) == len(begun) == 9
    assert sorted(begun.values())[:8] == [1] * 8  # the killed one's was begun twice, or not before it was killed
    assert begun.total() <= 10
    for text in said[1:]:
        assert re.search(r"9 runs: .*(done here|found finished)", text), text
    assert all(run.ended and not run.who for run in ledger.contents().runs.values())
    assert len(ledger.contents().jobs) == 9


@contextmanager
def held(ledger: Ledger, name: str, until: Callable[[], bool]) -> Iterator[None]:
    """Meanwhile somebody else works on the run."""
    working = threading.Event()

    def work() -> None:
        with ledger.work(name, ""):
            working.set()
            end = time.monotonic() + 60
            while not until() and time.monotonic() < end:
                time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    assert working.wait(60)
    yield
    thread.join()


def test_a_sweep_leaves_what_another_works_on_and_comes_back_to_it(compose: Compose, tmp_path: Path) -> None:
    first = Run.of(compose(*TINY, "method=none", "seed=0"))
    with held(first.ledger, first.name, until=lambda: bool(finished_runs(tmp_path / "study"))):
        done = sweeping(tmp_path, "method=none", "seed=0,1")
    assert done.returncode == 0, done.stderr
    shown = lines(done)
    assert re.match(r"1 of 2 runs, .* left: none-planted-tiny-s1-\w+ done in .* s, test accuracy 0\.\d{4}$", shown[0])
    assert shown[1] == "waiting for 1 run that others work on"
    assert re.match(r"2 of 2 runs: none-planted-tiny-s0-", shown[2])
    assert shown[3:] == ["2 runs: 2 done here", f"report: python -m analysis.report study={tmp_path}/study"]


def test_a_run_of_its_own_waits_for_whoever_works_on_it(
    compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for settings in ([], [f"out={tmp_path}/mine"]):
        caplog.clear()
        config = compose(*TINY, "method=none", *settings)
        run = Run.of(config)
        with held(run.ledger, run.name, until=lambda: "waiting until it has ended" in caplog.text):
            caplog.set_level("INFO")
            directory = execute(config)
        assert (directory / "DONE").exists()
        assert (directory / "ledger.sqlite").exists() == bool(settings)


def test_a_failed_run_stops_no_other_and_is_tried_again_only_when_asked(tmp_path: Path) -> None:
    bad = ["method=none", "train=full", "train.max_grad_norm=1e38", "train.lr=1e38,1e-4"]
    done = sweeping(tmp_path, *bad)
    assert done.returncode == 1
    assert len(finished_runs(tmp_path / "study")) == 1
    [failed] = [name for name in starts(tmp_path) if not (tmp_path / "study" / name / "DONE").exists()]
    log = tmp_path / "study" / failed / "run.log"
    assert lines(done)[-4] == "2 runs: 1 done here, 1 failed"
    assert re.match(r"error: \S", lines(done)[-2])
    assert lines(done)[-1] == f"  {failed} ({log})"
    again = sweeping(tmp_path, *bad)
    assert again.returncode == 1
    assert starts(tmp_path)[failed] == 1
    assert lines(again)[0] == "2 runs: 1 found finished, 1 failed"
    assert lines(again)[-1] == f"  {failed} ({log}); failed before and not tried again (retry=failed does)"
    retried = sweeping(tmp_path, *bad, "retry=failed")
    assert retried.returncode == 1
    assert starts(tmp_path)[failed] == 2
    assert lines(retried)[-1] == f"  {failed} ({log})"
    single = run_here(main, *TINY, f"study={tmp_path}/study", f"cache={tmp_path}/cache", *bad[:-1], "train.lr=1e38")
    assert single.returncode == 1
    assert starts(tmp_path)[failed] == 3
    assert any(line.startswith("run ") for line in lines(single))  # it shows its lines


def test_force_begins_anew_once_and_goes_on_with_what_the_sweep_has_begun(
    compose: Compose, interrupt_at: Callable[[int], list[int]]
) -> None:
    settings = [*TINY, "method=none", "rounds.number=2"]
    execute(compose(*settings))
    calls, began = interrupt_at(2), time.time()
    run = Run.of(compose(*settings, "force=true"))
    with pytest.raises(KeyboardInterrupt):
        run.carry_out("", began)
    assert run.carry_out("", began)
    assert len(calls) == 3  # the round before was not trained again
    assert not run.carry_out("", began)


BROKEN = """
from mars.method.strategy import Mars


class Broken(Mars):
    def select(self, view):
        return 1 / 0
"""


def test_an_error_of_the_program_is_a_failed_run_too(
    plugin: Callable[[dict[str, str], str], None], tmp_path: Path
) -> None:
    plugin({"broken_arm.py": BROKEN}, "[mars.strategies]\nbroken = broken_arm:Broken")
    done = sweeping(tmp_path, "method.name=broken,mars")
    assert done.returncode == 1
    assert "error: ZeroDivisionError: division by zero" in lines(done)
    assert len(finished_runs(tmp_path / "study")) == 1
    [log] = (tmp_path / "study").glob("broken-*/run.log")
    assert "Traceback (most recent call last)" in log.read_text()
    assert "Traceback" not in done.stderr


def test_a_job_without_a_run_is_shown_with_its_reason_and_tried_each_time(tmp_path: Path) -> None:
    missing = ["dataset=files", f"dataset.train={tmp_path}/rows.jsonl", "dataset.test_from_train=0.2", "method=none"]
    done = sweeping(tmp_path, *missing, "seed=0,1", settings=SHORT)
    assert done.returncode == 1
    assert sum(line.startswith("error: ") for line in lines(done)) == 1  # one reason, two jobs
    assert [entry.why for entry in Ledger(tmp_path / "study").contents().runs.values() if "rows.jsonl" in entry.why]
    assert len(lines(done)[-2:]) == 2
    assert all("seed=" in line for line in lines(done)[-2:])
    again = sweeping(tmp_path, *missing, "seed=0,1", settings=SHORT)
    assert "not tried again" not in again.stderr


def test_jobs_whose_config_cannot_be_resolved_are_one_line_and_their_names(tmp_path: Path) -> None:
    done = sweeping(tmp_path, "experiment=learning_curves", "dataset.size=null", "method=none,mars", "replicate=0")
    said = lines(done)
    assert said[0] == "2 runs: 2 failed"
    assert said[1].startswith("error: rounds.budget: is a multiple of what is null")
    assert len(said) == 4


def test_a_setting_goes_to_those_choices_that_have_it(tmp_path: Path) -> None:
    done = sweeping(tmp_path, "method=uniform,mars", "method.tau=0,1,2", "seed=0")
    assert done.returncode == 0, done.stderr
    runs = [run.config() for run in finished_runs(tmp_path / "study")]
    found = sorted((run["method"]["name"], run["method"].get("tau")) for run in runs)
    assert found == [("mars", 0), ("mars", 1), ("mars", 2), ("uniform", None)]
    line = "method.tau: method uniform has no such setting and runs without it (4 jobs, not 6)"
    assert lines(done)[0] == line
    nobody = sweeping(tmp_path, "method=uniform,none", "method.tau=1")
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("error: method.tau: not a setting of method=uniform,none, but of mars, mars_easy, ")


def test_runs_on_the_same_data_follow_each_other(tmp_path: Path) -> None:
    done = sweeping(tmp_path, "method=uniform,mars", "seed=1,0", "dataset.seed=${seed}")
    assert done.returncode == 0, done.stderr
    runs = [found[1] for line in lines(done) if (found := re.search(r"(\w+-planted-tiny-s\d)-\w+ done in", line))]
    assert runs == [f"{method}-planted-tiny-s{seed}" for seed in (1, 0) for method in ("uniform", "mars")]


def test_a_run_of_a_sweep_is_that_of_a_single_command(compose: Compose, tmp_path: Path) -> None:
    settings = ["method=uniform,mars", "augmenter.seed=3,4", "replicate=null,1", "retry=failed"]
    done = sweeping(tmp_path, *settings)
    assert done.returncode == 0
    seeds = [found[1] for line in lines(done) if (found := re.search(r"-s(\d+)-\w+ done in", line))]
    assert seeds == ["0"] * 4 + ["1000"] * 4  # those on the same data follow each other
    singles = {
        Run.of(compose(*TINY, method, f"augmenter.seed={of_texts}", f"replicate={replicate}")).name
        for method in ("method=uniform", "method=mars")
        for of_texts in (3, 4)
        for replicate in ("null", 1)
    }
    assert {run.path.name for run in finished_runs(tmp_path / "study")} == singles
    assert len(singles) == 8


def test_the_terminal_is_short_and_the_run_s_log_is_not(tmp_path: Path) -> None:
    own = "dataset.seed=77"  # which no other test has had this process read: what is read once is said once
    done = sweeping(tmp_path, own, "method=mars", "seed=0,1")
    assert len(done.stderr.splitlines()) == 4  # a line a run, how they ended, the report's command
    [first, second] = [(run.path / "run.log").read_text() for run in finished_runs(tmp_path / "study")]
    assert "round 0: " in first
    assert "round 0: " in second
    assert "with a training pair" in first  # said before the run had a directory
    shown = sweeping(tmp_path, own, "method=mars", "seed=0,1", "force=true", "debug=true")
    assert shown.stderr.count("round 0: ") >= 2


def test_force_runs_each_run_once_more(tmp_path: Path) -> None:
    sweeping(tmp_path, "method=none", "seed=0")
    before = time.time()
    assert lines(sweeping(tmp_path, "method=none", "seed=0", "force=true"))[-2] == "1 run: 1 done here"
    [run] = finished_runs(tmp_path / "study")
    assert (run.path / "DONE").stat().st_mtime >= before - 1


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_bar_over_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Screen())
    asked = Sweep(tmp_path, [["seed=0"], ["seed=1"], ["seed=2"]], counted=True)
    ends = [Outcome(FOUND, "a", new=False), Outcome(DONE_HERE, "b", seconds=61), Outcome(DONE_HERE, "c", why="")]

    def launch(jobs: Any) -> list[Outcome]:
        for outcome in ends:
            sweep.show(outcome)
        return ends

    asked.run(launch)
    bars = re.findall(r"%\|[^|]*\| (\d of [^\r\n\x1b]*)", sys.stderr.getvalue())  # type: ignore[attr-defined]
    assert bars[0].startswith("0 of 3 runs")
    assert re.match(r"2 of 3 runs, .* left", bars[-2])
    assert bars[-1].startswith("3 of 3 runs")
    assert not asked.mistakes()
