"""The statistics: against scipy, against simulation, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis.inference import stats
from analysis.inference.coverage import WORLDS, coverage, false_verdicts, truth
from analysis.inference.coverage import study as simulated


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 8, 9, 30, 101])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_t_quantile_is_scipys(df: int, level: float) -> None:
    assert stats.t_quantile(level, df) == pytest.approx(scipy_stats.t.ppf((1 + level) / 2, df), rel=1e-10)


def test_mean_interval_is_scipys() -> None:
    values = np.array([0.71, 0.74, 0.69, 0.73, 0.77])
    expected = scipy_stats.t.interval(0.95, 4, loc=values.mean(), scale=scipy_stats.sem(values))
    assert stats.mean_interval(values) == pytest.approx((values.mean(), *expected))


def test_one_seed_has_a_mean_and_no_interval() -> None:
    mean, lo, hi = stats.mean_interval(np.array([0.7]))
    assert mean == 0.7
    assert np.isnan([lo, hi]).all()
    single = stats.paired_difference(np.array([[1.0, 1, 0]]), np.array([[0.0, 1, 0]]))
    assert single.difference == pytest.approx(1 / 3)
    assert np.isnan([single.lo, single.hi, single.p, stats.detectable(single.spread)]).all()


def test_an_arm_does_not_differ_from_itself() -> None:
    correct = np.random.default_rng(0).integers(0, 2, (5, 80)).astype(float)
    same = stats.paired_difference(correct, correct)
    assert same.difference == 0
    assert np.isnan([same.lo, same.hi, same.p, stats.detectable(same.spread)]).all()  # nor says that it could have


def test_a_handful_of_pairs_allows_no_verdict() -> None:
    right, wrong = np.ones((5, stats.FEWEST)), np.zeros((5, stats.FEWEST))
    right[0, 0] = 0
    assert stats.paired_difference(right, wrong).p < 0.001
    few = stats.paired_difference(right[:, 1:], wrong[:, 1:])
    assert few.difference == 1
    assert np.isnan(few.p)


def test_mean_squares_are_those_of_a_table_by_hand() -> None:
    cells = np.tile([[0.0, 2.0], [2.0, 8.0]], 4)  # means of rows and of columns 1 and 5, of all 3; rest ±1
    spread = stats.paired_difference(cells, np.zeros((2, 8))).spread
    assert spread == pytest.approx((2, 8, 8 * 8, 2 * 32 / 7, 16 / 7))
    assert spread.se == pytest.approx(math.sqrt((64 + 64 / 7 - 16 / 7) / 16))


def test_where_only_seeds_vary_it_is_the_paired_t_test_over_seeds() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = (np.repeat(rng.normal(size=(5, 1)), 40, axis=1) for _ in range(2))
    result = stats.paired_difference(ours, theirs)
    expected = scipy_stats.ttest_rel(ours[:, 0], theirs[:, 0])
    assert result.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (result.lo, result.hi) == pytest.approx(expected.confidence_interval(0.95), rel=1e-6)


def test_where_only_examples_vary_it_is_the_test_over_examples() -> None:
    shared = np.random.default_rng(0).normal(0.05, 1, 2000)
    result = stats.paired_difference(np.repeat(shared[None], 5, axis=0), np.zeros((5, 2000)))
    assert result.p == pytest.approx(scipy_stats.ttest_1samp(shared, 0).pvalue, rel=0.01)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 40])
def test_p_averages_over_what_the_seeds_leave_uncertain(seeds: int) -> None:
    spread = stats.Spread(seeds, 500, 0.4, 0.2, 0.1)
    share = np.random.default_rng(0).chisquare(seeds - 1, 200_000) / (seeds - 1)
    se = np.sqrt(np.maximum(0.4 / share + 0.2 - 0.1, 0.1) / (seeds * 500))
    for distance in (1, 2.5, 5):
        simulated = np.mean(2 * scipy_stats.norm.sf(distance * spread.se / se))
        assert stats.p_value(distance * spread.se, spread) == pytest.approx(simulated, rel=0.05)


def test_pairing_removes_what_the_arms_share() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random((1, 400)) < 0.4  # examples both arms get wrong
    arm = np.where(hard, 0.0, np.ones((5, 400)))
    reference = np.where(rng.random((5, 400)) < 0.03, 0.0, arm)
    result = stats.paired_difference(arm, reference)
    assert 0 < result.lo < result.difference < result.hi < 0.04  # unpaired: ± 0.07
    assert result.p < 0.01
    swapped = stats.paired_difference(reference, arm)
    assert (swapped.lo, swapped.hi, swapped.p) == pytest.approx((-result.hi, -result.lo, result.p))


def test_nested_examples_are_the_t_test_over_the_seeds_means() -> None:
    rng = np.random.default_rng(0)
    differences = [rng.normal(0.1, 0.3, size) + rng.normal(0, 0.05) for size in (40, 60, 50, 80, 40)]
    result = stats.nested_difference(differences)
    expected = scipy_stats.ttest_1samp([own.mean() for own in differences], 0)
    assert result.difference == pytest.approx(np.mean([own.mean() for own in differences]))
    assert result.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (result.lo, result.hi) == pytest.approx(expected.confidence_interval(0.95), rel=1e-6)
    assert stats.detectable(result.spread) > result.hi - result.difference  # which finds one in two


def test_nested_examples_of_one_seed_or_a_handful_allow_no_verdict() -> None:
    own = [np.ones(40), np.zeros(40)]
    assert not math.isnan(stats.nested_difference(own).p)
    for few in (own[:1], [np.ones(stats.FEWEST - 1), np.zeros(40)], [np.ones(40), np.ones(40)]):
        assert math.isnan(stats.nested_difference(few).p)


@pytest.mark.parametrize("name", WORLDS)
def test_nested_intervals_hold_the_truth(name: str) -> None:
    """Each seed judged on examples of its own, with an effect of its own; some standard errors wide."""
    world, rng, held = WORLDS[name], np.random.default_rng(2), 0
    target = truth(world, 0.1) - truth(world, 0.0)
    for _ in range(400):
        by_seed = [simulated(world, np.array([0.1, 0.0]), 1, 100, rng) for _ in range(5)]
        found = stats.nested_difference([(right - other)[0] for right, other in by_seed])
        held += found.lo <= target <= found.hi
    assert abs(held / 400 - 0.95) < 4 * 0.011


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=30))
def test_rank_correlation_is_scipys(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, float).T
    found = stats.rank_correlation(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-12)
    assert math.isnan(stats.rank_correlation(x[:3], y[:3]))


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(8, 60))
def test_an_interval_holds_zero_exactly_when_p_is_at_least_five_per_cent(seed: int, seeds: int, examples: int) -> None:
    rng = np.random.default_rng(seed)
    arm, reference = rng.integers(0, 3, (2, seeds, examples)) / 2 + rng.random((2, 1, 1)) * (seed % 2)
    result = stats.paired_difference(arm, reference)
    if result.spread and abs(result.p - 0.05) > 1e-9:
        assert (result.lo <= 0 <= result.hi) == (result.p > 0.05)


def test_intervals_hold_the_truth_and_null_families_stay_quiet() -> None:
    """A small edition of `python -m benchmarks.speed coverage`; some standard errors wide."""
    for name, world in WORLDS.items():
        held, _ = coverage(world, 5, 300, 400, np.random.default_rng(1))
        assert held > 0.95 - 4 * 0.011, name
    false, unadjusted = false_verdicts(WORLDS["seeds matter"], 5, 300, 120, np.random.default_rng(1))
    assert false < 0.05 + 3 * 0.02 < unadjusted


def test_the_bootstrap_is_a_naive_one_over_seeds_and_examples() -> None:
    differences = np.random.default_rng(0).normal(size=(3, 4, 30))
    result = stats.bootstrap_intervals(differences, seed=7, resamples=200)
    again = np.random.default_rng(7)
    seeds = again.integers(0, 4, (200, 4))
    examples = again.integers(0, 30, (200, 30))
    for table, (low, high) in zip(differences, result, strict=True):
        draws = [table[np.ix_(s, e)].mean() for s, e in zip(seeds, examples, strict=True)]
        assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    assert np.isnan(stats.bootstrap_intervals(differences[:, :1])).all()


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_scipys_binomial_test(better: int, worse: int) -> None:
    arm = np.array([[1.0] * better + [0.0] * worse + [1.0, 0.0, 0.5]])
    reference = np.array([[0.0] * better + [0.5] * worse + [1.0, 0.0, 0.5]])  # a tie is better than wrong
    expected = scipy_stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert stats.mcnemar(arm, reference) == pytest.approx([expected], rel=1e-9)


def test_mcnemar_of_many_examples_does_not_overflow() -> None:
    arm = (np.arange(10_200) < 5_000)[None].astype(float)
    assert stats.mcnemar(arm, 1 - arm)[0] == pytest.approx(scipy_stats.binomtest(5_000, 10_200).pvalue, rel=1e-6)


def test_combined_is_twice_the_median_or_less() -> None:
    assert stats.combined_p(np.array([0.03])) == 0.03
    assert stats.combined_p(np.array([0.2, 0.03])) == pytest.approx(0.06)
    assert stats.combined_p(np.array([0.9, 0.01, 0.02, 0.03, 0.8])) == pytest.approx(0.03 * 5 / 3)
    assert stats.combined_p(np.array([0.9, 0.8])) == 1
    assert math.isnan(stats.combined_p(np.array([])))


def test_holm_by_hand_and_around_what_is_missing() -> None:
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    assert stats.holm(p) == pytest.approx([0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True)
    assert np.isnan(stats.holm(np.array([np.nan]))).all()


@pytest.mark.parametrize("level", [0.05, 0.005])
@pytest.mark.parametrize("seed_sd", [0.0, 0.05])
def test_the_detectable_difference_is_found_four_times_in_five(level: float, seed_sd: float) -> None:
    rng = np.random.default_rng(0)

    def table(shift: float) -> np.ndarray:
        return shift + rng.normal(0, seed_sd, (5, 1)) + rng.normal(0, 0.4, 300) + rng.normal(0, 0.4, (5, 300))

    true = stats.Spread(5, 300, 300 * seed_sd**2 + 0.16, 5 * 0.16 + 0.16, 0.16)  # expected mean squares
    shift, nothing = stats.detectable(true, level), np.zeros((5, 300))
    found = np.mean([stats.paired_difference(table(shift), nothing).p < level for _ in range(300)])
    assert found == pytest.approx(0.8, abs=0.08)


def test_the_probability_of_improvement_counts_pairs_of_runs() -> None:
    result = stats.probability_of_improvement(
        [np.array([3.0, 1.0]), np.array([1.0, 1.0])], [np.array([2.0, 0.0]), np.array([1.0, 1.0])]
    )
    assert result.mean == pytest.approx((3 / 4 + 1 / 2) / 2)
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1, 1, 30), rng.normal(0, 1, 30)
    one = stats.probability_of_improvement([ours], [theirs])
    assert one.mean == pytest.approx(scipy_stats.mannwhitneyu(ours, theirs).statistic / 900)
    assert one.lo < one.mean < one.hi <= 1
    with pytest.raises(ValueError, match="share tasks"):
        stats.probability_of_improvement([ours], [])
