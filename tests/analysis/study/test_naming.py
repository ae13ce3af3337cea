"""What arms are called, and in which order they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from support import ROOT
from support.boards import publish
from support.study import make_run, make_study

from analysis import load
from analysis.exhibits.ranking import rank
from analysis.leaderboard import leaderboard


def _refined(name: str, **parts: str) -> dict[str, object]:
    named = {part: {"name": who, "source": f"hub/{who}"} for part, who in parts.items()}
    return {"semantic": {"name": name, "tries": len(name), **named}}


def test_arms_stand_from_none_to_mars_with_other_peoples_before_mars(tmp_path: Path) -> None:
    arms = ["none", "none_matched", "uniform", "stratified", "eda", "won", "west_of_n", "adaboost", "self_training"]
    arms += ["representation", "mars_fisher", "mars_tempered", "mars_validated", "a_new_idea", "mars"]
    make_study(tmp_path, dict.fromkeys(reversed(arms), 0.5), seeds=(0,), examples=20)
    assert load(tmp_path).arms == arms


def test_two_settings_of_one_method_are_two_arms(tmp_path: Path) -> None:
    for seed in (0, 1):
        for tau in (0.1, 2.0):
            make_run(tmp_path, "mars", seed, tau, settings={"tau": tau})
        make_run(tmp_path, "uniform", seed, 0.5)
    assert load(tmp_path).arms == ["uniform", "mars tau=0.1", "mars tau=2.0"]


def test_the_arms_of_a_sweep_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    taus = (8, 16, -1, 0, 0.1, 2e-5, 10)
    for tau in taus:
        make_run(tmp_path, "mars", 0, 0.5, settings={"tau": tau}, rounds=1)
    study = load(tmp_path)
    assert study.arms == [f"mars tau={tau}" for tau in sorted(taus)]
    frame = rank(study).table.frame
    assert list(frame.loc[frame["kind"] == "arm", "arm"]) == study.arms  # all equal, so as the study has them


def test_null_is_a_value_and_truth_is_lower_case(tmp_path: Path) -> None:
    for longest in (None, 1.5):
        make_run(tmp_path, "mars", 0, 0.5, config={"pool": {"gates": {"longest": longest}}})
    for drop in (False, True):
        make_run(tmp_path, "won", 0, 0.5, settings={"drop_prompt": drop})
    won, mars = [f"won drop_prompt={drop}" for drop in ("false", "true")], "mars pool.gates.longest="
    assert load(tmp_path).arms == [*won, f"{mars}1.5", f"{mars}none"]


def test_settings_of_an_endpoint_tell_no_arms_apart(tmp_path: Path) -> None:
    def asked(seed: int, url: str, model: str) -> None:
        endpoint = {"name": "instruct", "model": model, "base_url": url, "concurrency": seed + 1, "price_prompt": None}
        config = {"augmenter": endpoint, "semantic": {"name": "paper", "writer": endpoint | {"price_prompt": seed}}}
        make_run(tmp_path, "mars", seed, 0.5, config=config)

    asked(0, "http://here", "m")
    asked(1, "http://there", "m")
    assert load(tmp_path).arms == ["mars"]
    asked(2, "http://there", "n")
    assert load(tmp_path).arms == [f"mars augmenter.model={m} semantic.writer.model={m}" for m in "mn"]


def test_a_choice_hides_what_comes_with_it_and_nothing_else(tmp_path: Path) -> None:
    plain, paper = _refined("off"), _refined("paper", encoder="mpnet", writer="rules")
    for tau, score, semantic, encoder in ((0, "signed", plain, "minilm"), (2, "absolute", paper, "mpnet")):
        gates = {"encoder": {"name": encoder, "source": f"hub/{encoder}"}}
        config = {**semantic, "pool": {"width": tau, "gates": gates}, "train": {"mode": encoder, "lr": tau}}
        make_run(tmp_path, "mars", 0, 0.5, settings={"tau": tau, "score": score}, config=config)
    assert load(tmp_path).arms == [
        "mars score=absolute tau=2 pool.gates.encoder=mpnet pool.width=2 semantic=paper train.mode=mpnet",
        "mars score=signed tau=0 pool.gates.encoder=minilm pool.width=0 semantic=off train.mode=minilm",
    ]


def test_choices_beside_each_other_are_both_named(tmp_path: Path) -> None:
    for encoder, writer in (("minilm", "rules"), ("mpnet", "eda")):
        make_run(tmp_path, "mars", 0, 0.5, config=_refined("paper", encoder=encoder, writer=writer))
    assert load(tmp_path).arms == [
        "mars semantic.encoder=minilm semantic.writer=rules",
        "mars semantic.encoder=mpnet semantic.writer=eda",
    ]


def test_runs_of_one_choice_are_told_apart_by_what_they_differ_in(tmp_path: Path) -> None:
    make_run(tmp_path, "mars", 0, 0.5, config=_refined("off"))
    for writer in ("rules", "planted"):
        make_run(tmp_path, "mars", 0, 0.5, config=_refined("paper", encoder="minilm", writer=writer))
    assert load(tmp_path).arms == [
        "mars semantic=off",
        "mars semantic=paper semantic.writer=planted",
        "mars semantic=paper semantic.writer=rules",
    ]


def test_an_arms_name_does_not_hang_on_the_order_of_sets() -> None:
    program = """import pandas as pd
