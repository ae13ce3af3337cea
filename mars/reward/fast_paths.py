"""What a model need not compute: padding, and what no score reads. Left out where the model allows it.

Whether it does is found out by scoring a few texts, once, when it is loaded. A model whose attention cannot be
exchanged, or that ignores what it is handed, would give wrong scores without a word. So the texts are packed
(`mars.reward.packing`) and must come out as each of them alone: in fp32 to rounding, and in the precision of the run,
where other kernels are at work, to that one's. What is unread (`mars.reward.last_layer`) is tried in the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from mars.config import ConfigError
from mars.reward import sharding
from mars.reward.last_layer import Unread, last_attention
from mars.reward.model import RewardModel, scalar_head
from mars.reward.packing import ATTENTION, SIXTEEN_BITS, Packing, flash_kernel, kernel_error, pack, register
from mars.reward.scoring import evaluating

log = logging.getLogger(__name__)

Wanted = Literal["auto", True, False]  # the setting: as the backbone allows; packed or an error; padded

_TOKENS = 96  # of the longest text
_FP32, _BITS = 1e-4, 0.1  # relative rounding of what the scalar head reads, in fp32 and in 16 bits
_KERNEL = 0.02  # relative, of one attention in 16 bits


class CannotPackError(Exception):
    """Why a model's texts stay padded. surprising: it is of a kind that should be packed."""

    def __init__(self, why: str, surprising: bool = False):
        super().__init__(why)
        self.surprising = surprising


def take_fast_paths(reward: RewardModel, packing: Wanted, max_length: int, dropout: bool = False) -> None:
    """Makes `reward` leave out what it need not compute; whether that is padding too is said in one line of the log.

    packing: texts without padding; auto: wherever the backbone allows it. max_length: tokens of a text, at most.
    dropout: the model trains with it. Raises ConfigError where packing is wanted and impossible.
    """
    leave_out_unread(reward, max_length)
    if packing is False:
        return
    try:
        reward.packing = packing_of(reward, max_length, dropout)
    except CannotPackError as reason:
        if packing is True:
            raise ConfigError(f"train.packing: {reason} (set it to false)") from None
        log.log(logging.WARNING if reason.surprising else logging.INFO, "texts are padded: %s", reason)
        return
    log.info("texts go without padding%s", ", and what they share at their start once" if reward.causal else "")


def leave_out_unread(reward: RewardModel, max_length: int) -> None:
    """Makes `reward` drop the tokens of its last layer that no score reads, where its scores stay the same."""
    attention = last_attention(reward.model)
    if attention is None or reward.unread or reward.causal or _pools_mean(reward.model):
        return
    if getattr(reward.model.config, "attention_type", "") == "block_sparse":
        return  # BigBird's, which short texts turn off for good
    try:
        with _in_fp32(reward):
            batches = _alone(reward, _texts(reward, max_length))
            expected = torch.cat([_head_inputs(reward, one) for one in batches])
            reward.unread = Unread(attention)
            alike = _error(torch.cat([_head_inputs(reward, one) for one in batches]), expected) <= _FP32
    except Exception:  # of any type, from a model's own code
        alike = False
    if reward.unread and not alike:
        reward.unread.remove()
        reward.unread = None


def packing_of(reward: RewardModel, max_length: int, dropout: bool = False) -> Packing:
    """How `reward` takes packed texts; its attention is exchanged. Raises CannotPackError, and then changes nothing."""
    if dropout:
        raise CannotPackError("packed attention has no dropout, and the model trains with it")
    config, before = reward.model.config, reward.model.config._attn_implementation
    if before not in ("sdpa", ATTENTION):
        raise CannotPackError(f'attention of {config.model_type} is "{before}", and only "sdpa" can be exchanged')
    device, in_bits = next(reward.parameters()).device, _sixteen_bits(reward)
    if device.type == "cuda":
        _check_kernel(in_bits)
    packing = Packing(reward.causal, _padding(reward.model), _pools_mean(reward.model))
    texts = _texts(reward, max_length)
    alone, packed = _alone(reward, texts), pack(texts, packing, device)

    def check(most: float) -> None:
        reward.model.set_attn_implementation(before)
        expected = torch.cat([_head_inputs(reward, one) for one in alone])
        reward.model.set_attn_implementation(ATTENTION)
        error = _error(_head_inputs(reward, packed), expected)
        if not error <= most:
            why = f"{config.model_type} reads packed texts otherwise than alone ({error:.1%} off)"
            raise CannotPackError(why, surprising=True)

    register()
    try:
        with _in_fp32(reward):
            check(_FP32)
        if in_bits:
            check(_BITS)
        if in_bits and device.type == "cuda":
            off = kernel_error(packed["layout"], reward.causal, in_bits)
            if not off <= _KERNEL:
                raise CannotPackError(f"the flash kernel of this device is {off:.1%} off", surprising=True)
    except Exception as error:  # of any type, from a model's own code
        reward.model.set_attn_implementation(before)
        if isinstance(error, CannotPackError):
            raise
        reason = " ".join(str(error).split())[:200]
        why = f"{config.model_type} does not take packed texts: {reason}"
        raise CannotPackError(why, surprising=True) from error
    return packing


@contextmanager
def _in_fp32(reward: RewardModel) -> Iterator[None]:
    """Inside, `reward` computes in fp32, also where its weights are held in 16 bits: no fault looks like rounding."""
    autocast, held = reward.autocast, [(p, p.dtype) for p in reward.parameters() if p.dtype in SIXTEEN_BITS]
    try:
        reward.autocast = None
        for parameter, _ in held:
            parameter.data = parameter.data.float()
        yield
    finally:
        reward.autocast = autocast
        for parameter, dtype in held:
            parameter.data = parameter.data.to(dtype)


def _check_kernel(in_bits: torch.dtype | None) -> None:
    """Raises CannotPackError where a GPU would attend to one packed text after the other. in_bits: of the model."""
    if in_bits is None:
        raise CannotPackError("the model computes in fp32, in which a GPU has no attention over packed texts")
    if flash_kernel() is None:
        why = f"torch {torch.__version__} has no attention over packed texts (torch 2.11 and later has)"
        raise CannotPackError(why, surprising=True)


def _sixteen_bits(reward: RewardModel) -> torch.dtype | None:
    """The 16-bit type that `reward` computes in, by autocast or as its weights are held; None: in fp32."""
    held = next(reward.parameters()).dtype
    return held if held in SIXTEEN_BITS else reward.autocast


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _pools_mean(model: nn.Module) -> bool:
    """Whether an encoder's score is read from the mean over a text's tokens."""
    return getattr(model.config, "classifier_pooling", None) == "mean"


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


def _alone(reward: RewardModel, texts: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Each text as a batch of its own."""
    device = next(reward.parameters()).device
    ids = [torch.from_numpy(text)[None].to(device) for text in texts]
    return [{"input_ids": one, "attention_mask": torch.ones_like(one)} for one in ids]


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
