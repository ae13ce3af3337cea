"""What fits a GPU, measured: a forward and backward pass over the study's longest texts, in two sizes.

Their difference is what a token takes; where attention grows with the square of a text's length, it takes the most in
the longest texts. What does not grow with the tokens (gradients, and the optimiser's two moments of every weight) comes
off the free memory first. The budget is a power of two, so that a little more or less free memory leaves a run on the
same card the same cuts, and so the same bits.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from mars.method.passes import Passes, TrainingError, TrainingSet
from mars.method.settings import TrainConfig
from mars.process import devices
from mars.reward import sharding
from mars.reward.engine import Engine
from mars.reward.memory import Budget, fits

log = logging.getLogger(__name__)

MARGIN = 0.2  # of the free memory: what the allocator cannot use, a text that is longer yet, other programs
MOST = 2**18  # tokens; far more than keep a GPU busy
_PAIRS = (1, 4)  # of the two passes
_MOMENTS = 8  # bytes of the optimiser's state for each trainable number

Peak = Callable[[int], int | None]  # pairs of a pass → bytes it takes at its height; None where they do not fit


def settle(engine: Engine, model: nn.Module, cfg: TrainConfig) -> None:
    """Measures the engine's token budget where that is to be done and has not been; `model` learns nothing from it.

    Call it when the engine knows the study's base pairs. Raises TrainingError where one pair does not fit the memory.
    """
    if engine.budget.measured or engine.device.type != "cuda" or sharding.is_sharded(model):
        return
    longest = int(engine.inputs.lengths.argmax())
    length = int(engine.inputs.lengths[longest])
    passes = Passes(engine, model, TrainingSet(np.full((max(_PAIRS), 2), longest), None, []), cfg)

    def peak(pairs: int) -> int | None:
        torch.cuda.reset_peak_memory_stats(engine.device)
        before = torch.cuda.memory_allocated(engine.device)
        fitted = fits(lambda: _pass(passes, pairs))
        model.zero_grad(set_to_none=True)
        return torch.cuda.max_memory_allocated(engine.device) - before if fitted else None

    model.train()
    torch.cuda.empty_cache()
    moments = _MOMENTS * sum(p.numel() for p in model.parameters() if p.requires_grad)
    room = devices.room(engine.device) - moments
    with torch.random.fork_rng(devices=[engine.device]), engine.determinism.held():
        found = budget(peak, length, room) or (engine.checkpoint(model) and budget(peak, length, room))
    if not found:
        raise TrainingError(
            f"one pair of {length} tokens does not fit what this run has of the GPU's memory, {room / 2**30:.1f} GiB "
            f"(lower backbone.max_length, set train=lora, or let fewer workers share a card)"
        )
    found.tokens = engine.ranks.least(found.tokens)
    engine.budget = found
    log.info("%d tokens go through the model at once: %s bytes each were measured", found.tokens, found.bytes_per_token)


def budget(peak: Peak, length: int, room: int) -> Budget | None:
    """The budget for `room` bytes, by passes over texts of `length` tokens; None where not one pair fits."""
    few, many = (2 * pairs * length for pairs in _PAIRS)
    small, large = (peak(pairs) for pairs in _PAIRS)
    if small is None:
        return None
    if large is None:
        return Budget(few)
    per_token = max(1, math.ceil((large - small) / (many - few)))
    fixed = max(0, small - few * per_token)
    fit = int(((1 - MARGIN) * room - fixed) / per_token)
    return Budget(2 ** int(math.log2(min(max(fit, 1), MOST))), bytes_per_token=per_token)


def _pass(passes: Passes, pairs: int) -> None:
    try:
        passes.backward(passes.make(np.arange(pairs), share=False), total=pairs)
    except RuntimeError as error:
        if not passes.engine.determinism.excuse(error):
            raise
        passes.backward(passes.make(np.arange(pairs), share=False), total=pairs)
