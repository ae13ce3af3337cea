"""Look-ups by relative position: the bits and the gradient of a gather, for DeBERTa's attention and nothing else."""

import pytest
import torch
from support.backbones import reward_model

from mars.reward import lookups
from mars.reward.lookups import LookUp, order_lookups

CPU = torch.device("cpu")


@pytest.mark.parametrize("at_once", [1, 2**27])
def test_it_has_the_bits_of_a_gather_and_its_gradient(at_once, monkeypatch):
    monkeypatch.setattr(lookups, "ONES", at_once)
    torch.manual_seed(0)
    table = torch.randn(6, 5, 9, dtype=torch.float64, requires_grad=True)
    index, weights = torch.randint(9, (5, 7)), torch.randn(6, 5, 7, dtype=torch.float64)
    found, expected = LookUp.apply(table, index), torch.gather(table, -1, index.expand(6, 5, 7))
    assert torch.equal(found, expected)
    ours, theirs = (torch.autograd.grad((values * weights).sum(), table)[0] for values in (found, expected))
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(lambda one: LookUp.apply(one, index), table)


def batch():
    torch.manual_seed(1)
    ids, mask = torch.randint(5, 200, (3, 60)), torch.ones(3, 60, dtype=torch.int64)
    mask[1, 40:] = 0
    return ids, mask


def gradient(model):
    model.zero_grad()
    scores = model(*batch())
    (scores * torch.tensor([1.0, -2.0, 3.0])).sum().backward()
    return scores, torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None])


def count(scores):
    """How many look-ups went into the scores, by the graph that is to go back."""
    seen, left = set(), [scores.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [further for further, _ in node.next_functions]
    return sum(node.name() == "LookUpBackward" for node in seen)


@pytest.mark.parametrize("recomputed", [False, True])
def test_debertas_scores_have_the_same_bits_and_the_same_gradient(recomputed):
    model = reward_model("deberta-v2")
    if recomputed:
        model.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    scores, before = gradient(model)
    assert count(scores) == 0
    order_lookups(model, ["cpu"])
    again, after = gradient(model)
    assert torch.equal(scores, again)
    torch.testing.assert_close(after, before)
    assert count(again) == 4  # two layers; by content and position, and the other way round


def test_it_is_left_alone_on_other_devices_without_gradients_and_in_other_models():
    model = reward_model("deberta-v2")
    order_lookups(model)  # on a GPU
    assert count(model(*batch())) == 0
    order_lookups(model, ["cpu"])
    with torch.no_grad():
        model(*batch())
    bert = reward_model("bert")
    order_lookups(bert, ["cpu"])
    assert not any(module._forward_pre_hooks for module in bert.modules())


def test_what_follows_an_attention_is_an_ordinary_gather_and_so_it_is_after_an_error():
    model = reward_model("deberta-v2")
    order_lookups(model, ["cpu"])
    table, index = torch.randn(4, 3, 5, requires_grad=True), torch.randint(5, (3, 2)).expand(4, 3, 2)
    model(*batch())
    assert torch.gather(table, -1, index).grad_fn.name() == "GatherBackward0"
    layer = next(module for module in model.modules() if getattr(module, "pos_att_type", None))
    layer.query_proj.register_forward_hook(lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        model(*batch())
    assert torch.gather(table, -1, index).grad_fn.name() == "GatherBackward0"


def test_an_index_of_each_text_is_no_lookup():
    model = reward_model("deberta-v2")
    order_lookups(model, ["cpu"])
    table, found = torch.randn(4, 3, 5, requires_grad=True), []
    layer = next(module for module in model.modules() if getattr(module, "pos_att_type", None))

    def look(*_):
        for index in (torch.randint(5, (4, 3, 2)), torch.randint(5, (3, 2)).expand(4, 3, 2)):
            found.append(torch.gather(table, -1, index).grad_fn.name())

    layer.query_proj.register_forward_hook(look)
    model(*batch())
    assert found[:2] == ["GatherBackward0", "ViewBackward0"]
