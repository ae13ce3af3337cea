"""Training beside TRL and a plain loop: every way does the same work, and a missing or failing one is said."""

import importlib.util

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from benchmarks.speed import training, trl_trainer
from benchmarks.speed.training_table import markdown
from benchmarks.speed.trl_trainer import TRL
from benchmarks.speed.ways import OURS, TWO_PASSES, Done, Job, Way, steps_in_order
from mars.config import UserError
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair
from mars.reward.backbone import BackboneConfig
from mars.reward.tiny import byte_tokenizer, random_config

BATCH, STEPS = 3, 2
THEIRS = [
    pytest.param(TRL, marks=pytest.mark.skipif(not importlib.util.find_spec("trl"), reason="the extra bench")),
    TWO_PASSES,
]


@pytest.fixture(scope="module", params=["bert", "qwen3"])
def job(request, tmp_path_factory):
    """Pairs of unlike lengths, one longer than the limit, and a two-layer model on disk."""
    tokenizer, folder = byte_tokenizer(), tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    config = random_config(request.param, tokenizer)
    config.num_labels, config.initializer_range = 1, 0.3  # so that scores differ
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pairs = [
        Pair(str(i), (Message("user", "why? " * (i + 1)),), "because " * (1 + 5 * i), "no " * (9 - i)) for i in range(6)
    ]
    pairs[2] = Pair("2", (Message("user", "tell me more " * 60),), "yes", "no")  # 780 tokens of prompt
    return Job(BackboneConfig("tiny", str(folder), max_length=512), torch.device("cpu"), pairs, BATCH)


@pytest.mark.parametrize("way", THEIRS)
def test_every_way_has_the_losses_of_ours_over_the_same_pairs(way: Way, job: Job) -> None:
    ours = OURS.check(job).found
    order = steps_in_order(len(job.pairs), BATCH)
    theirs = way.check(Job(job.backbone, job.device, [job.pairs[i] for i in order], BATCH)).found
    assert len(ours) == STEPS
    np.testing.assert_allclose(theirs, ours, atol=1e-4)  # TRL rounds what it logs
    assert np.ptp(ours) > 1e-3  # so that another order would show


@pytest.mark.parametrize("way", THEIRS)
def test_every_way_has_the_margins_of_ours_and_reads_the_same_tokens(way: Way, job: Job) -> None:
    ours, theirs = OURS.score(job), way.score(job)
    np.testing.assert_allclose(theirs.found, ours.found, atol=1e-4)
    assert np.ptp(ours.found) > 1e-2
    assert ours.tokens == theirs.tokens  # no text is met twice
    again = Job(job.backbone, job.device, [*job.pairs, *job.pairs], BATCH)
    assert 2 * OURS.score(again).tokens == way.score(again).tokens  # ours passes a text once
    assert OURS.train(job).tokens == way.train(job).tokens == sum(len(c) + len(r) for c, r in job.ids[BATCH:])


def test_a_way_that_fails_is_said_and_stops_no_other() -> None:
    def fails(job: Job) -> Done:
        raise UserError("trl kept 3 of 4 pairs")

    def works(job: Job) -> Done:
        return Done(2.0, 100, np.zeros(1))

    sound, broken = (Way(name, work, work, work) for name, work in (("ours", works), ("TRL", fails)))
    bench = training.Bench(torch.device("cpu"), (sound, broken), [], repeats=3)
    timed = bench.timed("train", Job(BackboneConfig("x", "x"), torch.device("cpu"), [], 1))
    assert [len(one.done) for one in timed] == [3, 0]
    about = {"shape": "s", "work": "training", "pairs_a_step": 8, "peak_flops": 1e12, "dtype": "float32"}
    records = [about | training._numbers(one, timed[0], 8, 0.001) for one in timed]
    machine = {"machine": "a CPU", "torch": "2", "transformers": "5", "steps": 1, "repeats": 3, "without_trl": "why"}
    lines = markdown(machine, records).splitlines()
    assert "Without TRL: why." in lines
    assert "| s | training | 8 | ours | 4.00 | 4.00 – 4.00 |  | 50 | 5.0 % |" in lines[-2]
    assert "| s | training | 8 | TRL | UserError: trl kept 3 of 4 pairs |" in lines[-1]


def test_without_trl_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trl_trainer.importlib.util, "find_spec", lambda name: None)
    assert trl_trainer.trl_is_missing() == "trl is not installed (pip install 'mars-reward[bench]')"


def test_a_pool_of_five_by_five_has_ten_texts_of_each_pair() -> None:
    words = "the good answer is a long and important one that many people would like to read today"
    pair = Pair("0", (Message("user", "why?"),), words, f"no, {words}")
    rows = training.pool([pair])
    assert len(rows) == 25
    assert len({row.chosen for row in rows} | {row.rejected for row in rows}) <= 10
