"""The parts of a difference's variance: they sum to it, are those of simulated studies, and foretell larger studies."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.inference.components import components, se_with
from analysis.inference.difference import Draws, Spread, crossed_difference
from analysis.inference.pairing import INFORMATION, Paired, paired_difference
from analysis.inference.power import of_differences
from analysis.study.study import Pairs

squares = st.floats(0, 10)
draws_of = st.builds(Draws, st.sampled_from([0.0, 0.3, 0.9]), st.floats(0, 1), st.integers(0, 9), st.floats(0, 1))
spreads = st.builds(Spread, st.integers(2, 20), st.integers(10, 500), squares, squares, squares, draws_of)


def paired(by_seed: np.ndarray, overlap: float = 0.0) -> Paired:
    """An arm that is ahead by these bits [R, M seeds, E] of one that has none."""
    replicates, seeds, examples = by_seed.shape
    of = np.repeat(np.arange(replicates), seeds)
    ids, bits = pd.RangeIndex(examples), by_seed.reshape(-1, examples)
    none = np.zeros_like(bits)
    arms = [Pairs(np.arange(len(of)), of, ids, none, none, told) for told in (bits, none)]
    return paired_difference(*arms, INFORMATION, overlap)


@given(spreads)
def test_parts_are_never_negative_and_sum_to_the_variance(spread: Spread) -> None:
    parts = components(spread)
    assert min(parts[:5]) >= 0
    assert parts.variance == pytest.approx(float(spread.variance()), rel=1e-12, abs=1e-15)
    assert parts.overlap + parts.pairs == pytest.approx(spread.fixed, rel=1e-12, abs=1e-15)
    assert parts.seeds == 0 or parts.seeds_apart


def test_parts_of_a_table_by_hand() -> None:
    cells = np.tile([[0.0, 2.0], [2.0, 8.0]], 4)  # mean squares 64, 64/7 and 16/7 of 2 × 8 cells
    spread = crossed_difference(cells).spread
    assert spread is not None
    parts = components(spread)
    assert parts[:5] == pytest.approx(((64 - 16 / 7) / 16, 0, 0, 48 / 7 / 16, 1 / 7))
    assert not parts.seeds_apart
    assert se_with(spread, replicates=4) ** 2 == pytest.approx(64 / 32 + 48 / 7 / 16)


@pytest.mark.parametrize(("between", "of_examples"), [(0.5, 3.0), (3.0, 0.5), (0.5, 0.9), (0.0, 1.2)])
def test_a_negative_estimate_counts_as_nothing(between: float, of_examples: float) -> None:
    spread = Spread(4, 50, between, of_examples, 1.0)
    parts = components(spread)
    assert (parts.draws == 0) == (between < 1)
    assert (parts.pairs == 0) == (of_examples < 1)
    assert parts.variance == pytest.approx(spread.se**2)


def test_simulated_studies_have_the_parts_they_were_made_of() -> None:
    """Subsamples of 50 of 100 base pairs, each with 3 seeds, on pairs that all share; no estimate is negative."""
    rng = np.random.default_rng(0)
    replicates, seeds, examples, size, rows = 12, 3, 40, 50, 100
    sds = {"draw": 1.0, "seed": 0.5, "pair": 1.0, "of a draw": 0.7, "of a seed": 1.2}
    found = []
    for _ in range(400):
        values = rng.normal(0, sds["draw"] * math.sqrt(size), rows)
        drawn = [values[rng.permutation(rows)[:size]].mean() for _ in range(replicates)]
        by_seed = np.array(drawn)[:, None, None] + rng.normal(0, sds["seed"], (replicates, seeds, 1))
        by_seed = by_seed + rng.normal(0, sds["pair"], examples)
        by_seed = by_seed + rng.normal(0, sds["of a draw"], (replicates, 1, examples))
        by_seed = by_seed + rng.normal(0, sds["of a seed"], by_seed.shape)
        spread = paired(by_seed, size / rows).result.spread
        assert spread is not None
        found.append(components(spread)[:5])
    of_draws, of_seeds = sds["of a draw"] ** 2 / examples, sds["of a seed"] ** 2 / seeds / examples
    made = (
        (1 - size / rows) * sds["draw"] ** 2 / replicates,
        size / rows * sds["draw"] ** 2 + of_draws,  # what a draw makes of the pairs counts as shared, on the wide side
        sds["seed"] ** 2 / seeds / replicates,
        sds["pair"] ** 2 / examples,
        (of_draws + of_seeds) / replicates,
    )
    means, ses = np.mean(found, axis=0), np.std(found, axis=0) / math.sqrt(len(found))

    assert (np.abs(means - made) < 3 * ses).all(), (means, made, ses)


def test_predictions_are_the_standard_errors_of_larger_studies() -> None:
    rng = np.random.default_rng(1)

    def simulated(replicates: int, examples: int) -> Spread:
        cells = 0.5 * rng.normal(size=(replicates, 1)) + rng.normal(size=examples)
        spread = crossed_difference(cells + rng.normal(size=(replicates, examples))).spread
        assert spread is not None
        return spread

    small = [simulated(12, 30) for _ in range(300)]
    for larger in ((24, 30), (12, 60), (48, 240)):
        foretold = np.mean([se_with(spread, *larger) ** 2 for spread in small])
        truth = 0.25 / larger[0] + 1 / larger[1] + 1 / larger[0] / larger[1]
        assert foretold == pytest.approx(truth, rel=0.06)


@given(spreads)
def test_more_of_anything_never_widens_and_never_more_than_halves(spread: Spread) -> None:
    now = spread.se
    replicates, examples = 2 * spread.replicates, 2 * spread.examples
    near = 1e-9 + 1e-9 * now
    assert se_with(spread) == pytest.approx(now, abs=1e-9)
    for wider in ({"replicates": replicates}, {"examples": examples}):
        assert now / math.sqrt(2) - near <= se_with(spread, **wider) <= now + near
    assert se_with(spread, replicates, examples) >= now / 2 - near
    assert se_with(spread, replicates=10**12) == pytest.approx(math.sqrt(spread.fixed), abs=1e-5)


def test_seeds_are_told_from_draws_only_where_replicates_have_several() -> None:
    rng = np.random.default_rng(2)
    by_seed = rng.normal(size=(5, 2, 1)) + rng.normal(size=(5, 2, 40))
    for seeds, apart in ((2, True), (1, False)):
        spread = paired(by_seed[:, :seeds]).result.spread
        assert spread is not None
        parts = components(spread)
        assert parts.seeds_apart == (parts.seeds > 0) == apart


def test_pairs_of_a_replicates_own_are_lessened_by_replicates_and_by_pairs() -> None:
    rng = np.random.default_rng(3)
    replicates, examples, drawn, noise = 400, 50, 0.3, 2.0
    spread = of_differences(rng.normal(0, drawn, (replicates, 1)) + rng.normal(0, noise, (replicates, examples)), True)
    assert spread is not None
    parts = components(spread)
    assert parts.draws == pytest.approx(drawn**2 / replicates, rel=0.25)
    assert parts.rest == pytest.approx(noise**2 / examples / replicates, rel=0.1)
    assert (parts.pairs, parts.overlap) == (0, 0)
    assert se_with(spread, examples=10**9) ** 2 == pytest.approx(parts.draws, rel=1e-6)
    assert se_with(spread, replicates=2 * replicates) ** 2 == pytest.approx(parts.variance / 2)
