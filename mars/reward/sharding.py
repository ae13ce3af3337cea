"""A model in parts, one on each rank, for a backbone that no GPU holds with its gradients and its optimiser (FSDP2).

A layer is gathered when it computes and let go of afterwards, and its gradient is added up into the parts. Whoever
keeps, digests or saves such a model sees whole tensors, so a checkpoint does not tell how a model was held: a run goes
on with another number of processes, or with one.

Every rank takes part in every pass and in every gathering, so all of them have to come in the same order.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from mars.process import ranks
from mars.reward.model import RewardModel


def shard(model: RewardModel, device: torch.device) -> None:
    """Leaves of `model`, a whole one that may be on the CPU, this rank's part on `device`."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (ranks.here().count,))
    # Of the whole too nothing stays gathered: an optimiser has to find the parts.
    parts = [fully_shard(module, mesh=mesh, reshard_after_forward=True) for module in (*layers(model), model)]
    for part in parts:
        part.set_gradient_divide_factor(1.0)  # sums, where it would take means
        part.set_force_sum_reduction_for_comms(True)  # which gloo has, and no other
    model.sharded = True
    warnings.filterwarnings("ignore", "FSDP2-wrapped module")  # scores are a view, and nothing changes them


def layers(model: RewardModel) -> Iterator[nn.Module]:
    """The layers of the transformer: what is in its outermost lists."""

    def within(module: nn.Module) -> Iterator[nn.Module]:
        for child in module.children():
            yield from child if isinstance(child, nn.ModuleList) else within(child)

    return within(model.model)  # which the adapters' wrapper has too


def is_sharded(model: nn.Module) -> bool:
    """Whether each rank holds a part of `model`."""
    return bool(getattr(model, "sharded", False))


def reading(model: nn.Module) -> AbstractContextManager[Any]:
    """Inside, passes of `model` keep nothing for a gradient."""
    # What is gathered in inference mode could not be trained with later.
    return torch.no_grad() if is_sharded(model) else torch.inference_mode()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor`, gathered where it is one in parts."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's state; of one in parts whole on rank 0's CPU, and without numbers on the others."""
    own = model.state_dict()
    if not is_sharded(model):
        return own
    named = dict(model.named_parameters(remove_duplicate=False))
    found: dict[Any, torch.Tensor] = {}  # a tensor of two names is gathered once
    keys = {name: id(named[name]) if name in named else name for name in own}
    for name, tensor in own.items():
        if keys[name] not in found:
            found[keys[name]] = _taken(tensor)
    return {name: found[key] for name, key in keys.items()}


def load_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Gives `model` the whole tensors of `state`, which every rank has; what it does not name stays."""
    own = model.state_dict()
    model.load_state_dict(own | {name: _spread(tensor, own[name]) for name, tensor in state.items()})


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state, as `state_of` has a model's."""
    state = optimizer.state_dict()
    moments = {i: {name: _taken(value) for name, value in of.items()} for i, of in state["state"].items()}
    return {**state, "state": moments}


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Gives `optimizer` the whole state that `optimizer_state` took of its like."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        i: {name: _spread(value, parameters[i]) for name, value in of.items()} for i, of in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def _taken(tensor: Any) -> Any:
    if not hasattr(tensor, "full_tensor"):
        return tensor
    gathered = tensor.full_tensor()
    return gathered.cpu() if ranks.here().first else torch.empty(0)


def _spread(tensor: Any, like: Any) -> Any:
    """This rank's part of `tensor`, where `like` is in parts and of its shape."""
    if not hasattr(like, "full_tensor") or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
