"""Two processes make the run that one would have made: same rows, same losses, every file once."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from support import ROOT
from support.backbones import backbone
from support.commands import run_here
from support.two_processes import stopped

from mars import assembly
from mars.choices import load
from mars.cli import composed
from mars.config import ConfigError, build, naming_runs
from mars.method.settings import TrainConfig
from mars.process import devices, ranks
from mars.process.stopping import Stop, Stopped
from mars.record.ledger import Ledger
from mars.reward import sharding
from mars.reward.engine import Engine, Tuning
from mars.run import Run, execute, main

RUNS = {
    "whole": [],
    "stopped": [],
    "begun_by_one": [],
    "dropout": ["train.dropout=true", "rounds.keep=best"],
    "dropout_stopped": ["train.dropout=true", "rounds.keep=best"],
    "sharded": ["train.shard=fsdp"],
}
SETTINGS = [
    "scale=tiny",
    "train=full",
    "method=mars",
    "method.tau=50",  # so that margins this small steer
    "backbone.source=random:qwen3",
    "dataset.size=34",  # the last step of an epoch has two pairs, and one rank two of another's
    "dataset.test_size=8",
    "train.token_budget=1024",
    "batch_size=11",
    "rounds.budget=40",
    "threads=1",
    "checkpoint_minutes=1000",
]


def _config(folder: Path, name: str, *more: str) -> dict:
    return composed("config", [*SETTINGS, f"cache={folder}/cache", f"out={folder}/{name}", *more])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The runs of two processes, and `one`, of one process."""
    folder = tmp_path_factory.mktemp("ranks")
    configs = {name: _config(folder, name, *more) for name, more in RUNS.items()}
    (folder / "configs.json").write_text(json.dumps(configs))
    failing = [*SETTINGS, f"cache={folder}/cache", f"study={folder}/failing"]
    (folder / "failing.json").write_text(json.dumps(failing))
    threads = torch.get_num_threads()
    execute(_config(folder, "one"))
    assert stopped(configs["begun_by_one"], 14, rank=0)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = ROOT / "tests" / "support" / "two_processes.py"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    done = subprocess.run(
        [*launcher, str(script), str(folder)], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert (folder / "1.json").exists(), done.stderr[-3000:]
    execute(configs["stopped"])
    torch.set_num_threads(threads)
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    return SimpleNamespace(folder=folder, found=found, done=done)


def _rounds(directory: Path) -> pd.DataFrame:
    return pd.read_csv(directory / "rounds.csv")


def _assert_alike(directory: Path, one: Path) -> None:
    """The same rows and steps, and losses to 1e-5."""
    ours, theirs = _rounds(directory), _rounds(one)
    losses = ["train_loss", "first_loss", "last_loss", "grad_norm", "validation_loss", "margin_mean"]
    np.testing.assert_allclose(ours[losses], theirs[losses], atol=1e-5, rtol=1e-5)
    counted = ["steps", "pairs", "tokens", "drawn", "texts_scored", "variants_drawn", "padding_efficiency"]
    assert ours[counted].equals(theirs[counted])
    for table in ("selection", "variants"):
        assert pd.read_parquet(directory / f"{table}.parquet").equals(pd.read_parquet(one / f"{table}.parquet"))
    scores, expected = (pd.read_parquet(place / "scores" / "in_distribution.parquet") for place in (directory, one))
    np.testing.assert_allclose(scores["chosen_score"], expected["chosen_score"], atol=1e-3)  # of Adam's steps


@pytest.mark.parametrize("name", ["whole", "stopped", "begun_by_one", "sharded"])
def test_several_processes_make_the_run_of_one(both, name):
    """Also one that was stopped by a signal to one rank, and gone on with by one process, or the other way round."""
    _assert_alike(both.folder / name, both.folder / "one")


def test_the_runs_of_the_test_do_something(both):
    rounds = _rounds(both.folder / "one")
    assert rounds["train_loss"].between(0.3, 0.69).all()
    assert (rounds["last_loss"] < rounds["first_loss"]).all()
    assert rounds["steering"].all()


def test_margins_of_the_first_round_are_those_of_one_process_bit_for_bit(both):
    one, two = (pd.read_parquet(both.folder / name / "allocation.parquet") for name in ("one", "whole"))
    assert one[one["round"] == 0].equals(two[two["round"] == 0])
    assert one["margin"].nunique() == len(one)


def test_a_signal_to_one_rank_stops_both_after_the_same_step(both):
    for rank in (0, 1):
        assert all(both.found[rank][name] for name in ("stopped", "dropout_stopped", "sharded_stopped"))


def test_dropout_goes_on_where_each_rank_was(both):
    """Stopped within a round and gone on with, by as many processes, to the same bits; of the best model, too."""
    whole, again = (both.folder / name / "model" / "model.safetensors" for name in ("dropout", "dropout_stopped"))
    assert whole.read_bytes() == again.read_bytes()
    plain = both.folder / "whole" / "model" / "model.safetensors"
    assert whole.read_bytes() != plain.read_bytes()


def test_every_file_is_written_once_and_a_finished_run_is_left_alone(both):
    def files(directory):
        return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))

    assert files(both.folder / "whole") == files(both.folder / "one")
    log = (both.folder / "whole" / "run.log").read_text()
    assert log.count(" run ") == log.count("round 0: 34 base + 40 augmented pairs") == 1
    manifests = [json.loads((both.folder / name / "manifest.json").read_text()) for name in ("whole", "one")]
    assert [manifest["ranks"] for manifest in manifests] == [2, 1]
    assert manifests[0]["config_hash"] == manifests[1]["config_hash"]
    assert manifests[0]["start"] == manifests[1]["start"]


