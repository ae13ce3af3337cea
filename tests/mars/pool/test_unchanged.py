"""Variants that equal their source are counted by reason, and so are the drawn rows that say nothing new."""

import numpy as np
from support.pool import Numbering, pairs

from mars.augment.eda import Eda
from mars.pool.pool import Pool
from mars.pool.rows import PoolConfig
from mars.pool.unchanged import listed, remark, repeats, unchanged
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair

SILENT = "returned as it was"  # what is known of an augmenter that cannot say


def keep(*texts):
    """An augmenter that leaves these texts as they are."""
    return Numbering(lambda r: r.source if r.source in texts else f"{r.source}#{r.number}")


def test_unchanged_variants_are_counted_by_reason_and_named_in_the_table():
    chinese = Pair("p0", (Message("user", "问"),), "好主意。", "I do not think that the big dog helps.")
    pool = Pool([chinese], Eda())
    pool.look_at_all()
    assert unchanged(pool)["no word to edit"] == 5
    table = pool.table().set_index("part")
    assert set(table.loc["chosen", "unchanged"]) == {"no word to edit"}
    assert "no word to edit" not in set(table.loc["rejected", "unchanged"])


def test_an_augmenter_need_not_say_why():
    pool = Pool(pairs(2), keep("good 1"))
    pool.look_at_all()
    assert unchanged(pool) == {SILENT: 5}


def test_a_row_repeats_its_pair_where_no_part_of_it_changed():
    pool = Pool(pairs(3), keep("good 0", "bad 0", "good 1"))
    pool.draw(rows := pool.inherited())
    np.testing.assert_array_equal(repeats(pool, rows), np.repeat([True, False, False], 25))
    assert not repeats(pool, pool.copies).any()  # nobody asked for variants there
    assert not repeats(pool, pool.swapped(rows)).any()  # which say the opposite


def test_a_reworded_prompt_makes_a_row_new():
    pool = Pool(pairs(1), keep("good 0", "bad 0"), PoolConfig(prompts=True))
    pool.draw(rows := pool.inherited())
    assert not repeats(pool, rows).any()


def test_a_copy_of_what_a_semantic_layer_wrote_is_no_repetition():
    pool = Pool(
        pairs(1), keep("better", "bad 0"), refine=lambda rows: [Pair("p0", (), "better", "bad 0") for _ in rows]
    )
    pool.draw(rows := pool.inherited())
    assert unchanged(pool) == {SILENT: 10}
    assert not repeats(pool, rows).any()


def test_the_log_remarks_on_many_unchanged_variants_only():
    record = {"augmenter": "eda", "looked_at": 100, "rows": 40, "repeats": 9}
    assert remark({**record, "unchanged_by": {"by chance": 24}}) == ""
    assert remark({**record, "looked_at": 0, "unchanged_by": {}}) == ""
    assert remark({**record, "unchanged_by": {"no word to edit": 20, "by chance": 5}}) == (
        "25% of the variants of eda equal their source: 25 (20 no word to edit, 5 by chance); 9 of 40 drawn rows "
        "repeat their base pair (docs/method/pools.md says which texts each augmenter can edit)"
    )
    assert listed({}) == "0"
