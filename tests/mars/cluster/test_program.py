"""Head and workers run one program, and a worker stands where its work is."""

import os
from pathlib import Path

import pytest

from mars.cluster.nodes import Home
from mars.cluster.program import check_same, program
from mars.cluster.settings import Need
from mars.config import UserError


def test_a_program_is_itself_and_no_other():
    assert program()["source"] != "none"
    check_same(program(), "here")
    with pytest.raises(UserError, match=r"node b runs another program: source \w+ instead of 0123 .*same commit"):
        check_same({**program(), "source": "0123"}, "node b")


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
