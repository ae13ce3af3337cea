"""Best-of-n in a report: the curves of metrics.json, and arms compared on the same prompts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from support.downstream import add_picks
from support.study import make_study

from analysis import Study, load
from analysis.inference.downstream import gain_over
from benchmarks.order_statistics import kl

SKILL = {"none": 0.0, "uniform": 0.5, "mars": 2.0}  # weight of the gold reward in an arm's score


def made(path: Path, gold: bool = True) -> Study:
    make_study(path, dict.fromkeys(SKILL, 0.5), seeds=(0, 1, 2), examples=20, rounds=1)
    for run in path.iterdir():
        method, seed = run.name.split("-")[0], int(run.name.split("-s")[1][0])
        add_picks(run, SKILL[method], seed, gold)
    return load(path)


def panels_of(study: Study) -> dict[str, Axes]:
    """The figure's panels by their titles, each on one line."""
    return {" ".join(axes.get_title().split()): axes for axes in study.figure("best_of_n").axes}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return made(tmp_path_factory.mktemp("best"))


def test_the_table_has_each_arm_s_gain_and_its_difference_on_the_same_prompts(study: Study) -> None:
    frame = study.table("best_of_n").frame.set_index("arm")
    assert list(frame.index) == ["none", "uniform", "mars"]
    assert frame["n"].tolist() == [8, 8, 8]
    assert frame.loc["mars", "kl"] == pytest.approx(kl(8))
    assert frame.loc["mars", "difference"] == pytest.approx(
        frame.loc["mars", "gold_gain"] - frame.loc["uniform", "gold_gain"]
    )
    assert frame.loc["mars", "difference_lo"] > 0 > frame.loc["none", "difference"]
    assert frame.loc["mars", "p_adjusted"] < 0.05
    assert pd.isna(frame.loc["uniform", "difference"])
    assert frame.loc["mars", "prompts"] == 40
    assert "best_of_n" not in set(pd.DataFrame(study.metrics)["split"])


def test_a_difference_is_over_replicates_and_prompts(study: Study) -> None:
    (_, group), *_ = study.groups()
    found = gain_over(group, "mars", "uniform", "best_of_n")
    assert (found.replicates, found.examples, found.own_rows) == (3, 40, False)


def test_the_figure_has_gold_beside_proxy_and_a_random_head_that_rises_in_proxy_alone(study: Study) -> None:
    panels = panels_of(study)
    assert list(panels) == ["planted / minilm, best_of_n: gold", "planted / minilm, best_of_n: proxy"]
    assert panels["planted / minilm, best_of_n: gold"].get_ylabel().startswith("gold gain")
    ends = {
        name: [line.get_ydata()[-1] for line in axes.lines if len(line.get_xdata()) == 4]
        for name, axes in panels.items()
    }
    gold, proxy = ends.values()
    assert abs(gold[0]) < 0.3 < gold[-1]
    assert min(proxy) > 1


def test_without_gold_the_proxy_is_shown_and_said_to_be_no_measure(tmp_path: Path) -> None:
    study = made(tmp_path, gold=False)
    table = study.table("best_of_n")
    assert table.frame["remark"].str.contains("no measure of quality").all()
    assert "gold gain, sd" not in [column.head for column in table.shown]
    assert list(panels_of(study)) == ["planted / minilm, best_of_n: proxy"]
