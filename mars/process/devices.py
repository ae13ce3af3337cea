"""The device that a process computes on, and its part of a GPU's memory where several processes work on one card.

The part is a bound of the allocator's: what needs more is out of memory, as on a smaller card, and is made in smaller
passes. So no run can take the memory of a neighbour.
"""

from __future__ import annotations

import os

import torch

from mars.config import ConfigError
from mars.process import ranks
from mars.process.machine import SHARE


def device(name: str) -> torch.device:
    """`auto` is the GPU where there is one, for each process of a run its own.

    Raises ConfigError for a device that does not answer.
    """
    if ranks.count() > 1:
        return _of_rank(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
        take(found)
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device: {name} cannot be used: {str(error).splitlines()[0][:200]}") from None
    return found


def _of_rank(name: str) -> torch.device:
    """The device of this process among those of a run. Raises ConfigError where there are too few."""
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device: {name} is one device, and each of {ranks.count()} processes needs its own (auto)")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    (mine, processes), cards = ranks.of_machine(), torch.cuda.device_count()
    if processes > cards:
        raise ConfigError(
            f"device: {processes} processes on this machine and {cards} GPUs, one for each is needed (lower "
            f"--nproc_per_node, or set device=cpu)"
        )
    found = torch.device("cuda", mine)
    torch.cuda.set_device(found)
    return found


def take(device: torch.device) -> None:
    """Binds this process to its part of the card, where it has been given one."""
    if device.type == "cuda" and SHARE in os.environ:
        torch.cuda.set_per_process_memory_fraction(float(os.environ[SHARE]), _number(device))


def room(device: torch.device) -> int:
    """Bytes of the card that this process can still allocate: what is free, or less where its part ends before."""
    free, total = torch.cuda.mem_get_info(device)
    part = torch.cuda.get_per_process_memory_fraction(_number(device))
    return min(free, int(part * total) - torch.cuda.memory_reserved(device))


def _number(device: torch.device) -> int:
    """The card's, which "cuda" leaves out; PyTorch wants it where it bounds a process."""
    return torch.cuda.current_device() if device.index is None else device.index
