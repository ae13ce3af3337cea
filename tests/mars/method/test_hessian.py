"""Curvature of fine-tuned models: products equal autograd's Hessian, estimates keep to the errors they state."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import binom
from support.backbones import KINDS, backbone, pairs
from torch import nn

from mars import files
from mars.config import UserError
from mars.method.hessian import (
    MISSED,
    Sample,
    estimate,
    hessian_product,
    hutchinson,
    lanczos,
    trainable,
    twice_differentiable,
)
from mars.reward.engine import Engine, Tuning
from mars.reward.model import scalar_head
from mars.theory.moments import moments

CPU = torch.device("cpu")
MODES = ["full", "lora", "head"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors this small are not worth sharing: thousands of backward passes would wait for the other thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def setup(tmp_path, kind="bert", mode="full", n=12, token_budget=4096, only="", **changes):
    """(engine, model, [n, 2] text numbers); only: a part of the names of the parameters that stay trainable."""
    if mode == "lora":
        pytest.importorskip("peft")
    lora = {"r": 1, "lora_alpha": 2} if mode == "lora" else None
    engine = Engine(backbone(kind, **changes), mode, CPU, token_budget, tmp_path, Tuning(lora=lora))
    numbers = engine.texts.add_pairs(pairs(n))
    model = engine.new_model(0)
    with torch.no_grad():  # adapters and biases start at zero, where second derivatives would be simple
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
            parameter.requires_grad_(parameter.requires_grad and any(part in name for part in only.split("|")))
    return engine, model, numbers


def exact_hessian(engine, model, numbers):
    """[P, P] float64 by torch.autograd.functional, all pairs in one pass."""
    names = {id(p): name for name, p in reversed(list(model.named_parameters()))}
    values = trainable(model)

    def loss(flat):
        parts = flat.split([p.numel() for p in values])
        named = {names[id(p)]: part.view_as(p) for p, part in zip(values, parts, strict=True)}
        scores = torch.func.functional_call(model, named, (), engine.inputs.batch(numbers.T.ravel()))
        return -nn.functional.logsigmoid(scores.chunk(2)[0] - scores.chunk(2)[1]).mean()

    with twice_differentiable(model):
        flat = torch.cat([p.detach().ravel() for p in values])
        return torch.autograd.functional.hessian(loss, flat).double().numpy()


def times(product, vectors):
    """[P, K] float64 products with the columns of `vectors`, [P, K]."""
    return torch.stack([product(v) for v in vectors.T], dim=1).double().numpy()


def symmetric(values, seed=0):
    """A random float64 matrix with these eigenvalues, and v → Hv in fp32."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    matrix = (basis * values) @ basis.T
    return matrix, torch.from_numpy(matrix).float().__matmul__


# φ and the head


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_differences_times_the_heads_weight_are_the_margins(kind, mode, tmp_path):
    engine, model, numbers = setup(tmp_path, kind, mode, token_budget=300)
    weight = model.theta if mode == "head" else scalar_head(model).weight[0]
    if mode != "head" and scalar_head(model).bias is not None:
        nn.init.constant_(scalar_head(model).bias, 3.0)  # cancels
    differences = engine.scorer(model).differences(numbers)
    assert differences.dtype == np.float64
    np.testing.assert_allclose(
        differences @ weight.detach().double().numpy(), engine.scorer(model).margins(numbers), atol=1e-5
    )
    assert np.abs(engine.scorer(model).margins(numbers)).max() > 1e-3


def test_each_text_is_passed_through_once_however_often_it_occurs(tmp_path):
    engine, model, numbers = setup(tmp_path, n=4)
    asked = np.concatenate([numbers, numbers[::-1], numbers[:, ::-1]])
    before = engine.texts.scored
    differences = engine.scorer(model).differences(asked)
    assert engine.texts.scored - before == len(np.unique(numbers))
    np.testing.assert_array_equal(differences[:4], differences[4:8][::-1])
    np.testing.assert_array_equal(differences[:4], -differences[8:])
    assert engine.scorer(model).differences(asked[:0]).shape == (0, 32)


@pytest.mark.parametrize("mode", MODES)
def test_differences_leave_the_model_in_the_mode_it_was_in(mode, tmp_path):
    engine, model, numbers = setup(tmp_path, mode=mode)
    model.train()
    list(model.modules())[-1].eval()
    before = [module.training for module in model.modules()]
    engine.scorer(model).differences(numbers)
    assert [module.training for module in model.modules()] == before


# Hessian-vector products


