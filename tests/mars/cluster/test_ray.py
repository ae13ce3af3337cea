"""On a Ray cluster of two nodes: the numbers of this process, nothing made twice, and one line for what goes wrong."""

import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pytest
import torch
from support import ROOT
from support.commands import run_here

from benchmarks import evaluate
from mars import fill
from mars.cli import command, composed
from mars.cluster import shards
from mars.cluster.nodes import connected
from mars.cluster.settings import EngineConfig
from mars.cluster.shards import Shard, Work, open_actors
from mars.config import UserError
from mars.process import telemetry
from mars.process.program import program
from mars.run import execute, main

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core, reached by the address of the first.

    This process is connected once, and its commands find it so: Ray's own code may end a process that connects again
    after it has lost workers.
    """
    telemetry.turn_off()
    from ray.cluster_utils import Cluster

    sigterm = signal.getsignal(signal.SIGTERM)  # which a node that starts in this process takes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))  # of the workers
        patch.setenv("RAY_worker_niceness", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.doomed = cluster.add_node(num_cpus=1)
    signal.signal(signal.SIGTERM, sigterm)
    with connected(cluster.address, "engine.address"):
        yield cluster
    cluster.shutdown()


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process passes for one that is not connected."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.fixture(scope="module")
def engine(cluster) -> EngineConfig:
    return EngineConfig("ray", address=cluster.address, actors=2)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Commands are told to use one; afterwards it is as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def squares(tmp_path: Path, *arguments: int) -> Work:
    return Work("support.cluster:Square", (str(tmp_path / "notes"), *arguments), arguments)


def test_finished_shards_are_kept_and_a_worker_that_dies_is_replaced(engine, tmp_path):
    some, notes = [Shard(f"n{n}", str(n).encode()) for n in range(5)], tmp_path / "notes"
    with open_actors(engine, tmp_path) as actors:
        with pytest.raises(UserError, match=r"a worker \(pid \d+ on [\d.]+\) died 3 times over one shard"):
            list(actors.map(squares(tmp_path, 3, 99), some[3:4]))
        assert notes.read_text().split() == ["3"] * 3

        work = squares(tmp_path, 3, 4)
        made = dict(actors.map(work, some[1:]))  # dies once more, of the four times that it dies
        assert {n: table["square"].to_pylist() for n, table in made.items()} == {i: [(i + 1) ** 2] for i in range(4)}
        before = notes.read_text().split()
        assert sorted(before) == ["1", "2", "3", "3", "3", "3", "3", "4"]

        made = dict(actors.map(work, some))
        assert {n: table["square"].to_pylist() for n, table in made.items()} == {i: [i**2] for i in range(5)}
        assert notes.read_text().split() == [*before, "0"]

        actors.forget(work)
        assert not list(tmp_path.rglob("*.parquet"))


def test_a_worker_with_another_program_refuses(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "program", lambda: {**program(), "sources": "0123"})
    with open_actors(engine, tmp_path) as actors, pytest.raises(UserError, match="runs another program: sources"):
        list(actors.map(squares(tmp_path), [Shard("n", b"1")]))
    assert not (tmp_path / "notes").exists()


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A fine-tuned model of two layers, and a linear head on frozen features."""
    root = tmp_path_factory.mktemp("ray")
    small = ["scale=tiny", "rounds.number=1", "rounds.budget=4", f"study={root}/study", f"cache={root}/cache"]
    small += [f"dataset.{size}" for size in ("size=8", "validation=4", "test_size=4")]
    execute(composed("config", [*small, "train=full"]))
    execute(composed("config", small))
    return root / "study"


def test_scores_have_the_bits_of_this_process(cluster, study, tmp_path):
    rows = tmp_path / "rows.jsonl"
    texts = [f"Number {i} of many words. " * (1 + i % 13) for i in range(80)]
    rows.write_text("\n".join(json.dumps({"prompt": "Say.", "chosen": t, "rejected": t[::-1]}) for t in texts))
    found = {}
    for where in ("local", "ray"):
        here = Path(shutil.copytree(study, tmp_path / where))
        asked = [f"study={here}", f"cache={tmp_path}/cache-{where}", "benchmark=files", f"benchmark.path={rows}"]
        more = [] if where == "local" else [f"engine.address={cluster.address}", "engine.actors=2"]
        done = run_here(evaluate.main, *asked, f"engine={where}", "token_budget=512", "threads=1", *more)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("{")
        found[where] = [pd.read_parquet(file) for file in sorted(here.glob("*/scores/files.parquet"))]
        assert not list((tmp_path / f"cache-{where}").rglob("*.parquet"))
    assert "4 shards" in done.stderr or "shards for 2 workers" in done.stderr
    assert len(found["ray"]) == 2
    for local, by_ray in zip(*found.values(), strict=True):
        pd.testing.assert_frame_equal(local, by_ray, check_exact=True)


