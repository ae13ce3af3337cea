"""Reliability and temperature: worked by hand, against scipy's minimiser, and for all margins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from benchmarks import metrics
from benchmarks.calibration import FEWEST_HELD_OUT, RANGE, fit_temperature, information, reliability

some_margins = st.lists(st.floats(-20, 20), min_size=1, max_size=60).map(np.array)


def log_loss(margins: np.ndarray, temperature: float) -> float:
    return float(np.logaddexp(0, -margins / temperature).mean())


def test_reliability_by_hand() -> None:
    # σ(ln 3) = ¾ lies in the 8th of 15 bins on [½, 1]: three right and one wrong; σ(0) = ½ in the 1st: a tie is half
    margins = np.array([math.log(3)] * 3 + [-math.log(3)] + [0.0])
    bins = reliability(margins)
    assert len(bins) == 15
    filled = {i: b for i, b in enumerate(bins) if b["n"]}
    assert list(filled) == [0, 7]
    assert (filled[0]["n"], filled[0]["confidence"], filled[0]["accuracy"]) == (1, 0.5, 0.5)
    assert (filled[7]["n"], filled[7]["confidence"], filled[7]["accuracy"]) == pytest.approx((4, 0.75, 0.75))
    assert (filled[7]["lo"], filled[7]["hi"]) == pytest.approx((0.5 + 7 / 30, 0.5 + 8 / 30))
    assert (filled[7]["accuracy_lo"], filled[7]["accuracy_hi"]) == metrics.wilson(3, 4)
    empty = {"n": 0, "confidence": None, "accuracy": None, "accuracy_lo": None, "accuracy_hi": None}
    assert empty.items() <= bins[3].items()


@pytest.mark.parametrize("n", range(1, 60))
def test_an_interval_holds_its_share_at_the_ends_too(n: int) -> None:
    for right in (0, n / 2, n):
        lo, hi = metrics.wilson(right, n)
        assert 0 <= lo <= right / n <= hi <= 1


@settings(max_examples=80, deadline=None)
@given(some_margins)
def test_the_diagram_and_the_ece_are_one(margins: np.ndarray) -> None:
    bins = [b for b in reliability(margins) if b["n"]]
    ece = metrics.forecasts(margins, np.ones((1, len(margins))))["ece"][0]
    assert sum(b["n"] for b in bins) == len(margins)
    assert sum(b["n"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / len(margins) == pytest.approx(ece)
    for b in bins:
        assert b["lo"] - 1e-12 <= b["confidence"] <= b["hi"] + 1e-12
        assert b["accuracy_lo"] <= b["accuracy"] <= b["accuracy_hi"]


def test_temperature_by_hand() -> None:
    # three margins of 2 and one of −2: the best stated probability is ¾ = σ(ln 3), so 2 / T = ln 3
    temperature = fit_temperature(np.array([2.0, 2.0, 2.0, -2.0]))
    assert temperature.value == pytest.approx(2 / math.log(3), rel=1e-12)
    assert temperature.note == ""


def test_temperature_is_scipys_minimum() -> None:
    rng = np.random.default_rng(0)
    for scale in (0.01, 1, 500):
        margins = scale * rng.normal(0.6, 1, 300)
        found = minimize_scalar(lambda b, m=margins: log_loss(m, 1 / b), bounds=(1e-9, 20 / scale), method="bounded")
        assert log_loss(margins, fit_temperature(margins).value) <= found.fun + 1e-12
        assert fit_temperature(margins).value == pytest.approx(1 / found.x, rel=1e-2)


def test_temperature_of_bradley_terry_margins_is_the_one_they_were_drawn_with() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(0, 2, 40_000)
    labelled = np.where(rng.random(len(true)) < metrics.sigmoid(true), true, -true)  # P(chosen) = σ(Δ), so T = 1
    assert fit_temperature(labelled).value == pytest.approx(1, abs=0.05)
    assert fit_temperature(3 * labelled).value == pytest.approx(3, abs=0.15)


@settings(max_examples=80, deadline=None)
@given(some_margins, st.floats(0.01, 100))
def test_temperature_follows_the_scale_of_the_scores_and_never_hurts(margins: np.ndarray, scale: float) -> None:
    temperature = fit_temperature(margins)
    size = np.abs(margins).mean()
    if size < 1e-6:
        return
    assert RANGE[0] * size * (1 - 1e-9) <= temperature.value <= RANGE[1] * size * (1 + 1e-9)
    assert fit_temperature(scale * margins).value == pytest.approx(scale * temperature.value, rel=1e-6)
    for other in np.geomspace(*RANGE, 25) * size:
        assert log_loss(margins, temperature.value) <= log_loss(margins, other) + 1e-9


@pytest.mark.parametrize(
    ("margins", "value", "why"),
    [
        ([1.0, 3.0, 0.0], RANGE[0] * 4 / 3, "no validation pair, or next to none, is ranked wrong"),
        ([-1.0, 1.0], RANGE[1], "the scores say nothing of the validation labels"),
        ([-3.0, 1.0], RANGE[1] * 2, "or the contrary"),
        ([0.0, 0.0], 1.0, "every validation margin is 0"),
    ],
)
def test_without_a_minimum_the_temperature_is_at_its_bound_and_says_so(
    margins: list[float], value: float, why: str
) -> None:
    temperature = fit_temperature(np.array(margins))
    assert temperature.value == pytest.approx(value)
    assert why in temperature.note


# information


def noisy(n: int, seed: int = 0, skill: float = 1.0) -> np.ndarray:
    """Margins with label noise: log-odds are `skill` times what is scored."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 2, n)
    return np.where(rng.random(n) < 1 / (1 + np.exp(-skill * truth)), truth, -truth)