@pytest.mark.parametrize(
    ("kind", "mode", "only"),
    [
        ("bert", "full", "layer.0.attention.self.query.bias|classifier"),
        ("roberta", "full", "layer.0.output.LayerNorm.bias|out_proj"),
        ("deberta-v2", "full", "layer.0.attention.self.query_proj.bias|classifier"),
        ("qwen3", "full", "layers.0.self_attn.q_norm|score"),
        ("bert", "lora", "layer.1.attention.self.value.lora"),
    ],
)
def test_the_product_is_that_of_autograds_hessian(kind, mode, only, tmp_path):
    engine, model, numbers = setup(tmp_path, kind, mode, n=4, token_budget=1200, only=only)
    model.double()  # of fp32's rounding only the head's is left
    exact = exact_hessian(engine, model, numbers)
    vectors = torch.randn(len(exact), 4, generator=torch.Generator().manual_seed(0)).double()
    expected = exact @ vectors.numpy()
    with twice_differentiable(model):
        found = times(hessian_product(engine, model, Sample(numbers)), vectors)
    assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(expected)
    assert np.abs(exact).max() > 1e-3


def test_votes_and_margins_are_in_the_hessian_of_a_model_that_is_not_linear(tmp_path):
    engine, model, numbers = setup(tmp_path, n=4, only="classifier|layer.1.output.LayerNorm.bias")
    model.double()
    votes, offsets = np.array([1.0, 0.75, 0.5, 0.6]), np.array([0.0, 1.0, 0.0, 2.0])
    vectors = torch.randn(sum(p.numel() for p in trainable(model)), 2, generator=torch.Generator().manual_seed(0))
    with twice_differentiable(model):
        plain, ones, voted, ahead = (
            times(hessian_product(engine, model, sample), vectors.double())
            for sample in (
                Sample(numbers),
                Sample(numbers, np.ones(4), np.zeros(4)),
                Sample(numbers, votes),
                Sample(numbers, None, offsets),
            )
        )
    np.testing.assert_array_equal(ones, plain)
    assert np.linalg.norm(voted - plain) > 1e-3 * np.linalg.norm(plain)
    assert np.linalg.norm(ahead - plain) > 1e-3 * np.linalg.norm(plain)


class Perceptron(nn.Module):
    """Two layers on frozen features, in float64."""

    def __init__(self, dimension):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dimension, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        with torch.no_grad():
            self.layers[2].weight.mul_(20)

    def forward(self, features):
        return self.layers(features.double())[:, 0]


def perceptron(tmp_path):
    """(engine, model, numbers, its exact Hessian) of 137 parameters."""
    engine, _, numbers = setup(tmp_path, mode="head", n=20)
    torch.manual_seed(2)
    model = Perceptron(32)
    return engine, model, numbers, exact_hessian(engine, model, numbers)


def test_the_product_in_float64_is_exact(tmp_path):
    engine, model, numbers, exact = perceptron(tmp_path)
    with twice_differentiable(model):
        product = hessian_product(engine, model, Sample(numbers))
        np.testing.assert_allclose(times(product, torch.eye(len(exact)).double()), exact, atol=1e-14)
    assert np.linalg.eigvalsh(exact)[[0, -1]] == pytest.approx([-0.5, 0.5], abs=0.49)  # of both signs


def test_a_linear_heads_whole_hessian_is_the_one_of_the_theory(tmp_path):
    engine, model, numbers = setup(tmp_path, mode="head", n=30)
    differences, margins = engine.scorer(model).differences(numbers), engine.scorer(model).margins(numbers)
    known = moments(differences, margins)
    with twice_differentiable(model):
        found = times(hessian_product(engine, model, Sample(numbers)), torch.eye(32))
    np.testing.assert_allclose(found, known.hessian / known.weight, atol=1e-7)
    expected = (differences.T * np.exp(-np.logaddexp(0, margins) - np.logaddexp(0, -margins))) @ differences / 30
    np.testing.assert_allclose(found, expected, atol=1e-7)
    values = np.linalg.eigvalsh(expected)
    whole = estimate(engine, model, Sample(numbers), probes=8, steps=32, rng=np.random.default_rng(0))
    assert abs(whole["trace"] - values.sum()) < 4 * whole["trace_se"]
    assert abs(whole["largest"] - values[-1]) < whole["largest_error"] < 1e-6
    assert abs(whole["smallest"] - values[0]) < whole["smallest_error"] < 1e-6
    assert (whole["parameters"], whole["pairs"]) == (32, 30)


# Estimates and their errors


