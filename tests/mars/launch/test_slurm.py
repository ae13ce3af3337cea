"""Sweeps on a real Slurm of one node: the bits of one process, jobs that give way and go on, and what can go wrong."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from support.commands import run_here
from support.one_node_slurm import lacking, one_node_slurm

from mars.launch import slurm
from mars.launch.slurm_job import Job
from mars.launch.sweep import FAILED
from mars.launch.tasks import Task
from mars.process.program import program
from mars.record.layout import JOB_LOG, LOG, METRICS
from mars.record.run_directory import RunDirectory, finished_runs
from mars.run import main

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="hydra-submitit-launcher is not installed")

TINY = ["scale=tiny", "rounds.number=1", "rounds.steps=1", "dataset.test_size=8", "method=mars"]
ON_SLURM = ["hydra/launcher=slurm", "hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1"]
PATIENCE = 120.0  # seconds


@pytest.fixture(scope="module")
def node() -> Iterator[Path]:
    """A Slurm of one node, which commands find by their environment."""
    if why := lacking():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, one_node_slurm(Path(folder)) as conf:
        os.environ["SLURM_CONF"] = str(conf)
        yield conf
        os.environ.pop("SLURM_CONF")


@pytest.fixture
def closed(node: Path) -> Iterator[Callable[[], str]]:
    """Meanwhile jobs are queued and none starts, until the function is called."""
    update = ("scontrol", "update", "PartitionName=main")
    command(*update, "State=DOWN")
    yield lambda: command(*update, "State=UP")
    command(*update, "State=UP")


def command(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def sweep(path: Path, *arguments: str) -> CompletedProcess[str]:
    return run_here(main, "-m", *TINY, f"study={path}/study", f"cache={path}/cache", *arguments)


def lines(done: CompletedProcess[str]) -> list[str]:
    """What was shown, without the time of day."""
    return [line[9:] if line[2:3] == ":" else line for line in done.stderr.splitlines()]


@contextlib.contextmanager
def meanwhile(work: Callable[[], Any]) -> Iterator[None]:
    """A thread does it; what goes wrong there goes wrong here."""
    wrong: list[BaseException] = []

    def tried() -> None:
        try:
            work()
        except BaseException as error:
            wrong.append(error)
            subprocess.run(["scancel", f"--user={os.getuid()}"], check=False)  # so that nobody waits for its jobs

    thread = threading.Thread(target=tried)
    thread.start()
    yield
    thread.join()
    if wrong:
        raise wrong[0]


@contextlib.contextmanager
def telling() -> Iterator[list[str]]:
    """What a sweep says, as soon as it does."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mars.launch.sweep").addHandler(handler)
    yield told
    logging.getLogger("mars.launch.sweep").removeHandler(handler)


