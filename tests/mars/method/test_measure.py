"""How many tokens fit: by hand from two passes, and on a GPU where there is one."""

import numpy as np
import pytest
import torch
from support.backbones import backbone, pairs

from mars.method.measure import MOST, budget, settle
from mars.method.settings import TrainConfig
from mars.reward.engine import Engine


def test_the_budget_by_hand():
    """1000 bytes a token beside 10,000 that every pass takes: 4 pairs of 100 tokens are 800 tokens."""

    def peak(pairs):
        return 10_000 + 1000 * 2 * pairs * 100

    found = budget(peak, length=100, room=10_000_000)
    assert found.bytes_per_token == 1000
    assert found.tokens == 4096  # 0.8 × 10 MB less 10 kB: 7990 tokens, and the power of two below
    assert found.measured
    assert budget(peak, length=100, room=2**50).tokens == MOST
    assert budget(peak, length=100, room=12_000).tokens == 1
    assert budget(lambda pairs: None if pairs > 1 else peak(pairs), 100, 10_000_000).tokens == 200
    assert budget(lambda pairs: None, 100, 10_000_000) is None


def test_nothing_is_measured_on_a_cpu_or_where_the_budget_is_said(tmp_path):
    engine = Engine(backbone(), "full", torch.device("cpu"), "auto", tmp_path)
    engine.texts.add_pairs(pairs(4))
    settle(engine, engine.new_model(0), TrainConfig())
    assert engine.token_budget == 4096
    assert engine.memory() == {
        "token_budget": 4096,
        "bytes_per_token": None,
        "halved": 0,
        "gradient_checkpointing": False,
    }


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_is_measured_once_and_the_model_does_not_notice(tmp_path):
    engine = Engine(backbone(), "full", torch.device("cuda"), "auto", tmp_path)
    engine.texts.add_pairs(pairs(4))
    model = engine.new_model(0)
    before, drawn = {k: v.clone() for k, v in model.state_dict().items()}, torch.cuda.get_rng_state()
    settle(engine, model, TrainConfig(dropout=True))
    found = engine.budget
    assert np.log2(found.tokens).is_integer()
    assert found.bytes_per_token > 0
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(drawn, torch.cuda.get_rng_state())
    settle(engine, model, TrainConfig())
    assert engine.budget is found
