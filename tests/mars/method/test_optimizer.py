"""AdamW without the wrappers of torch's compiler: the same bits as with them."""

from __future__ import annotations

import copy

import torch

from mars.method.optimizer import new_optimizer
from mars.method.settings import TrainConfig


def test_it_is_torch_s_adamw_to_the_bit_and_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    model[0].bias.requires_grad_(False)
    other, config = copy.deepcopy(model), TrainConfig(lr=0.1, weight_decay=0.3)
    ours = new_optimizer(model, config)
    trained = [p for p in other.parameters() if p.requires_grad]
    theirs = torch.optim.AdamW(trained, lr=0.1, weight_decay=0.3, fused=True)
    assert [len(group["params"]) for group in ours.param_groups] == [3]
    for step in range(6):
        if step == 3:  # each goes on from what the other has kept
            state = copy.deepcopy(ours.state_dict())
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
            theirs.load_state_dict(state)
        x = torch.randn(8, 5)
        for one, optimizer in ((model, ours), (other, theirs)):
            optimizer.zero_grad()
            (one(x) ** 2).mean().backward()
            optimizer.step()
    for mine, its in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)
    assert torch.is_grad_enabled()