def test_a_sharded_model_is_saved_whole(both):
    from safetensors.torch import load_file

    whole, sharded, one = (
        load_file(both.folder / name / "model" / "model.safetensors") for name in ("whole", "sharded", "one")
    )
    assert {name: tensor.shape for name, tensor in sharded.items()} == {n: t.shape for n, t in one.items()}
    for name, tensor in sharded.items():
        torch.testing.assert_close(tensor, whole[name], atol=1e-3, rtol=0)  # a step of Adam is 1e-3 long
    manifests = [json.loads((both.folder / name / "manifest.json").read_text()) for name in ("sharded", "one")]
    assert manifests[0]["start"] == manifests[1]["start"]
    assert manifests[0]["config_hash"] == manifests[1]["config_hash"]


def test_what_fails_on_one_rank_ends_both_with_one_line(both):
    assert both.done.returncode == 1
    lines = [line for line in both.done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == ["error: a card fell out"]
    study = both.folder / "failing"
    (run,) = study.glob("mars-*")
    failure = Ledger(study).failure(run.name)
    assert failure is not None
    assert failure.why == "rank 1: a card fell out"
    assert "rank 1: a card fell out" in (run / "run.log").read_text()
    assert not (run / "DONE").exists()


def test_ranks_that_see_different_things_say_which(both):
    assert both.found[0]["disagreed"] == both.found[1]["disagreed"]
    assert both.found[0]["disagreed"] == "rank 1 has rows of 1, and rank 0 has of 0 (share a disk)"


# ---- what is refused, before any process has met another


@pytest.fixture
def second_of_two(monkeypatch):
    """This process is rank 1 of 2, on a machine with as many, and there is a place for notes."""
    store = torch.distributed.HashStore()
    store.set("written", "")  # rank 0 has ended
    monkeypatch.setattr(ranks, "_store", lambda: store)
    monkeypatch.setattr(ranks, "_LOST", timedelta(seconds=5))  # a test that goes too far fails, and does not wait
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    return store


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train=head"], "train: a linear head trains in one process, and torchrun started 2"),
        (["train=full", "batch_size=1"], "batch_size: 1 pairs a step are fewer than the 2 processes that share them"),
        (["train=full", "device=cuda:0"], "device: cuda:0 is one device, and each of 2 processes needs its own"),
        (["train=full", "train.shard=fsdp", "curvature=true"], "curvature: it is taken of whole models"),
        (["train=full", "train.shard=fsdp", "rounds.keep=best"], "rounds.keep: best copies whole models"),
    ],
)
def test_what_several_processes_cannot_do_is_one_line(settings, message, tmp_path, second_of_two):
    config = composed("config", ["scale=tiny", "device=cpu", f"study={tmp_path}", f"cache={tmp_path}", *settings])
    run = Run.of(config)
    with pytest.raises(ConfigError) as caught:
        assembly.assemble(run.settings, load(run.settings.dataset))
    assert str(caught.value).startswith(message)


