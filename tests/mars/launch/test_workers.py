"""Workers of one machine: the bits of one process, what each is dealt, and what is left when one dies or is stopped."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support import BRIEFLY
from support.commands import run_here

from mars.config import ConfigError
from mars.launch import workers
from mars.launch.tasks import Task
from mars.launch.workers import Waiting
from mars.process import machine
from mars.process.stopping import EXIT_CODE
from mars.record.run_directory import finished_runs
from mars.run import main

TINY = ["scale=tiny", "rounds.number=1", "rounds.steps=1", "dataset.test_size=8", "threads=1"]
TINY += BRIEFLY


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def sweeping(path: Path, study: str, *arguments: str) -> CompletedProcess[str]:
    """A sweep that is called in this process."""
    return run_here(main, "-m", *TINY, f"study={path / study}", f"cache={path}/cache", *arguments)


def test_two_workers_make_the_bits_of_one_process_and_count_as_it_does(tmp_path: Path) -> None:
    jobs = ["method=uniform,mars", "seed=0,1,2"]
    assert sweeping(tmp_path, "one", *jobs).returncode == 0
    done = sweeping(tmp_path, "two", *jobs, "workers=2")
    assert done.returncode == 0, done.stderr
    lines = [line[9:] for line in done.stderr.splitlines()]
    assert [line.split(" runs")[0] for line in lines[:-1]] == [*(f"{n} of 6" for n in range(1, 7)), "6"]
    assert re.match(r"6 of 6 runs: \S+-s\d-\w+ done in .* s, test accuracy 0\.\d{4}$", lines[5])
    runs = finished_runs(tmp_path / "one")
    assert len(runs) == 6
    for run in runs:
        other = tmp_path / "two" / run.path.name
        for name in ("metrics.json", "selection.parquet", "scores/in_distribution.parquet", "model/model.safetensors"):
            assert (other / name).read_bytes() == (run.path / name).read_bytes()
        assert '"method=' in (other / "manifest.json").read_text()  # what it was asked by
    again = sweeping(tmp_path, "two", *jobs, "workers=2")
    assert again.stderr.splitlines()[-2].endswith("6 runs: 6 found finished")


def test_a_worker_goes_on_with_the_data_that_it_has_read() -> None:
    jobs = [(replicate, method) for replicate in (0, 1, 2) for method in "abc"]
    config = {"dataset": {"name": "planted"}}
    tasks = [Task(i, config | {"replicate": r}, [m], 0.0) for i, (r, m) in enumerate(jobs)]
    waiting, read, taken = Waiting(iter(tasks)), ["", ""], list[str]()
    for worker in (0, 1, 0, 0, 1, 0, 1, 0, 1, 0):  # as they get free: the first is the faster
        task = waiting.next_for(read[worker], {read[1 - worker]})
        if task is not None:
            read[worker] = task.data
            taken.append(f"{worker}: {task.config['replicate']}{task.overrides[0]}")
    expected = ["0: 0a", "1: 1a", "0: 0b", "0: 0c", "1: 1b", "0: 2a", "1: 1c", "0: 2b", "1: 2c"]  # and helps at the end
    assert taken == expected


ARMS = """
import multiprocessing, os, signal
from pathlib import Path
from mars.method.strategy import Mars

class Once(Mars):
    def select(self, view):
        flag = Path(os.environ["FLAG"])
        if not flag.exists():
            flag.touch()
            self.strike()
        return super().select(view)

class Killed(Once):
    def strike(self):
        os.kill(os.getpid(), signal.SIGKILL)

class Asked(Once):
    def strike(self):
        os.kill(os.getppid(), signal.SIGTERM)  # what workers are forked from, which stays to tell of their ends
        os.kill(multiprocessing.parent_process().pid, signal.SIGTERM)
        signal.pause()
"""


@pytest.fixture
def arms(plugin: Callable[[dict[str, str], str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`killed` kills its process when it first selects, `asked` has its sweep asked to stop."""
    plugin({"striking.py": ARMS}, "[mars.strategies]\nkilled = striking:Killed\nasked = striking:Asked")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=":")
    monkeypatch.setenv("FLAG", str(tmp_path / "flag"))


