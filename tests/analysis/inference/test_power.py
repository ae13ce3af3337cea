"""Power before the run: by hand, and against simulated studies that are judged as real ones are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2, norm

from analysis.inference.difference import Draws, Spread, crossed_difference, equivalence_p, nested_difference
from analysis.inference.power import (
    DIFFERENCE,
    EQUIVALENCE,
    LOOKS,
    Question,
    examples_share,
    looked_at,
    of_differences,
    predicted,
    replicate_sd,
    replicates_needed,
    understated,
)
from analysis.inference.sequential import STUDENT, levels, one_sided_levels

LEVEL = 0.05 / 12


def own_pairs(sd: float, replicates: int = 8, examples: int = 100, pairs: float = 0.0) -> Spread:
    """Replicates with pairs of their own: sd of one's difference, of whose square `pairs` comes from them."""
    within = examples * sd**2 * pairs
    return Spread(replicates, examples, examples * sd**2, within, within)


def test_a_spread_is_told_from_differences_by_hand() -> None:
    spread = of_differences([np.array([0.0, 2.0]), np.array([4.0, 8.0])], own_rows=True)
    # means 1 and 6: variance 12.5; within the replicates 2 and 8: 5, of which a mean of two pairs has 2.5
    assert spread == Spread(2, 2, 25.0, 5.0, 5.0)
    assert replicate_sd(spread) == pytest.approx(math.sqrt(12.5))
    assert examples_share(spread) == pytest.approx(2.5 / 12.5)
    # ten times the pairs: 10 of the replicate and 0.25 of the pairs
    assert replicate_sd(predicted(spread, 5, 20)) == pytest.approx(math.sqrt(10.25))


def test_a_spread_without_shared_pairs_has_the_standard_error_of_the_report() -> None:
    rng = np.random.default_rng(0)
    differences = list(rng.normal(rng.normal(0, 0.5, (6, 1)), 1, (6, 50)))
    spread = of_differences(differences, own_rows=True)
    judged = nested_difference(differences).spread
    assert spread
    assert judged
    assert spread.se == pytest.approx(judged.se)
    assert of_differences(differences[:1], own_rows=True) is None
    assert of_differences([np.zeros(9)] * 3, own_rows=True) is None


def test_as_many_replicates_and_examples_are_predicted_to_spread_as_they_do() -> None:
    for draws in (Draws(), Draws(0.2), Draws(0.2, 0.01, 4)):
        spread = Spread(4, 50, 3.0, 2.0, 1.0, draws)
        again = predicted(spread, 4, 50)
        assert again.se == pytest.approx(spread.se)
        assert again.fixed == pytest.approx(spread.fixed)


def test_overlapping_draws_add_what_no_number_of_pairs_takes_away() -> None:
    spread = Spread(4, 50, 3.0, 1.0, 1.0, Draws(0.2, 0.02, 4))
    drawn = 3.0 / 50 - 0.02
    assert predicted(spread, 1000, 5000).fixed == pytest.approx(drawn * 0.25)


@pytest.mark.parametrize(
    ("question", "z"), [(DIFFERENCE, 2.865 + 0.8416), (EQUIVALENCE, 2.638 + 1.2816)], ids=["find", "rule out"]
)
def test_of_many_replicates_the_number_is_the_textbook_s(question: Question, z: float) -> None:
    needed = replicates_needed(question, own_pairs(0.08, pairs=0.25), 100, 0.01, LEVEL)
    assert needed == pytest.approx((z * 0.08 / 0.01) ** 2, rel=0.005)
    quarter_of_pairs = replicates_needed(question, own_pairs(0.08, pairs=0.25), 25, 0.01, LEVEL)
    assert quarter_of_pairs == pytest.approx(needed * (0.75 + 0.25 * 4), rel=0.005)


def test_few_replicates_take_more_than_the_textbook_says() -> None:
    assert replicates_needed(DIFFERENCE, own_pairs(0.01), 100, 0.01, LEVEL) > (3.7066 * 1.0) ** 2
    assert replicates_needed(DIFFERENCE, own_pairs(0.00001), 100, 0.01, LEVEL) == 2


def test_pairs_that_all_replicates_share_may_make_it_impossible() -> None:
    spread = Spread(8, 100, 0.5, 8 * 0.1 + 0.1, 0.1)  # a pair's own variance is 0.1, whatever the replicate
    assert replicates_needed(DIFFERENCE, spread, 100, 0.01, LEVEL) == math.inf
    assert looked_at(EQUIVALENCE, spread, 100, 0.01, LEVEL) == (math.inf, math.inf)
    fewest = 0.1 * (3.7066 / 0.01) ** 2  # pairs, of which endlessly many replicates would do
    assert replicates_needed(DIFFERENCE, spread, math.floor(fewest), 0.01, LEVEL) == math.inf
    assert math.isfinite(replicates_needed(DIFFERENCE, spread, math.ceil(1.1 * fewest), 0.01, LEVEL))


