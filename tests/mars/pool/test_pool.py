"""A pool row is an address; a variant is made when somebody looks, once, and only what the gates let pass is drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pool import Numbering, a_round, pairs

from mars.config import ConfigError, build
from mars.method.strategy import anywhere, within_pairs
from mars.pool.gates import Gates, GatesConfig
from mars.pool.pool import Pool
from mars.pool.rows import PoolConfig
from mars.preferences.pair import Pair


def test_a_row_combines_two_variants_under_the_original_prompt():
    pool = Pool(pairs(3), Numbering())
    row = pool.rows(np.array([1, 1]), 2, 6 + 3)  # pair 1, chosen variant 1, rejected variant 2
    drawn = pool.draw(row)
    assert [(p.chosen, p.rejected) for p in drawn] == [("good 1#1", "bad 1#2")] * 2
    assert drawn[0].prompt == pool.base[1].prompt
    np.testing.assert_array_equal(pool.parents(row), [1, 1])


def test_the_grid_mixes_no_original_with_a_variant():
    drawn = Pool(pairs(2), Numbering()).draw(Pool(pairs(2), Numbering()).inherited())
    assert len({(p.chosen, p.rejected) for p in drawn}) == len(drawn) == 50
    assert all("#" in p.chosen and "#" in p.rejected for p in drawn)


@given(st.integers(1, 7))
def test_the_grid_with_originals_holds_every_combination_but_the_pair_itself(width):
    pool = Pool(pairs(1), Numbering(), PoolConfig(width=width, rows="grid_with_originals"))
    drawn = {(p.chosen, p.rejected) for p in pool.draw(pool.inherited())}
    assert len(drawn) == len(pool) == (width + 1) ** 2 - 1
    assert ("good 0", "bad 0") not in drawn
    assert ("good 0", "bad 0#0") in drawn


def test_row_i_j_takes_prompt_variant_i_plus_j_modulo_n():
    pool = Pool(pairs(1), Numbering(), PoolConfig(width=5, prompts=True))
    for pair in pool.draw(pool.inherited()):
        i, j = int(pair.chosen[-1]), int(pair.rejected[-1])
        assert pair.prompt[-1].content == f"question 0#{(i + j) % 5}"


def test_copies_swapped_and_promptless_rows():
    pool = Pool(pairs(2), Numbering())
    assert [(p.chosen, p.rejected) for p in pool.draw(pool.copies)] == [("good 0", "bad 0"), ("good 1", "bad 1")]
    row = pool.inherited()[:1]
    (there,), (back,) = pool.draw(row), pool.draw(pool.swapped(row))
    assert (there.chosen, there.rejected) == (back.rejected, back.chosen)
    (bare,) = pool.draw(pool.without_prompt(row))
    assert (bare.prompt[-1].content, bare.chosen) == ("", there.chosen)


@given(st.data())
def test_an_address_is_read_back(data):
    pool = Pool(pairs(4), Numbering(), PoolConfig(width=3))
    parts = [np.array([data.draw(st.integers(0, n - 1))]) for n in pool.shape]
    parent, prompt, chosen, rejected = parts
    assert pool.address(pool.rows(parent, chosen, rejected, prompt)) == tuple(parts)


def test_a_variant_nobody_draws_is_never_made_and_none_is_made_twice():
    pool = Pool(pairs(100), Numbering())
    for _ in range(2):
        pool.draw(pool.inherited()[[0, 1, 26]])
    assert sorted(pool.augmenter.asked) == [
        ("p0", "chosen", 0),
        ("p0", "rejected", 0),
        ("p0", "rejected", 1),
        ("p1", "chosen", 0),
        ("p1", "rejected", 1),
    ]
    assert (len(pool.looked_at), pool.possible, len(pool)) == (5, 1000, 2500)


def test_every_variant_keeps_parent_part_operation_and_parameters():
    pool = Pool(pairs(1), Numbering(), PoolConfig(width=1, prompts=True))
    pool.draw(pool.inherited())
    assert sorted(pool.table()[["parent", "part", "number", "operation", "parameters", "refused"]].values.tolist()) == [
        ["p0", "chosen", 0, "number", '{"k": 0}', ""],
        ["p0", "prompt", 0, "number", '{"k": 0}', ""],
        ["p0", "rejected", 0, "number", '{"k": 0}', ""],
    ]


def test_a_variant_of_a_held_out_row_cannot_exist_under_whatever_id_and_label():
    base = pairs(3)
    twin = Pair("test/9", base[1].prompt, base[1].rejected, base[1].chosen)
    namesake = Pair("p2", base[2].prompt, "another", "text")
    pool = Pool(base, Numbering(), gates=Gates(GatesConfig(), held_out={twin.content, namesake.content}))
    np.testing.assert_array_equal(pool.admits(pool.inherited()), np.repeat([True, False, True], 25))
    assert {parent for parent, _, _ in pool.augmenter.asked} == {"p0", "p2"}
    assert pool.refused == {"held out": 10}
    assert pool.admits(pool.copies).all()  # it is trained on as it is: the contamination report speaks of that


def test_variants_are_made_from_what_refining_put_in_the_pairs_place():
    asked = []

    def refine(rows):
        asked.append(list(rows))
        return [Pair(f"p{i}", (), "better", "worse") for i in rows]

    pool = Pool(pairs(3), Numbering(), refine=refine)
    (pair,) = pool.draw(pool.inherited()[25:26])
    assert (pair.chosen, pair.rejected, asked) == ("better#0", "worse#0", [[1]])
    assert pool.draw(pool.copies[1:2])[0].chosen == "good 1"  # the base pair itself is trained on as it is


# Gates


@pytest.mark.parametrize(
    ("gates", "text", "reason"),
    [
        ({}, None, "blank"),
        ({}, " \n", "blank"),
        ({}, "0123456789", ""),
        ({"identical": True}, " 0123456789 ", "identical"),
        ({"shortest": 0.5}, "0123", "short"),
        ({"shortest": 0.5}, "01234", ""),
        ({"longest": 1.5}, "0123456789abcdef", "long"),
        ({"longest": 1.5}, "0123456789abcde", ""),
    ],
)
def test_each_gate_refuses_what_it_names(gates, text, reason):
    assert Gates(GatesConfig(**gates)).refusals(["0123456789"], [text]) == [reason]


def test_the_similarity_gate_compares_variant_and_source():
    vectors = {"source": [1.0, 0.0], "near": [0.8, 0.6], "far": [0.6, 0.8]}
    texts = ["near", "far", None]
    gates = Gates(GatesConfig(similarity=0.7), embed=lambda asked: np.array([vectors[t] for t in asked]))
    assert gates.refusals(["source"] * 3, texts) == ["", "dissimilar", "blank"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shortest": 2}, "pool.gates.shortest: a share of the source's length in"),
        ({"longest": 0.5}, "pool.gates.longest: must be at least 1"),
        ({"similarity": 3}, "pool.gates.similarity: a cosine in"),
    ],
)
def test_a_gate_that_makes_no_sense_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        build(GatesConfig, values, "pool.gates")


def even_only(request):
    return f"{request.source}#{request.number}" if request.number % 2 == 0 else None


def test_a_refused_variant_is_counted_and_another_row_drawn_in_its_place():
    view = a_round([0.0, 0.0], budget=8, text=even_only)
    rows = within_pairs(view, np.array([4, 4]))
    assert len(np.unique(rows)) == 8
    assert all(p.chosen[-1] in "024" and p.rejected[-1] in "024" for p in view.pool.draw(rows))
    assert view.pool.refused["blank"] > 0
    assert view.refused > 0


@pytest.mark.parametrize("n", [3, 30])  # 75 rows take a byte each, 750 take two
def test_rows_from_anywhere_are_the_first_of_the_pool_in_a_drawn_order(n):
    view = a_round([0.0] * n, budget=9)
    order = np.random.default_rng(0).permutation(view.pool.inherited())
    np.testing.assert_array_equal(np.sort(anywhere(view, 9)), np.sort(order[:9]))
    np.testing.assert_array_equal(anywhere(a_round([0.0] * n, budget=9), 9), order[:9])


def test_where_fewer_rows_pass_than_are_asked_for_they_repeat():
    view = a_round([0.0], budget=20, text=even_only)
    rows = within_pairs(view, np.array([20]))
    assert (len(rows), len(np.unique(rows))) == (20, 9)  # 3 × 3 even variants


def test_a_pair_whose_rows_are_all_refused_gets_none():
    view = a_round([0.0, 0.0], budget=6, text=lambda r: None if r.pair.id == "p0" else f"{r.source}#{r.number}")
    rows = within_pairs(view, np.array([3, 3]))
    np.testing.assert_array_equal(view.pool.parents(rows), [1, 1, 1])
    assert set(view.pool.parents(anywhere(view, 30))) == {1}


def test_a_row_the_current_model_turns_round_is_refused():
    # The model prefers good 0, good 1 and every variant of pair 0, but bad 1's variants to good 1's.
    scores = {"good 0": 1.0, "good 1": 1.0, "bad 0": 0.0, "bad 1": 0.0}

    def score(text):
        flipped = text.startswith(("good 1#", "bad 1#"))
        return (1 - 2 * flipped) * scores[text.split("#")[0]]

    view = a_round([1.0, 1.0], budget=4, scores=score, gates=GatesConfig(flips=True))
    assert set(view.pool.parents(anywhere(view, 30))) == {0}
    np.testing.assert_array_equal(view.admits(view.pool.of_pairs(np.array([0, 1]))[:, 0]), [True, False])


def test_ids_are_those_of_base_pairs_and_then_of_rows():
    pool = Pool(pairs(2), Numbering())
    rows = pool.inherited()[[30, 0]]
    ids = pool.ids(rows)
    assert list(ids) == ["p0", "p1", *pool.names(rows)] == ids[:]
    assert (ids[-1], ids[1:3], len(ids)) == (pool.names(rows)[1], ["p1", pool.names(rows)[0]], 4)
    with pytest.raises(IndexError):
        ids[4]


def one_after_another(view, orders, wanted):
    """What `within_pairs` does, group by group; no group's texts are made with another's."""
    taken = [order[view.admits(order)][:count] for order, count in zip(orders, wanted, strict=True)]
    return [view.rng.choice(t, n) if 0 < len(t) < n else t for t, n in zip(taken, wanted, strict=True)]


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_all_groups_together_draw_what_each_draws_alone(data):
    n, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    budgets = np.array(data.draw(st.lists(st.integers(0, 12), min_size=n, max_size=n)))
    refused = data.draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, width - 1))))

    def text(request):
        blank = (int(request.pair.id[1:]), request.number) in refused
        return "" if blank else f"{request.source}#{request.number}"

    view, other = (a_round([0.0] * n, 0, seed=3, text=text, width=width) for _ in range(2))
    owners = np.flatnonzero(budgets)
    orders = other.rng.permuted(other.pool.of_pairs(owners), axis=1)
    expected = one_after_another(other, orders, budgets[owners])
    np.testing.assert_array_equal(within_pairs(view, budgets), np.concatenate([np.empty(0, dtype=int), *expected]))
