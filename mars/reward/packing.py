"""Texts in one row without padding.

A padded batch spends its time on padding: texts differ in length, and a row is as long as the longest. A packed batch
is one row with the texts end to end, and attention is told where each begins. Nothing else in a transformer looks from
one token to another, so its other layers need only the right positions.

The row is made of spans. A text is one span, or several where a causal model shares what texts have in common
(`mars.reward.shared_prompts`): two replies to a prompt are three spans, the prompt's and one for each reply. A span's
queries are its own tokens, its keys those of its path from the start of the text on. That is what the flash kernels for
sequences of different lengths compute (`varlen_attn` of torch 2.11 and later: on a GPU, in bf16 or fp16). Anywhere else
it is one call a span, which is the plain statement of what has to come out.

The attention is registered with transformers by name, and `Layout` reaches it as a keyword that models hand through to
their attention. Whether a model does so is found out before it is used (`mars.reward.fast_paths`). transformers is
imported when a model is, and never by a run whose features are cached.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mars.reward import shared_prompts
from mars.reward.memory import moved

ATTENTION = "mars_packed"  # the name of `attend` among the attentions of transformers
SIXTEEN_BITS = (torch.bfloat16, torch.float16)  # what the flash kernels compute in


@dataclass(frozen=True)
class Packing:
    """How a model takes packed texts.

    causal: its score is read at a text's last token, and texts share their common start. padding: the id that RoBERTa
    and its kind leave out when they count positions, and the position they give it. mean: an encoder's score is read
    from the mean over a text's tokens, not from the first of them.
    """

    causal: bool = False
    padding: int | None = None
    mean: bool = False


@dataclass(frozen=True)
class Layout:
    """Where the B texts of a packed row of T tokens lie: S spans, in the row's order."""

    positions: torch.Tensor  # [1, T] of each token in its text, as the model counts
    scored: torch.Tensor  # [B] the token each text's score is read at
    lengths: torch.Tensor  # [B] tokens of each text
    queries: torch.Tensor  # [S + 1] int32, where the queries of each span begin, and the end
    keys: torch.Tensor  # [S + 1] int32, the same of its keys
    spans: tuple[tuple[int, int], ...]  # (queries, keys) of each, as numbers that need no look at the device
    mean: bool
    gathered: torch.Tensor | None = None  # [K] the token that each key is; None where a span's keys are its own tokens


def pack(texts: Sequence[np.ndarray], packing: Packing, device: torch.device, share: bool = True) -> dict[str, Any]:
    """input_ids [1, T] int64 and layout, a `Layout`, of at least one text, each its [L] token ids, L at least 1.

    share: False computes each text on its own also where the model could share.
    """
    spans, ends = (shared_prompts.forest if packing.causal and share else shared_prompts.apart)(texts)
    starts = np.cumsum([0, *(span.stop - span.start for span in spans)])
    paths = [shared_prompts.path(spans, i) for i in range(len(spans))]
    gathered = None
    if any(len(path) > 1 for path in paths):
        gathered = np.concatenate([np.arange(starts[i], starts[i + 1]) for path in paths for i in path])
    lengths = np.array([len(text) for text in texts])
    counted = [_positions(text, packing.padding) for text in texts]
    row = np.concatenate([texts[span.text][span.start : span.stop] for span in spans])
    arrays = {
        "input_ids": row[None].astype(np.int64),
        "positions": np.concatenate([counted[span.text][span.start : span.stop] for span in spans])[None],
        "scored": starts[ends + 1] - 1 if packing.causal else starts[ends],
        "lengths": lengths,
        "queries": starts.astype(np.int32),
        "keys": np.cumsum([0, *(span.stop for span in spans)], dtype=np.int32),
    }
    arrays |= {} if gathered is None else {"gathered": gathered}
    tensors = moved({name: torch.from_numpy(array) for name, array in arrays.items()}, device)
    ids, sizes = tensors.pop("input_ids"), tuple((span.stop - span.start, span.stop) for span in spans)
    return {"input_ids": ids, "layout": Layout(spans=sizes, mean=packing.mean, **tensors)}


def _positions(text: np.ndarray, padding: int | None) -> np.ndarray:
    """[L] int64 positions of a text's tokens, counted past a padding id where the model has one that does not count."""
    if padding is None:
        return np.arange(len(text))
    counts = text != padding
    return np.cumsum(counts) * counts + padding


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    layout: Layout | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """([1, T, H, D], None) attention over packed spans of [1, H, T, D] queries and [1, G, T, D] keys and values.

    Without a layout the batch is padded, and attention is transformers' own. settings: scaling; sliding_window, the
    tokens that a token sees, itself included, on each side where the model is not causal; dropout, which must be 0.
    """
    if layout is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    if settings.get("dropout"):
        raise ValueError("packed attention has no dropout")
    # Under autocast norms and rotations leave queries and keys in fp32, and this is no operation that autocast knows.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if layout.gathered is not None:
        key, value = (_gather(tensor, layout.gathered) for tensor in (key, value))
    fused = query.is_cuda and query.dtype in SIXTEEN_BITS
    causal, window = getattr(module, "is_causal", True), settings.get("sliding_window")
    return (_fused if fused else _reference)(layout, (query, key, value), settings.get("scaling"), causal, window), None


