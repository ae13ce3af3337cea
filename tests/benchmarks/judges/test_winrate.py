"""Verdicts to numbers: cases to check by hand, intervals that hold, and judges that know nothing found out."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.judges import simulate
from benchmarks.judges.clustered_shares import Clusters, clustered_mean, p_of_half, share
from benchmarks.judges.findings import flag, verdict
from benchmarks.judges.winrate import TIE, UNPARSABLE, A, B, Units, agreement, length_controlled, measure


def units(*said: tuple[int, int], length: float = 0.0) -> Units:
    n = len(said)
    return Units.judged(np.array(said), np.full(n, length), Clusters(np.arange(n), np.zeros(n, int)))


def one_replicate(n: int) -> Clusters:
    return Clusters(np.arange(n), np.zeros(n, int))


def test_a_tie_counts_half_and_what_cannot_be_read_is_left_out_with_its_bounds():
    found = measure(units((A, B), (A, B), (B, A), (TIE, TIE), (A, TIE), (A, UNPARSABLE)))
    assert found.win_rate.value == pytest.approx((1 + 1 + 0 + 0.5 + 0.75) / 5)
    assert found.left_out == 1
    assert found.worst == pytest.approx(3.25 / 6)
    assert found.best == pytest.approx(4.25 / 6)
    assert found.counts == {"A": 5, "B": 3, "tie": 3, "unparsable": 1}
    assert found.position_bias.value == 0.0


def test_position_bias_is_the_share_of_pairs_whose_verdict_follows_the_order():
    found = measure(units((A, A), (A, A), (B, B), (A, B), (TIE, A)))
    assert found.position_bias.value == pytest.approx(3 / 5)
    assert found.toward_first == pytest.approx(1 / 5)
    assert found.win_rate.value == pytest.approx((0.5 + 0.5 + 0.5 + 1 + 0.25) / 5)


def test_exchanging_the_policies_exchanges_the_win_rate_and_nothing_of_the_judge():
    rng = np.random.default_rng(0)
    one = Units.judged(rng.integers(0, 4, (60, 2)), rng.normal(0, 9, 60), one_replicate(60))
    other = Units.judged(one.said[:, ::-1], -one.length, one.clusters)
    ours, theirs = measure(one), measure(other)
    assert theirs.win_rate.value == pytest.approx(1 - ours.win_rate.value)
    assert theirs.length_controlled.value == pytest.approx(1 - ours.length_controlled.value)
    assert theirs.position_bias == ours.position_bias
    assert theirs.consistency.value == pytest.approx(ours.consistency.value)


def test_of_independent_coins_the_interval_is_wilson_s_with_student_s_t():
    values = np.array([1.0] * 60 + [0.0] * 40)
    found = share(values, one_replicate(100))
    t, n = stats.t.ppf(0.975, 99), 99  # the sample variance divides by n − 1
    centre = (0.6 + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * math.sqrt(0.24 / n + t**2 / (4 * n**2))
    assert (found.lo, found.hi) == pytest.approx((centre - half, centre + half))


@pytest.mark.parametrize("wins", [5, 40, 44, 50, 61, 64, 90, 100])
def test_p_is_below_a_twentieth_exactly_where_the_interval_leaves_a_half_out(wins):
    values = np.array([1.0] * wins + [0.0] * (100 - wins))
    found = share(values, one_replicate(100))
    assert (p_of_half(values, one_replicate(100)) < 0.05) == (found.lo > 0.5 or found.hi < 0.5)


def test_both_orders_and_repeats_of_a_prompt_are_one_unit_of_the_interval():
    values = np.random.default_rng(0).integers(0, 2, 50).astype(float)
    once = share(values, one_replicate(50))
    thrice = share(np.tile(values, 3), Clusters(np.tile(np.arange(50), 3), np.zeros(150, int)))
    assert (thrice.lo, thrice.hi) == pytest.approx((once.lo, once.hi))


def test_the_variance_over_prompts_and_replicates_is_that_of_their_effects():
    rng = np.random.default_rng(0)
    replicates, prompts, drawn, estimated = 6, 40, [], []
    for _ in range(400):
        cells = (
            rng.normal(0, 0.3, (replicates, 1)) + rng.normal(0, 0.5, prompts) + rng.normal(0, 1, (replicates, prompts))
        )
        clusters = Clusters(np.tile(np.arange(prompts), replicates), np.repeat(np.arange(replicates), prompts))
        mean = clustered_mean(cells.ravel(), clusters)
        drawn.append(mean.value)
        estimated.append(mean.variance)
    true = 0.3**2 / replicates + 0.5**2 / prompts + 1 / (replicates * prompts)
    assert np.var(drawn) == pytest.approx(true, rel=0.2)
    assert np.mean(estimated) == pytest.approx(true, rel=0.2)


def test_where_replicates_are_all_that_varies_their_number_gives_the_degrees_of_freedom():
    """Three replicates of prompts of their own: Student's t of three means, as if each were one value."""
    rates = np.array([0.5, 0.6, 0.7])
    values = np.concatenate([np.arange(100) < 100 * rate for rate in rates]).astype(float)
    clusters = Clusters(np.arange(300), np.repeat(np.arange(3), 100))
    mean = clustered_mean(values, clusters)
    assert mean.df == 2
    assert mean.variance == pytest.approx(rates.var(ddof=1) / 3)


