"""AdamW that starts at once.

torch wraps the methods of its optimisers so that its compiler leaves them alone. The wrappers import that compiler at
their first call, which takes as long as importing torch itself. Nothing here is compiled, so these are the same methods
without their wrappers: the same kernels and the same bits.
"""

from __future__ import annotations

import inspect

import torch
from torch import nn

from mars.method.settings import TrainConfig


class _AdamW(torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)


def new_optimizer(model: nn.Module, cfg: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, fused."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return _AdamW(parameters, lr=cfg.lr, weight_decay=cfg.weight_decay, fused=True)
