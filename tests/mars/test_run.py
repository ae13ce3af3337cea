"""A run, end to end on the tiny backbone: its directory, its repeat, its interruption, its mistakes."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from support import BRIEFLY, ROOT
from support.commands import run_here
from transformers import AutoModelForSequenceClassification

from mars.config import ConfigError, UserError
from mars.method.state import State
from mars.run import execute, main

EXPERIMENTS = sorted(p.stem for p in (ROOT / "conf" / "experiment").glob("*.yaml"))
CONTRACT = [
    "config.yaml",
    "manifest.json",
    "rounds.csv",
    "selection.parquet",
    "allocation.parquet",
    "variants.parquet",
    "metrics.json",
    "model",
    "scores",
    "DONE",
]


def weights(directory):
    from safetensors.torch import load_file

    return load_file(directory / "model" / "model.safetensors")


def same_weights(one, other):
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("method", ["none", "uniform", "eda", "mars"])
def test_a_run_leaves_what_the_contract_says(method, compose):
    directory = execute(compose("scale=tiny", f"method={method}"))
    assert all((directory / name).exists() for name in CONTRACT)
    assert directory.name.startswith(f"{method}-planted-tiny-s0-")
    assert not (directory / "checkpoint").exists()
    manifest = json.loads((directory / "manifest.json").read_text())
    table = pd.read_csv(directory / "rounds.csv")
    assert manifest["steps"] == table["steps"].sum() == (4 if method == "none" else 8)
    assert len(manifest["base_ids"]) == 32
    assert manifest["memory"]["token_budget"] > 0
    assert manifest["pool"]["augmenter"] == {"eda": "eda", "none": "none"}.get(method, "rules")
    selection = pd.read_parquet(directory / "selection.parquet")
    assert len(selection) == (0 if method == "none" else 64)
    rows_a_pair = 7 * 12 * 12  # prompts × texts × texts, five variants of each
    np.testing.assert_array_equal(selection["parent"], selection["row"] // rows_a_pair)
    assert (
        selection.groupby(["round", "parent"])["row"].count()
        == selection.groupby(["round", "parent"])["budget"].first()
    ).all()
    allocated = pd.read_parquet(directory / "allocation.parquet")
    assert list(allocated.columns) == ["round", "pair", "margin", "budget"]
    assert list(zip(allocated["round"], allocated["pair"], strict=True)) == [(t, i) for t in (0, 1) for i in range(32)]
    drawn = allocated[allocated["budget"] > 0].set_index(["round", "pair"])["budget"]
    by_parent = selection.groupby(["round", "parent"])["budget"].first()
    assert drawn.to_dict() == by_parent.to_dict()
    if method == "mars":
        mean = allocated.groupby("round")["margin"].mean()
        assert mean.to_numpy() == pytest.approx(table["margin_mean"].to_numpy())
    else:
        assert allocated["margin"].isna().all()
    metrics = json.loads((directory / "metrics.json").read_text())["in_distribution"]
    assert manifest["splits"] == list(metrics)
    scores = pd.read_parquet(directory / "scores" / "in_distribution.parquet")
    assert (
        list(metrics)
        == [split for split in scores["split"].unique() if split != "validation"]
        == [
            "test",
            "test_reversed_nuisance",
            "test_small_margin",
            "test_rare",
        ]
    )
    test = scores[scores["split"] == "test"]
    assert metrics["test"]["accuracy"] == pytest.approx((test["chosen_score"] > test["rejected_score"]).mean())
    assert yaml.safe_load((directory / "config.yaml").read_text())["method"]["name"] == method


def test_the_same_seed_is_the_same_run_bit_for_bit(compose, tmp_path):
    for train in ("head", "full"):
        one = execute(
            compose("scale=tiny", *BRIEFLY, f"train={train}", f"out={tmp_path}/{train}1", f"cache={tmp_path}/c1")
        )
        two = execute(
            compose("scale=tiny", *BRIEFLY, f"train={train}", f"out={tmp_path}/{train}2", f"cache={tmp_path}/c2")
        )
        assert same_weights(one, two)
        assert (one / "metrics.json").read_bytes() == (two / "metrics.json").read_bytes()
        other = execute(compose("scale=tiny", f"train={train}", f"out={tmp_path}/{train}3", "seed=1"))
        assert not same_weights(one, other)


def test_a_finished_run_is_skipped_unless_forced(compose):
    config = compose("scale=tiny", "method=none", *BRIEFLY)
    directory = execute(config)
    stamp = (directory / "metrics.json").stat().st_mtime_ns
    assert execute(config) == directory
    assert (directory / "metrics.json").stat().st_mtime_ns == stamp
    execute({**config, "force": True})
    assert (directory / "metrics.json").stat().st_mtime_ns > stamp


@pytest.mark.parametrize(
    ("schedule", "history", "bf16"),
    [
        *itertools.product(("restart", "continue"), ("replace", "accumulate"), (False,)),
        ("continue", "replace", True),
    ],
)
def test_an_interrupted_run_resumes_and_ends_in_the_same_bits(schedule, history, bf16, compose, tmp_path, interrupt_at):
    settings = ["scale=tiny", *BRIEFLY, "rounds.number=3", f"rounds.schedule={schedule}", f"rounds.history={history}"]
    settings += ["train=full", "train.dropout=true", f"train.bf16_weights={str(bf16).lower()}"]
    whole = execute(compose(*settings, f"out={tmp_path}/whole"))

    calls = interrupt_at(3)
    with pytest.raises(KeyboardInterrupt):
        execute(compose(*settings, f"out={tmp_path}/resumed"))
    assert not (tmp_path / "resumed" / "DONE").exists()
    resumed = execute(compose(*settings, f"out={tmp_path}/resumed"))
    assert len(calls) == 4  # the two finished rounds were not trained again
    assert same_weights(whole, resumed)
    drawn = [pd.read_parquet(d / "selection.parquet") for d in (whole, resumed)]
    pd.testing.assert_frame_equal(*drawn)
    assert (whole / "allocation.parquet").read_bytes() == (resumed / "allocation.parquet").read_bytes()
    assert pd.read_parquet(resumed / "allocation.parquet")["margin"].notna().all()
    assert len(pd.read_csv(resumed / "rounds.csv")) == 3


def test_a_resumed_run_cuts_its_steps_as_it_did(compose, tmp_path, interrupt_at):
    """What the memory taught the run is in its state, and at last in its manifest."""
    config = compose(
        "scale=tiny",
        *BRIEFLY,
        "train=full",
        "train.packing=false",
        "train.token_budget=4096",
        "backbone.max_length=512",
        f"out={tmp_path}/run",
    )
    interrupt_at(2)
    with pytest.raises(KeyboardInterrupt):
        execute(config)
    place = tmp_path / "run" / "checkpoint"
    state = State.load(place)
    assert state.memory["token_budget"] == 4096
    replace(state, memory={**state.memory, "token_budget": 300, "halved": 2}).save(place)
    directory = execute(config)
    found = json.loads((directory / "manifest.json").read_text())["memory"]
    assert (found["token_budget"], found["halved"]) == (300, 2)
    efficiency = pd.read_csv(directory / "rounds.csv")["padding_efficiency"]
    assert efficiency[0] < efficiency[1]  # smaller passes, so less padding


def test_a_forced_run_touches_nothing_that_is_not_its_own(compose, tmp_path):
    config = compose("scale=tiny", *BRIEFLY, "method=none", f"out={tmp_path}/mine")
    execute(config)
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    execute({**config, "force": True})
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_run_is_named_by_its_rows_and_not_by_where_they_are(compose, tmp_path):
    from mars import choices

    rows = [{"prompt": f"question {i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(40)]
    names = []
    for folder, swap in (("a", False), ("b", False), ("a", True)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for split in ("train", "test"):
            lines = [r | ({"chosen": r["rejected"], "rejected": r["chosen"]} if swap else {}) for r in rows]
            (tmp_path / folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        choices._load.cache_clear()
        files = [f"dataset.{split}={tmp_path}/{folder}/{split}.jsonl" for split in ("train", "test")]
        names.append(execute(compose("scale=tiny", "dataset=files", "method=none", *files)).name)
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("damage", [b"", b"text", None])
def test_a_damaged_checkpoint_starts_the_run_afresh_and_says_so(damage, compose, tmp_path, interrupt_at):
    config = compose("scale=tiny", *BRIEFLY, f"out={tmp_path}/run")
    interrupt_at(2)
    with pytest.raises(KeyboardInterrupt):
        execute(config)
    (file,) = (tmp_path / "run" / "checkpoint").glob("*/tensors.safetensors")
    file.write_bytes(file.read_bytes()[:-200] if damage is None else damage)
    directory = execute(config)
    assert len(pd.read_csv(directory / "rounds.csv")) == 2
    assert "starts from its first round" in (directory / "run.log").read_text()


def test_another_config_never_resumes_an_unfinished_run(compose, tmp_path, interrupt_at):
    interrupt_at(1)
    with pytest.raises(KeyboardInterrupt):
        execute(compose("scale=tiny", *BRIEFLY, f"out={tmp_path}/run"))
    with pytest.raises(ConfigError, match="holds a run of another config"):
        execute(compose("scale=tiny", *BRIEFLY, f"out={tmp_path}/run", "seed=1"))


WEIGHTED = """
import numpy as np
from mars.method.strategy import Mars, Selection


