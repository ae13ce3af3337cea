"""Optimisation: a step is the same however it is cut, order does not matter, bad numbers stop a run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.backbones import backbone, pairs

from mars.method.optimizer import new_optimizer
from mars.method.settings import TrainConfig
from mars.method.training import Course, Learner, TrainingError, TrainingSet, lr_factor, train_round
from mars.reward.engine import Engine, Tuning
from mars.reward.loss import bradley_terry

CPU = torch.device("cpu")


def setup(tmp_path, mode="full", n=24, token_budget=4096, kind="bert", packing="auto"):
    engine = Engine(backbone(kind), mode, CPU, token_budget, tmp_path, Tuning(packing=packing))
    data = pairs(n)
    numbers = engine.texts.add_pairs(data)
    return engine, engine.new_model(0), TrainingSet(numbers, None, [p.id for p in data])


def train(engine, model, data, seed=0, batch_size=8, epochs=1, **settings):
    cfg = TrainConfig(**{"lr": 1e-3} | settings)
    optimizer = new_optimizer(model, cfg)
    course = Course(cfg, batch_size, epochs)
    return train_round(engine, Learner(model, optimizer), data, course, np.random.default_rng(seed))


def test_the_loss_by_hand():
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    easy, hard = np.log1p(np.exp(-1)), np.log1p(np.exp(1))
    assert bradley_terry(chosen, rejected).item() == pytest.approx(easy + hard)
    assert bradley_terry(chosen, rejected, torch.tensor([2.0, 0.0])).item() == pytest.approx(2 * easy)
    smoothed = bradley_terry(chosen[:1], rejected[:1], label_smoothing=0.1).item()
    assert smoothed == pytest.approx(0.9 * easy + 0.1 * hard)
    assert bradley_terry(chosen, rejected, centering=0.5).item() == pytest.approx(easy + hard + 1.0)


def gradient(tmp_path, mode="full", kind="bert", packing="auto", token_budget=4096, **settings):
    """The gradient of one step over 24 pairs, unclipped."""
    engine, model, data = setup(tmp_path, mode, token_budget=token_budget, kind=kind, packing=packing)
    train(engine, model, data, batch_size=24, lr=1e-12, max_grad_norm=1e9, **settings)
    return torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None])


def assert_same_gradient(first, second):
    assert (first - second).norm() < 1e-2 * first.norm()  # fp32, and the tiny model's gradients nearly cancel
    assert first.norm() > 0


@pytest.mark.parametrize("mode", ["full", "head"])
def test_one_pair_at_a_time_accumulated_is_the_whole_batch(mode, tmp_path):
    whole = gradient(tmp_path, mode, token_budget=10**6)
    assert_same_gradient(whole, gradient(tmp_path, mode, token_budget=1))


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
@pytest.mark.parametrize("token_budget", [1, 10**6])
def test_packed_pairs_have_the_gradient_of_padded_ones(kind, token_budget, tmp_path):
    packed = gradient(tmp_path, kind=kind, packing=True, token_budget=token_budget)
    assert_same_gradient(gradient(tmp_path, kind=kind, packing=False), packed)


def test_packed_training_says_that_nothing_is_padded(tmp_path):
    engine, model, data = setup(tmp_path, packing=True)
    stats = train(engine, model, data)
    assert stats.padding_efficiency == 1
    assert stats.tokens == engine.inputs.lengths[data.numbers].sum()


def test_noise_is_trained_with_packed(tmp_path):
    for alpha in (0.0, 5.0):
        engine, model, data = setup(tmp_path, kind="qwen3", packing=True)
        before = train(engine, model, data).loss
        engine, model, data = setup(tmp_path, kind="qwen3", packing=True)
        noisy = train(engine, model, replace(data, noise=np.full(len(data.ids), alpha))).loss
        assert (noisy == pytest.approx(before, abs=1e-5)) == (alpha == 0)


def test_bucketed_and_random_order_give_the_same_full_data_gradient(tmp_path):
    random = gradient(tmp_path, window=1, token_budget=400)
    assert_same_gradient(random, gradient(tmp_path, window=50, token_budget=400))


def test_pair_weights_are_relative_and_a_weight_of_zero_removes_a_pair(tmp_path):
    results = []
    for weights, keep in ((np.array([3.0] * 12 + [0.0] * 12), 24), (None, 12)):
        engine, model, data = setup(tmp_path, "head")
        subset = TrainingSet(data.numbers[:keep], weights, data.ids[:keep])
        train(engine, model, subset, batch_size=24)
        results.append(model.theta.detach().clone())
    torch.testing.assert_close(*results, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["full", "head", "lora"])
def test_training_lowers_the_loss_and_counts_its_work(mode, tmp_path):
    lora = {"r": 4, "lora_alpha": 8} if mode == "lora" else None
    engine = Engine(backbone(), mode, CPU, 4096, tmp_path, Tuning(lora=lora))
    if mode == "lora":
        pytest.importorskip("peft")
    data = [replace(p, chosen=f"{p.chosen} kind kind", rejected=f"{p.rejected} red red") for p in pairs(24)]
    numbers = engine.texts.add_pairs(data)
    model = engine.new_model(0)
    stats = train(engine, model, TrainingSet(numbers, None, [p.id for p in data]), epochs=20, lr=0.003)
    assert stats.last_loss < stats.first_loss
    assert (stats.steps, stats.pairs) == (60, 480)
    assert stats.tokens == (0 if mode == "head" else 20 * engine.inputs.lengths[numbers].sum())
    assert 0 < stats.padding_efficiency <= 1


def test_gradient_checkpointing_changes_memory_and_not_the_result(tmp_path):
    weights = []
    for checkpointing in (False, True):
        engine = Engine(backbone("qwen3"), "full", CPU, 4096, tmp_path, Tuning(gradient_checkpointing=checkpointing))
        data = pairs(8)
        model, numbers = engine.new_model(0), engine.texts.add_pairs(data)
        train(engine, model, TrainingSet(numbers, None, [p.id for p in data]))
        weights.append(torch.cat([p.detach().ravel() for p in model.parameters()]))
    torch.testing.assert_close(*weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_step_and_the_pairs(bad, tmp_path):
    engine, model, data = setup(tmp_path, "head", n=4)
    with torch.no_grad():
        model.theta[0] = bad
    with pytest.raises(TrainingError, match=r"step 0: loss .*nan.* pairs of the step: p\d, p\d, p\d, p\d"):
        train(engine, model, data)


def test_schedules_by_hand():
    linear = TrainConfig(schedule="linear", warmup=0.5)
    assert [lr_factor(p, linear) for p in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.5, 1, 0.5, 0]
    assert lr_factor(0.5, TrainConfig(schedule="cosine")) == pytest.approx(0.5)
    assert lr_factor(0.9, TrainConfig(schedule="constant")) == 1


def test_a_linear_head_has_nothing_to_pack():
    with pytest.raises(ValueError, match="packing: a linear head reads features"):
        TrainConfig(mode="head", packing=True)


@pytest.mark.parametrize("setting", ["lr", "token_budget", "max_grad_norm", "window"])
def test_settings_out_of_range_are_named(setting):
    with pytest.raises(ValueError, match=f"{setting}: 0 is out of range"):
        TrainConfig(**{setting: 0})