def test_information_is_one_less_the_log_loss_at_the_held_out_temperature_in_bits() -> None:
    margins, held_out = noisy(500), noisy(200, seed=1)
    temperature = fit_temperature(held_out).value
    bits = information(margins, held_out)
    assert bits.mean() == pytest.approx(1 - log_loss(margins, temperature) / math.log(2))
    assert 0.2 < bits.mean() < 1
    assert bits.max() <= 1


def test_stretching_all_margins_changes_no_information() -> None:
    margins, held_out = noisy(300), noisy(100, seed=1)
    for fitted_on in (held_out, held_out[:10]):  # the second is cross-fitted
        plain, stretched = information(margins, fitted_on), information(50 * margins, 50 * fitted_on)
        assert stretched == pytest.approx(plain, rel=1e-9)


def test_few_held_out_pairs_are_left_alone_and_no_pair_is_judged_at_a_temperature_of_its_own_half() -> None:
    margins, few = noisy(301), noisy(FEWEST_HELD_OUT - 1, seed=1)
    bits = information(margins, few)
    np.testing.assert_array_equal(bits, information(margins, few[:0]))
    moved = margins.copy()
    moved[0::2] *= 3
    assert (information(moved, few)[1::2] != bits[1::2]).all()
    by_hand = 1 - np.logaddexp(0, -margins[::2] / fit_temperature(margins[1::2]).value) / math.log(2)
    assert bits[::2] == pytest.approx(by_hand)


@pytest.mark.parametrize("held_out", [np.ones(60), np.zeros(60), -np.ones(60)], ids=["all right", "flat", "all wrong"])
def test_a_temperature_that_has_no_minimum_costs_no_hundreds_of_bits(held_out: np.ndarray) -> None:
    bits = information(np.array([1.0, -1.0, 0.5]), held_out)
    assert np.isfinite(bits).all()
    assert bits.min() > -8
    assert information(np.zeros(3), held_out) == pytest.approx([0, 0, 0])  # scores that say nothing
    assert information(np.array([1.0]), np.empty(0)) == pytest.approx([0])  # nothing to fit on


def bisected(margins: np.ndarray) -> float:
    """The T of `fit_temperature` where there is a minimum, without a shortcut."""
    size = float(np.abs(margins).mean())
    unit = margins / size
    low, high = 1 / RANGE[1], 1 / RANGE[0]
    while (middle := (low + high) / 2) not in (low, high):
        falls = -float(np.mean(unit * metrics.sigmoid(-middle * unit))) < 0
        low, high = (middle, high) if falls else (low, middle)
    return size / middle


@given(some_margins, st.floats(1e-9, 1e9))
def test_a_temperature_is_that_of_a_whole_bisection_to_the_last_bit(margins: np.ndarray, scale: float) -> None:
    found = fit_temperature(scale * margins)
    if not found.note:
        assert found.value == bisected(scale * margins)
