"""How many tokens go through a model at once, and what to do where the memory will not have them.

A pass takes memory in proportion to its tokens, so a step is cut into micro-batches of a budget of tokens. Too small a
budget leaves a GPU idle, too large a one ends the run. So a pass that does not fit halves the budget, for the rest of
the run, and is made anew in smaller ones: what a step adds up to is the same. `mars.method.measure` finds the budget to
begin with.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from mars.config import UserError
from mars.reward.batching import Step

log = logging.getLogger(__name__)

UNMEASURED = 4096  # tokens of a pass where nobody said and nothing is measured: on a CPU more is not faster

Cut = Callable[[np.ndarray, int], Step]  # ([B] items, tokens of a pass) → their micro-batches, at least one item each


class DeviceError(UserError):
    """A GPU that failed, or is too small for what was asked of it."""


@dataclass
class Budget:
    """Tokens of one pass, as they stand.

    measured: whether that is settled, or still to be measured. halved: how often it turned out too large since.
    bytes_per_token: of a training pass, where it was measured. most: texts of a pass, at most.
    """

    tokens: int
    measured: bool = True
    halved: int = 0
    bytes_per_token: int | None = None
    most: int | None = None

    @classmethod
    def of(cls, tokens: int | Literal["auto"]) -> Budget:
        """The budget that was asked for; `auto` can be measured."""
        return cls(UNMEASURED, measured=False) if tokens == "auto" else cls(tokens)

    def lower(self, batch: np.ndarray, cut: Cut) -> bool:
        """Halves the budget until `cut` makes several of `batch`, which did not fit; False where it is one item."""
        if len(batch) == 1:
            return False
        while len(cut(batch, self.tokens)) == 1:
            self.tokens //= 2
            self.halved += 1
        log.warning("out of memory: from here on at most %d tokens go through the model at once", self.tokens)
        return True


def each_that_fits(batches: Step, cut: Cut, run: Callable[[np.ndarray], None], budget: Budget) -> int | None:
    """Calls `run` on each of `batches`, on smaller ones where they do not fit the memory.

    Returns the item that does not fit by itself, None where all went through.
    """
    left = deque(batches)
    while left:
        batch = left.popleft()
        if fits(lambda batch=batch: run(batch)):  # type: ignore[misc]
            continue
        if not budget.lower(batch, cut):
            return int(batch[0])
        left = deque(cut(np.concatenate([batch, *left]), budget.tokens))
    return None


def fits(run: Callable[[], None]) -> bool:
    """Whether `run` went through; False where the memory was too small, and what it took is free again."""
    try:
        run()
        return True
    except torch.OutOfMemoryError:
        pass
    torch.cuda.empty_cache()  # out here: within the handler, its traceback still holds what the pass had allocated
    return False


def moved(tensors: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """`tensors` on `device`; a copy to a GPU is from pinned memory, so that nobody waits for it."""
    if device.type == "cuda":
        tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}


@contextmanager
def device_errors() -> Iterator[None]:
    """Inside, a GPU that fails or is full raises DeviceError, whatever was running."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"the GPU's memory is full: {_first_line(error)} (close what else uses it?)") from error
    except RuntimeError as error:
        if not (isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)):
            raise
        raise DeviceError(
            f"the GPU failed: {_first_line(error)} (the same command goes on from what is saved)"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
