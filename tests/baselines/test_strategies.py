"""The arms draw what they say, from a pool that makes only what is drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pool import a_round

from baselines import ARMS
from baselines.adaboost import AdaBoost
from baselines.fisher import Fisher, greedy, whitened
from baselines.none import NoAugmentation, NoneMatched
from baselines.representation import Representation
from baselines.self_training import SelfTraining
from baselines.stratified import Stratified
from baselines.tempered import Tempered, temperature
from baselines.uniform import Uniform
from baselines.validated import Validated, advantages, choose
from baselines.west_of_n import WestOfN
from baselines.won import WoN
from mars.method import allocation
from mars.method.strategy import Mars, within_pairs
from mars.plugins import resolve
from mars.preferences.labels import calibrated_losses

STRATEGIES = [resolve(target)() for target in dict.fromkeys(arm.target for arm in ARMS)]
COUNTING = [NoneMatched(), Uniform(), Stratified(), WoN(), WestOfN(), Representation(), Mars(), Mars(score="signed")]
COUNTING += [Fisher(), Tempered(), Validated()]


def named(strategy):
    return type(strategy).__name__


def counts(view, selection):
    return np.bincount(view.pool.parents(selection.rows), minlength=len(view.pairs))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=named)
@given(st.data())
@settings(max_examples=15, deadline=None)
def test_every_arm_copes_with_any_margins_and_budgets(strategy, data):
    """One base pair, budget 0, all margins equal, a budget larger than the pool: rows of the pool, never too many."""
    margins = data.draw(st.lists(st.sampled_from([0.0, 0.5, -2.0, 1e6]), min_size=1, max_size=4))
    budget = data.draw(st.sampled_from([0, 1, 7, 200]))
    view = a_round(margins, budget)
    selection = strategy.select(view)
    assert len(selection.rows) <= budget
    if strategy in COUNTING:
        assert len(selection.rows) == budget
    if len(selection.rows):
        assert view.pool.admits(selection.rows).all()
    if selection.weights is not None:
        assert len(selection.weights) == len(margins) + len(selection.rows)
        assert (selection.weights > 0).all()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=named)
def test_the_same_generator_draws_the_same_rows(strategy):
    first, second = (strategy.select(a_round([0.1, 0.5, -2.0], 9, seed=4)) for _ in range(2))
    np.testing.assert_array_equal(first.rows, second.rows)


BLIND = [NoAugmentation(), NoneMatched(), Uniform(), Stratified(), Representation()]


@pytest.mark.parametrize("strategy", BLIND, ids=named)
def test_arms_that_do_not_ask_for_scores_do_not_pay_for_them(strategy):
    def never(rows):
        raise AssertionError("scored")

    view = a_round([0.0, 1.0], budget=6)
    view.scores = never
    strategy.select(view)


@pytest.mark.parametrize("strategy", [NoAugmentation(), NoneMatched(), AdaBoost(), Representation()], ids=named)
def test_arms_that_say_they_draw_nothing_make_no_variant(strategy):
    view = a_round([0.0, 1.0], budget=6)
    strategy.select(view)
    assert not strategy.draws
    assert not view.pool.looked_at


def test_mars_draws_most_from_the_most_ambiguous_pair_without_repeats_while_rows_last():
    view = a_round([0.0, 3.0, -3.0], budget=20)
    selection = Mars(tau=2.0, score="absolute").select(view)
    assert counts(view, selection)[0] >= 18
    assert len(np.unique(selection.rows)) == 20


def test_mars_with_tau_zero_is_stratified_and_with_a_huge_tau_takes_one_pair():
    margins = [0.3, -0.2, 1.0, 0.9]
    view = a_round(margins, budget=8)
    assert counts(view, Mars(tau=0.0).select(view)).tolist() == [2, 2, 2, 2]
    assert counts(view, Mars(tau=1e300).select(view)).tolist() == [0, 8, 0, 0]
    assert counts(view, Mars(tau=-1e300).select(view)).tolist() == [0, 0, 8, 0]


def test_dropping_prompts_changes_nothing_but_the_prompts():
    for arm in (Mars, WoN):
        kept, dropped = (a_round([0.0, 1.0], budget=9) for _ in range(2))
        with_prompt = arm().select(kept)
        without = arm(drop_prompt=True).select(dropped)
        np.testing.assert_array_equal(kept.pool.without_prompt(with_prompt.rows), without.rows)
        assert {p.prompt[-1].content for p in dropped.pool.draw(without.rows)} == {""}


def test_a_pair_with_more_rows_than_its_variants_is_drawn_with_replacement():
    view = a_round([0.0, 0.0], budget=30)
    rows = within_pairs(view, np.array([0, 30]))
    np.testing.assert_array_equal(view.pool.parents(rows), [1] * 30)


def test_uniform_draws_without_replacement_until_the_pool_is_exhausted():
    assert len(np.unique(Uniform().select(a_round([0.0] * 4, budget=100)).rows)) == 100
    assert len(Uniform().select(a_round([0.0] * 4, budget=101)).rows) == 101


@given(n=st.integers(1, 6), budget=st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_equal_shares_are_equal_within_one(n, budget):
    for arm in (Stratified(), NoneMatched(), Representation(), WoN(), WestOfN()):
        view = a_round([0.1] * n, budget)
        shares = counts(view, arm.select(view))
        assert shares.sum() == budget
        assert shares.max() - shares.min() <= 1


def test_none_matched_repeats_the_base_pairs_themselves():
    view = a_round([0.0, 0.0], budget=5)
    assert {p.chosen for p in view.pool.draw(NoneMatched().select(view).rows)} == {"good 0", "good 1"}
    noisy = Representation(alpha=3.0, feature_alpha=0.1).select(a_round([0.0, 0.0], budget=5))
    assert (noisy.noise.tokens, noisy.noise.features) == (3.0, 0.1)
    np.testing.assert_array_equal(noisy.rows, NoneMatched().select(a_round([0.0, 0.0], budget=5)).rows)


def by_number(text):
    """Variant k of a chosen side scores k, of a rejected side −10·k; originals 0."""
    name, _, number = text.partition("#")
    return float(number or 0) * (1 if name.startswith("good") else -10)


def test_won_takes_the_rows_of_highest_signed_margin():
    view = a_round([0.0, 0.0], budget=6, scores=by_number)
    drawn = view.pool.draw(WoN().select(view).rows)
    # k − (−10·l): the best three of each pair are (4, 4), (3, 4), (2, 4).
    assert sorted((p.chosen[-1], p.rejected[-1]) for p in drawn) == sorted([("4", "4"), ("3", "4"), ("2", "4")] * 2)


def test_won_starts_again_from_the_best_when_the_pool_is_used_up():
    view = a_round([0.0], budget=27, scores=by_number)
    margins = view.margins_of(WoN().select(view).rows)
    assert sorted(margins)[-4:] == [43.0, 43.0, 44.0, 44.0]


def test_west_of_n_sets_the_best_candidate_against_the_worst():
    view = a_round([0.0], budget=1, scores=by_number)
    (pair,) = view.pool.draw(WestOfN(n=10).select(view).rows)
    assert (pair.chosen, pair.rejected) == ("good 0#4", "bad 0#4")


def test_west_of_n_never_sets_a_candidate_against_itself():
    view = a_round([0.0] * 3, budget=60, scores=lambda text: 0.0)
    assert all(p.chosen != p.rejected for p in view.pool.draw(WestOfN(n=2).select(view).rows))


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
    view = a_round([2.0, -2.0, 0.1], budget=75)
    selection = SelfTraining(confidence=0.7).select(view)
    drawn = view.pool.draw(selection.rows)
    assert len(drawn) == 50
    assert all(p.chosen.startswith("good") == p.id.startswith("p0/") for p in drawn)
    assert selection.diagnostics == {"kept_share": pytest.approx(2 / 3), "relabelled_share": 0.5}


def test_adaboost_follows_its_formula_by_hand():
    # One of four wrong: e = ¼, a = ½ ln 3, its weight √3 against 1; normalised to mean one.
    view = a_round([1.0, 1.0, -1.0, 1.0], budget=100)
    first = AdaBoost().select(view)
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


def information(differences, margins, ridge):
    """Σ σ′(Δ)δδᵀ of the base pairs with the ridge, as its formula says, and σ′(Δ)."""
    curvature = 1 / (2 + 2 * np.cosh(margins))
    hessian = np.einsum("n,ni,nj->ij", curvature, differences, differences)
    return hessian + ridge * np.trace(hessian) / len(hessian) * np.eye(len(hessian)), curvature


@given(st.integers(1, 200), st.integers(1, 4), st.integers(0, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_fishers_greedy_is_the_greedy_of_the_definition(n, d, budget, seed):
    """Every draw maximises log det; more pairs than are kept exact included. Draws at random, so no two gains tie."""
    rng = np.random.default_rng(seed)
    differences, margins = rng.normal(size=(n, d)), rng.normal(scale=2, size=n)
    budgets, gained = greedy(whitened(differences, margins, 1e-3), budget, rng)
    matrix, curvature = information(differences, margins, 1e-3)
    expected, before = np.zeros(n, dtype=int), np.linalg.slogdet(matrix)[1]
    for _ in range(budget):
        best = (curvature * np.einsum("ni,ij,nj->n", differences, np.linalg.inv(matrix), differences)).argmax()
        expected[best] += 1
        matrix += curvature[best] * np.outer(differences[best], differences[best])
    np.testing.assert_array_equal(budgets, expected)
    assert gained == pytest.approx(np.linalg.slogdet(matrix)[1] - before, abs=1e-9)


def test_thousands_of_rank_one_updates_stay_true_to_a_fresh_determinant():
    rng = np.random.default_rng(0)
    rows = whitened(rng.normal(size=(300, 40)) * np.geomspace(1, 1e-4, 40), rng.normal(size=300) * 3, 1e-6)
    budgets, gained = greedy(rows, 5000, rng)
    assert budgets.sum() == 5000
    assert gained == pytest.approx(np.linalg.slogdet(np.eye(40) + (rows * budgets[:, None]).T @ rows)[1], rel=1e-12)


def test_fisher_spreads_over_directions_and_shares_equally_where_pairs_are_alike():
    alike = a_round([0.5] * 6, budget=12, features=np.ones((6, 3)))
    assert counts(alike, Fisher().select(alike)).tolist() == [2] * 6
    nothing = a_round([0.0] * 200, budget=400, features=np.zeros((200, 3)))
    assert counts(nothing, Fisher().select(nothing)).tolist() == [2] * 200
    # Five pairs in one direction and one in another: the lone direction has the least information, so it gets most.
    lone = a_round([0.0] * 6, budget=10, features=[[1, 0]] * 5 + [[0, 1]])
    drawn = counts(lone, Fisher().select(lone))
    assert drawn[5] == 7  # 1 + 7 against 5 + 3, as near as ten draws come to equal information
    # Of two pairs in one direction the more ambiguous one has the larger σ′(Δ).
    steered = a_round([0.0, 4.0], budget=5, features=[[1, 0], [1, 0]])
    assert counts(steered, Fisher().select(steered)).tolist() == [5, 0]


MARGINS = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=1, max_size=60)


@given(MARGINS, st.floats(0.01, 1.0), st.sampled_from(["absolute", "signed"]), st.sampled_from([1e-6, 1.0, 1e6]))
@settings(max_examples=150, deadline=None)
def test_tempered_hits_its_target_whatever_the_scale(margins, share, score, scale):
    margins = np.array(margins) * scale
    target = share * len(margins)
    tau = temperature(margins, target, score)
    found = allocation.effective_pairs(allocation.probabilities(margins, tau, score))
    scores = np.abs(margins) if score == "absolute" else margins
    least = (scores == scores.min()).sum()
    if np.ptp(scores) == 0:
        assert tau == 0
    else:
        assert tau >= 0
        assert found == pytest.approx(max(target, least), rel=1e-5)


def test_tempered_says_its_tau_and_steers_alike_at_any_scale():
    margins = np.random.default_rng(0).normal(size=40)
    small, large = a_round(margins * 1e-4, budget=80), a_round(margins * 10, budget=80)
    one, other = Tempered(0.3).select(small), Tempered(0.3).select(large)
    np.testing.assert_array_equal(counts(small, one), counts(large, other))
    assert one.diagnostics["effective_pairs"] == pytest.approx(0.3 * 40, rel=1e-6)
    assert one.diagnostics["tau"] == pytest.approx(1e5 * other.diagnostics["tau"], rel=1e-6)
    assert Tempered(1.0).select(a_round(margins, budget=80)).diagnostics["tau"] == 0


def test_a_tau_wins_only_by_more_than_a_standard_error():
    """By hand: four losses fall by 1, 3, 5 and 7 sixteenths, on average by ¼, with a standard error of √(5/3)/16."""
    fall = np.array([1, 3, 5, 7]) / 16
    better = np.stack([np.ones(4), 1 - fall])
    advantage, error = advantages(better, (0.0, 1.0))
    np.testing.assert_allclose(advantage, [0, 1 / 4], atol=1e-12)
    np.testing.assert_allclose(error, [0, np.sqrt(5 / 3) / 16], atol=1e-12)
    assert choose(better, (0.0, 1.0)) == 1
    assert choose(np.stack([np.ones(4), 1.16 - fall]), (0.0, 1.0)) == 1  # by 0.09, more than 0.0807
    assert choose(np.stack([np.ones(4), 1.18 - fall]), (0.0, 1.0)) == 0  # by 0.07
    assert choose(better[:, :1], (0.0, 1.0)) == 0  # one pair tells no error


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_a_tau_that_is_worse_than_uniform_on_average_is_never_chosen(seed, pairs):
    rng = np.random.default_rng(seed)
    losses = rng.exponential(size=(4, pairs))
    grid = (-1.0, 0.0, 1.0, 2.0)
    loss = losses.mean(axis=1)
    chosen = choose(losses, grid)
    assert loss[chosen] <= loss[1]
    assert chosen == 1 or loss[chosen] == loss.min()


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6))
@settings(max_examples=30, deadline=None)
def test_calibrated_losses_are_the_least_over_scales_and_know_no_scale(seed, scale):
    margins = np.random.default_rng(seed).normal(0.3, 1, size=(3, 40))
    losses = calibrated_losses(margins)
    tried = [np.logaddexp(0, -s * margins).mean(axis=1) for s in np.geomspace(1e-4, 1e4, 2001)]
    assert (losses.mean(axis=1) <= np.minimum(np.min(tried, axis=0), np.log(2)) + 1e-9).all()
    np.testing.assert_allclose(calibrated_losses(scale * margins), losses, rtol=1e-6)


def test_calibrated_losses_at_the_ends():
    """Margins that are all right cost nothing at the best scale; those that are mostly wrong cost log 2, at scale 0."""
    losses = calibrated_losses(np.array([[0.1, 0.2, 3.0], [-1.0, -2.0, 0.5], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(losses, [[0] * 3, [np.log(2)] * 3, [np.log(2)] * 3], atol=1e-9)


def validated(margins_of, margins, budget=40, **settings):
    """A round of `Validated`; margins_of: [N] drawn from each pair → held-out margins."""
    asked = []

    def trial(selection):
        asked.append(selection.rows)
        return margins_of(np.bincount(view.pool.parents(selection.rows), minlength=len(margins)))

    view = a_round(margins, budget, trial=trial)
    return view, Validated(**settings).select(view), asked


def test_validated_steers_where_validation_pairs_gain_and_not_where_they_do_not():
    margins = [0.0, 1.0, 3.0, 6.0]
    spread = np.linspace(-0.9, 1.1, 50)
    for pair, tau in ((0, 2.0), (3, -2.0)):  # what helps is drawing the most ambiguous pair, or the easiest
        view, selection, _ = validated(lambda drawn, pair=pair: spread + drawn[pair] / 40, margins)
        assert selection.diagnostics["tau"] == tau
        assert selection.diagnostics["advantage"] > selection.diagnostics["advantage_se"]
        np.testing.assert_array_equal(selection.rows, Mars(tau).select(a_round(margins, 40)).rows)
        assert view.trial_steps == 5
    for nothing in (lambda drawn: spread, lambda drawn: np.random.default_rng(int(drawn[0])).permutation(spread) * 20):
        _, selection, _ = validated(nothing, margins)
        assert selection.diagnostics["tau"] == 0
        np.testing.assert_array_equal(selection.rows, Stratified().select(a_round(margins, 40)).rows)


def test_validated_tries_equal_draws_once():
    """With the same random numbers, flat margins give every τ the same rows."""
    view, selection, asked = validated(lambda drawn: np.ones(3), [1.0] * 4)
    assert len(asked) == view.trial_steps == 1
    assert selection.diagnostics["tau"] == selection.diagnostics["tau_best"] == 0
    np.testing.assert_array_equal(selection.rows, asked[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Validated(grid=(1.0, 2.0)), "grid: needs 0"),
        (lambda: Validated(grid=(0.0, 0.0)), "grid: needs 0"),
        (lambda: Validated(grid=(0.0, np.inf)), "grid: needs 0"),
        (lambda: Tempered(effective=0.0), r"effective: must be in \(0, 1\]"),
        (lambda: Fisher(ridge=0.0), "ridge: must be above 0"),
    ],
)
def test_settings_that_cannot_be_used_are_said_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