class Weighted(Mars):
    def select(self, view):
        return Selection(view.pool.inherited()[[9, 2]], weights=np.ones(34))
"""


def test_a_weighted_arm_refuses_to_accumulate(compose, plugin):
    plugin({"weighted.py": WEIGHTED}, "[mars.strategies]\nweighted = weighted:Weighted")
    with pytest.raises(ConfigError, match=r"rounds\.history: this arm weights its rows"):
        execute(compose("scale=tiny", "method.name=weighted", "rounds.history=accumulate"))


def test_accumulating_trains_on_every_draw_so_far_and_reinitialising_starts_over(compose):
    replace, accumulate = (
        pd.read_csv(execute(compose("scale=tiny", *BRIEFLY, "rounds.number=3", f"rounds.history={h}")) / "rounds.csv")
        for h in ("replace", "accumulate")
    )
    assert replace["synthetic_pairs"].tolist() == [32, 32, 32]
    assert accumulate["synthetic_pairs"].is_monotonic_increasing
    assert accumulate["synthetic_pairs"].iloc[-1] > 64
    fresh = execute(compose("scale=tiny", *BRIEFLY, "rounds.start=reinitialise", "method=none", "train.lr=1e-9"))
    again = execute(compose("scale=tiny", *BRIEFLY, "rounds.number=1", "method=none", "train.lr=1e-9"))
    torch.testing.assert_close(weights(fresh)["theta"], weights(again)["theta"])


def test_a_full_fine_tune_loads_with_plain_transformers(compose):
    directory = execute(compose("scale=tiny", *BRIEFLY, "train=full", "method=none"))
    model = AutoModelForSequenceClassification.from_pretrained(directory / "model")
    assert model.config.num_labels == 1
    assert not list((directory / "model").glob("*.bin"))


def test_flat_margins_are_said_in_words(compose):
    directory = execute(compose("scale=tiny", *BRIEFLY, "method.tau=0.01"))
    assert (
        "round 0: the margins steer nothing: every pair gets 1 row, its equal share"
        in (directory / "run.log").read_text()
    )
    steered = execute(compose("scale=tiny", *BRIEFLY, "method.tau=1000"))
    assert "the margins steer nothing" not in (steered / "run.log").read_text()
    assert pd.read_csv(steered / "rounds.csv")["budget_max"].min() > 2


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_two_steps_on_tiny(experiment, compose):
    directory = execute(
        compose(f"experiment={experiment}", "scale=tiny", "rounds.steps=1", "rounds.budget=8", "method=mars")
    )
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["steps"] == (1 if experiment == "paper_v2_code" else 2)
    assert manifest["backbone"] == "tiny"


def test_toy_size_is_the_tiny_backbone(compose):
    assert compose("scale=tiny")["backbone"] == compose("backbone=tiny")["backbone"]


def test_a_loss_that_diverges_leaves_no_finished_run(compose):
    config = compose("scale=tiny", "train=full", "train.lr=1e38", "train.max_grad_norm=1e38")
    with pytest.raises(UserError, match=r"step \d+: .*pairs of the step: planted"):
        execute(config)
    study = Path(config["study"])
    assert not list(study.glob("*/DONE"))


def command(*arguments):
    return run_here(main, *arguments)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["method.tua=1"], 'error: method.tua: no such setting (did you mean "method.tau"?)'),
        (["method=marss"], 'error: method: "marss" is unknown (did you mean "mars"?)'),
        (["+method.tua=1"], 'error: method.tua: no such setting (did you mean "tau"?)'),
        (["method.score=signd"], "error: method.score: 'signd' is not a choice (did you mean \"signed\"?)"),
        (["seed=0,1"], "error: seed=0,1: several values make a sweep (add -m)"),
        (["pool.width=0"], "error: pool.width: must be at least 1, not 0"),
        (["pool.gates.similarity=2"], "error: pool.gates.similarity: a cosine in [-1, 1] is expected, not 2.0"),
        (
            ["augmenter=planted", "augmenter.sead=1"],
            'error: augmenter.sead: no such setting (did you mean "augmenter.seed"?)',
        ),
        (
            ["method=uniform", "method.effective=1"],
            "error: method.effective: not a setting of method=uniform, but of mars_tempered",
        ),
        (["method.tau=nan"], "error: method.tau: must be finite, not nan"),
        (["benchmark.seed=-1"], "error: benchmark.seed: must not be negative, not -1"),
        (["backbone.max_length=5"], "error: backbone.max_length: 5 leaves no room for a text"),
        (["cache=/dev/null"], None),
        (["rounds.budget=-1"], "error: rounds.budget: must be at least 0, not -1"),
        (
            ["experiment=learning_curves", "hydra.mode=RUN", "dataset.size=null"],
            "error: rounds.budget: is a multiple of what is null (give numbers for both, as dataset.size and "
            "rounds.budget)",
        ),
        (["dataset=files"], None),
        (["dataset=hh_rlhf", "dataset.path=/nowhere"], None),
    ],
)
def test_a_mistake_is_one_line_on_standard_error_and_no_run(overrides, line, tmp_path):
    done = command("scale=tiny", f"study={tmp_path}/study", *overrides)
    assert done.returncode == 1
    errors = [text for text in done.stderr.splitlines() if text.startswith("error:")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
    assert line is None or errors == [line]
    assert not list(tmp_path.glob("study/*/DONE"))


def test_a_process_ends_as_its_command_does_here(tmp_path):
    arguments = ["scale=tiny", f"study={tmp_path}/study", "method.tua=1"]
    done, here = (
        subprocess.run([sys.executable, "-m", "mars.run", *arguments], capture_output=True, text=True),
        command(*arguments),
    )
    assert (done.returncode, done.stdout, done.stderr) == (here.returncode, here.stdout, here.stderr)
    assert here.returncode == 1


def test_an_unknown_sub_command_is_one_line():
    done = command("reprot")
    assert (done.returncode, done.stderr) == (1, 'error: "reprot" is no sub-command (did you mean "report"?)\n')


def test_dropped_rows_are_said_with_file_and_row(tmp_path):
    rows = [json.dumps({"prompt": f"q{i}?", "chosen": f"good {i}", "rejected": f"bad {i}"}) for i in range(60)]
    rows[5] = rows[5][:-4]
    (tmp_path / "mine.jsonl").write_text("\n".join(rows))
    settings = ["scale=tiny", "dataset=files", f"dataset.train={tmp_path}/mine.jsonl", "dataset.test_from_train=0.2"]
    done = command(*settings, f"study={tmp_path}/study")
    assert done.returncode == 0
    assert "mine.jsonl: 59 of 60 rows kept; dropped 1 bad_json (first: mine.jsonl:6)" in done.stderr


def test_a_sweep_goes_on_after_a_bad_job_and_a_repeat_makes_nothing_twice(tmp_path):
    arguments = ["-m", "scale=tiny", f"study={tmp_path}/study", f"cache={tmp_path}/cache", "method=none"]
    first = command(*arguments, "rounds.budget=-1,0,1")
    assert first.returncode == 1
    assert "error: rounds.budget: must be at least 0, not -1" in first.stderr.splitlines()
    assert len(list(tmp_path.glob("study/*/DONE"))) == 2
    second = command(*arguments, "rounds.budget=0,1")
    assert second.returncode == 0
    assert second.stderr.splitlines()[0].endswith(" 2 runs: 2 found finished")
    assert second.stderr.splitlines()[1].endswith(f" report: python -m analysis.report study={tmp_path}/study")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (["method=mars,unifrom"], 'error: method: "unifrom" is unknown (did you mean "uniform"?)'),
        (["method=mars,uniform", "method.tua=1"], 'error: method.tua: no such setting (did you mean "method.tau"?)'),
    ],
)
def test_a_sweep_with_a_choice_that_does_not_compose_makes_no_run(values, line, tmp_path):
    done = command("-m", "scale=tiny", f"study={tmp_path}/study", f"cache={tmp_path}/cache", "seed=0,1", *values)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == line
    assert not list(tmp_path.glob("study/*/"))


def test_m_may_stand_anywhere(tmp_path):
    done = command("scale=tiny", f"study={tmp_path}/study", "-m", "seed=0,1", "method=marss")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == 'error: method: "marss" is unknown (did you mean "mars"?)'


def test_a_choice_of_runs_alone_is_one_line_where_there_is_none():
    done = command("pool", "scale=tiny")
    assert (done.returncode, done.stderr) == (1, "error: scale: is chosen for runs, and not here\n")
