"""Rank correlations over arms × replicates: cases small enough to check by hand, and their intervals by simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.inference.foretelling import centred, over_all, within
from analysis.inference.rank_coverage import RUNS, coverage, runs
from benchmarks.metrics import t_quantile

RNG = np.random.default_rng(0)


def frame(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """[A arms, R replicates] of either side, by (arm, replicate)."""
    index = pd.MultiIndex.from_product([range(x.shape[0]), range(x.shape[1])], names=["arm", "replicate"])
    return pd.DataFrame({"x": x.ravel(), "y": y.ravel()}, index=index)


def test_the_interval_is_a_jackknife_over_replicates_on_fisher_s_z() -> None:
    x, y = np.arange(4.0)[:, None], np.array([[2.0], [0.0], [3.0], [1.0]])
    both = frame(x + np.array([0, 10, 20]), y + np.array([0, 10, 1.5]))  # the third replicate turns it round
    found = over_all(both)
    without = [both[both.index.get_level_values("replicate") != r] for r in range(3)]
    z = np.arctanh([part["x"].rank().corr(part["y"].rank()) for part in without])
    half = t_quantile(0.95, 2) * math.sqrt(2 / 3 * ((z - z.mean()) ** 2).sum())
    assert found.rho == pytest.approx(both["x"].rank().corr(both["y"].rank()))
    middle = math.atanh(found.rho)
    assert np.arctanh([found.lo, found.hi]) == pytest.approx([middle - half, middle + half])
    wider = over_all(both, overlap=0.5)  # 1 + R · f / (1 − f) = 4 times the variance
    assert np.arctanh([wider.lo, wider.hi]) == pytest.approx([middle - 2 * half, middle + 2 * half])


def test_the_interval_is_never_narrower_than_that_of_as_many_independent_runs() -> None:
    both = frame(*2 * (np.arange(12.0).reshape(3, 4),))
    found = over_all(both)  # the same order whatever is left out
    assert (found.rho, found.hi) == (1.0, 1.0)
    most = math.atanh(1 - 6 / (12 * 143))
    assert math.atanh(found.lo) == pytest.approx(most - 1.959964 * math.sqrt(1.5 / 9))
    left = within(frame(np.arange(12.0).reshape(3, 4) ** 2, np.arange(12.0).reshape(3, 4) ** 2))
    assert left.lo < found.lo  # three degrees of freedom went into the means


def test_ranks_decide_and_the_order_of_the_runs_does_not() -> None:
    both = frame(RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4)))
    plain = over_all(both)
    assert over_all(both.assign(x=np.exp(both["x"]), y=both["y"] ** 3)) == pytest.approx(plain)
    assert over_all(both.sample(frac=1, random_state=0)) == pytest.approx(plain)
    turned = over_all(both.assign(y=-both["y"]))
    assert turned == pytest.approx((-plain.rho, -plain.hi, -plain.lo, plain.p))


def test_a_draw_that_is_lucky_for_every_arm_counts_for_nothing_within_replicates() -> None:
    luck = np.array([-8.0, -3.0, 4.0, 9.0])
    arms = np.array([[0.0], [1.0], [2.0]])
    both = frame(arms + luck, -arms + luck)
    assert over_all(both).rho > 0.8
    assert within(both).rho == pytest.approx(-1)
    assert centred(frame(luck[None], luck[None])).empty  # one arm has nothing to differ from


def test_no_interval_without_three_replicates_and_no_correlation_without_spread() -> None:
    found = over_all(frame(RNG.normal(size=(4, 2)), RNG.normal(size=(4, 2))))
    assert np.isnan(found).tolist() == [False, True, True, True]
    assert math.isnan(over_all(frame(np.ones((3, 3)), RNG.normal(size=(3, 3)))).rho)


@pytest.mark.parametrize("name", ["lucky draws", "arms agree"])
def test_intervals_hold_the_true_correlation_about_as_often_as_they_say(name: str) -> None:
    for ranked in coverage(RUNS[name], 3, 5, 40, np.random.default_rng(1)):
        assert ranked.held > 0.85  # 40 studies: 0.95 has a standard error of 0.03


def test_the_simulated_runs_are_what_their_world_says() -> None:
    lucky = runs(RUNS["lucky draws"], 3, 4000, np.random.default_rng(2))
    assert lucky.corr().iloc[0, 1] == pytest.approx(0.45, abs=0.05)  # 0.9 of half of the variance
    assert centred(lucky).corr().iloc[0, 1] == pytest.approx(0.0, abs=0.05)
