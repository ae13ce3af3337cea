"""Votes, ties and strengths in training: the loss, the rows that have them, and runs that end in the same bits."""

import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from support.backbones import backbone
from support.backbones import pairs as texts
from support.pool import Numbering, pairs
from support.voted import voted

from analysis.study.run_files import from_directory
from mars import choices
from mars.config import ConfigError
from mars.files import read_json
from mars.method.loop import held_out_columns
from mars.method.optimizer import new_optimizer
from mars.method.settings import TrainConfig
from mars.method.targets import Targets
from mars.method.training import Course, Learner, Onlooker, TrainingSet, train_round
from mars.pool.pool import Pool
from mars.process.stopping import Stopped
from mars.reward.engine import Engine
from mars.reward.loss import Told, bradley_terry
from mars.run import execute

ONE = {"weights": torch.tensor([1.0, 2.0, 0.5, 1.0])}
P, M = torch.tensor([1.0, 0.75, 0.5, 0.6]), torch.tensor([0.0, 1.5, 0.0, 3.0])


@pytest.mark.parametrize("told", [Told(P), Told(None, M), Told(P, M)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_that_of_finite_differences(told, smoothing):
    told = Told(*(None if part is None else part.double() for part in told))
    chosen, rejected = torch.tensor([[0.3, -1.0, 2.0, 0.0], [1.0, 0.5, -2.0, 0.0]]).double()

    def loss(scores: torch.Tensor) -> torch.Tensor:
        return bradley_terry(scores, rejected, ONE["weights"].double(), smoothing, 0.01, told)

    scores = chosen.clone().requires_grad_()
    loss(scores).backward()
    steps = 1e-5 * torch.eye(4).double()
    by_hand = torch.stack([(loss(chosen + step) - loss(chosen - step)) / 2e-5 for step in steps])
    torch.testing.assert_close(scores.grad, by_hand, atol=1e-8, rtol=1e-6)


def test_the_slope_is_probability_less_share_and_nothing_pulls_a_tie_at_zero():
    scores = torch.tensor([0.0, 2.0, 0.0]).requires_grad_()
    bradley_terry(scores, torch.zeros(3), told=Told(torch.tensor([0.5, 0.75, 1.0]))).backward()
    slope = 1 / (1 + np.exp(-2)) - 0.75
    assert scores.grad.tolist() == pytest.approx([0.0, slope, -0.5])


def test_smoothing_composes_with_votes():
    given = [torch.tensor([1.0]), torch.tensor([0.2])]
    p, e = 0.7, 0.1
    smoothed = bradley_terry(*given, label_smoothing=e, told=Told(torch.tensor([p])))
    plain = bradley_terry(*given, told=Told(torch.tensor([(1 - e) * p + e * (1 - p)])))
    torch.testing.assert_close(smoothed, plain)


@pytest.mark.parametrize("smoothing", [0.0, 0.07])
def test_votes_of_one_and_margins_of_zero_are_the_loss_without_them_bit_for_bit(smoothing):
    chosen, rejected = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    plain = bradley_terry(chosen, rejected, label_smoothing=smoothing)
    told = Told(torch.ones(50), torch.zeros(50))
    assert torch.equal(plain, bradley_terry(chosen, rejected, label_smoothing=smoothing, told=told))


def test_a_margin_has_to_be_exceeded():
    chosen, rejected = torch.tensor([2.0]), torch.tensor([0.0])
    loss = bradley_terry(chosen, rejected, told=Told(None, torch.tensor([3.0])))
    assert loss.item() == pytest.approx(np.log1p(np.exp(1.0)))  # −log σ(2 − 3)


def strong(*strengths):
    return [replace(pair, strength=s) for pair, s in zip(pairs(len(strengths)), strengths, strict=True)]


def test_strength_is_nothing_a_margin_or_a_weight_of_mean_one():
    told = strong(0.0, 1.0, 3.0, 0.0)
    assert Targets.of(told, TrainConfig()) == Targets()
    column = Targets.of(told, TrainConfig(margin="column", margin_scale=0.5))
    assert column.offsets.tolist() == [0, 0.5, 1.5, 0]
    weight = Targets.of(told, TrainConfig(margin="weight"))
    assert weight.weights.tolist() == [0, 1, 3, 0]
    assert weight.weighted(np.array([2.0, 2.0, 1.0, 5.0])).tolist() == [0, 2, 3, 0]
    assert weight.weighted(None) is weight.weights


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (pairs(3), r"^train.margin: 3 of 3 base pairs tell no strength, p0 is the first"),
        (strong(1.0, None, 2.0), r"^train.margin: 1 of 3 base pairs tell no strength, p1 is the first"),
        (strong(1.0, 1.0, -2.0), r"^train.margin: 1 of 3 base pairs have a strength that is negative"),
        (strong(0.0, 0.0), r"^train.margin: the strength of every base pair is 0"),
    ],
)
def test_strengths_that_are_asked_for_and_not_there_are_one_line(told, line):
    with pytest.raises(ConfigError, match=line):
        Targets.of(told, TrainConfig(margin="weight"))


def test_a_scale_without_margins_is_refused():
    with pytest.raises(ValueError, match=r"^margin_scale: only train.margin=column"):
        TrainConfig(margin="weight", margin_scale=2.0)