def soon(found: Callable[[], Any]) -> Any:
    """What `found` returns, once that is something."""
    end = time.monotonic() + PATIENCE
    while not (what := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return what


def only(study: Path, pattern: str) -> Path | None:
    return next(study.glob(pattern), None)


def queued_again(job: str) -> bool:
    """Whether Slurm lets the job wait before it starts again, in which case that wait is over."""
    if "BeginTime" not in command("squeue", "--noheader", "--array", "--format=%r", f"--jobs={job}"):
        return False
    command("scontrol", "update", f"JobId={job}", "StartTime=now")
    return True


def test_jobs_that_give_way_go_on_and_all_end_in_the_bits_of_one_process(node: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    settings = ["rounds.steps=120", "checkpoint_minutes=0", "seed=0,1"]  # long enough to be met under way

    def disturb() -> None:
        ways = {"s0": ("scancel", "--signal=USR2"), "s1": ("scontrol", "requeue")}  # out of time, and preempted
        jobs = {}
        while ways:  # whichever is under way first
            seed = soon(lambda: next((s for s in ways if only(study, f"*-{s}-*/checkpoint/[0-9]*")), None))
            jobs[seed] = next((study / "slurm").glob(f"*-{seed}-*.job")).read_text()
            command(*ways.pop(seed), jobs[seed])
        for job in jobs.values():
            soon(lambda job=job: queued_again(job))

    with meanwhile(disturb):
        done = sweep(tmp_path, *ON_SLURM, *settings)
    assert done.returncode == 0, done.stderr
    assert lines(done)[-2] == "2 runs: 2 done here"
    assert sum(" of 2 runs" in line for line in lines(done)) == 2

    here = run_here(main, "-m", *TINY, *settings, f"study={tmp_path}/here", f"cache={tmp_path}/cache")
    assert here.returncode == 0, here.stderr
    for run, same in zip(finished_runs(study), finished_runs(tmp_path / "here"), strict=True):
        assert run.path.name == same.path.name
        for file in (METRICS, "model/model.safetensors", "selection.parquet"):
            assert (run.path / file).read_bytes() == (same.path / file).read_bytes(), file
        log = (run.path / LOG).read_text()
        assert log.count("was asked to stop") == 1
        assert log.count(f" run {run.path}\n") == 2
        assert (run.path / JOB_LOG).resolve().parent == study / "slurm"
        assert (run.path / JOB_LOG).read_text().count(f" run {run.path}\n") == 2

    again = sweep(tmp_path, *ON_SLURM, *settings)
    assert lines(again)[:-1] == ["2 runs: 2 found finished"]  # and no job


def test_jobs_outlive_the_sweep_and_the_same_command_waits_for_them(
    closed: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_LAG", 0.5)
    monkeypatch.setattr(slurm, "_LOOK", 0.2)
    study, queue = tmp_path / "study", ("squeue", "--noheader", "--array", "--format=%i")
    words = [*TINY, f"study={study}", f"cache={tmp_path}/cache", *ON_SLURM]
    first = subprocess.Popen([sys.executable, "-m", "mars.run", "-m", *words], stderr=subprocess.DEVNULL)
    note = soon(lambda: only(study, "slurm/*.job"))
    first.kill()
    first.wait()
    job = note.read_text()

    def cancel() -> None:
        soon(lambda: "in the queue already: 1 run" in told)
        assert command(*queue).split() == [job]  # no second one
        command("scancel", job)

    with telling() as told, meanwhile(cancel):
        done = sweep(tmp_path, *ON_SLURM)
    why = f"its job ended without an answer: cancelled, without a log (can its node see {study}/slurm?)"
    assert done.returncode == 1
    assert lines(done)[0] == "in the queue already: 1 run"
    assert lines(done)[-2:] == [f"error: {why}", f"  {note.stem}"]

    listed = sweep(tmp_path, *ON_SLURM)
    assert lines(listed)[-1] == f"  {note.stem}; failed before and not tried again (retry=failed does)"
    with meanwhile(lambda: command("scancel", *soon(lambda: command(*queue).split()))):
        tried = sweep(tmp_path, *ON_SLURM, "retry=failed")
    assert "Slurm has 1 run as job" in tried.stderr
    assert lines(tried)[-1] == f"  {note.stem}"


def test_a_node_without_the_data_says_so(closed: Callable[[], str], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    pairs = [{"prompt": f"{i}?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(60)]
    rows.write_text("\n".join(map(json.dumps, pairs)))
    data = ["dataset=files", f"dataset.train={rows}", f"dataset.test={rows}", "dataset.size=20", "augmenter=rules"]

    def hide() -> None:
        soon(lambda: only(tmp_path, "study/slurm/*.job"))
        rows.rename(tmp_path / "elsewhere")
        closed()

    with meanwhile(hide):
        done = sweep(tmp_path, *ON_SLURM, *data)
    assert done.returncode == 1
    error, run = lines(done)[-2:]
    assert error.startswith("error: on ")
    assert error.endswith(f", not where the sweep was started: {rows}: no such file")
    assert run.startswith("  mars-files-")


def test_a_program_that_is_another_one_does_no_work(tmp_path: Path) -> None:
    task = Task(0, {"study": str(tmp_path / "study"), "out": None}, ["seed=0"], 0.0)
    job = Job("mars-s0", task, {**program(), "sources": "01234567", "numpy": "1.0"})
    outcome = job()
    assert (outcome.state, outcome.name) == (FAILED, "mars-s0")
    assert outcome.why.startswith("the program is not what the sweep was started with: numpy ")
    assert outcome.why.endswith("here, 01234567 there (start the sweep again, same command)")
    failed = task.ledger.failure("mars-s0")
    assert failed
    assert failed.why == outcome.why


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["hydra.launcher.partition=mian"],
            'hydra.launcher.partition: "mian" is unknown to Slurm (did you mean "main"?)',
        ),
        (
            ["hydra.launcher.mem_gb=100"],
            "hydra.launcher: Slurm refuses the job: Memory specification can not be satisfied; "
            "Batch job submission failed: Requested node configuration is not available",
        ),
        (
            ["hydra.launcher.partitoin=x"],
            'hydra.launcher.partitoin: no such setting (did you mean "hydra.launcher.partition"?)',
        ),
        (["hydra/launcher=slrum"], 'hydra/launcher: "slrum" is unknown (did you mean "slurm"?)'),
        (["batch_size=0"], "batch_size: must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(node: Path, tmp_path: Path, settings: list[str], said: str) -> None:
    done = sweep(tmp_path, *ON_SLURM, *settings)
    assert done.returncode == 1
    error = next(line for line in lines(done) if line.startswith("error:"))
    assert error == f"error: {said}"
    assert not list((tmp_path / "study").glob("slurm/*.job"))


def test_without_slurm_or_its_launcher_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    with monkeypatch.context() as without:
        without.setenv("PATH", str(bare))
        [error] = lines(sweep(tmp_path, *ON_SLURM))
    lost = "sbatch, srun, squeue, scontrol not found"
    assert error == f"error: hydra/launcher: there is no Slurm on this machine ({lost})"

    for name in ("sbatch", "srun", "squeue", "scontrol"):
        (bare / name).write_text("#!/bin/sh\necho 'scontrol: error: no controller' >&2\nexit 1\n")
        (bare / name).chmod(0o755)
    with monkeypatch.context() as without:
        without.setenv("PATH", f"{bare}:/usr/bin:/bin")
        [error] = lines(sweep(tmp_path, *ON_SLURM))
    assert error == "error: hydra/launcher: Slurm does not answer (no controller)"

    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "submitit_slurm.yaml")
    [error] = lines(sweep(tmp_path, *ON_SLURM))
    assert error == "error: hydra/launcher: slurm needs hydra-submitit-launcher (pip install 'mars-reward[slurm]')"


def test_a_link_to_a_jobs_log_is_relative_and_goes_with_the_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "study" / "run")
    run.path.mkdir(parents=True)
    for number in (1, 2):
        log = tmp_path / "study" / "slurm" / f"{number}_0_log.out"
        log.parent.mkdir(exist_ok=True)
        log.write_text(str(number))
        run.link_job(log)
    moved = (tmp_path / "study").rename(tmp_path / "moved")
    assert (moved / "run" / JOB_LOG).read_text() == "2"
    RunDirectory(moved / "run").clear()
    assert not list((moved / "run").iterdir())
    assert (moved / "slurm" / "2_0_log.out").exists()