@pytest.mark.usefixtures("arms")
def test_a_worker_that_is_killed_loses_its_run_alone(tmp_path: Path) -> None:
    jobs = ["method.name=killed,mars", "seed=0,1", "workers=2"]
    done = sweeping(tmp_path, "study", *jobs)
    assert done.returncode == 1
    said = "error: its process was killed by SIGKILL (out of memory? fewer workers take less)"
    assert said in done.stderr.splitlines()
    assert re.search(r"^  (killed-planted-tiny-s\d-\w+) \(\S+/\1/run\.log\)$", done.stderr, re.MULTILINE)
    assert "4 runs: 3 done here, 1 failed" in done.stderr
    assert "not tried again" in sweeping(tmp_path, "study", *jobs).stderr
    assert sweeping(tmp_path, "study", *jobs, "retry=failed").returncode == 0
    assert len(finished_runs(tmp_path / "study")) == 4


@pytest.mark.usefixtures("arms")
def test_a_sweep_that_is_asked_to_stop_stops_its_workers(tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "mars.run", "-m", *TINY, f"study={tmp_path}/study", f"cache={tmp_path}/cache"]
    asked += ["method.name=asked", "seed=0,1", "workers=2"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == EXIT_CODE, done.stderr
    assert done.stderr.endswith("stopped as asked; the same command goes on from the last checkpoint\n")
    assert "Traceback" not in done.stderr
    logs = [path for path in (tmp_path / "study").glob("*/run.log") if "was asked to stop" in path.read_text()]
    assert logs
    assert not finished_runs(tmp_path / "study")
    assert subprocess.run(asked, capture_output=True, check=False, timeout=600).returncode == 0
    assert len(finished_runs(tmp_path / "study")) == 2


def test_a_worker_that_is_asked_to_stop_before_it_is_ready_stops() -> None:
    worker = workers._Worker(workers.Workers(2, "cpu").environments[0])
    worker.process.terminate()
    worker.process.join(30)
    ended = worker.process.exitcode
    worker.process.kill()
    assert ended == -signal.SIGTERM


def test_what_each_worker_is_dealt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 8)
    monkeypatch.setattr(workers.shutil, "which", lambda _: None)
    assert workers.number("auto", "auto") == 8
    assert {e["OMP_NUM_THREADS"] for e in workers.environments(3, "auto")} == {"2"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert {e["OMP_NUM_THREADS"] for e in workers.environments(3, "auto")} == {"5"}
    assert all(machine.SHARE not in e for e in workers.environments(3, "cpu"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-7,")
    assert workers.number("auto", "auto") == 2
    assert workers.number("auto", "cpu") == 8
    dealt = workers.environments(3, "auto")
    assert [e["CUDA_VISIBLE_DEVICES"] for e in dealt] == ["2", "GPU-7", "2"]
    assert [e.get(machine.SHARE) for e in dealt] == ["0.5", None, "0.5"]
    same = workers.environments(2, "cuda:1")
    assert ["CUDA_VISIBLE_DEVICES" in e for e in same] == [False, False]
    assert [e[machine.SHARE] for e in same] == ["0.5", "0.5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert workers.cards("auto") == []


def test_the_cards_are_those_that_the_driver_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$1" = --query-gpu=uuid ] && printf "GPU-a\\nGPU-b\\n"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert workers.cards("auto") == ["GPU-a", "GPU-b"]
    tool.write_text("#!/bin/sh\nexit 9\n")  # no driver
    assert workers.cards("auto") == []


@pytest.mark.parametrize("asked", [0, -1, 2.0, True, "many", None])
def test_a_number_of_workers_is_a_whole_one(asked: object) -> None:
    with pytest.raises(ConfigError, match=r"^workers: a whole number from 1 or auto, not "):
        workers.number(asked, "cpu")  # type: ignore[arg-type]


def test_more_workers_than_cores_are_refused_before_the_first_run(tmp_path: Path) -> None:
    done = sweeping(tmp_path, "study", "method=uniform,mars", "workers=3")
    assert done.returncode == 1
    line = "error: workers: 3 are more than the 2 cores that this process may use (auto: as many)"
    assert done.stderr.splitlines() == [line]
    assert not finished_runs(tmp_path / "study")
