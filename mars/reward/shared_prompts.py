"""What texts share at their start, as a forest: a prompt once, its replies behind it.

A causal model reads from left to right, so the tokens that two texts have in common from the start on are the same
computation in both. `forest` finds them among any texts, by their token ids: the two sides of a pair, the variants of a
prompt in a pool, a text that is there twice, a text that another one continues. Texts whose prompt was truncated to
different lengths simply share nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEAST = 16  # tokens; sharing a shorter start costs more, in spans, than computing it again


class Span(NamedTuple):
    """Tokens start … stop of `text`, and of every text below it in the forest."""

    text: int
    start: int
    stop: int
    parent: int | None  # the span before it on its path, whose stop is this one's start


def apart(texts: Sequence[np.ndarray]) -> tuple[list[Span], np.ndarray]:
    """(one span a text, [B] the span each text ends with): nothing is shared."""
    return [Span(i, 0, len(text), None) for i, text in enumerate(texts)], np.arange(len(texts))


def forest(texts: Sequence[np.ndarray], least: int = LEAST) -> tuple[list[Span], np.ndarray]:
    """(spans, [B] the span each text ends with) of token ids; a span comes after its parent.

    Each text is the spans of its path, one after the other. No common start of `least` tokens is there twice, and no
    whole text: a shorter start is shared where it is all of a text.
    """
    order = sorted(range(len(texts)), key=lambda i: _sortable(texts[i]))
    common = [_common(texts[a], texts[b]) for a, b in itertools.pairwise(order)]
    spans: list[Span] = []
    ends = np.zeros(len(texts), dtype=np.int64)
    # Groups of neighbours in `order` that share their first `depth` tokens, which `parent` ends.
    groups: list[tuple[int, int, int, int | None]] = [(0, len(order), 0, None)]
    while groups:
        low, high, depth, parent = groups.pop()
        shared = min(common[low : high - 1], default=len(texts[order[low]]))
        ends_here = len(texts[order[low]]) == shared
        if shared > depth and (ends_here or shared - depth >= least):
            spans.append(Span(order[low], depth, shared, parent))
            depth, parent = shared, len(spans) - 1
        if high - low == 1 or len(texts[order[high - 1]]) == depth:  # one text, or the same one several times
            assert parent is not None  # a text has a token
            ends[order[low:high]] = parent
            continue
        cuts = [low, *(i + 1 for i in range(low, high - 1) if common[i] == shared), high]
        groups += [(a, b, depth, parent) for a, b in itertools.pairwise(cuts)][::-1]
    return spans, ends


def path(spans: Sequence[Span], number: int) -> list[int]:
    """The spans from a root to this one."""
    found, at = [number], spans[number].parent
    while at is not None:
        found.append(at)
        at = spans[at].parent
    return found[::-1]


def _sortable(text: np.ndarray) -> bytes:
    """Bytes that sort as the token ids do, so that texts with a common start become neighbours."""
    return text.astype(">i4").tobytes()


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """How many tokens two texts have in common from the start on."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length
