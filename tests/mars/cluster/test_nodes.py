"""Head and workers run one program, and a worker stands where its work is."""

import os
import re
from pathlib import Path

import pytest

from mars.cluster.nodes import Home
from mars.cluster.settings import Need
from mars.config import UserError
from mars.program import differences, program


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
