"""What the arms make of votes and ties: nothing hangs on which reply of a tie is called chosen."""

import numpy as np
import pytest
from support.pool import a_round

from baselines.adaboost import AdaBoost
from baselines.fisher import Fisher
from baselines.self_training import SelfTraining
from baselines.tempered import Tempered
from baselines.validated import Validated
from baselines.west_of_n import WestOfN
from baselines.won import WoN
from mars.method.strategy import Mars
from mars.preferences.labels import calibrated_losses, log_loss


def budgets(arm, margins, votes=None, budget=40, **settings):
    view = a_round(margins, budget, votes=votes, **settings)
    return view.budgets(arm.select(view).rows).tolist()


@pytest.mark.parametrize("arm", [Mars(1.0), Mars(1.0, "signed"), Tempered(score="signed"), Fisher()], ids=str)
def test_a_majority_counts_as_all_until_it_is_a_tie(arm):
    margins = [0.5, -1.0, 2.0]
    assert budgets(arm, margins, [0.6, 0.75, 0.51]) == budgets(arm, margins)


@pytest.mark.parametrize(
    "arm", [Mars(1.0, "signed"), Tempered(score="signed"), AdaBoost(), Fisher(), Mars(1.0)], ids=str
)
def test_exchanging_the_sides_of_a_tie_changes_no_choice(arm):
    chosen = []
    for tie in (3.0, -3.0):
        view = a_round([0.5, tie, -1.0], 40, votes=[1.0, 0.5, 1.0], features=[[1.0, 0], [0, np.sign(tie)], [1, 1]])
        selection = arm.select(view)
        chosen.append((view.budgets(selection.rows).tolist(), selection.weights))
    np.testing.assert_equal(chosen[0], chosen[1])


def test_signed_mars_takes_a_tie_for_a_margin_of_zero_and_absolute_mars_for_its_size():
    assert budgets(Mars(1.0, "signed"), [1.0, -3.0], [1.0, 0.5]) == budgets(Mars(1.0, "signed"), [1.0, 0.0])
    assert budgets(Mars(1.0), [1.0, -3.0], [1.0, 0.5]) == budgets(Mars(1.0), [1.0, -3.0])


def test_adaboost_takes_a_tie_for_half_a_mistake():
    found, expected = (
        AdaBoost().select(a_round(margins, 0, votes=votes)).weights
        for margins, votes in (([1.0, -1.0, 5.0, 2.0], [1.0, 0.75, 0.5, 1.0]), ([1.0, -1.0, 0.0, 2.0], None))
    )
    np.testing.assert_array_equal(found, expected)


def test_won_is_surest_of_a_tie_where_its_margin_is_nearest_to_zero():
    def scores(text):  # a variant's number, from either side
        return float(text.split("#")[1]) if "#" in text and text.startswith("good") else 0.0

    for votes, best in (([1.0], 4.0), ([0.5], 0.0)):
        view = a_round([0.0], 5, scores=scores, votes=votes)
        assert set(view.margins_of(WoN().select(view).rows)) == {best}


@pytest.mark.parametrize("arm", [SelfTraining(0.5), WestOfN(2)], ids=str)
def test_arms_whose_model_labels_say_so(arm):
    assert arm.select(a_round([1.0, -2.0], 8, votes=[0.75, 0.5])).labelled
    assert not Mars().select(a_round([1.0, -2.0], 8)).labelled


def test_calibrated_losses_under_votes_are_the_least_cross_entropies_over_scales():
    rng = np.random.default_rng(0)
    margins, votes = rng.normal(0.3, 1, (3, 40)), rng.choice([0.5, 0.75, 1.0], 40)
    losses = calibrated_losses(margins, votes).mean(axis=1)
    tried = np.array([log_loss(s * margins, votes).mean(axis=1) for s in np.geomspace(1e-4, 1e4, 4001)])
    assert (losses <= tried.min(axis=0) + 1e-12).all()
    np.testing.assert_allclose(losses, tried.min(axis=0), rtol=1e-4)


def test_validated_mars_reads_the_votes_of_held_out_pairs():
    """Steering makes held-out margins large. That helps on a pair all agree on, and harms on a tie."""

    def trial(selection):
        steered = np.ptp(np.bincount(view.pool.parents(selection.rows), minlength=2)) > 1
        return np.tile([1.0, 1.0 if steered else 0.0], 30)

    taus = {}
    for votes in (1.0, 0.5):
        view = a_round([0.0, 9.0], 10, trial=trial)
        view.held_out_agreement = np.tile([0.9, votes], 30)
        taus[votes] = Validated((0.0, 2.0)).select(view).diagnostics["tau"]
    assert taus == {1.0: 2.0, 0.5: 0.0}
