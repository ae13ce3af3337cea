"""Judging on pairs with votes: a tie is no pair that can be ranked right, and one number reads the votes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.pool import pairs
from support.voted import voted

from analysis.boards.score_tables import fingerprint, read_scores
from benchmarks.protocol import PAIR_COLUMNS, pair_table
from benchmarks.protocols.files import PreferenceFiles
from benchmarks.protocols.in_distribution import InDistribution
from benchmarks.protocols.released_v1 import ReleasedV1
from benchmarks.protocols.robustness import Robustness, RobustnessConfig
from mars.config import UserError
from mars.preferences.pair import Preferences

PROTOCOL = InDistribution(resamples=20)


def scorer(texts, padded=False):
    """Scores that rank every third pair wrong, by the number at a reply's end."""
    replies = [reply for _, reply in texts]
    return np.array([float((reply.startswith("good")) ^ (int(reply.split()[-1]) % 3 == 0)) for reply in replies])


def judged(data):
    return PROTOCOL.score(scorer, data)[0]


def test_a_table_has_votes_only_where_somebody_disagrees():
    plain = pairs(8)
    assert tuple(pair_table(plain, scorer)) == PAIR_COLUMNS
    assert pair_table(voted(plain), scorer)["agreement"].tolist() == [1, 0.75, 0.5, 2 / 3] * 2
    table = judged(Preferences("p", plain, plain, {"test": plain, "test_more": voted(plain)}))
    assert table["agreement"].tolist() == [1.0] * 8 + [1, 0.75, 0.5, 2 / 3] * 2 + [1.0] * 8


def test_numbers_are_those_of_the_table_without_its_ties_and_one_more_reads_the_votes():
    data = Preferences("p", [], voted(pairs(60)), {"test": voted(pairs(40))})
    table = judged(data)
    found = PROTOCOL.evaluate(table)
    without = table[table["agreement"] > 0.5].drop(columns="agreement")
    metrics = found.metrics["test"]
    assert {k: v for k, v in metrics.items() if "soft" not in k} == PROTOCOL.evaluate(without).metrics["test"]
    margins, p = (table["chosen_score"] - table["rejected_score"])[:40], table["agreement"][:40]
    soft = p * np.log1p(np.exp(-margins)) + (1 - p) * np.log1p(np.exp(margins))
    assert metrics["log_loss_soft"] == pytest.approx(soft.mean())
    assert metrics["n"] == 30
    assert found.protocol["label_ties"] == "left out, but for log_loss_soft"
    ends = PROTOCOL.interval(table, "test", "log_loss_soft")
    assert ends == (metrics["log_loss_soft_lo"], metrics["log_loss_soft_hi"])


def test_a_file_is_judged_by_the_same_rule():
    table = pair_table(voted(pairs(40)), scorer)
    protocol = PreferenceFiles("mine.jsonl", resamples=20)
    found, without = (protocol.evaluate(t).metrics["overall"] for t in (table, table[table["agreement"] > 0.5]))
    assert found["accuracy"] == without["accuracy"]
    assert found["log_loss_soft"] > without["log_loss_soft"]
    with pytest.raises(UserError, match="every pair is a tie"):
        protocol.evaluate(table[table["agreement"] == 0.5])


def test_which_side_of_a_tie_is_called_chosen_changes_no_number():
    test = voted(pairs(24))
    turned = [replace(p, chosen=p.rejected, rejected=p.chosen) if p.tied else p for p in test]
    one, other = (PROTOCOL.evaluate(judged(Preferences("p", [], t, {"test": t}))).metrics for t in (test, turned))
    assert one == other


def test_a_split_of_ties_alone_is_one_line_before_anything_is_trained():
    ties = [pair for pair in voted(pairs(12)) if pair.tied]
    with pytest.raises(UserError, match=r"^in_distribution: .*all of the split test are ties"):
        PROTOCOL.check(Preferences("p", [], [], {"test": ties}))


def test_the_released_protocol_and_robustness_draw_no_tie():
    test = voted(pairs(120))
    data = Preferences("p", [], [], {"test": test})
    with pytest.raises(UserError, match="the main test split has 90"):
        ReleasedV1().check(data)
    config = RobustnessConfig({"name": "rules"}, {"name": "eda"}, ("whitespace",), resamples=20)
    table, _ = Robustness(config, {}).score(scorer_of_any, data)
    assert set(table["id"]) == {pair.id for pair in test if not pair.tied}


def scorer_of_any(texts, padded=False):
    return np.array([float(len(reply)) for _, reply in texts])


def test_a_board_takes_the_votes_for_facts_of_the_examples(tmp_path):
    table = judged(Preferences("p", [], [], {"test": voted(pairs(12))}))
    table.to_parquet(tmp_path / "scores.parquet", index=False)
    read = read_scores(tmp_path / "scores.parquet", "in_distribution")
    pd.testing.assert_frame_equal(read, table)
    assert fingerprint(table) != fingerprint(table.assign(agreement=1.0))
    assert fingerprint(table) == fingerprint(table.assign(chosen_score=0.0))
