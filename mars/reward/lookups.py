"""DeBERTa's look-ups by relative position, with a gradient that a GPU adds up in one order by matrix products.

The attention of DeBERTa takes a score from a table for each pair of tokens, by how far they are apart: a gather whose
index is the same for every text and head. Going back, many pairs add to one place of the table. A GPU does so in
whatever order its threads finish, and PyTorch's deterministic form first sorts an index for each pair, text and head.
Here the sum is one matrix product for each row of the index, with a matrix of zeros and ones, which has one order. What
is looked up has the same bits as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

ONES = 2**27  # numbers of the matrices of zeros and ones that are there at once


class LookUp(torch.autograd.Function):
    """[N, L, K] of a table [N, L, S] by an index [L, K] in [0, S), the same for all N."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(index)
        ctx.size = table.shape[-1]
        return torch.gather(table, -1, index.expand(len(table), *index.shape))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (index,) = ctx.saved_tensors
        gradient, places = gradients[0].transpose(0, 1), torch.arange(ctx.size, device=index.device)
        rows = max(1, ONES // (index.shape[1] * ctx.size))
        parts = [
            torch.bmm(some, (where[..., None] == places).to(some.dtype))  # [rows, N, S]
            for some, where in zip(gradient.split(rows), index.split(rows), strict=True)
        ]
        return torch.cat(parts).transpose(0, 1), None


class _Gathers(TorchFunctionMode):
    """Inside, a gather that needs a gradient and has one index for all its texts and heads is a `LookUp`."""

    def __init__(self, devices: Iterable[str]):
        super().__init__()
        self._devices = frozenset(devices)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.gather:
            named = dict(zip(("input", "dim", "index"), args, strict=False)) | given
            table, index = named["input"], named["index"]
            if table.device.type in self._devices and _is_lookup(table, named["dim"], index):
                found = LookUp.apply(table.reshape(-1, *table.shape[-2:]), index[(0,) * (index.dim() - 2)])
                return found.view(index.shape)
        return func(*args, **given)


def _is_lookup(table: torch.Tensor, dim: int, index: torch.Tensor) -> bool:
    heads = range(index.dim() - 2)  # and texts
    return (
        torch.is_grad_enabled()
        and table.requires_grad
        and len(heads) > 0
        and dim in (-1, index.dim() - 1)
        and table.shape[:-1] == index.shape[:-1]
        and all(index.stride(axis) == 0 or index.shape[axis] == 1 for axis in heads)
    )


def order_lookups(model: nn.Module, devices: Iterable[str] = ("cuda",)) -> None:
    """Makes the look-ups of DeBERTa's attention `LookUp`s on these kinds of device; no other model has any."""
    for attention in model.modules():
        if getattr(attention, "pos_att_type", None):
            gathers = _Gathers(devices)
            # By hooks, so that activations that are computed a second time are computed alike.
            attention.register_forward_pre_hook(partial(_enter, gathers))
            attention.register_forward_hook(partial(_leave, gathers), always_call=True)


def _enter(gathers: _Gathers, _module: nn.Module, _inputs: Any) -> None:
    gathers.__enter__()


def _leave(gathers: _Gathers, _module: nn.Module, _inputs: Any, _output: Any) -> None:
    gathers.__exit__(None, None, None)
