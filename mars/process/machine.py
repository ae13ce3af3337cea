"""What a process may use of the machine it runs on: its cores, and its part of a card."""

from __future__ import annotations

import os

SHARE = "MARS_GPU_SHARE"  # in the environment of a process that shares a card: its part, over 0 and at most 1
VISIBLE = "CUDA_VISIBLE_DEVICES"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_cards(number: float) -> None:
    """Leaves this process no card for 0, and its part of one for a share below 1 (`mars.process.devices`)."""
    if not number:
        os.environ[VISIBLE] = ""
    elif number < 1:
        os.environ[SHARE] = str(number)
