"""The first screen: what it says never says more, less or other than the verdict; the plot is where the numbers are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.study import make_run, make_study

from analysis.exhibits.ranking import rank
from analysis.inference.comparisons import compare
from analysis.inference.verdicts import BETTER, EQUIVALENT, OPEN, WORSE
from analysis.report.forest import forest
from analysis.report.glance import glance, plain, sentence
from analysis.study.loading import load
from analysis.study.study import Study

BETWEEN = {BETTER: (0.012, 0.031), WORSE: (-0.031, -0.012), EQUIVALENT: (-0.004, 0.007), OPEN: (-0.023, 0.007)}
SAID = {
    BETTER: "is better than",
    WORSE: "is worse than",
    EQUIVALENT: "is no better and no worse than",
    OPEN: "cannot be told apart",
}


def _row(verdict: str, lo: float, hi: float, **more: Any) -> dict[str, Any]:
    row = {"arm": "mars", "reference": "uniform", "endpoint": "accuracy", "verdict": verdict, "margin": 0.01}
    row |= {"difference": (lo + hi) / 2, "difference_lo": lo, "difference_hi": hi, "replicates": 5}
    return row | {"not_compared": ""} | more


def _sentence(*rows: dict[str, Any]) -> str:
    return sentence(pd.DataFrame(rows))


@pytest.mark.parametrize("verdict", SAID)
def test_each_verdict_has_its_words_and_no_other_s(verdict: str) -> None:
    said = _sentence(_row(verdict, *BETWEEN[verdict]))
    assert [words for words in SAID.values() if words in said] == [SAID[verdict]]


def test_what_is_said_of_one_comparison() -> None:
    assert _sentence(_row(EQUIVALENT, -0.004, 0.007)) == (
        "On this data MARS is no better and no worse than uniform augmentation, within 1 point of accuracy."
    )
    assert _sentence(_row(OPEN, -0.023, 0.007)) == (
        "On this data MARS and uniform augmentation cannot be told apart with these 5 replicates: MARS may be anywhere "
        "from 2.3 points worse to 0.7 points better."
    )
    assert _sentence(_row(BETTER, 0.012, 0.031)) == (
        "On this data MARS is better than uniform augmentation, by 2.1 points of accuracy (between 1.2 and 3.1)."
    )


def test_a_small_difference_and_one_that_others_beside_it_unsettle_are_told_as_such() -> None:
    assert "less than the 1 point that would matter" in _sentence(_row(WORSE, -0.008, -0.002))
    unsettled = _sentence(_row(OPEN, 0.002, 0.03))
    assert unsettled == (
        "On this data MARS looks better than uniform augmentation, by 0.2 to 3.0 points of accuracy with these "
        "5 replicates, but that is not enough to be sure."
    )


def test_what_was_not_compared_says_why() -> None:
    nothing = {"difference_lo": math.nan, "difference_hi": math.nan}
    said = _sentence(_row("", 0.0, 0.0, **nothing, difference=0.008, not_compared="one replicate, so no interval"))
    assert said == (
        "Whether MARS is better than uniform augmentation cannot be said: it is 0.8 points ahead here (one "
        "replicate, so no interval)."
    )
    assert _sentence(_row(OPEN, 0, 0, endpoint="information")).startswith("Nothing was compared")


@given(st.lists(st.sampled_from([BETTER, WORSE, EQUIVALENT, OPEN]), min_size=2, max_size=9))
def test_several_comparisons_are_counted(verdicts: list[str]) -> None:
    said = _sentence(*(_row(verdict, *BETWEEN[verdict]) for verdict in verdicts))
    if len(set(verdicts)) == 1:
        assert said.startswith(f"In all {len(verdicts)} comparisons ")
        assert SAID[verdicts[0]] in said
    else:
        for verdict in (BETTER, WORSE):
            assert (f"{verdict} in {verdicts.count(verdict)}" in said) == (verdict in verdicts)
        assert " in 0" not in said


def test_several_comparisons_name_the_settings_that_all_of_them_have() -> None:
    """Two settings of one method are told apart; what some alone have is left out."""
    said = _sentence(
        *(_row(OPEN, -0.02, 0.03, arm=f"mars tau=2 budget={n}", reference=f"mars tau=0 budget={n}") for n in (8, 16))
    )
    assert said == "In all 2 comparisons MARS (tau=2) and MARS (tau=0) cannot be told apart."


def test_settings_of_an_arm_stay_with_its_plain_name() -> None:
    assert plain("mars tau=0.5") == "MARS (tau=0.5)"
    assert plain("somebody_elses_idea") == "somebody_elses_idea"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load(make_study(tmp_path_factory.mktemp("glance") / "quick", seeds=(0, 1, 2), examples=40))


def test_the_facts_are_the_study_s_and_the_cautions_begin_with_the_single_draw(tmp_path: Path, study: Study) -> None:
    shown = glance(study, compare(study), ["few"])
    assert [(fact.value, fact.label) for fact in shown.facts] == [
        ("4", "arms"), ("3", "replicates"), ("40", "pairs"), ("360", "optimiser steps"),
    ]  # fmt: skip
    assert shown.cautions == ("few",)
    path = make_study(
        tmp_path, {"uniform": 0.5, "mars": 0.5}, examples=20, manifest={"base_sha256": "one", "wall_seconds": 90.0}
    )
    one_draw = load(path)
    shown = glance(one_draw, compare(one_draw), ["few"])
    assert shown.cautions[0] == "few"
    assert shown.cautions[1].startswith("all runs share one draw of the base pairs")
    assert (shown.facts[-1].value, shown.facts[-1].label) == ("9", "minutes of computing")


def test_the_plot_has_the_leaderboard_s_differences_the_largest_first(study: Study) -> None:
    board = rank(study).table.frame
    plot = forest(study, board, compare(study))
    assert plot is not None
    known = board[board["difference"].notna()].set_index("arm")["difference"]
    places = {line.arm: line.mark.at for line in plot.lines if line.mark}
    assert places.keys() == set(known.index)
    point = (places["mars"] - plot.zero) / (100 * known["mars"])  # of the width
    assert plot.band == pytest.approx((plot.zero - point, plot.zero + point), abs=0.02)
    assert places["none"] == pytest.approx(plot.zero + point * 100 * known["none"], abs=0.02)
    drawn = [100 * (0.0 if line.mark is None else known[line.arm]) for line in plot.lines]
    assert drawn == sorted(drawn, reverse=True)
    assert [line.arm for line in plot.lines if line.mark is None] == ["uniform"]
    assert [line.arm for line in plot.lines if line.focus] == ["mars"]
    assert all(0 <= end <= 100 for line in plot.lines if line.mark for end in line.mark)


def test_several_groups_have_a_line_each_and_a_lone_arm_no_plot(tmp_path: Path) -> None:
    for dataset in ("planted", "hh_rlhf"):
        make_study(tmp_path / "two", {"uniform": 0.5, "mars": 0.7}, seeds=(0, 1), dataset=dataset, examples=20)
    two = load(tmp_path / "two")
    plot = forest(two, rank(two).table.frame, compare(two))
    assert plot is not None
    assert {line.name for line in plot.lines} == {"planted / minilm", "hh_rlhf / minilm"}
    make_run(tmp_path / "alone", "mars", 0, 0.5, examples=20)
    alone = load(tmp_path / "alone")
    assert forest(alone, rank(alone).table.frame, compare(alone)) is None


def test_without_the_reference_the_plot_has_the_declared_comparisons(tmp_path: Path) -> None:
    other = load(make_study(tmp_path, {"none": 0.4, "eda": 0.6, "mars": 0.7}, seeds=(0, 1), examples=20))
    plot = forest(other, rank(other).table.frame, compare(other))
    assert plot is not None
    assert {line.name for line in plot.lines} == {"mars against none", "mars against eda"}


def test_the_headline_names_the_data_it_is_about_and_says_what_it_is_not_about(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.3, "mars": 0.9}, seeds=(0, 1, 2, 3, 4), examples=200)
    make_study(tmp_path, {"none": 0.9, "mars": 0.3}, seeds=(0, 1, 2, 3, 4), examples=200, dataset="hh")
    two = load(tmp_path)
    shown = glance(two, compare(two), ["few"])
    assert shown.sentence.startswith("On planted / minilm MARS is better than uniform augmentation, by ")
    assert shown.cautions[0] == "hh / minilm: uniform did not run, so the sentence above is not about it"
    make_study(tmp_path, {"none": 0.9, "mars": 0.3}, seeds=(0, 1, 2, 3, 4), examples=200, dataset="uf")
    three = load(tmp_path)
    told = "hh / minilm, uf / minilm: uniform did not run, so the sentence above is not about them"
    assert glance(three, compare(three), ["few"]).cautions[0] == told


def test_an_arm_that_stands_in_for_the_reference_is_named(tmp_path: Path) -> None:
    alone = load(make_study(tmp_path, {"none": 0.3, "mars": 0.9}, seeds=(0, 1, 2), examples=60))
    shown = glance(alone, compare(alone), [])
    assert "than no augmentation" in shown.sentence
    assert shown.cautions[0] == "uniform did not run: the sentence above compares with no augmentation"
