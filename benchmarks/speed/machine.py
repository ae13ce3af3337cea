"""The machine under a measurement: what its matrix products reach, its memory at the peak, and its name."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_SIZES = {"cuda": (4096, 8192), "cpu": (1024, 2048)}  # of square matrices; the best of them counts
_SECONDS = 1.0  # of trying, a size: a busy machine is now and then idle


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done what it was told; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of square matrix products, the best in two seconds."""
    best = 0.0
    for size in _SIZES[device.type]:
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        end = time.perf_counter() + _SECONDS
        while time.perf_counter() < end:  # the first warms, and is among the slower ones
            synchronise(device)
            began = time.perf_counter()
            a @ b
            synchronise(device)
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def name(device: torch.device) -> str:
    """The card, or the processor and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return f"{model}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"


def with_peak_memory(work: Callable[[], T], device: torch.device) -> tuple[T, int | None]:
    """(what `work` returns, bytes at its peak).

    On a GPU what PyTorch had allocated; on a CPU by how much the process grew, where Linux lets its high-water mark be
    reset, else None.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return work(), torch.cuda.max_memory_allocated(device)
    before = _reset_resident()
    result = work()
    return result, None if before is None else max(0, _resident("VmHWM") - before)


def peak_mebibytes() -> float:
    """What this process had resident at most, on Linux since that was last cleared."""
    if _STATUS.exists():
        return _resident("VmHWM") / 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def _reset_resident() -> int | None:
    """Resident bytes now, to which the high-water mark is reset; None where that cannot be done."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed before is no part of what comes
        _CLEAR.write_text("5")
        return _resident("VmRSS")
    except (OSError, AttributeError, StopIteration):
        return None


def _resident(field: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])
