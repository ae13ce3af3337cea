"""A checkpoint is whole or not used; a run that was left within a round ends in the bits of an undisturbed one."""

import logging
import os
import random
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import BRIEFLY
from support.commands import run_here

from mars import files
from mars.config import UserError
from mars.method import checkpoint
from mars.method.checkpoint import Keeper, moving, newest, restore, write
from mars.method.clock import COLUMNS
from mars.process.stopping import Stop, Stopped
from mars.run import execute, main

TREE = {
    "round": 3,
    "share": 0.1 + 0.2,
    "blank": float("nan"),
    "model": {"head.weight": torch.randn(2, 3, dtype=torch.bfloat16), "none": torch.zeros(0)},
    "optimizer": {"state": {0: {"step": torch.tensor(5.0)}, 7: {}}, "param_groups": [{"betas": (0.9, 0.999)}]},
    "drawn": [np.arange(4), np.empty(0, dtype=np.int64)],
    "margins": [None, np.linspace(0, 1, 5)],
    "words": np.random.default_rng(0).integers(0, 2**32, 6, dtype=np.uint32),
}
BITS = ("metrics.json", "selection.parquet", "allocation.parquet", "scores/in_distribution.parquet")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_checkpoint_holds_what_was_written_bit_for_bit(tmp_path):
    write(tmp_path, TREE)
    found = newest(tmp_path)
    assert list(found) == list(TREE)
    assert (found["round"], found["share"]) == (3, 0.1 + 0.2)
    assert np.isnan(found["blank"])
    for name, tensor in TREE["model"].items():
        assert torch.equal(found["model"][name], tensor)
        assert found["model"][name].dtype == tensor.dtype
    assert found["optimizer"]["state"] == {0: {"step": torch.tensor(5.0)}, 7: {}}  # the keys are numbers still
    assert found["optimizer"]["param_groups"] == [{"betas": [0.9, 0.999]}]
    assert found["margins"][0] is None
    for one, other in zip(
        [*found["drawn"], found["margins"][1], found["words"]],
        [*TREE["drawn"], TREE["margins"][1], TREE["words"]],
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_two_checkpoints_stay_and_nothing_that_was_left_half_written(tmp_path):
    assert newest(tmp_path / "none") is None
    for number in range(1, 5):
        (tmp_path / ".000009.123").mkdir()
        write(tmp_path, {"round": number})
        assert newest(tmp_path) == {"round": number}
    assert names(tmp_path) == ["000003", "000004"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "sha256.json"])
@pytest.mark.parametrize("damage", ["altered", "cut off", "missing"])
def test_a_torn_checkpoint_is_never_used(name, damage, tmp_path, caplog):
    for number in (1, 2):
        write(tmp_path, {"round": number, "model": torch.full((50,), number)})
    file = tmp_path / "000002" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data if damage == "altered" else data[:-9])
    if damage == "missing":
        file.unlink()
    assert newest(tmp_path)["round"] == 1
    assert [record.getMessage().split(" is not used")[0] for record in caplog.records] == [f"{tmp_path}/000002"]
    write(tmp_path, {"round": 3})
    assert names(tmp_path) == ["000001", "000002"]


