"""A step's gradient survives a memory that is too small, an operation without an order, and weights in bf16."""

import copy
import logging

import numpy as np
import pytest
import torch
from support.backbones import KINDS, backbone, pairs

from mars.method.optimizer import new_optimizer
from mars.method.passes import Passes, TrainingSet, ahead
from mars.method.settings import TrainConfig
from mars.method.training import Course, Learner, Onlooker, TrainingError, train_round
from mars.reward.determinism import Determinism
from mars.reward.engine import Engine, Tuning
from mars.reward.model import scalar_head

CPU = torch.device("cpu")


def setup(tmp_path, kind="bert", token_budget=4096, n=24, **tuning):
    if tuning.get("lora"):
        pytest.importorskip("peft")
    engine = Engine(backbone(kind), "full", CPU, token_budget, tmp_path, Tuning(**tuning))
    data = pairs(n)
    numbers = engine.texts.add_pairs(data)
    return engine, engine.new_model(0), TrainingSet(numbers, None, [p.id for p in data])


def train(engine, model, data, batch_size=8, epochs=2, **settings):
    cfg = TrainConfig(**{"lr": 1e-3} | settings)
    torch.manual_seed(1)
    learner = Learner(model, new_optimizer(model, cfg))
    return train_round(engine, learner, data, Course(cfg, batch_size, epochs), np.random.default_rng(0)), learner


def trained(tmp_path, memory=None, spend=0, token_budget=4096, **tuning):
    """(model after two epochs, the engine) where a pass of more than `memory` padded tokens does not fit.

    spend: random numbers that a pass draws before it fails.
    """
    engine, model, data = setup(tmp_path, token_budget=token_budget, **tuning)

    def full(_module, _arguments, inputs):
        if memory is not None and inputs["input_ids"].numel() > memory:
            torch.rand(spend)
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(full, with_kwargs=True)
    train(engine, model, data)
    return model, engine


def same(one, other):
    """Whether two models have the same weights, bit for bit."""
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def margins(model, engine):
    return engine.scorer(model).margins(engine.texts.add_pairs(pairs(24)))


def test_a_step_that_does_not_fit_is_made_in_smaller_passes_with_the_same_gradient(tmp_path, caplog):
    """Dropout draws what it would have drawn, had the budget been the smaller one from the beginning."""
    with caplog.at_level(logging.WARNING, "mars"):
        cut, engine = trained(tmp_path, memory=600, spend=7, token_budget=2400, dropout=True)
    assert (engine.token_budget, engine.budget.halved) == (600, 2)
    line = "out of memory: from here on at most {} tokens go through the model at once"
    assert caplog.messages == [line.format(1200), line.format(600)]
    undisturbed, small = trained(tmp_path, token_budget=600, dropout=True)
    assert same(cut, undisturbed)
    assert (small.token_budget, small.budget.halved) == (600, 0)
    plain = margins(*trained(tmp_path, token_budget=2400))
    without_dropout = margins(*trained(tmp_path, memory=600, token_budget=2400))
    np.testing.assert_allclose(without_dropout, plain, atol=1e-5)
    assert np.abs(margins(cut, engine) - plain).max() > 5e-5


def test_what_does_not_fit_in_the_middle_of_a_step_is_not_counted_twice(tmp_path):
    """The third micro-batch fails once: the step begins anew, its first two are not in the gradient already."""
    engine, model, data = setup(tmp_path, token_budget=800)
    seen = []

    def full(_module, _arguments, inputs):
        seen.append(len(inputs["layout"].lengths))
        if len(seen) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(full, with_kwargs=True)
    stats, _ = train(engine, model, data, batch_size=24, epochs=1)
    again = setup(tmp_path, token_budget=engine.token_budget)
    expected, _ = train(*again, batch_size=24, epochs=1)
    assert engine.token_budget < 800
    assert seen[2] > 2
    assert (stats.loss, stats.grad_norm, stats.pairs) == (expected.loss, expected.grad_norm, 24)
    assert same(model, again[1])


def test_one_pair_that_does_not_fit_is_trained_on_with_checkpointing(tmp_path, caplog):
    engine, model, data = setup(tmp_path)

    def full(_module, _arguments):
        if not model.model.is_gradient_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(full)
    with caplog.at_level(logging.WARNING, "mars"):
        train(engine, model, data)
    assert engine.memory()["gradient_checkpointing"]
    assert engine.new_model(1).model.is_gradient_checkpointing
    told = [one.message for one in caplog.records if one.name.startswith("mars")]
    assert told[-1] == "out of memory with one pair: from here on with gradient checkpointing, which takes longer"
    again = setup(tmp_path, token_budget=engine.token_budget, gradient_checkpointing=True)
    train(*again)
    assert same(model, again[1])


