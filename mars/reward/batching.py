"""Which pairs share a step, and which share a forward pass.

Preference texts differ in length by two orders of magnitude, so a random batch padded to its longest text is mostly
padding. Pairs are shuffled, sorted by length inside windows of `window` steps, cut into steps of `batch_size` pairs,
and the steps shuffled: near-equal lengths share a step, the order stays random. A step is cut into micro-batches of at
most `token_budget` tokens, padding included where there is any, so one long pair cannot exhaust the memory. All of it
is a function of the generator passed in: the same seed gives the same epoch on any machine, which is what a resumed run
relies on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Step = list[np.ndarray]  # micro-batches; each [b] positions into the epoch's pairs


def epoch_steps(
    lengths: np.ndarray, batch_size: int, token_budget: int, window: int, rng: np.random.Generator, packed: bool = False
) -> list[Step]:
    """One epoch over M pairs: ⌈M / batch_size⌉ optimiser steps, every pair in exactly one.

    lengths: [M, 2] tokens of the chosen and the rejected text. token_budget: tokens in one forward pass (a pair longer
    than it goes alone). window: steps whose pairs are sorted by length together; 1 leaves the order random. packed:
    there is no padding; the steps are the same and only their cut is another.
    """
    longest = lengths.max(axis=1)
    order = rng.permutation(len(longest))
    span = batch_size * window
    steps: list[Step] = []
    for start in range(0, len(order), span):
        block = order[start : start + span]
        if window > 1:
            block = block[np.argsort(longest[block], kind="stable")]
        for i in range(0, len(block), batch_size):
            step = block[i : i + batch_size]
            if packed:
                steps.append(packed_batches(step, lengths.sum(axis=1), token_budget))
            else:
                steps.append(micro_batches(step, longest, token_budget))
    return [steps[i] for i in rng.permutation(len(steps))]


def micro_batches(
    items: np.ndarray, longest: np.ndarray, token_budget: int, texts_per_item: int = 2, most: int | None = None
) -> Step:
    """`items` longest first, cut so that texts × longest stays within `token_budget`; at least one item each.

    longest: tokens by item number. texts_per_item: 2 for pairs, 1 for single texts. most: items of a batch, at most.
    """
    items = items[np.argsort(-longest[items], kind="stable")]
    batches: Step = []
    start = 0
    while start < len(items):
        fit = max(1, token_budget // (texts_per_item * max(1, int(longest[items[start]]))))
        fit = min(fit, most or fit)
        batches.append(items[start : start + fit])
        start += fit
    return batches


def packed_batches(items: np.ndarray, tokens: np.ndarray, token_budget: int, most: int | None = None) -> Step:
    """`items` in their order, cut so that their tokens stay within `token_budget`; at least one item each.

    tokens: by item number, over all its texts. most: items of a batch, at most.
    """
    batches: Step = []
    start, filled = 0, 0
    for i, item in enumerate(items):
        if i > start and (filled + tokens[item] > token_budget or i - start == most):
            batches.append(items[start:i])
            start, filled = i, 0
        filled += int(tokens[item])
    return [*batches, items[start:]] if len(items) else batches


def padding_efficiency(lengths: np.ndarray, steps: Sequence[Step]) -> float:
    """Real tokens / padded tokens of the forward passes in `steps`; lengths: [M, 2]. 1.0 where nothing is padded."""
    real = sum(int(lengths[batch].sum()) for step in steps for batch in step)
    padded = sum(lengths[batch].size * int(lengths[batch].max()) for step in steps for batch in step)
    return real / padded if padded else 1.0
