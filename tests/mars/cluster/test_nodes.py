"""Head and workers run one program, and a worker stands where its work is."""

import logging
import os
import re
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from mars.cluster import nodes
from mars.cluster.nodes import Home
from mars.cluster.settings import Need
from mars.config import UserError
from mars.process.program import differences, program


def test_a_program_is_itself_and_no_other():
    assert not differences(program())
    assert re.fullmatch(r"sources \w{8} here, 0123 there", differences({**program(), "sources": "0123"}))
    with pytest.raises(UserError, match=r"node \S+ runs another program: sources \w+ here, 0123 there .*same commit"):
        Home({**program(), "sources": "0123"}, ".").enter()


def test_a_worker_goes_where_its_work_is_or_says_what_it_lacks(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "data").mkdir()
    Home(program(), str(tmp_path), ("data",)).enter()
    assert Path.cwd() == tmp_path
    with pytest.raises(UserError, match=f"has no {tmp_path}{os.sep}rows"):
        Home(program(), str(tmp_path), ("data", "rows")).enter()


@pytest.mark.parametrize(
    ("need", "resources", "places"),
    [
        (Need(), {"CPU": 4.0, "memory": 1e9}, 4),
        (Need(cpus=2, gpus=0.5), {"CPU": 8.0, "GPU": 1.0}, 2),
        (Need(gpus=1), {"CPU": 8.0}, 0),
        (Need(memory=0.6), {"CPU": 8.0, "memory": 1e9}, 1),
    ],
)
def test_how_many_workers_a_node_has_room_for(need, resources, places):
    assert need.places(resources) == places


def ray_at(port: int, *alive: dict[str, float]) -> SimpleNamespace:
    """What is asked of Ray on a cluster of these nodes."""
    context = SimpleNamespace(gcs_address=f"127.0.0.1:{port}")
    found = [{"Alive": True, "Resources": resources} for resources in alive]
    return SimpleNamespace(get_runtime_context=lambda: context, nodes=lambda: found)


def test_a_head_that_is_gone_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        assert nodes.nodes(ray_at(port, {"CPU": 1.0})) == [{"Alive": True, "Resources": {"CPU": 1.0}}]
    line = rf"^ray: the head of the cluster at 127\.0\.0\.1:{port} is gone: .+ \(the same command goes on\)$"
    with pytest.raises(UserError, match=line):
        nodes.nodes(ray_at(port), patience=0.001)


def test_a_minute_without_a_node_that_could_do_the_work_is_said_once(monkeypatch, caplog):
    clock = iter(range(0, 1000, 25))
    monkeypatch.setattr(nodes.time, "monotonic", lambda: next(clock))
    lack, small, large = nodes.Lack(Need(cpus=2)), {"CPU": 1.0}, {"CPU": 4.0}
    with socket.create_server(("127.0.0.1", 0)) as head, caplog.at_level(logging.WARNING, "raylet"):
        port = head.getsockname()[1]
        assert [lack.look(ray_at(port, small)) for _ in range(2)] == [0, 0]
        assert lack.look(ray_at(port, small, large)) == 2
        assert not caplog.records
        for _ in range(6):
            lack.look(ray_at(port))
    assert [record.getMessage() for record in caplog.records] == [
        "ray: no node with 2 CPU is left, and the work waits for one"
    ]


def test_sigterm_stays_whose_it_was(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", lambda **_: signal.signal(signal.SIGTERM, lambda *_: None))
    before = signal.getsignal(signal.SIGTERM)
    with nodes.connected("local", "engine.address"):
        assert signal.getsignal(signal.SIGTERM) == before