def test_hutchinsons_error_is_the_one_it_states():
    matrix, product = symmetric(np.random.default_rng(1).normal(size=40))
    runs = np.array([hutchinson(product, 40, 10, np.random.default_rng(seed), CPU) for seed in range(400)])
    errors = runs[:, 0] - np.trace(matrix)
    assert (np.abs(errors) > 4 * runs[:, 1]).mean() < 0.01  # Student's t of 9 degrees: 0.003
    assert abs(errors.mean()) < 4 * errors.std() / 20
    theory = 2 * (np.square(matrix).sum() - np.square(np.diag(matrix)).sum()) / 10  # Hutchinson's variance
    assert np.square(runs[:, 1]).mean() == pytest.approx(theory, rel=0.1)
    assert errors.var() == pytest.approx(theory, rel=0.3)


def test_a_diagonal_hessians_trace_has_no_error():
    trace, error = hutchinson(torch.diag(torch.arange(5.0)).__matmul__, 5, 3, np.random.default_rng(0), CPU)
    assert (trace, error) == (10.0, 0.0)


SPECTRA = {
    "bulk": np.random.default_rng(0).normal(size=60),
    "low rank": np.concatenate([np.zeros(300), np.geomspace(1e-3, 1, 40) * np.tile([1, -0.5], 20)]),
    "one": np.concatenate([np.zeros(99), [1.0]]),
    "positive": np.geomspace(1e-4, 1, 50),
    "zero": np.zeros(10),
}


@pytest.mark.parametrize("steps", [1, 4, 10, 20, 1000])
@pytest.mark.parametrize("name", SPECTRA)
def test_lanczos_keeps_to_its_stated_error(name, steps):
    _, product = symmetric(SPECTRA[name])
    size, missed, runs = len(SPECTRA[name]), 0, 60 if steps < 1000 else 3
    for seed in range(runs):
        largest, smallest = lanczos(product, size, steps, np.random.default_rng(seed), CPU)
        missed += abs(largest.value - SPECTRA[name].max()) > largest.error
        missed += abs(smallest.value - SPECTRA[name].min()) > smallest.error
    assert missed <= binom.ppf(0.9999, 2 * runs, MISSED)
    if steps == 1000:  # the whole space: nothing is left open
        assert max(largest.error, smallest.error) < 1e-5


def test_a_start_that_hides_the_largest_eigenvalue_is_why_a_residual_is_not_enough():
    """One eigenvalue of 1.05 among 2000 below 1: after 6 steps the residual alone often excludes it."""
    values = np.concatenate([np.linspace(0, 1, 2000), [1.05]])
    residual = stated = 0
    product = torch.from_numpy(values).float().__mul__
    for seed in range(20):
        largest, _ = lanczos(product, 2001, 6, np.random.default_rng(seed), CPU)
        residual += abs(largest.value - 1.05) > largest.residual
        stated += abs(largest.value - 1.05) > largest.error
    assert residual > 2
    assert stated == 0


def test_the_extremes_of_a_small_network_are_found(tmp_path):
    engine, model, numbers, exact = perceptron(tmp_path)
    values = np.linalg.eigvalsh(exact)
    found = estimate(engine, model, Sample(numbers), probes=50, steps=30, rng=np.random.default_rng(0))
    assert abs(found["largest"] - values[-1]) < found["largest_error"] < 1e-3
    assert abs(found["smallest"] - values[0]) < found["smallest_error"] < 1e-3
    assert abs(found["trace"] - values.sum()) < 4 * found["trace_se"]


def test_an_estimate_of_a_transformer_keeps_to_its_errors(tmp_path):
    engine, model, numbers = setup(tmp_path, "qwen3", n=4, only="layers.0.self_attn.q_norm|score")
    values = np.linalg.eigvalsh(exact_hessian(engine, model, numbers))
    found = estimate(engine, model, Sample(numbers), probes=20, steps=48, rng=np.random.default_rng(0))
    assert found["parameters"] == len(values)
    assert abs(found["largest"] - values[-1]) < found["largest_error"] + 1e-5 < 1e-3
    assert abs(found["smallest"] - values[0]) < found["smallest_error"] + 1e-5 < 1e-3
    assert abs(found["trace"] - values.sum()) < 4 * found["trace_se"]


# What must not matter, and must not change


def rounded(found, other):
    """Whether two estimates from the same vectors differ by fp32's rounding and no more."""
    scale = max(abs(found["largest"]), abs(found["smallest"]))
    return all(abs(found[key] - other[key]) < 1e-3 * scale for key in ("trace", "trace_se", "largest", "smallest"))


