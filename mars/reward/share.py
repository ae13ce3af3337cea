"""A process's part of a GPU's memory, where several processes work on one card.

The part is a bound of the allocator's: what needs more is out of memory, as on a smaller card, and is made in smaller
passes. So no run can take the memory of a neighbour.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mars.process.machine import SHARE

if TYPE_CHECKING:
    import torch


def take(device: torch.device) -> None:
    """Binds this process to its part of the card, where it has been given one."""
    if device.type == "cuda" and SHARE in os.environ:
        import torch  # here: a process that deals shares out needs no torch

        torch.cuda.set_per_process_memory_fraction(float(os.environ[SHARE]), _number(device))


def room(device: torch.device) -> int:
    """Bytes of the card that this process can still allocate: what is free, or less where its part ends before."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    part = torch.cuda.get_per_process_memory_fraction(_number(device))
    return min(free, int(part * total) - torch.cuda.memory_reserved(device))


def _number(device: torch.device) -> int:
    """The card's, which "cuda" leaves out; PyTorch wants it where it bounds a process."""
    import torch

    return torch.cuda.current_device() if device.index is None else device.index
