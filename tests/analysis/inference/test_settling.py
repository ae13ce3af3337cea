"""What a study could have found, and what would settle it: against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.inference import difference, settling
from analysis.inference.components import components
from analysis.inference.difference import Draws, Spread


@pytest.mark.parametrize("level", [0.05, 0.005])
@pytest.mark.parametrize("seed_sd", [0.0, 0.05])
def test_the_detectable_difference_is_found_four_times_in_five(level: float, seed_sd: float) -> None:
    rng = np.random.default_rng(0)

    def table(shift: float) -> np.ndarray:
        return shift + rng.normal(0, seed_sd, (5, 1)) + rng.normal(0, 0.4, 300) + rng.normal(0, 0.4, (5, 300))

    true = Spread(5, 300, 300 * seed_sd**2 + 0.16, 5 * 0.16 + 0.16, 0.16)  # expected mean squares
    shift = settling.detectable(true, level)
    found = np.mean([difference.crossed_difference(table(shift)).p < level for _ in range(300)])
    assert found == pytest.approx(0.8, abs=0.08)


def test_as_many_replicates_more_as_settle_it_four_times_in_five() -> None:
    spread = Spread(8, 1, 0.03**2, 0.0, 0.0)  # means of replicates, with an sd of three points
    rng = np.random.default_rng(0)
    more = settling.more_replicates(0.0, spread, 0.01, 0.05)
    drawn = rng.normal(0.0, 0.03, (400, round(8 + more), 1))
    settled = [difference.nested_difference(list(np.repeat(study, 10, axis=1))) for study in drawn]
    shown = [difference.equivalence_p(one.difference, one.spread, 0.01) < 0.05 for one in settled]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.08)
    assert settling.more_replicates(0.04, spread, 0.01, 0.05) == 1.0  # a plain difference is soon found
    assert settling.more_replicates(0.005, spread, 0.01, 0.05) > more
    assert math.isnan(settling.more_replicates(0.0, None, 0.01, 0.05))


def test_no_replicates_make_up_for_too_few_examples_or_shared_rows() -> None:
    few_examples = Spread(8, 100, 0.2, 0.4, 0.1)
    assert few_examples.fixed == pytest.approx(0.3 / 800)
    assert settling.more_replicates(0.0, few_examples, 0.01, 0.05) == math.inf
    shared = Spread(8, 1, 0.01**2, 0.0, 0.0, Draws(overlap=0.5))
    assert shared.fixed == pytest.approx(0.01**2)  # 0.5 / (1 - 0.5) times what replicates differ by
    assert settling.more_replicates(0.0, shared, 0.01, 0.05) == math.inf


@pytest.mark.parametrize(
    ("squares", "draws"),
    [
        ((0.2, 0.4, 0.1), Draws()),  # too few examples
        ((0.01, 0.0, 0.0), Draws(0.5, 0.006**2, 8)),  # too much overlap
        ((0.02, 0.3, 0.01), Draws(0.4)),  # both
    ],
)
def test_where_replicates_do_not_help_a_larger_study_would(squares: tuple[float, float, float], draws: Draws) -> None:
    spread = Spread(8, 100, *squares, draws)
    assert settling.more_replicates(0.0, spread, 0.01, 0.05) == math.inf
    found = settling.larger_study(0.0, spread, 0.01, 0.05)
    examples = spread.examples if math.isnan(found.examples) else found.examples
    overlap = draws.overlap if math.isnan(found.overlap) else found.overlap
    assert examples >= spread.examples
    assert overlap <= draws.overlap
    # The variance of such a study's mean, part by part, settles it with 80 % power and no more than that.
    parts = components(spread)
    fresh = parts.draws * spread.replicates / (1 - draws.overlap)
    each = (parts.draws + parts.seeds + parts.rest) * spread.replicates + fresh * draws.overlap
    variance = parts.pairs * spread.examples / examples + fresh * overlap + each / found.replicates
    larger = Spread(2, 1, 2 * variance, 0.0, 0.0)
    assert settling.more_replicates(0.0, larger, 0.01, 0.05) <= 4  # Student's t apart, none


def test_a_larger_study_is_named_only_where_replicates_do_not_help() -> None:
    assert np.isnan(settling.larger_study(0.0, Spread(8, 1, 0.01**2, 0.0, 0.0), 0.01, 0.05)).all()
    assert np.isnan(settling.larger_study(0.0, None, 0.01, 0.05)).all()