from analysis.study.naming import arms
a = {"semantic.encoder.name": 1, "semantic.writer.name": 1, "semantic.writer.mode": 1, "pool.width": 1, "pool.rows": 1}
runs = pd.DataFrame({"run": ["r", "s"], "dataset": "d", "backbone": "b", "method": "mars", "seed": 0})
print(arms(runs, [a, {key: 2 for key in a}]))"""
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        for seed in "01"
    }
    assert len(told) == 1


def test_a_choice_of_a_group_names_an_arm_by_the_choice_alone(tmp_path: Path) -> None:
    for semantic in ("off", "paper"):
        run = make_run(tmp_path, "mars", 0, 0.5, settings={"semantic_marker": semantic})
        config = yaml.safe_load((run / "config.yaml").read_text())
        del config["method"]["semantic_marker"]
        config["semantic"] = {"name": "off"} if semantic == "off" else {"name": "paper", "encoder": {"name": "mpnet"}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert load(tmp_path).arms == ["mars semantic=off", "mars semantic=paper"]


def _data(**settings: object) -> dict[str, object]:
    return {"dataset": {"name": "gaussian", **settings}}


def test_a_dataset_in_several_settings_is_several_groups(tmp_path: Path) -> None:
    kinds = {"noise": "flip", "flip_rate": 0.25}, {"noise": "flip", "flip_rate": 0.1}, {"noise": "none"}
    for kind in kinds:
        for seed in (0, 1):
            for method in ("uniform", "mars"):
                data = _data(seed=seed, path=f"/{seed}", size=9, rare_share=0.0, **{"flip_rate": 0.2, **kind})
                make_run(tmp_path, method, seed, 0.5, dataset="gaussian", config=data)
    study = load(tmp_path)
    assert [title for title, _ in study.groups()] == [
        "gaussian flip_rate=0.1 noise=flip / minilm",
        "gaussian flip_rate=0.25 noise=flip / minilm",
        "gaussian noise=none / minilm",  # without flips their rate is nothing to tell
    ]
    assert study.arms == ["uniform", "mars"]
    assert {run.manifest["dataset"] for run in study.members.values()} == {"gaussian"}


def test_seeds_paths_and_what_was_not_recorded_make_no_other_dataset(tmp_path: Path) -> None:
    for seed, settings in enumerate(({"path": "/here"}, {"path": "/there", "flip_rate": 0.0}, {"flip_rate": 0.0})):
        make_run(tmp_path, "mars", seed, 0.5, dataset="hh_rlhf", config={"dataset": {"name": "hh_rlhf", **settings}})
    assert [title for title, _ in load(tmp_path).groups()] == ["hh_rlhf / minilm"]


def test_entries_of_one_board_say_which_setting_of_the_data_they_are_of(tmp_path: Path) -> None:
    for rate in (0.0, 0.25):  # of training labels: the test rows are the same
        data = {"dataset": {"name": "hh_rlhf", "flip_rate": rate}}
        base = {"base_sha256": f"{rate}"}
        for seed in (0, 1):
            publish(make_run(tmp_path, "uniform", seed, 0.5, dataset="hh_rlhf", config=data, manifest=base))
    (board,) = leaderboard([tmp_path]).boards
    assert sorted(board.table.frame["entry"]) == ["uniform (flip_rate=0.0)", "uniform (flip_rate=0.25)"]
    assert set(board.table.frame["dataset"]) == {"hh_rlhf"}
    assert set(board.table.frame["seeds"]) == {2}
