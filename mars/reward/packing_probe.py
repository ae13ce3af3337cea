"""Whether a model takes packed texts: found out by scoring some, once, when it is loaded.

A model whose attention cannot be exchanged, or that ignores what it is handed, would give wrong scores without a word.
So a few texts are packed and must come out as each of them alone: in fp32 to rounding, and in the precision of the run,
where other kernels are at work, to that one's.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from mars.config import ConfigError
from mars.reward import sharding
from mars.reward.model import RewardModel, scalar_head
from mars.reward.packing import ATTENTION, Packing, kernel_error, pack, register
from mars.reward.scoring import evaluating

log = logging.getLogger(__name__)

Wanted = Literal["auto", True, False]  # the setting: as the backbone allows; packed or an error; padded

_TOKENS = 96  # of the longest text
_ROUNDING = {None: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.1}  # relative, of what the scalar head reads
_KERNEL = 0.02  # relative, of one attention in 16 bits


class CannotPackError(Exception):
    """Why a model's texts stay padded."""


def set_packing(reward: RewardModel, wanted: Wanted, max_length: int, dropout: bool = False) -> None:
    """Makes `reward` take its texts packed where that is wanted and possible, and says so in one line of the log.

    auto: wherever the backbone allows it. max_length: tokens of a text, at most. dropout: the model trains with it.
    Raises ConfigError where packing is wanted and impossible.
    """
    if wanted is False:
        return
    try:
        reward.packing = packing_of(reward, max_length, dropout)
    except CannotPackError as reason:
        if wanted is True:
            raise ConfigError(f"train.packing: {reason} (set it to false)") from None
        log.info("texts are padded: %s", reason)
        return
    log.info("texts go without padding%s", ", and what they share at their start once" if reward.causal else "")


def packing_of(reward: RewardModel, max_length: int, dropout: bool = False) -> Packing:
    """How `reward` takes packed texts; its attention is exchanged. Raises CannotPackError, and then changes nothing."""
    if dropout:
        raise CannotPackError("packed attention has no dropout, and the model trains with it")
    config, before = reward.model.config, reward.model.config._attn_implementation
    if before not in ("sdpa", ATTENTION):
        raise CannotPackError(f'attention of {config.model_type} is "{before}", and only "sdpa" can be exchanged')
    packing = Packing(reward.causal, _padding(reward.model), getattr(config, "classifier_pooling", None) == "mean")
    texts = _texts(reward, max_length)
    device = next(reward.parameters()).device
    alone = [{"input_ids": torch.from_numpy(text)[None].to(device)} for text in texts]
    packed = pack(texts, packing, device)
    alone = [{**one, "attention_mask": torch.ones_like(one["input_ids"])} for one in alone]
    precision = reward.autocast
    register()
    try:
        for reward.autocast in dict.fromkeys([None, precision]):
            reward.model.set_attn_implementation(before)
            expected = torch.cat([_head_inputs(reward, one) for one in alone])
            reward.model.set_attn_implementation(ATTENTION)
            found = _head_inputs(reward, packed)
            error = float((found - expected).norm() / expected.norm())
            if not error <= _ROUNDING[reward.autocast]:
                raise CannotPackError(f"{config.model_type} reads packed texts otherwise than alone ({error:.1%} off)")
        if device.type == "cuda" and precision is not None:
            error = kernel_error(packed["layout"], reward.causal, precision)
            if not error <= _KERNEL:
                raise CannotPackError(f"the flash kernel of this device is {error:.1%} off")
    except Exception as error:  # of any type, from a model's own code
        reward.model.set_attn_implementation(before)
        if isinstance(error, CannotPackError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise CannotPackError(f"{config.model_type} does not take packed texts: {reason}") from error
    finally:
        reward.autocast = precision
    return packing


def _padding(model: nn.Module) -> int | None:
    """The padding id of a table of absolute positions that are counted past it."""
    for name, table in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and isinstance(table, nn.Embedding):
            return table.padding_idx
    return None


def _texts(reward: RewardModel, max_length: int) -> list[np.ndarray]:
    """Token ids of texts that differ in length, one of them longer than the model's window; two share their start."""
    window = getattr(reward.model.config, "sliding_window", None) or 0
    length = min(max_length, max(_TOKENS, window + 32 if window < max_length else 0))
    rng = np.random.default_rng(0)
    words = reward.model.get_input_embeddings().num_embeddings
    long, short, other = (rng.integers(words, size=size) for size in (length, 7, 9))
    return [long, short, np.concatenate([long[: length // 2], other])]


def _head_inputs(reward: RewardModel, batch: dict[str, Any]) -> torch.Tensor:
    """[B, d] float32, what the scalar head reads of each text in eval mode."""
    read: list[torch.Tensor] = []
    hook = scalar_head(reward).register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
    try:
        with evaluating(reward), sharding.reading(reward):
            reward(**batch)
    finally:
        hook.remove()
    return read[-1].float()
