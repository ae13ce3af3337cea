"""Linear layers that are only read, laid out for the processor once."""

from __future__ import annotations

import torch
from torch import nn


class PackedLinear(nn.Module):
    """A frozen fp32 linear layer through oneDNN with its weight laid out once.

    The same fp32 arithmetic, but PyTorch's own path goes to MKL, which runs at under half the speed on AMD processors:
    a MiniLM forward pass is 1.8 times as fast this way (`python -m benchmarks.speed encoder`).
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def pack_linears(module: nn.Module) -> nn.Module:
    """`module` with every linear layer packed, where this build of PyTorch can; for inference on a CPU only."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return module
    for name, child in module.named_children():
        setattr(module, name, PackedLinear(child) if type(child) is nn.Linear else pack_linears(child))
    return module