def test_a_checkpoint_of_a_later_format_is_not_read(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    write(tmp_path, {})
    monkeypatch.undo()
    assert newest(tmp_path) is None
    assert "it has format 2" in caplog.text


@pytest.mark.parametrize("what", ["tensors", "sync"])
def test_a_full_disk_is_one_line_and_the_checkpoint_before_is_whole(what, tmp_path, monkeypatch):
    for number in (1, 2):
        write(tmp_path, {"round": number})

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(*((checkpoint, "save_file") if what == "tensors" else (files, "sync")), full)
    with pytest.raises(UserError, match=r"no checkpoint can be written: No space left on device") as error:
        write(tmp_path, {"round": 3})
    assert "\n" not in str(error.value)
    assert newest(tmp_path) == {"round": 2}
    assert names(tmp_path) == ["000002"]


@pytest.mark.parametrize(("most", "what"), [(1000, "tensors"), (12_000, "words")])
def test_what_the_system_refuses_is_said_in_its_words(most, what, tmp_path):
    """A limit on a file's size stands for a full disk: the error is the system's, and safetensors words its own."""
    write(tmp_path, {"round": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    tree = {"model": torch.zeros(2000)} | ({"records": ["round"] * 2000} if what == "words" else {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(UserError, match=r"no checkpoint can be written: File too large \(the one before is whole"):
            write(tmp_path, tree)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["000001"]
    assert newest(tmp_path) == {"round": 1}


def test_only_what_moves_is_kept_and_each_tensor_once():
    frozen, trained = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    frozen.requires_grad_(False)
    model = torch.nn.ModuleDict(
        {"frozen": frozen, "trained": trained, "again": trained, "norm": torch.nn.BatchNorm1d(3)}
    )
    kept = moving(model)
    assert {name.split(".")[0] for name in kept} == {"trained", "norm"}
    assert "norm.running_mean" in kept  # no parameter, and it moves
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    saved = {name: tensor.clone() for name, tensor in kept.items()}
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    restore(model, saved)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


def test_it_is_time_after_the_minutes_or_longer_where_saving_takes_long(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])

    def save(seconds: float) -> None:
        now[0] += seconds

    keep = Keeper(save, minutes=1)
    now[0] = 59
    assert not keep.due()
    now[0] = 60
    assert keep.due()
    keep(1.5)  # 2.4 % of a minute
    now[0] += 59
    assert not keep.due()
    now[0] += 1
    assert keep.due()
    keep(6)
    now[0] += 199
    assert not keep.due()
    now[0] += 1
    assert keep.due()
    assert Keeper(save, minutes=0).due()
    assert not Keeper(save).due()


def test_who_is_asked_to_stop_saves_first():
    saved, stop = [], Stop()
    keep = Keeper(saved.append, 1, stop)
    with stop.deferred():
        stop.ask()
        stop.ask()
    assert keep.due()
    keep("state")
    assert saved == ["state"]
    with pytest.raises(Stopped):
        stop.obey()
    with pytest.raises(Stopped):
        Stop().ask()


RUNS = {
    "head": ["train=head"],
    "full": ["train=full", "train.dropout=true", "rounds.schedule=continue", "rounds.history=accumulate"],
    "bf16": ["train=full", "train.bf16_weights=true", "rounds.start=reinitialise", "method=adaboost"],
    "lora": ["train=lora", "train.dropout=true", "method=representation"],
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_left_within_a_round_ends_in_the_same_bits(kind, compose, tmp_path, signal_at, caplog):
    caplog.set_level(logging.INFO, "mars")
    settings = ["scale=tiny", *BRIEFLY, *RUNS[kind], "batch_size=8", "rounds.number=2", "rounds.steps=8"]
    whole = execute(compose(*settings, f"out={tmp_path}/whole"))
    config = compose(*settings, f"out={tmp_path}/left")
    for steps in (3, 7):  # in the first round, and from there on in the second
        signal_at(steps)
        with pytest.raises(Stopped):
            execute(config)
        torch.manual_seed(steps)
        random.seed(steps)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    left = execute(config)
    log = (left / "run.log").read_text()
    assert log.count("resuming round") == log.count("was asked to stop") == 2
    for name in (*BITS, "model/model.safetensors"):
        assert (left / name).read_bytes() == (whole / name).read_bytes(), name
    timed = [*COLUMNS, "seconds", "pairs_per_second"]
    one, other = (pd.read_csv(d / "rounds.csv").drop(columns=timed) for d in (whole, left))
    pd.testing.assert_frame_equal(one, other)
    assert not (left / "checkpoint").exists()


def test_every_step_can_be_kept_and_a_torn_one_falls_back_a_step(compose, tmp_path, signal_at, caplog):
    caplog.set_level(logging.INFO, "mars")
    settings = ["scale=tiny", *BRIEFLY, "train=full", "batch_size=16", "rounds.number=1"]
    whole = execute(compose(*settings, f"out={tmp_path}/whole"))
    config = compose(*settings, "checkpoint_minutes=0", f"out={tmp_path}/left")
    signal_at(3)
    with pytest.raises(Stopped):
        execute(config)
    place = tmp_path / "left" / "checkpoint"
    assert names(place) == ["000002", "000003", "costs.json"]
    (place / "000003" / "sha256.json").unlink()
    left = execute(config)
    assert "000003 is not used: sha256.json is missing" in (left / "run.log").read_text()
    assert "resuming round 0 after step 2 of 4" in (left / "run.log").read_text()
    assert all((left / name).read_bytes() == (whole / name).read_bytes() for name in BITS)


def test_a_state_of_an_earlier_version_is_one_line_and_a_fresh_start(compose, tmp_path, interrupt_at):
    config = compose("scale=tiny", "method=none", f"out={tmp_path}/run")
    interrupt_at(1)
    with pytest.raises(KeyboardInterrupt):
        execute(config)
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    (tmp_path / "run" / "checkpoint").mkdir()
    (tmp_path / "run" / "checkpoint" / "state.pt").write_bytes(b"PK")
    directory = execute(config)
    assert (directory / "run.log").read_text().count("starts from its first round") == 1
    assert not (directory / "checkpoint").exists()


def test_a_command_that_is_asked_to_stop_exits_with_75(tmp_path, signal_at):
    signal_at(2)
    done = run_here(main, "scale=tiny", f"study={tmp_path}", f"cache={tmp_path}/cache", "method=none")
    assert done.returncode == 75
    assert done.stderr.splitlines()[-1] == "stopped as asked; the same command goes on from the last checkpoint"
    (directory,) = tmp_path.glob("none-*")
    assert not (directory / "DONE").exists()