def some(engine, model, numbers, seed=0):
    return estimate(engine, model, Sample(numbers), probes=2, steps=4, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(("kind", "mode"), [("bert", "full"), ("qwen3", "full"), ("roberta", "lora"), ("bert", "head")])
def test_the_token_budget_changes_nothing(kind, mode, tmp_path):
    few = setup(tmp_path, kind, mode, n=4, token_budget=1)
    many = setup(tmp_path, kind, mode, n=4, token_budget=10**6)
    assert rounded(some(*few), some(*many))
    assert not rounded(some(*few), some(*few, seed=1))
    one, other = (engine.scorer(model).differences(numbers) for engine, model, numbers in (few, many))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_backbone_in_bf16_is_measured_in_fp32(tmp_path):
    assert some(*setup(tmp_path, n=4, dtype="bfloat16")) == some(*setup(tmp_path, n=4))


@pytest.mark.parametrize(("kind", "mode"), [("bert", "full"), ("qwen3", "lora"), ("bert", "head")])
def test_nothing_about_the_model_or_the_run_changes(kind, mode, tmp_path):
    engine, model, numbers = setup(tmp_path, kind, mode, n=4, dtype="bfloat16")
    model.train()
    list(model.modules())[-1].eval()
    for parameter in trainable(model):
        parameter.grad = torch.ones_like(parameter)

    def state():
        modes = [module.training for module in model.modules()]
        wants = [parameter.requires_grad for parameter in model.parameters()]
        random = [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()]  # noqa: NPY002 - the global one
        how = None if mode == "head" else (model.autocast, model.model.config._attn_implementation)
        return files.state_digest(model.state_dict()), modes, wants, random, how, torch.is_grad_enabled()

    before = copy.deepcopy(state())
    with torch.no_grad():
        some(engine, model, numbers)
    assert state() == before
    assert all((parameter.grad == 1).all() for parameter in trainable(model))


def test_dropout_is_off(tmp_path):
    engine = Engine(backbone(), "full", CPU, 4096, tmp_path, Tuning(dropout=True))
    numbers = engine.texts.add_pairs(pairs(4))
    model = engine.new_model(0).train()
    assert some(engine, model, numbers) == some(engine, model, numbers)
    np.testing.assert_array_equal(engine.scorer(model).differences(numbers), engine.scorer(model).differences(numbers))


def test_a_fused_attention_kernel_is_left_for_one_with_second_derivatives(tmp_path):
    engine, model, numbers = setup(tmp_path, "bert", n=3)
    before = model.model.config._attn_implementation
    assert before != "eager"
    with twice_differentiable(model):
        assert model.model.config._attn_implementation == "eager"
        assert hessian_product(engine, model, Sample(numbers))(torch.ones(43265)).abs().max() > 0
    with pytest.raises(ZeroDivisionError), twice_differentiable(model):
        1 / 0  # noqa: B018
    assert model.model.config._attn_implementation == before


def test_an_estimate_is_a_function_of_its_generator(tmp_path):
    engine, model, numbers = setup(tmp_path, mode="head", n=8)
    assert some(engine, model, numbers) == some(engine, model, numbers)
    assert some(engine, model, numbers)["trace"] != some(engine, model, numbers, seed=1)["trace"]


def test_numbers_that_estimate_nothing_are_named(tmp_path):
    engine, model, numbers = setup(tmp_path, mode="head", n=4)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="probes: 1 give no standard error"):
        estimate(engine, model, Sample(numbers), 1, 4, rng)
    with pytest.raises(ValueError, match="steps: must be at least 1, not 0"):
        estimate(engine, model, Sample(numbers), 2, 0, rng)
    with pytest.raises(ValueError, match="pairs: there are none"):
        estimate(engine, model, Sample(numbers[:0]), 2, 4, rng)


def test_a_model_too_large_for_the_memory_is_one_line(tmp_path):
    engine, model, numbers = setup(tmp_path, mode="head", n=4)

    def exhausted(_module, _inputs):
        raise torch.OutOfMemoryError

    model.register_forward_pre_hook(exhausted)
    with pytest.raises(UserError, match=r"4 vectors of 32 numbers .*lower train\.token_budget"):
        some(engine, model, numbers)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_finds_what_the_cpu_does(tmp_path):
    _, model, numbers = setup(tmp_path, n=4)
    engine = Engine(backbone(), "full", torch.device("cuda"), 4096, tmp_path)
    engine.texts.add_pairs(pairs(4))
    there = engine.new_model(0)
    there.load_state_dict(model.state_dict())
    assert rounded(some(*setup(tmp_path, n=4)), some(engine, there, numbers))
