"""Win rates in a report: numbers known beforehand, judges beside their controls, what may be said and what not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import judged
from support.study import make_study

from analysis import LoadedStudy, load
from analysis.exhibits.win_rates import Bars
from analysis.inference import win_rates as inference
from analysis.inference.stats import holm
from analysis.report.verdict import warnings
from analysis.study.judgements import Contest

LENGTH, BLIND = (Contest("rloo", "base", name) for name in ("length", "always_a"))
PROMPTS = 60
WINS = {"uniform": 20, "mars": 48}  # of PROMPTS; as many more are ties as a run's seed says


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms × three replicates of hh_rlhf, each judged by length, and by one that always says A."""
    path = tmp_path_factory.mktemp("judged")
    make_study(path, dict.fromkeys(WINS, 0.5), seeds=(0, 1, 2), dataset="hh_rlhf", examples=20, rounds=1)
    for run in path.iterdir():
        method, seed = run.name.split("-")[0], int(run.name.split("-s")[1][0])
        wins = np.zeros(PROMPTS)
        wins[: WINS[method]], wins[WINS[method] : WINS[method] + seed] = 1, 0.5
        judged.add_replies(run, "rloo", wins)
        for name in ("length", "always_a"):
            judged.judge(run, "rloo", name)
    return path


@pytest.fixture(scope="module")
def study(path: Path) -> LoadedStudy:
    return load(path)


def row(table: Any, **keys: Any) -> dict[str, Any]:
    """The one row of a frame with these values."""
    (found,) = [row for row in table.to_dict("records") if all(row[key] == value for key, value in keys.items())]
    return found


def test_rates_are_means_over_replicates_and_prompts(study):
    mars = row(study.table("win_rates").frame, judge="length", arm="mars")
    assert mars["win_rate"] == pytest.approx((48 + 1 / 2) / 60)  # ties of seeds 0, 1, 2: one in the mean
    assert (mars["win"], mars["tie"], mars["lose"]) == pytest.approx((48 / 60, 1 / 60, 11 / 60))
    assert mars["win_rate_lo"] < mars["win_rate"] < mars["win_rate_hi"]
    assert (mars["replicates"], mars["prompts"], mars["unread"], mars["position_bias"]) == (3, 60, 0, 0)


def test_arms_are_compared_on_the_same_prompts_and_every_p_is_in_one_family(study):
    frame = study.table("win_rates").frame
    mars, uniform = (row(frame, judge="length", arm=arm) for arm in ("mars", "uniform"))
    assert mars["difference"] == pytest.approx(mars["win_rate"] - uniform["win_rate"])
    assert mars["against"] == "uniform"
    assert np.isnan(uniform["difference"])
    p = holm(np.array([mars["p"], mars["difference_p"], uniform["p"]]))
    assert (mars["p_adjusted"], mars["difference_p_adjusted"], uniform["p_adjusted"]) == pytest.approx(tuple(p))
    blind = frame[frame["judge"] == "always_a"]
    assert blind[["p", "difference", "p_adjusted"]].isna().all(axis=None)
    assert blind["remark"].str.startswith("useless: it prefers the first reply").all()


def test_published_values_stand_beside_ours(study):
    table = study.table("win_rates")
    assert row(table.frame, judge="length", arm="mars")["win_published"] == "62"
    assert row(table.frame, judge="length", arm="uniform")["win_published"] == ""
    assert "mars 62 (v1, one index page, second hand" in table.caption
    assert "0.58" not in table.caption  # of a dataset this study has not
    figure = study.figure("win_rates")
    assert [text.get_text() for axes in figure.axes for text in axes.texts].count("publ. 62") == 2


def test_every_judge_has_its_controls_and_identical_replies_beside_it(study):
    frame = study.table("judges").frame
    for judge in ("length", "always_a"):
        assert frame.loc[frame["judge"] == judge, "who"].tolist() == [
            judge, "identical replies", "control: always_a", "control: coin", "control: length", "control: released"
        ]  # fmt: skip
    blind = row(frame, judge="length", who="control: always_a")
    assert (blind["win_rate"], blind["position_bias"], blind["said_a"]) == (0.5, 1.0, 1.0)
    assert blind["remark"].startswith("useless")
    assert row(frame, judge="length", who="control: length")["kappa"] == 1.0
    assert row(frame, judge="length", who="control: released")["win_rate"] == 0.5
    assert "coin" in row(frame, judge="length", who="control: coin")["remark"]
    same = row(frame, judge="length", who="identical replies")
    assert (same["said_tie"], same["units"]) == (1.0, 30)
    assert row(frame, judge="always_a", who="identical replies")["said_tie"] == 0.0
    assert "κ with length" in row(frame, judge="always_a", who="always_a")["remark"]
    assert "κ with always_a" not in row(frame, judge="length", who="length")["remark"]  # agreement with a useless one


