"""Differences over replicates and examples: against scipy, against simulation, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis.inference import difference, settling, stats
from analysis.inference.coverage import DESIGNS, WORLDS, Setup, looks, truth, verdicts
from analysis.inference.coverage import study as simulated
from analysis.inference.difference import FRESH, Draws, Spread


def test_one_replicate_has_a_difference_and_no_interval() -> None:
    single = difference.crossed_difference(np.array([[1.0, 1, 0]]) - np.array([[0.0, 1, 0]]))
    assert single.difference == pytest.approx(1 / 3)
    assert np.isnan([single.lo, single.hi, single.p, settling.detectable(single.spread)]).all()


def test_an_arm_does_not_differ_from_itself() -> None:
    correct = np.random.default_rng(0).integers(0, 2, (5, 80)).astype(float)
    same = difference.crossed_difference(correct - correct)
    assert same.difference == 0
    assert np.isnan([same.lo, same.hi, same.p, settling.detectable(same.spread)]).all()  # nor says that it could have


def test_a_handful_of_pairs_allows_no_verdict() -> None:
    right, wrong = np.ones((5, stats.FEWEST)), np.zeros((5, stats.FEWEST))
    right[0, 0] = 0
    assert difference.crossed_difference(right - wrong).p < 0.001
    few = difference.crossed_difference(right[:, 1:] - wrong[:, 1:])
    assert few.difference == 1
    assert np.isnan(few.p)


def test_mean_squares_are_those_of_a_table_by_hand() -> None:
    cells = np.tile([[0.0, 2.0], [2.0, 8.0]], 4)  # means of rows and of columns 1 and 5, of all 3; rest ±1
    spread = difference.crossed_difference(cells).spread
    assert spread[:5] == pytest.approx((2, 8, 8 * 8, 2 * 32 / 7, 16 / 7))
    assert spread.se == pytest.approx(math.sqrt((64 + 64 / 7 - 16 / 7) / 16))


def test_where_only_seeds_vary_it_is_the_paired_t_test_over_seeds() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = (np.repeat(rng.normal(size=(5, 1)), 40, axis=1) for _ in range(2))
    result = difference.crossed_difference(ours - theirs)
    expected = scipy_stats.ttest_rel(ours[:, 0], theirs[:, 0])
    assert result.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (result.lo, result.hi) == pytest.approx(expected.confidence_interval(0.95), rel=1e-6)


def test_where_only_examples_vary_it_is_the_test_over_examples() -> None:
    shared = np.random.default_rng(0).normal(0.05, 1, 2000)
    result = difference.crossed_difference(np.repeat(shared[None], 5, axis=0))
    assert result.p == pytest.approx(scipy_stats.ttest_1samp(shared, 0).pvalue, rel=0.01)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 40])
def test_p_averages_over_what_the_seeds_leave_uncertain(seeds: int) -> None:
    spread = difference.Spread(seeds, 500, 0.4, 0.2, 0.1)
    share = np.random.default_rng(0).chisquare(seeds - 1, 200_000) / (seeds - 1)
    se = np.sqrt(np.maximum(0.4 / share + 0.2 - 0.1, 0.1) / (seeds * 500))
    for distance in (1, 2.5, 5):
        simulated = np.mean(2 * scipy_stats.norm.sf(distance * spread.se / se))
        assert difference.p_value(distance * spread.se, spread) == pytest.approx(simulated, rel=0.05)


def test_pairing_removes_what_the_arms_share() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random((1, 400)) < 0.4  # examples both arms get wrong
    arm = np.where(hard, 0.0, np.ones((5, 400)))
    reference = np.where(rng.random((5, 400)) < 0.03, 0.0, arm)
    result = difference.crossed_difference(arm - reference)
    assert 0 < result.lo < result.difference < result.hi < 0.04  # unpaired: ± 0.07
    assert result.p < 0.01
    swapped = difference.crossed_difference(reference - arm)
    assert (swapped.lo, swapped.hi, swapped.p) == pytest.approx((-result.hi, -result.lo, result.p))


def test_nested_examples_are_the_t_test_over_the_seeds_means() -> None:
    rng = np.random.default_rng(0)
    differences = [rng.normal(0.1, 0.3, size) + rng.normal(0, 0.05) for size in (40, 60, 50, 80, 40)]
    result = difference.nested_difference(differences)
    expected = scipy_stats.ttest_1samp([own.mean() for own in differences], 0)
    assert result.difference == pytest.approx(np.mean([own.mean() for own in differences]))
    assert result.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (result.lo, result.hi) == pytest.approx(expected.confidence_interval(0.95), rel=1e-6)
    assert settling.detectable(result.spread) > result.hi - result.difference  # which finds one in two


def test_nested_examples_of_one_seed_or_a_handful_allow_no_verdict() -> None:
    own = [np.ones(40), np.zeros(40)]
    assert not math.isnan(difference.nested_difference(own).p)
    for few in (own[:1], [np.ones(stats.FEWEST - 1), np.zeros(40)], [np.ones(40), np.ones(40)]):
        assert math.isnan(difference.nested_difference(few).p)


@pytest.mark.parametrize("name", WORLDS)
def test_nested_intervals_hold_the_truth(name: str) -> None:
    """Each seed judged on examples of its own, with an effect of its own; some standard errors wide."""
    world, rng, held = WORLDS[name], np.random.default_rng(2), 0
    target = truth(world, 0.1) - truth(world, 0.0)
    for _ in range(400):
        by_seed = [simulated(world, np.array([0.1, 0.0]), 1, 100, rng) for _ in range(5)]
        found = difference.nested_difference([(right - other)[0] for right, other in by_seed])
        held += found.lo <= target <= found.hi
    assert abs(held / 400 - 0.95) < 4 * 0.011


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(8, 60))
def test_an_interval_holds_zero_exactly_when_p_is_at_least_five_per_cent(seed: int, seeds: int, examples: int) -> None:
    rng = np.random.default_rng(seed)
    arm, reference = rng.integers(0, 3, (2, seeds, examples)) / 2 + rng.random((2, 1, 1)) * (seed % 2)
    result = difference.crossed_difference(arm - reference)
    if result.spread and abs(result.p - 0.05) > 1e-9:
        assert (result.lo <= 0 <= result.hi) == (result.p > 0.05)


# equivalence


def test_equivalence_is_the_larger_of_two_one_sided_t_tests() -> None:
    means = np.array([0.004, -0.002, 0.003, 0.001, -0.001])
    found = difference.nested_difference([np.full(20, mean) for mean in means])
    for margin in (0.002, 0.01):
        one_sided = [
            scipy_stats.ttest_1samp(means, -margin, alternative="greater").pvalue,
            scipy_stats.ttest_1samp(means, margin, alternative="less").pvalue,
        ]
        assert difference.equivalence_p(found.difference, found.spread, margin) == pytest.approx(
            max(one_sided), rel=1e-5
        )
    beyond = difference.equivalence_p(0.03, found.spread, 0.01)
    assert beyond > 0.5
    assert difference.equivalence_p(-0.03, found.spread, 0.01) == beyond
    assert math.isnan(difference.equivalence_p(0.0, None, 0.01))


@given(st.floats(0, 0.05), st.floats(0.001, 0.05))
def test_a_wider_margin_is_never_harder_to_keep(mean: float, margin: float) -> None:
    spread = Spread(6, 400, 0.3, 0.2, 0.1)
    narrow, wide = (difference.equivalence_p(mean, spread, m) for m in (margin, 1.5 * margin))
    assert 0 <= wide <= narrow <= 1


# overlapping draws


def subsampled(overlap: float, seeds: int, rng: np.random.Generator, replicates: int = 8) -> difference.Difference:
    """A study of subsamples whose pairs have an effect each, on 200 rows, about a true difference of 0.

    A draw's part is the mean of its pairs' effects, with an sd of 1; a seed's own sd is 1 too.
    """
    rows, size = 200, round(200 * overlap)
    effects = rng.normal(0, math.sqrt(size), rows)
    drawn = np.array([effects[rng.permutation(rows)[:size]].mean() for _ in range(replicates)])
    by_seed = drawn[:, None] + rng.normal(0, 1, (replicates, seeds))
    within = by_seed.var(axis=1, ddof=1).mean() / seeds if seeds > 1 else 0.0
    draws = Draws(overlap, within, replicates * (seeds - 1))
    return difference.nested_difference([np.full(10, mean) for mean in by_seed.mean(axis=1)], draws)


@pytest.mark.parametrize(("overlap", "seeds"), [(0.25, 2), (0.5, 2), (0.5, 4), (0.5, 1), (0.8, 2)])
def test_intervals_of_overlapping_subsamples_hold_the_truth(overlap: float, seeds: int) -> None:
    """Of new draws from where the rows come from; with one seed all that replicates differ by counts as drawn: wide."""
    rng, held, naive, studies = np.random.default_rng(3), 0, 0, 400
    for _ in range(studies):
        found = subsampled(overlap, seeds, rng)
        held += found.lo <= 0 <= found.hi
        half = difference.half_width(found.spread._replace(draws=FRESH))
        naive += abs(found.difference) <= half
    assert held / studies > 0.95 - 4 * 0.011
    assert seeds == 1 or held / studies < 0.99
    assert naive < held


def test_without_overlap_draws_change_nothing() -> None:
    cells = np.random.default_rng(0).normal(0.1, 1, (6, 40))
    plain, stated = (difference.crossed_difference(cells, draws) for draws in (FRESH, Draws(0.0, 0.3, 6)))
    assert (plain.lo, plain.hi, plain.p) == (stated.lo, stated.hi, stated.p)


@pytest.mark.parametrize(
    ("name", "studies"), [("16 draws, pairs of their own", 100), ("12 subsamples that share 20 %, 2 seeds", 40)]
)
def test_families_of_three_verdicts_are_seldom_false(name: str, studies: int) -> None:
    """A small edition of `python -m benchmarks.speed coverage`."""
    shares = verdicts(DESIGNS[name], studies, np.random.default_rng(0))
    assert abs(shares.held - 0.955) < 0.03
    assert shares.false < 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5
    assert shares.different > 0.9


def test_looking_ten_times_makes_no_more_verdicts_false() -> None:
    shares = looks(Setup(40, 1), 4, 25, np.random.default_rng(0))
    assert shares.false <= 3 / 25
    assert shares.equivalent > 0.9