def test_a_pool_is_stored_as_by_this_process_and_found_by_a_run(cluster, tmp_path):
    pool = ["dataset.size=6", "dataset.test_size=4", "dataset.validation=4", "pool.width=2", "threads=1"]
    pool += [f"augmenter.{one}" for one in ("source=random:t5", "revision=null", "response_tokens=8", "returned=2")]
    stored = {}
    for where, more in {"local": [], "ray": [f"engine.address={cluster.address}", "engine.actors=1"]}.items():
        asked = [*pool, "augmenter=paraphrase", f"engine={where}", f"cache={tmp_path / where}", *more]
        done = run_here(fill.main, *asked)
        assert done.returncode == 0, done.stderr
        assert "0 variants found, 24 made; of 24 in the pool" in done.stdout
        file = Path(done.stdout.splitlines()[-1])
        with sqlite3.connect(file) as database:
            stored[where] = sorted(database.execute("SELECT * FROM variants").fetchall())
    assert stored["ray"] == stored["local"]
    again = run_here(fill.main, *asked[:-2], "engine=local")
    assert "24 variants found, 0 made" in again.stdout


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["engine.gpus=1"], "engine: no node of the Ray cluster has 1 CPU and 1 GPU for a worker"),
        (["engine.actors=9"], "engine.actors: 9 workers are asked for, and the Ray cluster has room for 2"),
        (["engine.actors=0"], "engine.actors: must be at least 1, not 0"),
    ],
)
def test_a_cluster_that_will_not_do_is_one_line(cluster, overrides, line):
    done = run_here(fill.main, "engine=ray", f"engine.address={cluster.address}", *overrides)
    assert done.returncode != 0
    assert f"error: {line}" in done.stderr


@pytest.mark.parametrize(
    ("address", "line"),
    [("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"), ("head", '"head" is no address')],
)
def test_an_address_where_no_cluster_is_is_one_line(apart, address, line, tmp_path):
    done = run_here(fill.main, "engine=ray", f"engine.address={address}")
    assert done.returncode != 0
    assert f"error: engine.address: {line}" in done.stderr
    done = sweeping(tmp_path, f"hydra.launcher.address={address}")
    assert f"error: hydra.launcher.address: {line}" in done.stderr


def sweeping(tmp_path: Path, *overrides: str) -> CompletedProcess[str]:
    """A sweep that ends before its first run."""
    done = run_here(main, "-m", "scale=tiny", "hydra/launcher=ray", f"study={tmp_path}/study", *overrides)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) < 5
    return done


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["hydra.launcher.gpus=1"], "hydra.launcher: no node of the Ray cluster has 1 CPU and 1 GPU"),
        (["hydra.launcher.cpus=0"], "hydra.launcher.cpus: must be at least 1, not 0"),
        (["dry_run=true"], "hydra/launcher=ray: carries out the runs of a sweep, none with debug=true or dry_run=true"),
        (["workers=2"], "workers: hydra/launcher=ray has processes of its own"),
    ],
)
def test_a_sweep_that_the_cluster_cannot_carry_out_is_one_line(cluster, overrides, line, tmp_path):
    done = sweeping(tmp_path, f"hydra.launcher.address={cluster.address}", *overrides)
    assert f"error: {line}" in done.stderr


def test_a_node_is_killed_and_every_run_ends_once_with_the_bits_of_this_process(cluster, tmp_path):
    """The last test of the cluster, which has one node from here on."""
    study = tmp_path / "by_ray"
    study.mkdir()
    (study / "doomed").write_text(cluster.doomed.node_id)

    def kill() -> None:
        while not (study / "hangs").exists():
            time.sleep(0.05)
        cluster.remove_node(cluster.doomed, allow_graceful=False)

    sweep = ["-m", "scale=tiny", "method=uniform,mars", "seed=0,1", "threads=1", f"cache={tmp_path}/cache"]
    by_ray = command("config", execute, "", "support.cluster:carried_out_unless_doomed")
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    done = run_here(by_ray, *sweep, f"study={study}", "hydra/launcher=ray", f"hydra.launcher.address={cluster.address}")
    assert done.returncode == 0, done.stderr
    killer.join(1)
    assert "4 runs: 4 done here" in done.stderr
    notes = (study / "notes").read_text().split()
    assert notes[::2] == ["done"] * 4
    assert len(set(notes[1::2])) == 4
    assert (study / "hangs").read_text() in notes

    assert run_here(main, *sweep, f"study={tmp_path}/here").returncode == 0
    for name in notes[1::2]:
        assert (study / name / "metrics.json").read_bytes() == (tmp_path / "here" / name / "metrics.json").read_bytes()


def test_without_ray_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"engine: Ray is not installed"), connected("local", "engine.address"):
        pass


def test_what_a_cluster_fails_with_is_one_line_and_what_the_program_raised_is_not(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)

    def failing(error: Exception) -> None:
        with connected("local", "engine.address"):
            raise error

    line = r"^ray: the cluster failed: RaySystemError: .*object store.* \(the same command goes on\)$"
    with pytest.raises(UserError, match=line):
        failing(ray.exceptions.RaySystemError("no\nobject store"))
    with pytest.raises(UserError, match="has no mars"):
        failing(ray.exceptions.RaySystemError("No module named 'mars'"))
    with pytest.raises(ZeroDivisionError):
        failing(ray.exceptions.RayTaskError("f", "traceback", ZeroDivisionError("ours")).as_instanceof_cause())