def test_the_verdict_says_who_wins_and_that_a_useless_judge_says_nothing(study):
    lines = [line for line in study.verdict() if line.startswith("rloo against base")]
    assert lines[0].startswith("rloo against base, judged by always_a: no verdict, the judge is useless: it prefers")
    assert "of 2 arms better in 1 (mars), worse in 1 (uniform), p adjusted for 3; mars wins 80.8 % [" in lines[1]
    assert "mars against uniform better, +46.7 points of win rate [" in lines[1]
    assert len(lines) == 2
    (useless,) = [line for line in warnings(study) if line.startswith("judge ")]
    assert useless.startswith("judge always_a (rloo against base) is useless: it prefers the first reply")


def test_without_replicates_there_are_rates_and_no_verdict(path, tmp_path):
    alone = load(next(path.glob("mars-*-s1-*")))
    mars = row(alone.table("win_rates").frame, judge="length", arm="mars")
    assert mars["win_rate"] == pytest.approx((48 + 1 / 2) / 60)
    assert np.isfinite(mars["win_rate_lo"])
    assert not [line for line in alone.verdict() if line.startswith("rloo against base")]
    assert "one replicate" in Bars().foot(alone, Bars().frame(alone))


def test_replicates_with_prompts_of_their_own_are_compared_one_by_one(tmp_path):
    make_study(tmp_path, dict.fromkeys(WINS, 0.5), seeds=(0, 1, 2), examples=20, rounds=1, own_rows=True)
    for run in tmp_path.iterdir():
        method, seed = run.name.split("-")[0], int(run.name.split("-s")[1][0])
        wins = np.arange(20) < {"uniform": 8, "mars": 12 + seed}[method]
        judged.add_replies(run, "rloo", wins, first=18 * seed)  # two prompts are those of another replicate, too
        judged.judge(run, "rloo")
    mars = row(inference.win_rates(load(tmp_path)), arm="mars")
    assert (mars["prompts"], mars["replicates"]) == (56, 3)
    assert mars["difference"] == pytest.approx(5 / 20)
    assert mars["difference_lo"] == pytest.approx(0.25 - 4.3027 * 0.05 / 3**0.5, abs=1e-4)  # t of three means


def test_confounded_arms_are_not_compared(tmp_path):
    for method, start in (("uniform", "a"), ("mars", "b")):
        make_study(tmp_path, {method: 0.5}, (0, 1), examples=20, rounds=1, manifest={"start": start * 64})
    for run in tmp_path.iterdir():
        judged.add_replies(run, "rloo", np.arange(20) % 2)
        judged.judge(run, "rloo")
    mars = row(inference.win_rates(load(tmp_path)), arm="mars")
    assert np.isnan(mars["difference_p"])
    assert mars["remark"].startswith("not compared: arms differ in ")
    assert mars["win_rate"] == 0.5


def test_a_judge_that_was_not_the_same_in_all_runs_is_told(path, tmp_path):
    make_study(tmp_path, {"mars": 0.5}, seeds=(0, 1), examples=20, rounds=1)
    for run, name in zip(sorted(tmp_path.iterdir()), ("length", "coin"), strict=True):
        judged.add_replies(run, "rloo", np.arange(20) % 2)
        judged.judge(run, "rloo", name, label="mine")
    assert "judge mine (rloo against base) was not the same in all runs" in warnings(load(tmp_path))


def test_the_figure_has_a_panel_for_each_dataset_and_judge_and_a_bar_for_each_arm(study):
    frame = Bars().frame(study)
    assert frame.groupby("title").size().to_dict() == {
        "hh_rlhf / minilm: against base, judge length": 2,
        "hh_rlhf / minilm: against base, judge always_a, useless judge": 2,
    }
    (axes,) = [axes for axes in study.figure("win_rates").axes if axes.get_title().endswith("length")]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rloo", "uniform", "mars"]
    widths = [bar.get_width() for bar in axes.patches]
    assert sum(widths[:3]) == pytest.approx(100)
    assert widths[3] == pytest.approx(80)