def test_a_memory_too_small_for_one_pair_is_one_line(tmp_path):
    engine, model, data = setup(tmp_path)

    def full(_module, _arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(full)
    with pytest.raises(
        TrainingError, match=r"^pair p\d+, of \d+ tokens, does not fit the GPU's memory by itself \(.*\)$"
    ):
        train(engine, model, data)


def test_a_resumed_run_takes_up_what_the_memory_taught(tmp_path):
    _, engine = trained(tmp_path, memory=600)
    engine.checkpoint(engine.new_model(0))
    resumed = setup(tmp_path, token_budget="auto")[0]
    resumed.recall(engine.memory())
    assert resumed.memory() == engine.memory()
    assert resumed.budget.measured
    assert resumed.new_model(0).model.is_gradient_checkpointing


def test_no_step_is_taken_after_one_that_is_not_finite(tmp_path):
    engine, model, data = setup(tmp_path)
    cfg = TrainConfig(lr=1e-3)
    optimizer, steps, passes = new_optimizer(model, cfg), [], []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))

    def poison(_module, _arguments, scores):
        passes.append(1)
        return scores * float("nan") if len(passes) == 3 else scores

    model.register_forward_hook(poison)
    told = []
    learner, onlooker = Learner(model, optimizer), Onlooker(step=told.append)
    with pytest.raises(TrainingError, match=r"^step 2: loss nan, .* pairs of the step: (p\d+, ){7}p\d+ \("):
        train_round(engine, learner, data, Course(cfg, 8, 3), np.random.default_rng(0), onlooker)
    assert (len(steps), len(passes)) == (3, 4)
    assert [one["step"] for one in told] == [0, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", [None, {"r": 4, "lora_alpha": 8}])
def test_passes_in_bf16_train_fp32_weights(kind, lora, tmp_path):
    engine, model, data = setup(tmp_path, kind, lora=lora, n=8)
    seen, last = [], {}
    layer = next(m for m in model.model.modules() if isinstance(m, torch.nn.LayerNorm) or "RMSNorm" in type(m).__name__)
    layer.register_forward_hook(lambda _module, _arguments, output: seen.append(output.dtype))
    scalar_head(model.model).register_forward_hook(lambda _module, _arguments, output: last.update(dtype=output.dtype))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    stats, learner = train(engine, model, data, epochs=8, lr=1e-2, bf16_weights=True)
    assert stats.last_loss < stats.first_loss
    assert set(seen) == {torch.bfloat16}
    assert last == {"dtype": torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    state = [value for one in learner.optimizer.state.values() for value in one.values()]
    assert {value.dtype for value in state} == {torch.float32}
    moved = [p.detach() for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert any((p != p.bfloat16().float()).any() for p in moved)  # more than bf16 holds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_pass_in_bf16_has_the_gradient_of_a_model_in_bf16(kind, checkpointing, tmp_path):
    engine, model, data = setup(tmp_path, kind, n=8, gradient_checkpointing=checkpointing)
    rounded = copy.deepcopy(model)
    head = set(scalar_head(rounded.model).parameters())
    for parameter in rounded.parameters():
        parameter.data = parameter.data if parameter in head else parameter.data.bfloat16()
    passes = [Passes(engine, one, data, TrainConfig(bf16_weights=one is model)) for one in (model, rounded)]
    for one in passes:
        one.model.train()
        one.backward(one.make(np.arange(8)), total=8.0)
    for ours, theirs in zip(model.parameters(), rounded.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad.float(), rtol=0.02, atol=1e-5)


def test_a_head_has_no_bf16_weights():
    with pytest.raises(ValueError, match=r"^bf16_weights: a linear head is trained in fp32"):
        TrainConfig(mode="head", bf16_weights=True)


class Unordered(torch.nn.Module):
    """Adds nothing, by an operation that PyTorch has no deterministic form of."""

    def forward(self, _module, _arguments, scores):
        nothing = torch.zeros(1).put_(torch.tensor([0]), torch.zeros(1))
        return scores + nothing


@pytest.mark.filterwarnings("ignore")
def test_an_operation_without_a_deterministic_form_is_used_and_named(tmp_path, caplog):
    plain, _ = trained(tmp_path, dropout=True)
    engine, model, data = setup(tmp_path, dropout=True)
    engine.determinism = Determinism(True)
    model.register_forward_hook(Unordered().forward)
    with caplog.at_level(logging.WARNING, "mars"):
        train(engine, model, data)
    assert engine.determinism.without == {"put_"}
    assert caplog.messages == ["put_ has no deterministic form here: another run may end in other bits"]
    assert same(model, plain)
    assert not torch.are_deterministic_algorithms_enabled()


def test_determinism_holds_inside_a_round_alone(tmp_path):
    engine, model, data = setup(tmp_path, n=8)
    engine.determinism = Determinism(True)
    seen = []
    model.register_forward_hook(lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()))
    train(engine, model, data)
    engine.scorer(model).margins(data.numbers)
    assert seen[0]
    assert not seen[-1]


@pytest.mark.parametrize("most", [0, 1, 3])
def test_what_is_made_ahead_comes_in_order_and_only_so_far_ahead(most):
    made = []

    def make(job):
        made.append(job)
        if job == 7:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return job * job

    jobs = ahead(make, range(10), most)
    for job in range(7):
        assert next(jobs) == job * job
        assert len(made) <= job + 1 + most
    with pytest.raises(torch.OutOfMemoryError):
        next(jobs)
    jobs.close()
