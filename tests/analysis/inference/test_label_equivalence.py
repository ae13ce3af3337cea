"""Labels of one arm for those of another: known curves, known answers, and intervals that hold them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support.study import make_run

from analysis.exhibits.learning_curves import LabelEquivalence, in_words
from analysis.inference.label_coverage import SIZES, WORLDS, coverage, judge
from analysis.inference.label_equivalence import equal_labels, equivalences, monotone
from analysis.study.loading import load
from analysis.study.study import NothingToShow

LEVELS = np.array([0.60, 0.65, 0.70, 0.74, 0.77, 0.79])  # of the reference at SIZES


def _replicates(levels: np.ndarray, spread: float = 0.01) -> np.ndarray:
    """[K, 4, 1] of replicates around the levels, whose means are these."""
    return (levels[:, None] + spread * np.array([-1.5, -0.5, 0.5, 1.5]))[:, :, None]


def _equal(level: float, levels: np.ndarray = LEVELS, own: float = 0.004):
    """Of an arm at a level whose replicates go with the reference's, but for a part of their own."""
    ours = _replicates(np.array([level]))[0] + own * np.array([1.0, -1.0, -1.0, 1.0])[:, None]
    return equal_labels(ours, _replicates(levels), SIZES, judge)


def test_half_way_between_two_sizes_is_their_geometric_mean() -> None:
    assert _equal((LEVELS[1] + LEVELS[2]) / 2).labels == pytest.approx(math.sqrt(100 * 200))


def test_a_level_of_the_curve_is_its_size_and_the_interval_is_around_it() -> None:
    found = _equal(LEVELS[3])
    assert found.labels == pytest.approx(400)
    assert 200 < found.lo < 400 < found.hi < 800


def test_replicates_that_go_together_are_paired() -> None:
    """What a draw adds to both arms cancels: only the arm's own part makes the interval wide."""
    narrow, wide = _equal(LEVELS[2], own=0.001), _equal(LEVELS[2], own=0.01)
    assert wide.lo < narrow.lo < 200 < narrow.hi < wide.hi


@pytest.mark.parametrize(
    ("level", "found"),
    [(0.9, (math.inf, 1600.0, math.inf)), (0.4, (0.0, 0.0, 50.0))],
    ids=["above the curve", "below it"],
)
def test_outside_the_curve_nothing_is_extrapolated(level: float, found: tuple[float, float, float]) -> None:
    assert _equal(level) == found


def test_an_interval_that_reaches_an_end_of_the_curve_is_open_there() -> None:
    low, high = _equal(LEVELS[0] + 0.001), _equal(LEVELS[-1] - 0.001)
    assert low.lo == 0
    assert low.hi < 100
    assert high.lo > 400
    assert high.hi == math.inf


def test_one_replicate_gives_an_estimate_and_no_interval() -> None:
    found = equal_labels(np.array([[0.70]]), LEVELS[:, None, None], SIZES, judge)
    assert found.labels == pytest.approx(200)
    assert math.isnan(found.lo)


def test_a_curve_that_falls_is_pooled_where_it_does() -> None:
    means = np.array([0.5, 0.7, 0.6, 0.8])
    assert monotone(means) @ means == pytest.approx([0.5, 0.65, 0.65, 0.8])
    falling = np.array([0.9, 0.8, 0.4])
    assert monotone(falling) @ falling == pytest.approx([0.7, 0.7, 0.7])


def test_intervals_hold_the_true_labels_in_simulated_studies() -> None:
    """Of 40 intervals that hold the truth 95 times in 100, fewer than 34 do in 3 of 1000 sets."""
    held = coverage(WORLDS["worth 1.5 times the labels"], 8, 40, np.random.default_rng(0)).share
    assert held >= 34 / 40


@pytest.fixture(scope="module", params=[True, False], ids=["own test pairs", "shared test pairs"])
def sizes(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Three sizes: an arm with n labels is as good as uniform with 2n; none_matched is a size behind it."""
    study = tmp_path_factory.mktemp("outputs") / "curves"
    skills = [0.2, 0.6, 1.0, 1.4, 1.8]
    for place, size in enumerate((50, 100, 200)):
        for seed in range(4):
            config = {"dataset": {"name": "planted", "size": size}, "rounds": {"budget": 2 * size}}
            for arm, step in (("none_matched", 0), ("uniform", 1), ("mars", 2)):
                make_run(study, arm, seed, skills[place + step], own_rows=request.param, examples=400, config=config)
    return study


def test_a_study_of_sizes_says_what_its_curves_say(sizes: Path) -> None:
    frame = equivalences(load(sizes))
    by_accuracy = frame[frame["endpoint"] == "accuracy"].set_index(["arm", "labels"])
    assert set(zip(frame["arm"], frame["reference"], strict=True)) == {("mars", "uniform"), ("uniform", "none_matched")}
    for (arm, size), row in by_accuracy.iterrows():
        truth = 2 * size
        assert row["equal_lo"] <= truth <= row["equal_hi"], (arm, size)
    assert by_accuracy.loc[("mars", 200), "equal_hi"] == math.inf
    assert set(frame["dataset"]) == {"planted"}


def test_the_table_of_it_is_readable_in_every_form(sizes: Path) -> None:
    forms = dict(LabelEquivalence().table(load(sizes)).forms())
    assert "nan" not in "".join(forms.values()).lower()
    assert forms["tex"].isascii()
    assert "| mars | 200 |" in forms["md"]
    assert "| more than 200" in forms["md"]


def test_one_size_is_no_curve(tmp_path: Path) -> None:
    make_run(tmp_path / "one", "uniform", 0, 1.0, config={"dataset": {"name": "planted", "size": 50}})
    with pytest.raises(NothingToShow, match="no dataset ran with several sizes"):
        equivalences(load(tmp_path / "one"))


@pytest.mark.parametrize(
    ("equal", "lo", "hi", "said"),
    [
        (520.4, 310.0, math.inf, "520 [310, more than 1,600]"),
        (80.0, 0.0, 120.0, "80 [fewer than 50, 120]"),
        (math.inf, 900.0, math.inf, "more than 1,600 [900, more than 1,600]"),
        (math.inf, 1600.0, math.inf, "more than 1,600"),
        (0.0, 0.0, 50.0, "fewer than 50"),
        (520.4, math.nan, math.nan, "520"),
        (math.nan, math.nan, math.nan, ""),
    ],
)
def test_labels_in_words(equal: float, lo: float, hi: float, said: str) -> None:
    assert in_words({"equal": equal, "equal_lo": lo, "equal_hi": hi, "smallest": 50, "largest": 1600}) == said