@pytest.mark.parametrize("ratio", [0.4, 1.0, 2.0])  # sd of a replicate / size
@pytest.mark.parametrize("level", [0.05, LEVEL])
def test_the_planned_number_has_about_80_percent_power(ratio: float, level: float) -> None:
    """Of 1500 studies 80 in 100 ± 4 settle it (three standard errors are 3), or more where one fewer is too few."""
    rng = np.random.default_rng(1)
    size = 0.01
    spread = own_pairs(ratio * size)

    def shares(replicates: int, found: bool) -> float:
        settled = 0
        for means in rng.normal(size if found else 0.0, ratio * size, (1500, replicates)):
            judged = nested_difference([np.full(8, mean) for mean in means])
            p = judged.p if found else equivalence_p(judged.difference, judged.spread, size)
            settled += p <= level
        return settled / 1500

    for question in (DIFFERENCE, EQUIVALENCE):
        needed = int(replicates_needed(question, spread, 100, size, level))
        planned = question.power(predicted(spread, needed, 100), size, level)
        assert planned >= 0.8
        assert shares(needed, question is DIFFERENCE) == pytest.approx(planned, abs=0.04)
        if needed > 2:
            assert question.power(predicted(spread, needed - 1, 100), size, level) < 0.8


def test_the_planned_number_holds_where_replicates_share_their_pairs() -> None:
    rng = np.random.default_rng(2)
    size, examples = 0.3, 60
    parts = {"replicate": 0.4, "example": 0.5, "rest": 1.0}  # standard deviations
    rest = parts["rest"] ** 2
    spread = Spread(
        10, examples, rest + examples * parts["replicate"] ** 2, rest + 10 * parts["example"] ** 2, rest
    )  # as ten replicates show it on average
    needed = int(replicates_needed(DIFFERENCE, spread, examples, size, 0.05))
    found = 0
    for _ in range(800):
        cells = size + rng.normal(0, parts["replicate"], (needed, 1)) + rng.normal(0, parts["example"], (1, examples))
        found += crossed_difference(cells + rng.normal(0, parts["rest"], (needed, examples))).p <= 0.05
    planned = DIFFERENCE.power(predicted(spread, needed, examples), size, 0.05)
    assert found / 800 == pytest.approx(planned, abs=0.05)


@pytest.mark.parametrize("question", [DIFFERENCE, EQUIVALENCE], ids=["find", "rule out"])
def test_a_study_with_looks_ends_as_early_as_it_was_said_to(question: Question) -> None:
    rng = np.random.default_rng(3)
    size, sd = 0.01, 0.06
    planned = looked_at(question, own_pairs(sd), 100, size, LEVEL)
    batch = int(planned.most) // LOOKS
    assert planned.most == batch * LOOKS
    true = size if question is DIFFERENCE else 0.0
    batches = rng.normal(true, sd / math.sqrt(batch), (20_000, LOOKS))
    looks = np.arange(1, LOOKS + 1)
    mean = batches.cumsum(axis=1) / looks
    se = sd / np.sqrt(batch * looks)
    alpha, fractions = STUDENT * LEVEL, list(looks / LOOKS)
    if question is DIFFERENCE:
        z = -np.array([max(norm.ppf(level / 2), -40) for level in levels(fractions, alpha)])
        ended = np.abs(mean) >= z * se
    else:
        z = -np.array([max(norm.ppf(level), -40) for level in one_sided_levels(fractions, alpha)])
        ended = size - np.abs(mean) >= z * se
    assert 0.79 <= ended.any(axis=1).mean() <= 0.85  # a whole number a batch: 80 in 100 or a little more
    took = batch * np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, LOOKS)
    assert took.mean() == pytest.approx(planned.expected, rel=0.02)
    at_once = replicates_needed(question, own_pairs(sd), 100, size, LEVEL)
    assert planned.most > at_once
    assert planned.expected < 1.05 * at_once


def test_looks_come_after_two_replicates_at_least() -> None:
    planned = looked_at(DIFFERENCE, own_pairs(0.001), 100, 0.01, LEVEL)
    assert planned.most == 2 * LOOKS
    assert 2 <= planned.expected <= 2 * LOOKS


@pytest.mark.parametrize("replicates", [2, 3, 8, 40])
def test_what_a_pilot_may_understate_is_the_chi_square_s(replicates: int) -> None:
    df = replicates - 1
    assert understated(replicates) == pytest.approx(math.sqrt(df / chi2.ppf(0.2, df)), rel=0.02)
