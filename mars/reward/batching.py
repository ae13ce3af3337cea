"""Which pairs share a step, and which share a forward pass.

Preference texts differ in length by two orders of magnitude, so a random batch padded to its longest text is mostly
padding. Pairs are shuffled, sorted by length inside windows of `window` steps, cut into steps of `batch_size` pairs,
and the steps shuffled: near-equal lengths share a step, the order stays random. A step is cut into micro-batches of at
most `token_budget` padded tokens, so one long pair cannot exhaust the memory. Everything is a function of the generator
passed in: the same seed gives the same epoch on any machine, which is what a resumed run relies on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Step = list[np.ndarray]  # micro-batches; each [b] positions into the epoch's pairs


def epoch_steps(
    lengths: np.ndarray, batch_size: int, token_budget: int, window: int, rng: np.random.Generator
) -> list[Step]:
    """One epoch over M pairs: ⌈M / batch_size⌉ optimiser steps, every pair in exactly one.

    lengths: [M, 2] tokens of the chosen and the rejected text. token_budget: padded tokens in one forward pass (a pair
    longer than it goes alone). window: steps whose pairs are sorted by length together; 1 leaves the order random.
    """
    longest = lengths.max(axis=1)
    order = rng.permutation(len(longest))
    span = batch_size * window
    steps: list[Step] = []
    for start in range(0, len(order), span):
        block = order[start : start + span]
        if window > 1:
            block = block[np.argsort(longest[block], kind="stable")]
        steps += [
            micro_batches(block[i : i + batch_size], longest, token_budget) for i in range(0, len(block), batch_size)
        ]
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


def padding_efficiency(lengths: np.ndarray, steps: Sequence[Step]) -> float:
    """Real tokens / padded tokens of the forward passes in `steps`; lengths: [M, 2]. 1.0 where nothing is padded."""
    real = sum(int(lengths[batch].sum()) for step in steps for batch in step)
    padded = sum(lengths[batch].size * int(lengths[batch].max()) for step in steps for batch in step)
    return real / padded if padded else 1.0