def test_a_judge_of_length_alone_finds_no_difference_at_equal_lengths():
    rng = np.random.default_rng(0)
    length = rng.normal(60, 100, 400).round()
    first = np.where(length > 0, A, np.where(length < 0, B, TIE))
    found = measure(
        Units.judged(np.column_stack([first, np.where(first == TIE, TIE, B - first)]), length, one_replicate(400))
    )
    assert found.win_rate.lo > 0.6
    assert found.length_controlled.lo < 0.5 < found.length_controlled.hi


def test_the_length_controlled_rate_is_the_intercept_of_its_regression():
    rng = np.random.default_rng(1)
    length = rng.normal(50, 100, 4000)
    x = np.tanh(length / length.std(ddof=1))
    outcome = (rng.random(4000) < 1 / (1 + np.exp(-(0.4 + 1.5 * x)))).astype(float)
    found = length_controlled(outcome, length, one_replicate(4000))
    true = 1 / (1 + math.exp(-0.4))
    assert found.lo < true < found.hi
    assert found.hi - found.lo < 0.06
    assert outcome.mean() > found.hi  # which the longer replies have gained


def test_agreement_is_cohen_s_kappa():
    one = units(*[(A, B)] * 45, *[(B, A)] * 40, *[(TIE, TIE)] * 15)
    other = units(*[(A, B)] * 40, *[(B, A)] * 45, *[(TIE, TIE)] * 15)  # 40 + 40 + 15 alike, 5 not
    found = agreement(one, other)
    chance = 0.45 * 0.40 + 0.40 * 0.45 + 0.15 * 0.15
    assert found.raw.value == pytest.approx(0.95)
    assert found.kappa.value == pytest.approx((0.95 - chance) / (1 - chance))
    assert found.kappa.lo < found.kappa.value < found.kappa.hi
    assert agreement(one, one).kappa.value == 1.0
    assert math.isnan(agreement(units((A, UNPARSABLE)), units((A, B))).raw.value)


def test_judges_that_know_nothing_are_useless_and_one_that_knows_is_not():
    rng = np.random.default_rng(0)
    coin = Units.judged(rng.integers(0, 2, (200, 2)), np.zeros(200), one_replicate(200))
    for useless in (units(*[(A, A)] * 50), units(*[(B, B)] * 50), units(*[(TIE, TIE)] * 50), coin,
                    units(*[(UNPARSABLE, A)] * 50, *[(UNPARSABLE, UNPARSABLE)] * 20)):  # fmt: skip
        found = measure(useless)
        assert "useless" in flag(found)
        assert verdict(found, flag(found), "x", "y").startswith("No verdict")
    assert not flag(measure(units(*[(A, B)] * 30)))  # always the same policy, in both orders
    assert not flag(measure(units(*[(A, B)] * 30, *[(B, A)] * 30, *[(A, A)] * 40)))  # biased, and yet it looks
    assert "too few" in flag(measure(units(*[(A, B)] * 5)))


@pytest.mark.parametrize("scenario", simulate.SCENARIOS, ids=lambda scenario: scenario.name)
def test_intervals_hold_and_equal_policies_are_rarely_called_different(scenario):
    found = simulate.rates(scenario, simulate.population(size=4000), simulations=150, comparisons=200)
    assert found.win_rate >= 0.9  # of 150: the rates themselves are in docs/guides/judging_policies.md
    assert found.bias >= 0.9
    if not scenario.shift:
        assert found.better + found.worse <= 0.1


def test_always_a_is_flagged_every_time():
    assert simulate.flagged("always_a", 50, 100) == 1.0
