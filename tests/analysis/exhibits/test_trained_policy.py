"""Trained policies in a report: the table by arm, and gold beside proxy over each arm's own KL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from support.downstream import STEPS, add_picks, add_training
from support.study import make_study

from analysis import NothingToShow, Study, load

RISE = {"none": -0.2, "uniform": 0.1, "mars": 0.3}  # of the gold reward from step to step
POLICY = "sha256:0"


def made(path: Path, gold: bool = True, picked_from: str | None = POLICY, seeds: tuple[int, ...] = (0, 1, 2)) -> Study:
    make_study(path, dict.fromkeys(RISE, 0.5), seeds=seeds, examples=20, rounds=1)
    for run in path.iterdir():
        method, seed = run.name.split("-")[0], int(run.name.split("-s")[1][0])
        add_training(run, RISE[method], seed, gold, POLICY)
        if picked_from:
            add_picks(run, 1.0, seed, gold, picked_from)
    return load(path)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return made(tmp_path_factory.mktemp("trained"))


def panels_of(study: Study) -> dict[str, Axes]:
    return {" ".join(axes.get_title().split()): axes for axes in study.figure("trained_policy").axes}


def test_the_table_has_what_each_arm_s_policy_is_worth_and_what_it_became(study: Study) -> None:
    frame = study.table("trained_policy").frame.set_index("arm")
    assert list(frame.index) == ["none", "uniform", "mars"]
    assert frame["step"].tolist() == [STEPS[-1]] * 3
    assert frame.loc["mars", "gold_win_rate"] > 0.5 > frame.loc["none", "gold_win_rate"]
    assert frame.loc["mars", "kl"] == pytest.approx(2 * 1.09)
    assert (frame["length"].tolist(), frame["length_change"].tolist()) == ([60] * 3, [10] * 3)
    assert (frame.loc["mars", "repetition"], frame.loc["mars", "entropy"]) == pytest.approx((0.2, 1.8))
    assert frame.loc["mars", "difference"] == pytest.approx(
        frame.loc["mars", "gold_gain"] - frame.loc["uniform", "gold_gain"]
    )
    assert frame.loc["mars", "difference_lo"] > 0 > frame.loc["none", "difference_hi"]
    assert frame.loc["mars", "p_adjusted"] < 0.05
    assert (frame.loc["mars", "replicates"], frame.loc["mars", "prompts"]) == (3, 30)
    assert "win rate %" in study.table("trained_policy").to_markdown()


def test_a_win_rate_s_interval_stays_a_share(tmp_path: Path) -> None:
    make_study(tmp_path, {"mars": 0.5}, seeds=(0, 1), examples=20, rounds=1)
    for run in tmp_path.iterdir():
        add_training(run, 0.0 if "-s0-" in run.name else 9.0, 0)
    (row,) = load(tmp_path).table("trained_policy").frame.to_dict("records")
    assert (row["gold_win_rate_lo"], row["gold_win_rate_hi"]) == (0.0, 1.0)


def test_every_arm_has_its_own_kl_and_the_picks_of_the_same_policy_beside_it(study: Study) -> None:
    panels = panels_of(study)
    assert list(panels) == [f"planted / minilm, trained_policy: {side}" for side in ("gold", "proxy")]
    gold = panels["planted / minilm, trained_policy: gold"]
    trained = [line for line in gold.lines if len(line.get_xdata()) == len(STEPS)]
    assert [line.get_xdata()[-1] for line in trained] == pytest.approx([2 * (1 + rise**2) for rise in RISE.values()])
    assert [np.sign(line.get_ydata()[-1]) for line in trained] == [-1, 1, 1]
    picked = [line for line in gold.lines if len(line.get_xdata()) == 4]
    assert [line.get_linestyle() for line in picked] == [":"] * 3
    low, high = gold.get_ylim()
    assert all(low <= y <= high for line in (*trained, *picked) for y in line.get_ydata())
    foot = " ".join(study.figure("trained_policy").texts[0].get_text().split())
    assert foot.endswith("dotted without markers: best of n")


def test_picks_of_another_policy_are_not_drawn_beside_it(tmp_path: Path) -> None:
    study = made(tmp_path, picked_from="sha256:1", seeds=(0,))
    lines = [line for axes in panels_of(study).values() for line in axes.lines]
    assert {len(line.get_xdata()) for line in lines} == {len(STEPS), 2}  # the arms, and the dashed line
    assert "dotted" not in study.figure("trained_policy").texts[0].get_text()


def test_without_gold_the_proxy_is_shown_and_said_to_be_no_measure(tmp_path: Path) -> None:
    study = made(tmp_path, gold=False, picked_from=None, seeds=(0, 1))
    table = study.table("trained_policy")
    assert table.frame["remark"].str.contains("no measure of quality").all()
    assert not {"gold gain, sd", "gold win rate %"} & {column.head for column in table.shown}
    assert list(panels_of(study)) == ["planted / minilm, trained_policy: proxy"]
    with pytest.raises(NothingToShow, match="experiment=downstream"):
        study.table("foretelling")


def test_trained_policies_are_no_further_evaluation(study: Study) -> None:
    with pytest.raises(NothingToShow, match="own test splits only"):
        study.table("benchmarks")


def test_the_foretelling_figure_has_a_panel_an_outcome_and_a_row_a_predictor(study: Study) -> None:
    frame = study.table("foretelling").frame
    panels = {" ".join(axes.get_title().split()): axes for axes in study.figure("foretelling").axes}
    assert list(panels) == [
        "planted / minilm, best_of_n: gold gain",
        "planted / minilm, trained_policy: gold gain",
        "planted / minilm, trained_policy: gold win rate",
    ]
    for axes, (_, rows) in zip(panels.values(), frame.groupby(["label", "outcome"], sort=False), strict=True):
        assert [tick.get_text() for tick in axes.get_yticklabels()] == list(rows["predictor"])
        dots = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
        assert sorted(dots) == pytest.approx(sorted([*rows["within"], *rows["all"]]), nan_ok=True)
    assert pd.Series(frame["runs"]).eq(9).all()
