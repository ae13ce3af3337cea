"""The arms draw what they say, from a pool that makes only what is drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_pool import a_round

from baselines.adaboost import AdaBoost
from baselines.none import NoAugmentation, NoneMatched
from baselines.representation import Representation
from baselines.self_training import SelfTraining
from baselines.stratified import Stratified
from baselines.uniform import Uniform
from baselines.west_of_n import WestOfN
from baselines.won import WoN
from mars.assembly import STRATEGIES
from mars.strategy import Mars, within_pairs

ARMS = [kind() for kind in dict.fromkeys(STRATEGIES.values())]
COUNTING = [NoneMatched(), Uniform(), Stratified(), WoN(), WestOfN(), Representation(), Mars(), Mars(score="signed")]


def named(strategy):
    return type(strategy).__name__


def counts(round, selection):
    return np.bincount(round.pool.parents(selection.rows), minlength=len(round.pairs))


@pytest.mark.parametrize("strategy", ARMS, ids=named)
@given(st.data())
@settings(max_examples=15, deadline=None)
def test_every_arm_copes_with_any_margins_and_budgets(strategy, data):
    """One base pair, budget 0, all margins equal, a budget larger than the pool: rows of the pool, never too many."""
    margins = data.draw(st.lists(st.sampled_from([0.0, 0.5, -2.0, 1e6]), min_size=1, max_size=4))
    budget = data.draw(st.sampled_from([0, 1, 7, 200]))
    round = a_round(margins, budget)
    selection = strategy.select(round)
    assert len(selection.rows) <= budget
    if strategy in COUNTING:
        assert len(selection.rows) == budget
    if len(selection.rows):
        assert round.pool.admits(selection.rows).all()
    if selection.weights is not None:
        assert len(selection.weights) == len(margins) + len(selection.rows)
        assert (selection.weights > 0).all()


@pytest.mark.parametrize("strategy", ARMS, ids=named)
def test_the_same_generator_draws_the_same_rows(strategy):
    first, second = (strategy.select(a_round([0.1, 0.5, -2.0], 9, seed=4)) for _ in range(2))
    np.testing.assert_array_equal(first.rows, second.rows)


BLIND = [NoAugmentation(), NoneMatched(), Uniform(), Stratified(), Representation()]


@pytest.mark.parametrize("strategy", BLIND, ids=named)
def test_arms_that_do_not_ask_for_scores_do_not_pay_for_them(strategy):
    def never(rows):
        raise AssertionError("scored")

    round = a_round([0.0, 1.0], budget=6)
    round.scores = never
    strategy.select(round)


@pytest.mark.parametrize("strategy", [NoAugmentation(), NoneMatched(), AdaBoost(), Representation()], ids=named)
def test_arms_that_say_they_draw_nothing_make_no_variant(strategy):
    round = a_round([0.0, 1.0], budget=6)
    strategy.select(round)
    assert not strategy.draws
    assert not round.pool.looked_at


def test_mars_draws_most_from_the_most_ambiguous_pair_without_repeats_while_rows_last():
    round = a_round([0.0, 3.0, -3.0], budget=20)
    selection = Mars(tau=2.0, score="absolute").select(round)
    assert counts(round, selection)[0] >= 18
    assert len(np.unique(selection.rows)) == 20


def test_mars_with_tau_zero_is_stratified_and_with_a_huge_tau_takes_one_pair():
    margins = [0.3, -0.2, 1.0, 0.9]
    round = a_round(margins, budget=8)
    assert counts(round, Mars(tau=0.0).select(round)).tolist() == [2, 2, 2, 2]
    assert counts(round, Mars(tau=1e300).select(round)).tolist() == [0, 8, 0, 0]
    assert counts(round, Mars(tau=-1e300).select(round)).tolist() == [0, 0, 8, 0]


def test_dropping_prompts_changes_nothing_but_the_prompts():
    for arm in (Mars, WoN):
        kept, dropped = (a_round([0.0, 1.0], budget=9) for _ in range(2))
        with_prompt = arm().select(kept)
        without = arm(drop_prompt=True).select(dropped)
        np.testing.assert_array_equal(kept.pool.without_prompt(with_prompt.rows), without.rows)
        assert {p.prompt[-1].content for p in dropped.pool.draw(without.rows)} == {""}


def test_a_pair_with_more_rows_than_its_variants_is_drawn_with_replacement():
    round = a_round([0.0, 0.0], budget=30)
    rows = within_pairs(round, np.array([0, 30]))
    np.testing.assert_array_equal(round.pool.parents(rows), [1] * 30)


def test_uniform_draws_without_replacement_until_the_pool_is_exhausted():
    assert len(np.unique(Uniform().select(a_round([0.0] * 4, budget=100)).rows)) == 100
    assert len(Uniform().select(a_round([0.0] * 4, budget=101)).rows) == 101


@given(n=st.integers(1, 6), budget=st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_equal_shares_are_equal_within_one(n, budget):
    for arm in (Stratified(), NoneMatched(), Representation(), WoN(), WestOfN()):
        round = a_round([0.1] * n, budget)
        shares = counts(round, arm.select(round))
        assert shares.sum() == budget
        assert shares.max() - shares.min() <= 1


def test_none_matched_repeats_the_base_pairs_themselves():
    round = a_round([0.0, 0.0], budget=5)
    assert {p.chosen for p in round.pool.draw(NoneMatched().select(round).rows)} == {"good 0", "good 1"}
    noisy = Representation(alpha=3.0, feature_alpha=0.1).select(a_round([0.0, 0.0], budget=5))
    assert (noisy.noise.tokens, noisy.noise.features) == (3.0, 0.1)
    np.testing.assert_array_equal(noisy.rows, NoneMatched().select(a_round([0.0, 0.0], budget=5)).rows)


def by_number(text):
    """Variant k of a chosen side scores k, of a rejected side −10·k; originals 0."""
    name, _, number = text.partition("#")
    return float(number or 0) * (1 if name.startswith("good") else -10)


def test_won_takes_the_rows_of_highest_signed_margin():
    round = a_round([0.0, 0.0], budget=6, scores=by_number)
    drawn = round.pool.draw(WoN().select(round).rows)
    # k − (−10·l): the best three of each pair are (4, 4), (3, 4), (2, 4).
    assert sorted((p.chosen[-1], p.rejected[-1]) for p in drawn) == sorted([("4", "4"), ("3", "4"), ("2", "4")] * 2)


def test_won_starts_again_from_the_best_when_the_pool_is_used_up():
    round = a_round([0.0], budget=27, scores=by_number)
    margins = round.margins_of(WoN().select(round).rows)
    assert sorted(margins)[-4:] == [43.0, 43.0, 44.0, 44.0]


def test_west_of_n_sets_the_best_candidate_against_the_worst():
    round = a_round([0.0], budget=1, scores=by_number)
    (pair,) = round.pool.draw(WestOfN(n=10).select(round).rows)
    assert (pair.chosen, pair.rejected) == ("good 0#4", "bad 0#4")


def test_west_of_n_never_sets_a_candidate_against_itself():
    round = a_round([0.0] * 3, budget=60, scores=lambda text: 0.0)
    assert all(p.chosen != p.rejected for p in round.pool.draw(WestOfN(n=2).select(round).rows))


def test_west_of_n_leaves_out_the_least_certain_and_still_spends_the_budget():
    sure, unsure = (a_round([0.0] * 20, budget=40, scores=by_number) for _ in range(2))
    filtered = WestOfN(n=2, quantile=0.75).select(sure).rows
    plain = WestOfN(n=2).select(unsure).rows
    assert len(filtered) == len(plain) == 40
    assert sure.margins_of(filtered).min() > unsure.margins_of(plain).min()


def test_west_of_n_says_that_a_pool_is_too_narrow():
    with pytest.raises(ValueError, match=r"method\.n: 11 candidates are more than the 10 variants"):
        WestOfN(n=11).select(a_round([0.0], budget=1))


def test_self_training_labels_by_the_model_and_keeps_what_it_is_sure_of():
    # Pair 0 confidently right, pair 1 confidently wrong, pair 2 unsure: σ(0.1) < 0.7.
    round = a_round([2.0, -2.0, 0.1], budget=75)
    selection = SelfTraining(confidence=0.7).select(round)
    drawn = round.pool.draw(selection.rows)
    assert len(drawn) == 50
    assert all(p.chosen.startswith("good") == p.id.startswith("p0/") for p in drawn)
    assert selection.diagnostics == {"kept_share": pytest.approx(2 / 3), "relabelled_share": 0.5}


def test_adaboost_follows_its_formula_by_hand():
    # One of four wrong: e = ¼, a = ½ ln 3, its weight √3 against 1; normalised to mean one.
    round = a_round([1.0, 1.0, -1.0, 1.0], budget=100)
    first = AdaBoost().select(round)
    total = 3 + np.sqrt(3)
    np.testing.assert_allclose(first.weights, np.array([1, 1, np.sqrt(3), 1]) * 4 / total)
    again = a_round([1.0, 1.0, -1.0, 1.0], budget=100)
    again.weights = first.weights
    error = np.sqrt(3) / total
    second = AdaBoost().select(again)
    assert second.diagnostics["weighted_error"] == pytest.approx(error)
    assert second.weights[2] / second.weights[0] == pytest.approx(np.sqrt(3) * np.sqrt((1 - error) / error))


@pytest.mark.parametrize("margins", [[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
def test_adaboost_stays_finite_where_all_are_right_wrong_or_tied(margins):
    weights = AdaBoost().select(a_round(margins, budget=1)).weights
    np.testing.assert_allclose(weights, [1.0, 1.0])
