"""The statistics: against scipy, against simulation, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis.inference import stats
from analysis.inference.coverage import WORLDS, coverage, false_verdicts


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


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=30))
def test_rank_correlation_is_scipys(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points, float).T
    found = stats.rank_correlation(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-12)
    assert math.isnan(stats.rank_correlation(x[:3], y[:3]))
    x[0] = math.nan
    assert math.isnan(stats.rank_correlation(x, y))


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
