"""What labels say beyond which reply was chosen: arrays only where they say more, and a loss that reads votes."""

from dataclasses import replace

import numpy as np
import pytest
from support.pool import Numbering, pairs

from mars.pool.pool import Pool
from mars.preferences.draws import flipped
from mars.preferences.labels import Labels, log_loss
from mars.preferences.pair import DataError

PLAIN = pairs(4)
TOLD = [replace(p, agreement=a, strength=s) for p, a, s in zip(PLAIN, (1, 0.75, 0.5, 1), (2, None, 9, 0), strict=True)]


def test_labels_that_say_no_more_than_which_reply_was_chosen_are_no_arrays():
    assert Labels.of(PLAIN) == Labels(None, None)


def test_labels_are_read_pair_by_pair_and_a_tie_has_no_strength():
    labels = Labels.of(TOLD)
    np.testing.assert_array_equal(labels.agreement, [1, 0.75, 0.5, 1])
    np.testing.assert_array_equal(labels.strength, [2, np.nan, 0, 0])


@pytest.mark.parametrize("agreement", [0.4, 1.2, float("nan")])
def test_an_agreement_of_a_minority_names_its_pair(agreement):
    with pytest.raises(DataError, match=r"^p1: an agreement of .* is not in \[0.5, 1\]"):
        Labels.of([PLAIN[0], replace(PLAIN[1], agreement=agreement)])


def test_the_log_loss_by_hand():
    margins = np.array([2.0, -1.0, 0.0])
    right, wrong = np.log1p(np.exp(-margins)), np.log1p(np.exp(margins))
    np.testing.assert_array_equal(log_loss(margins), np.logaddexp(0, -margins))
    np.testing.assert_allclose(log_loss(margins, np.array([0.75, 0.5, 1.0])), [
        0.75 * right[0] + 0.25 * wrong[0], 0.5 * right[1] + 0.5 * wrong[1], right[2],
    ])  # fmt: skip


def test_a_flip_exchanges_sides_and_keeps_the_votes():
    turned = [pair for pair in flipped(TOLD, 0.49, seed=1) if pair.exchanged]
    assert turned
    for pair in turned:
        before = TOLD[int(pair.id[1:])]
        assert (pair.chosen, pair.rejected) == (before.rejected, before.chosen)
        assert (pair.agreement, pair.strength) == (before.agreement, before.strength)


def test_a_drawn_row_has_the_votes_of_its_parent_unless_its_sides_are_exchanged():
    pool = Pool(TOLD, Numbering())
    rows = pool.of_pairs(np.array([1]))[0, :1]
    (drawn,), (turned,) = pool.draw(rows), pool.draw(pool.swapped(rows))
    assert (drawn.agreement, drawn.strength) == (0.75, None)
    assert turned.agreement == 1
