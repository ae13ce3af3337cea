"""Looks at a growing study: against published bounds, against simulated Brownian motion, and by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis.inference import sequential

FIVE = (0.2, 0.4, 0.6, 0.8, 1.0)
TEN_BATCHES = np.arange(4, 41, 4)
ALPHAS = st.sampled_from([0.1, 0.05, 0.05 / 14, 1e-4, 1e-6])
LOOKS = st.lists(st.integers(5, 100), min_size=1, max_size=12, unique=True).map(lambda n: [x / 100 for x in sorted(n)])


def bounds(levels: np.ndarray) -> np.ndarray:
    """[L] |z| at two-sided levels."""
    return scipy_stats.norm.isf(levels / 2)


@pytest.mark.parametrize(
    ("fractions", "published"),
    [(FIVE, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]), ([0.5, 1], [2.9626, 1.9686]), ([1], [1.9600])],
)
def test_bounds_are_the_published_ones(fractions: list[float], published: list[float]) -> None:
    assert bounds(sequential.levels(fractions, 0.05)) == pytest.approx(published, abs=2e-4)


def test_the_second_bound_is_that_of_two_correlated_normals() -> None:
    first, second = bounds(sequential.levels([0.3, 0.7], 0.05))
    cov = [[1, np.sqrt(3 / 7)], [np.sqrt(3 / 7), 1]]
    inside = scipy_stats.multivariate_normal(cov=cov).cdf([first, second], lower_limit=[-first, -second])
    assert 1 - inside == pytest.approx(sequential.spent(0.7, 0.05), rel=1e-5)


@pytest.mark.parametrize("drift", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("fractions", [FIVE, (0.1, 0.15, 0.6, 0.9)])
def test_brownian_motion_crosses_as_often_as_said(fractions: tuple[float, ...], drift: float) -> None:
    rng, studies = np.random.default_rng(1), 200_000
    scores = rng.normal(0, np.sqrt(np.diff([0, *fractions])), (studies, len(fractions))).cumsum(axis=1)
    z = (scores + drift * np.array(fractions)) / np.sqrt(fractions)
    crossed = (np.abs(z) >= bounds(sequential.levels(fractions, 0.05))).any(axis=1).mean()
    expected = sequential.power(fractions, 0.05, drift)
    assert crossed == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / studies))


@settings(max_examples=40, deadline=None)
@given(LOOKS, ALPHAS)
def test_null_studies_cross_with_what_is_spent(fractions: list[float], alpha: float) -> None:
    crossed = sequential.power(fractions, alpha, drift=0)
    assert crossed == pytest.approx(sequential.spent(fractions[-1], alpha), abs=1e-12)
    assert crossed <= alpha + 1e-12


@settings(max_examples=40, deadline=None)
@given(LOOKS, ALPHAS)
def test_a_level_is_no_more_than_what_is_spent_so_far(fractions: list[float], alpha: float) -> None:
    levels = sequential.levels(fractions, alpha)
    spent = np.array([sequential.spent(fraction, alpha) for fraction in fractions])
    assert (levels >= 0).all()
    assert (levels <= spent * (1 + 1e-9)).all()
    assert levels.sum() >= spent[-1] * (1 - 1e-9)  # what studies cross twice is saved


@settings(max_examples=20, deadline=None)
@given(LOOKS, ALPHAS)
def test_a_look_does_not_depend_on_later_ones(fractions: list[float], alpha: float) -> None:
    upto = len(fractions) // 2 + 1
    assert sequential.levels(fractions[:upto], alpha) == pytest.approx(sequential.levels(fractions, alpha)[:upto])


@pytest.mark.parametrize("looks", [2, 5, 10, 20])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 14, 1e-4])
def test_with_even_looks_levels_rise_and_grow_with_alpha(looks: int, alpha: float) -> None:
    fractions = np.arange(1, looks + 1) / looks
    levels = sequential.levels(fractions, alpha)
    assert (np.diff(levels) > 0).all()
    assert (levels < sequential.levels(fractions, 2 * alpha)).all()
    assert levels[-1] < alpha
    power = [sequential.power(fractions[: k + 1], alpha, 3.0) for k in range(looks)]
    assert (np.diff(power) > -1e-12).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fractions", [[0.001, 0.5, 1], [0.05, 0.051, 1], np.arange(1, 21) / 20])
def test_very_early_looks_end_nothing(fractions: list[float]) -> None:
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        levels = sequential.levels(fractions, 1e-4)
        assert 0 <= sequential.power(fractions, 1e-4, 50.0) <= 1
    assert levels[0] < 1e-70
    assert np.isfinite(levels).all()
    assert 0 < levels[-1] < 1e-4 * (1 + 1e-9)


def test_levels_are_the_callers_own() -> None:
    sequential.levels(FIVE, 0.05)[:] = 1
    assert sequential.levels(FIVE, 0.05).max() < 0.05


@pytest.mark.parametrize("drift", [0.0, 0.5, 2.8, -2.8, 6.0])
def test_with_one_look_power_is_that_of_a_z_test(drift: float) -> None:
    bound = scipy_stats.norm.isf(0.025)
    expected = scipy_stats.norm.sf(bound - drift) + scipy_stats.norm.cdf(-bound - drift)
    assert sequential.power([1], 0.05, drift) == pytest.approx(expected, abs=1e-12)


def test_one_sided_levels_find_too_much_in_alpha_of_null_studies() -> None:
    levels = sequential.one_sided_levels(FIVE, 0.025)
    assert levels == pytest.approx(sequential.levels(FIVE, 0.05) / 2)
    rng = np.random.default_rng(2)
    z = rng.normal(0, np.sqrt(0.2), (400_000, 5)).cumsum(axis=1) / np.sqrt(FIVE)
    crossed = (z >= scipy_stats.norm.isf(levels)).any(axis=1).mean()
    assert crossed == pytest.approx(0.025, abs=4 * np.sqrt(0.025 / len(z)))


def test_conditional_power_by_hand() -> None:
    # z = 2 at half: the score is 2√½ = 1.414, on trend 2.828 at the end, with √½ still to vary.
    upper = scipy_stats.norm.sf((1.959964 - 2.828427) / np.sqrt(0.5))
    lower = scipy_stats.norm.cdf((-1.959964 - 2.828427) / np.sqrt(0.5))
    assert sequential.conditional_power(2, 0.5, 0.05) == pytest.approx(upper + lower, rel=1e-6)
    assert sequential.one_sided_conditional_power(2, 0.5, 0.025) == pytest.approx(upper, rel=1e-6)
    assert sequential.conditional_power(-2, 0.5, 0.05) == pytest.approx(sequential.conditional_power(2, 0.5, 0.05))


@settings(deadline=None)
@given(st.floats(0.05, 0.95), st.floats(-4, 4))
def test_conditional_power_averages_to_power(fraction: float, drift: float) -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = nodes + drift * np.sqrt(fraction)
    mean = weights @ [sequential.conditional_power(x, fraction, 0.05, drift) for x in z] / weights.sum()
    assert mean == pytest.approx(sequential.power([1], 0.05, drift), abs=1e-3)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 14])
def test_students_t_finds_no_more_than_alpha_when_it_spends_its_share(alpha: float) -> None:
    crossed, se = crossing_t(sequential.levels(TEN_BATCHES / 40, sequential.STUDENT * alpha))
    assert 0.9 * alpha - 2 * se < crossed <= alpha + 2 * se


def test_students_t_finds_a_little_too_much_otherwise() -> None:
    crossed, se = crossing_t(sequential.levels(TEN_BATCHES / 40, 0.05))
    assert 0.05 + 2 * se < crossed < 0.054


def crossing_t(levels: np.ndarray, studies: int = 200_000) -> tuple[float, float]:
    """The share of null studies whose paired t over 4, 8, … 40 replicates ever reaches its level, and its s.e."""
    rng = np.random.default_rng(3)
    batch = rng.normal(0, 2, (studies, len(levels)))
    squares = (batch**2 / 4 + rng.chisquare(3, batch.shape)).cumsum(axis=1)
    total = batch.cumsum(axis=1)
    variance = (squares - total**2 / TEN_BATCHES) / (TEN_BATCHES - 1)
    t = np.abs(total) / np.sqrt(TEN_BATCHES * variance)
    crossed = float((t >= scipy_stats.t.isf(levels / 2, TEN_BATCHES - 1)).any(axis=1).mean())
    return crossed, float(np.sqrt(crossed * (1 - crossed) / studies))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sequential.levels([0.5, 0.4], 0.05), "must ascend"),
        (lambda: sequential.levels([0.5, 0.5001], 0.05), "must ascend"),
        (lambda: sequential.levels([], 0.05), "must ascend"),
        (lambda: sequential.levels([0.5, 1.1], 0.05), "must lie in"),
        (lambda: sequential.levels([0.0, 1], 0.05), "must lie in"),
        (lambda: sequential.levels([float("nan")], 0.05), "must lie in"),
        (lambda: sequential.levels([1], 0), "alpha must"),
        (lambda: sequential.one_sided_levels([1], 0.5), "alpha must"),
        (lambda: sequential.power([0.5, 0.2], 0.05, 1), "must ascend"),
        (lambda: sequential.spent(0.5, 1.0), "alpha must"),
        (lambda: sequential.conditional_power(1, 1.0, 0.05), "must lie between"),
        (lambda: sequential.conditional_power(1, 0.5, 0), "must lie between"),
    ],
)
def test_bad_input_is_named_in_one_line(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
