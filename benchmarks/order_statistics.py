"""The best of n of N scored candidates, in expectation over all subsets of size n, and what choosing it costs in KL.

Drawing n of the N candidates at random wastes what is known of the others. The expectation over all C(N, n) subsets has
a closed form: of candidates sorted by score, the i-th is the best of a subset in C(i − 1, n − 1) of them. The mean of a
reward with these weights is the unbiased estimator of what the best of n fresh candidates earns (a U-statistic; Nakano
et al. 2021, arXiv 2112.09332, judge best-of-n in this way). Candidates of one score share their weight evenly, as if
chance decided among them.

    expected_best(scores, gold, 4)  # [P] what a policy earns that keeps the best of four
"""

from __future__ import annotations

import math

import numpy as np


def sizes(most: int) -> tuple[int, ...]:
    """1, 2, 4, … below `most`, and `most` itself."""
    return (*(2**k for k in range(most.bit_length()) if 2**k < most), most)


def kl(n: int) -> float:
    """log n − (n − 1)/n, in nats: what KL(best of n ‖ policy) is at most.

    It is often taken for the KL itself and is an upper bound on it, which texts that are probable or tie keep it below
    (Beirami et al. 2024, arXiv 2401.01879).
    """
    return math.log(n) - (n - 1) / n


def best_weights(scores: np.ndarray, n: int) -> np.ndarray:
    """[P, N] the share of all subsets of size n of which each candidate is the best; rows sum to one.

    scores: [P, N] finite, higher is better; of a subset whose best are k alike, each gets its part evenly over all that
    tie. n: 1 to N.
    """
    prompts, number = scores.shape
    subsets = math.comb(number, n)
    below = np.array([math.comb(i, n) / subsets for i in range(number + 1)])  # P(all n are among the i lowest)
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    differs = ranked[:, 1:] != ranked[:, :-1]
    edge = np.ones((prompts, 1), dtype=bool)
    place = np.arange(number)
    first = np.maximum.accumulate(np.where(np.hstack([edge, differs]), place, 0), axis=1)
    last = np.where(np.hstack([differs, edge]), place, number)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    weights = np.empty_like(ranked, dtype=float)
    np.put_along_axis(weights, order, (below[last + 1] - below[first]) / (last + 1 - first), axis=1)
    return weights


def expected_best(scores: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """[P] mean of `values` [P, N] over the best by `scores` [P, N] of every subset of size n."""
    return np.einsum("pi,pi->p", best_weights(scores, n), values)
