"""The two components of label noise: cases solved by hand, what may not matter, and truths within their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.inference.noise_coverage import Margins, of_gold
from analysis.inference.noise_model import Fit, Votes, p_of_none, wrong_at, wrong_by_margin


def plain(gold: np.ndarray) -> Votes:
    """One label a pair."""
    return Votes(np.asarray(gold, float), np.ones(len(gold), dtype=int))


def noisy(flips: float, temperature: float, pairs: int, seed: int = 0) -> np.ndarray:
    """Gold margins, below 0 where the label is wrong."""
    rng = np.random.default_rng(seed)
    gold = np.abs(rng.normal(size=pairs)) * 3
    right = 1 / (1 + np.exp(-gold / temperature)) if temperature else 1.0
    wrong = rng.random(pairs) < flips + (1 - 2 * flips) * (1 - right)
    return np.where(wrong, -gold, gold)


def test_flips_alone_are_the_share_of_wrong_labels():
    gold = np.concatenate([-np.linspace(0.1, 3, 30), np.linspace(0.1, 3, 170)])
    assert Fit(plain(gold), "gold", t=0.0).flips.value == pytest.approx(0.15, abs=1e-3)


def test_at_one_margin_the_temperature_is_that_of_its_log_odds():
    gold = np.array([-2.0] * 40 + [2.0] * 160)
    fit = Fit(plain(gold), "gold", flips=0.0)
    assert fit.unit * fit.t.value == pytest.approx(2 / math.log(4), rel=1e-2)


def test_without_a_wrong_label_both_are_zero_and_flips_at_most_what_none_of_n_allows():
    fit = Fit(plain(np.linspace(0.1, 3, 400)), "gold")
    assert fit.flips.value == fit.flips.lo == fit.t.lo == 0
    assert fit.flips.hi == pytest.approx(1 - math.exp(-(2.054**2) / 2 / 400), rel=0.05)  # a level of 96 %


@pytest.mark.parametrize("times", [0.01, 7.0])
def test_the_scale_of_margins_moves_the_temperature_and_nothing_else(times):
    gold = noisy(0.1, 1.0, 500)
    one, other = Fit(plain(gold), "gold"), Fit(plain(times * gold), "gold")
    np.testing.assert_allclose(other.flips, one.flips, atol=1e-6)
    np.testing.assert_allclose(other.unit * np.array(other.t), times * one.unit * np.array(one.t), rtol=1e-6)


def test_which_side_is_called_chosen_changes_nothing():
    rng = np.random.default_rng(0)
    labels = Votes(rng.normal(size=300), rng.integers(0, 4, 300), 3)
    turned = np.where(rng.random(300) < 0.5, -1, 1)
    chosen = np.where(turned < 0, 3 - labels.chosen, labels.chosen)
    other = Fit(Votes(turned * labels.margins, chosen, 3), "model")
    assert other.log_likelihood == pytest.approx(Fit(labels, "model").log_likelihood)


@pytest.mark.parametrize(("flips", "temperature"), [(0.0, 1.0), (0.25, 0.0), (0.1, 0.5)])
def test_intervals_hold_the_truth_with_gold_margins(flips, temperature):
    held = of_gold(Margins("gaussian"), flips, temperature, 30, np.random.default_rng(1))
    assert min(held.flips, held.other) >= 0.9  # `python -m benchmarks.speed noise` has the rate itself


def test_five_votes_a_pair_tell_flips_from_small_margins_without_any_margin():
    rng = np.random.default_rng(0)
    flipped = Votes(np.zeros(800), rng.binomial(5, np.where(rng.random(800) < 0.5, 0.1, 0.9)), 5)
    fit = Fit(flipped, "votes")
    assert fit.flips.lo <= 0.1 <= fit.flips.hi
    assert fit.flips.lo > 0.05
    assert fit.t.lo == 0
    ambiguous = Votes(np.zeros(800), rng.binomial(5, 1 / (1 + np.exp(-2 * rng.normal(size=800)))), 5)
    fit = Fit(ambiguous, "votes")
    assert fit.flips.lo == 0
    assert fit.t.lo <= 0.5 <= fit.t.hi
    assert fit.t.lo > 0.2


def test_three_votes_and_a_models_margin_tell_its_errors_from_those_of_annotators():
    rng = np.random.default_rng(0)
    gold = rng.normal(size=1500)
    scores = 0.6 * gold + 0.8 * rng.normal(size=1500)
    votes = rng.binomial(3, 0.1 + 0.8 * (gold > 0))
    fit = Fit(Votes(scores, votes, 3), "model")
    assert fit.flips.lo <= 0.1 <= fit.flips.hi
    assert fit.flips.hi < 0.15
    assert fit.r.lo <= 0.6 <= fit.r.hi


def test_a_component_that_is_not_there_is_not_found_and_one_that_is_is():
    gold = noisy(0.25, 0.0, 1000)
    whole = Fit(plain(gold), "gold")
    assert p_of_none(whole, Fit(plain(gold), "gold", flips=0.0)) < 1e-6
    assert p_of_none(whole, Fit(plain(gold), "gold", t=0.0)) > 0.05


def test_the_curve_of_a_fit_begins_at_a_coin_and_ends_at_the_flips():
    shares = wrong_at(np.array([0.0, 50.0]), 0.1, 0.5, 1.0)
    np.testing.assert_allclose(shares, [0.5, 0.1], atol=1e-6)


def test_labels_wrong_by_small_margins_go_from_none_to_half():
    gold = np.array([1.0])
    assert wrong_by_margin(gold, 0.0) == 0
    assert wrong_by_margin(gold, math.inf) == 0.5
    assert wrong_by_margin(gold, 1.0) == pytest.approx(1 / (1 + math.e))


def test_no_labels_are_refused():
    with pytest.raises(ValueError, match="no labels"):
        Fit(plain(np.empty(0)), "gold")