def _gather(tensor: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """[1, G, K, D] of [1, G, T, D]: a look-up in a table, whose backward pass adds in one order on every device."""
    _, heads, tokens, size = tensor.shape
    rows = F.embedding(index, tensor.transpose(1, 2).reshape(tokens, heads * size))
    return rows.view(1, len(index), heads, size).transpose(1, 2)


Attended = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # query [1, H, T, D], key and value [1, G, K, D]


def flash_kernel() -> Callable[..., Any] | None:
    """torch's attention over sequences of different lengths; None where this torch has none that takes a window."""
    try:
        from torch.nn.attention import varlen  # not in every version, nor in every build
    except ImportError:
        return None
    return varlen.varlen_attn if "window_size" in _keywords(varlen.varlen_attn) else None


@functools.cache
def _keywords(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _fused(layout: Layout, attended: Attended, scale: float | None, causal: bool, window: int | None) -> torch.Tensor:
    """[1, T, H, D] by one flash kernel over all spans; a span's queries are the last of its keys."""
    kernel = flash_kernel()
    assert kernel is not None  # or the model would not be given packed texts
    query, key, value = (tensor[0].transpose(0, 1).contiguous() for tensor in attended)
    before = -1 if window is None else window - 1
    longest = [max(side) for side in zip(*layout.spans, strict=True)]
    settings: dict[str, Any] = {"scale": scale, "window_size": (before, 0 if causal else before)}
    if query.shape[1] != key.shape[1]:
        if "enable_gqa" in _keywords(kernel):  # since torch 2.12
            settings["enable_gqa"] = True
        else:
            key, value = (_for_each_query(tensor, query.shape[1]) for tensor in (key, value))
    result = kernel(query, key, value, layout.queries, layout.keys, *longest, **settings)
    assert isinstance(result, torch.Tensor)
    return result[None]


def _for_each_query(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """[K, H, D] of [K, G, D]: each of G heads as often as query heads share it, one after the other."""
    tokens, groups, size = tensor.shape
    return tensor[:, :, None].expand(tokens, groups, heads // groups, size).reshape(tokens, heads, size)


def kernel_error(layout: Layout, causal: bool, dtype: torch.dtype) -> float:
    """Relative difference of the flash kernel from the plain statement over `layout`, on its device and in `dtype`."""
    sizes = [sum(side) for side in zip(*layout.spans, strict=True)]
    generator = torch.Generator().manual_seed(0)
    device = layout.positions.device
    query, key, value = (
        torch.randn(1, 2, size, 64, generator=generator).to(device, dtype) for size in (sizes[0], sizes[1], sizes[1])
    )
    found = _fused(layout, (query, key, value), None, causal, None).float()
    expected = _reference(layout, (query.float(), key.float(), value.float()), None, causal, None)
    return float((found - expected).norm() / expected.norm())


def _reference(
    layout: Layout, attended: Attended, scale: float | None, causal: bool, window: int | None
) -> torch.Tensor:
    """[1, T, H, D] span by span."""
    queries, keys = ([int(n) for n in side] for side in zip(*layout.spans, strict=True))
    parts = [tensor.split(sizes, dim=2) for tensor, sizes in zip(attended, (queries, keys, keys), strict=True)]
    grouped = attended[0].shape[1] != attended[1].shape[1]
    results = []
    for query, key, value in zip(*parts, strict=True):
        whole = query.shape[2] == key.shape[2]
        mask = _visible(query, key, causal, window) if window or (causal and not whole) else None
        results.append(
            F.scaled_dot_product_attention(
                query, key, value, mask, is_causal=causal and mask is None, scale=scale, enable_gqa=grouped
            ).transpose(1, 2)
        )
    return torch.cat(results, dim=1)


def _visible(query: torch.Tensor, key: torch.Tensor, causal: bool, window: int | None) -> torch.Tensor:
    """[Q, K] bool, which keys a query sees; queries are the last of the keys."""
    at = torch.arange(key.shape[2], device=key.device)
    back = at[-query.shape[2] :, None] - at
    seen = back >= 0 if causal else torch.ones_like(back, dtype=torch.bool)
    return seen if window is None else seen & (back.abs() < window)


def _mask(*, attention_mask: torch.Tensor | None = None, **settings: Any) -> torch.Tensor | None:
    """transformers' own mask of a padded batch; a packed one has neither padding nor a mask."""
    from transformers.masking_utils import sdpa_mask

    return None if attention_mask is None else sdpa_mask(attention_mask=attention_mask, **settings)


def register() -> None:
    """Makes `attend` known to transformers as `ATTENTION`."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, _mask)


@contextmanager
def texts_as_rows(model: Any, layout: Layout) -> Iterator[None]:
    """Inside, an encoder of a packed row gives its head [B, 1, d] in the place of [1, T, d]: what each text is read at.

    So a classifier's own head runs as it does over a padded batch, whose rows it reads at their first token.
    """
    body = model.base_model

    def after(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        output.last_hidden_state = read(output.last_hidden_state, layout)
        return output

    def before(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return read(inputs[0], layout), *inputs[1:]

    hooks = [body.register_forward_hook(after)]
    if getattr(body, "pooler", None) is not None:
        hooks.append(body.pooler.register_forward_pre_hook(before))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def read(hidden: torch.Tensor, layout: Layout) -> torch.Tensor:
    """[B, 1, d] what the score of each text is read from, of [1, T, d], or of the [1, B, d] that `Unread` leaves."""
    if not layout.mean:
        whole = hidden.shape[1] > len(layout.scored)  # where texts have one token each, both are the same
        return hidden[0, layout.scored if whole else slice(None), None]
    mean = torch.segment_reduce(hidden[0].float(), "mean", lengths=layout.lengths, axis=0, unsafe=True)
    return mean[:, None].to(hidden.dtype)
