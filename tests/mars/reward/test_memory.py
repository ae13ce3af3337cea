"""A device that is full or gone: what can go on goes on, the rest is one line."""

import logging

import numpy as np
import pytest
import torch
from support.backbones import backbone, pairs

from mars.reward.engine import Engine
from mars.reward.memory import Budget, DeviceError, device_errors
from mars.reward.scoring import ScoringError


def setup(tmp_path, memory):
    """(engine, model, [24, 2] text numbers); a pass of more than `memory` padded tokens does not fit."""
    engine = Engine(backbone(), "full", torch.device("cpu"), 4096, tmp_path)
    numbers, model = engine.texts.add_pairs(pairs(24)), engine.new_model(0)

    def full(_module, _arguments, inputs):
        if inputs["input_ids"].numel() > memory:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(full, with_kwargs=True)
    return engine, model, numbers


def test_scoring_goes_on_in_smaller_passes_and_remembers(tmp_path, caplog):
    engine, model, numbers = setup(tmp_path, memory=300)
    with caplog.at_level(logging.WARNING, "mars"):
        scores = engine.scorer(model).scores(numbers)
        differences = engine.scorer(model).differences(numbers)
    lines = [
        f"out of memory: from here on at most {n} tokens go through the model at once" for n in (2048, 1024, 512, 256)
    ]
    assert caplog.messages == lines  # the second scorer meets no more of it
    assert engine.token_budget == 256
    roomy, same, _ = setup(tmp_path, memory=10**6)
    np.testing.assert_allclose(scores, roomy.scorer(same).scores(numbers), atol=1e-6)
    np.testing.assert_allclose(differences, roomy.scorer(same).differences(numbers), atol=1e-6)


def test_a_text_that_does_not_fit_by_itself_is_one_line(tmp_path):
    engine, model, numbers = setup(tmp_path, memory=40)
    with pytest.raises(
        ScoringError, match=r"^a text of \d+ tokens does not fit the GPU's memory by itself \(lower max"
    ):
        engine.scorer(model).scores(numbers)


def test_a_budget_is_halved_until_the_batch_is_cut():
    def cut(items, tokens):
        per_pass = max(1, tokens // 100)  # items of 100 tokens
        return [items[i : i + per_pass] for i in range(0, len(items), per_pass)]

    budget = Budget(65536)
    assert budget.lower(np.arange(10), cut)
    assert (budget.tokens, budget.halved) == (512, 7)
    assert not budget.lower(np.arange(1), cut)
    assert budget.tokens == 512


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), r"^the GPU's memory is full: CUDA out"),
        (
            torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile with"),
            r"^the GPU failed: CUDA error: unspec[^\n]*$",
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), r"^the GPU failed: CUDA error: CUBLAS"),
    ],
)
def test_a_device_that_fails_is_one_line(error, line):
    with pytest.raises(DeviceError, match=line), device_errors():
        raise error


def test_an_error_of_our_own_stays_what_it_is():
    with pytest.raises(RuntimeError, match="shapes"), device_errors():
        raise RuntimeError("shapes do not match")