def test_each_process_has_a_gpu_of_its_own(second_of_two, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.device("auto") == torch.device("cuda:1")
    assert devices.device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"2 processes on this machine and 1 GPUs, one for each is needed"):
        devices.device("auto")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", "method=none,mars"], "torchrun starts the processes of one run, and this is a sweep"),
        (["experiment=quick"], "torchrun starts the processes of one run, and this is a sweep"),
        (["hydra/launcher=joblib"], "and hydra/launcher=joblib is not for one"),
        (["status", "outputs"], "and status is not for one"),
        (["until=settled"], "and until=settled is not for one"),
    ],
)
def test_torchrun_is_for_one_run(arguments, said, second_of_two):
    done = run_here(main, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert run_here(main, *arguments).stderr == done.stderr  # by the same rank, which has said it


def test_only_the_first_to_end_says_why(second_of_two):
    second_of_two.add("left", 1)
    second_of_two.set("said", "")
    second_of_two.set("end", json.dumps([0, 1, "somebody else's mistake"]))
    done = run_here(main, "no_such_setting=1")
    assert (done.returncode, done.stderr) == (1, "")
    assert ranks.leave(1, "a later one") == (0, 1, "somebody else's mistake")


# ---- small things


def test_how_a_model_is_held_names_no_run():
    config = {"train": {"mode": "full", "shard": "fsdp"}}
    assert naming_runs(config) == naming_runs({"train": {"mode": "full", "shard": "none"}})
    assert naming_runs(config) == {"train": {"mode": "full"}}


def test_copies_of_weights_in_bf16_and_parts_exclude_each_other():
    with pytest.raises(ConfigError, match=r"train.bf16_weights: .*shard=fsdp"):
        build(TrainConfig, {"bf16_weights": True, "shard": "fsdp"}, "train")


def test_a_process_on_its_own_is_all_ranks(monkeypatch):
    alone = ranks.Ranks()
    assert alone.first
    assert alone.share([3, 1, 2]) == [3, 1, 2]
    assert (alone.seed(7), alone.least(5), alone.any(False), alone.gather("a")) == (7, 5, False, ["a"])
    second = ranks.Ranks()
    second.number, second.count = 1, 3
    assert second.share(list(range(8))) == [1, 4, 7]
    assert second.seed(7) != second.seed(8) != 7


def test_a_stop_is_agreed_on():
    asked = []
    stop = Stop(lambda mine: asked.append(mine) or True)
    with pytest.raises(Stopped):
        stop.obey()
    assert asked == [False]


def test_layers_of_a_model_with_adapters_are_met_once(tmp_path):
    pytest.importorskip("peft", reason="the extra lora")
    engine = Engine(backbone("qwen3"), "lora", torch.device("cpu"), 4096, tmp_path, Tuning(lora={"r": 2}))
    model = engine.new_model(0)
    layers = list(sharding.layers(model))
    assert [type(layer).__name__ for layer in layers] == ["Qwen3DecoderLayer"] * 2
    assert layers[0] is not layers[1]