def test_rows_have_their_parents_label_and_those_that_the_arm_labelled_their_own():
    pool = Pool(voted(strong(1.0, 1.0, 1.0, 1.0)), Numbering())  # agreements 1, ¾, ½, ⅔ and strengths 1, 3, 0, 3
    base = Targets.of(pool.base, TrainConfig(margin="column"), pool.labels)
    variants = pool.of_pairs(np.array([1, 2]))[:, 0]
    rows = np.concatenate([pool.copies, variants, pool.swapped(variants), pool.copies[1:2]])
    inherited = base.of_rows(pool, rows, labelled=False)
    assert inherited.agreement.tolist() == [1, 0.75, 0.5, 2 / 3, 0.75, 0.5, 1, 1, 0.75]
    assert inherited.offsets.tolist() == [1, 3, 0, 3, 3, 0, 0, 0, 3]
    assert base.of_rows(pool, rows, labelled=True).agreement.tolist() == [1, 0.75, 0.5, 2 / 3, 1, 1, 1, 1, 0.75]


def test_a_linear_head_learns_the_log_odds_of_the_votes(tmp_path):
    engine = Engine(backbone(), "head", torch.device("cpu"), 4096, tmp_path)
    numbers = engine.texts.add_pairs(texts(3))
    votes = np.array([0.5, 0.75, 0.9])
    model = engine.new_model(0)
    data = TrainingSet(numbers, None, ["a", "b", "c"], agreement=votes)
    cfg = TrainConfig(mode="head", lr=0.5, schedule="constant", max_grad_norm=1e9)
    learner = Learner(model, new_optimizer(model, cfg))
    train_round(engine, learner, data, Course(cfg, 3, epochs=3000), np.random.default_rng(0))
    found = engine.scorer(model).margins(numbers)
    np.testing.assert_allclose(found, np.log(votes / (1 - votes)), atol=0.05)


def test_a_step_of_pairs_that_weigh_nothing_is_no_division_by_zero(tmp_path):
    engine = Engine(backbone(), "head", torch.device("cpu"), 4096, tmp_path)
    numbers = engine.texts.add_pairs(texts(2))
    model = engine.new_model(0)
    cfg, losses = TrainConfig(mode="head", lr=0.5), []
    data = TrainingSet(numbers, np.array([0.0, 1.0]), ["a", "b"])
    onlooker = Onlooker(lambda metrics: losses.append(metrics["loss"]))
    learner = Learner(model, new_optimizer(model, cfg))
    stats = train_round(engine, learner, data, Course(cfg, 1), np.random.default_rng(0), onlooker)
    assert 0.0 in losses
    assert stats.loss == max(losses) > 0


def test_held_out_ties_are_in_the_loss_and_in_nothing_else():
    margins, votes = np.array([1.0, -3.0, 5.0]), np.array([1.0, 0.75, 0.5])
    found, without = held_out_columns(margins, votes), held_out_columns(margins[:2])
    of_all = ("validation_loss", "validation_information")
    assert {k: v for k, v in found.items() if k not in of_all} == {k: v for k, v in without.items() if k not in of_all}
    assert found["validation_loss"] == pytest.approx(np.mean([
        np.log1p(np.exp(-1)), 0.75 * np.log1p(np.exp(3)) + 0.25 * np.log1p(np.exp(-3)),
        np.log1p(np.exp(-5)) + 0.5 * 5,
    ]))  # fmt: skip
    assert list(held_out_columns(margins[2:], votes[2:])) == list(of_all)


# Whole runs


@pytest.fixture
def votes(monkeypatch):
    """`dataset.name=voted` is a dataset."""
    monkeypatch.setitem(choices.DATASETS, "voted", "support.voted:DATASET")
    choices._read.cache_clear()
    yield ["scale=tiny", "dataset.name=voted", "rounds.number=2"]
    choices._read.cache_clear()


def test_votes_and_strengths_count_from_the_data_to_the_report(votes, compose, tmp_path):
    ways = {"none": [], "column": ["train.margin=column", "train.margin_scale=0.5"], "weight": ["train.margin=weight"]}
    results = {}
    for way, settings in ways.items():
        run = execute(compose(*votes, "train=head", *settings, f"out={tmp_path}/{way}"))
        table, metrics = pd.read_parquet(run / "scores/in_distribution.parquet"), read_json(run / "metrics.json")
        assert set(table["agreement"].round(3)) == {0.5, 0.667, 0.75, 1.0}
        found = metrics["in_distribution"]["test"]
        assert found["n"] == (table[table["split"] == "test"]["agreement"] > 0.5).sum() == 24
        assert found["log_loss_soft_lo"] < found["log_loss_soft"] < found["log_loss_soft_hi"]
        loaded, remarks = from_directory(run, "")
        assert not remarks
        assert len(loaded.scores["test"]["chosen_score"]) == 24
        results[way] = found["log_loss_soft"]
    assert len(set(results.values())) == 3


def test_strengths_that_no_pair_tells_are_refused_before_anything_is_written(compose, tmp_path):
    with pytest.raises(ConfigError, match=r"^train.margin: 32 of 32 base pairs tell no strength"):
        execute(compose("scale=tiny", "train=head", "train.margin=weight", f"out={tmp_path}/run"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["ledger.sqlite"]


def test_a_run_with_votes_that_was_left_within_a_round_ends_in_the_same_bits(votes, compose, tmp_path, monkeypatch):
    settings = [*votes, "train=full", "train.margin=weight", "method=adaboost", "batch_size=8"]
    whole = execute(compose(*settings, f"out={tmp_path}/whole"))
    config = compose(*settings, f"out={tmp_path}/left")
    init, steps = Onlooker.__init__, []

    def counted(self, on_step=lambda metrics: None, *rest, **named):
        def told(metrics):
            steps.append(1)
            if len(steps) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            on_step(metrics)

        init(self, told, *rest, **named)

    monkeypatch.setattr(Onlooker, "__init__", counted)
    with pytest.raises(Stopped):
        execute(config)
    left = execute(config)
    for name in ("metrics.json", "scores/in_distribution.parquet", "model/model.safetensors"):
        assert (left / name).read_bytes() == (whole / name).read_bytes(), name
