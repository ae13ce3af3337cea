"""What an arm is: a rule that chooses the synthetic rows one round trains on. MARS is one; so is every baseline.

A strategy sees one `Round` and returns one `Selection`. It never touches the model, the optimiser or the disk, so two
arms can differ in nothing but this choice. Scores, feature differences and trials are computed when asked for: an arm
that does not ask does not pay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mars.method import allocation
from mars.method.clock import Clock
from mars.preferences.labels import tied

if TYPE_CHECKING:  # an arm's settings are read without loading torch
    from mars.pool.pool import Pool
    from mars.preferences.pair import Pair


@dataclass
class Round:
    """What a strategy may look at."""

    index: int  # from 0
    budget: int  # rows to draw
    pairs: Sequence[Pair]
    pool: Pool
    rng: np.random.Generator
    scores: Callable[[np.ndarray], np.ndarray] = field(repr=False)  # [M] rows → [M, 2] under the current model
    differences: Callable[[np.ndarray], np.ndarray] = field(repr=False)  # [M] rows → [M, d] φ(chosen) − φ(rejected)
    tried: Callable[[Selection], tuple[np.ndarray, int]] = field(repr=False)  # see `trial`; and the steps it took
    weights: np.ndarray | None = None  # [N] the arm's weights of the base pairs in the round before, where it set any
    held_out_agreement: np.ndarray | None = None  # [V] of the validation pairs (`mars.preferences.labels`)
    refused: int = 0  # rows looked at so far that a gate refused
    flipped: int = 0  # those of them refused because the current model turns round
    trial_steps: int = 0  # optimiser steps of all trials so far
    texts_scored: int = 0  # for this round's selection, known once it is made
    clock: Clock = field(default_factory=Clock, repr=False)  # charged for the variants that it makes

    @cached_property
    def margins(self) -> np.ndarray:
        """[N] r(chosen) − r(rejected) of the base pairs, the model in eval mode."""
        return self.margins_of(self.pool.copies)

    @cached_property
    def tied(self) -> np.ndarray:
        """[N] bool: base pairs whose annotators are split in half, so that neither reply is the better one."""
        agreement = self.pool.labels.agreement
        return np.zeros(len(self.pairs), dtype=bool) if agreement is None else tied(agreement)

    @property
    def directed(self) -> np.ndarray:
        """[N] margins whose sign says whether the model ranks a pair as its annotators do: 0 for a tie.

        Of any other pair it is the margin, however many annotators agree: its sign is that of the majority's reply.
        """
        return np.where(self.tied, 0.0, self.margins) if self.tied.any() else self.margins

    @property
    def asked(self) -> bool:
        """Whether the arm has asked for the margins of the base pairs."""
        return "margins" in vars(self)

    def budgets(self, rows: np.ndarray) -> np.ndarray:
        """[N] how many of [M] pool rows are variants of each base pair."""
        return np.bincount(self.pool.parents(rows), minlength=len(self.pairs))

    def margins_of(self, rows: np.ndarray) -> np.ndarray:
        """[M] r(chosen) − r(rejected) of pool rows; each distinct text is scored once."""
        scores = self.scores(rows).astype(np.float64)
        return scores[:, 0] - scores[:, 1]

    def trial(self, selection: Selection) -> np.ndarray:
        """[V] held-out margins of a copy of the current model after this round's training on `selection`.

        The copy sees what the round would: the same start, optimiser, history, order and noise. The model itself, and
        so the run, stays as it is. Raises ConfigError where there is no validation pair.
        """
        margins, steps = self.tried(selection)
        self.trial_steps += steps
        return margins

    def admits(self, rows: np.ndarray) -> np.ndarray:
        """[M] bool: which rows pass every gate, the one on flipped preferences included.

        That one compares the model with itself and reads no label: votes and ties change nothing of it.
        """
        with self.clock("pool"):
            passed = self.pool.admits(rows)
        if self.pool.config.gates.flips and passed.any():
            asked = rows[passed]
            parent = np.sign(self.margins[self.pool.parents(asked)])
            agrees = parent * np.sign(self.margins_of(asked)) >= 0
            self.flipped += int((~agrees).sum())
            passed[passed] = agrees
        self.refused += int((~passed).sum())
        return passed


@dataclass(frozen=True)
class Noise:
    """α of NEFTune noise (Jain et al. 2310.05914): each row of embeddings gets U(−1, 1)·α/√(L·d) added in training.

    tokens: on the L token embeddings of a text. features: on its one feature vector (L = 1) where a linear head is
    trained; those have unit length, so α/√3 is the noise's length relative to the feature's.
    """

    tokens: float = 5.0
    features: float = 0.5


@dataclass(frozen=True)
class Selection:
    """What one round trains on beside the base pairs."""

    rows: np.ndarray  # [M] pool rows, repeats allowed
    weights: np.ndarray | None = None  # [N + M] loss weights, None = all one
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    noise: Noise | None = None  # on the drawn rows
    labelled: bool = False  # the model labelled the drawn rows: their parents' votes and strength say nothing of them


class Strategy(Protocol):
    """Chooses the synthetic rows one round trains on.

    A class attribute `draws = False` says that it never draws a variant, so that runs that differ in the augmenter
    alone are one run.
    """

    def select(self, view: Round, /) -> Selection:
        """What the round of `view` trains on beside the base pairs. Raises ValueError for a setting it cannot use."""
        ...


@dataclass(frozen=True)
class Mars:
    """MARS (arXiv 2602.17658): b_i rows from pair i, b the largest-remainder rounding of B·softmax(−τ·score(Δ)).

    score: "absolute" is v1 (|Δ|: ambiguous pairs first), "signed" is v2 (Δ: mis-ranked pairs first). A negative tau
    reverses the order (easy pairs first), 0 is stratified uniform sampling. drop_prompt: drawn rows lose their
    prompt, as they do in v1's released code.

    Under votes Δ is the margin of the reply that most prefer, however many do. A tie has a size |Δ| and no sign: signed
    scores read 0 (`Round.directed`), since a tie is ranked neither right nor wrong.
    """

    tau: float = 2.0
    score: allocation.Score = "absolute"
    drop_prompt: bool = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.tau):
            raise ValueError(f"tau: must be finite, not {self.tau}")

    def select(self, view: Round) -> Selection:
        """Rows by the margins of the base pairs: budgets first, then which variants."""
        q = allocation.probabilities(scored_margins(view, self.score), self.tau, self.score)
        budgets = allocation.largest_remainder(q, view.budget, view.rng)
        rows = within_pairs(view, budgets)
        return Selection(
            view.pool.without_prompt(rows) if self.drop_prompt else rows,
            diagnostics={
                "effective_pairs": allocation.effective_pairs(q),
                "steering": float(view.budget > 0 and allocation.steers(budgets)),
            },
        )


def scored_margins(view: Round, score: allocation.Score) -> np.ndarray:
    """[N] the margins that `score` is taken of: for the sign of a tie stands 0."""
    return view.margins if score == "absolute" else view.directed


def equal_shares(view: Round) -> np.ndarray:
    """[N] the budget in equal parts; which pairs get the rows left over is drawn."""
    n = len(view.pairs)
    return allocation.largest_remainder(np.full(n, 1 / n), view.budget, view.rng)


def within_pairs(view: Round, budgets: np.ndarray) -> np.ndarray:
    """[Σ b] rows, b_i of those pair i owns: without replacement while b_i of them pass the gates, else with.

    Fewer than Σ b where the gates refuse all rows of a pair.
    """
    owners, own = np.flatnonzero(budgets), _places(view.pool.per_pair)
    orders = np.tile(own, (len(owners), 1))
    view.rng.permuted(orders, axis=1, out=orders)

    def rows(group: np.ndarray, place: np.ndarray) -> np.ndarray:
        return view.pool.at(owners[group], place)

    return _first_admitted(view, orders, budgets[owners], rows)


def anywhere(view: Round, count: int) -> np.ndarray:
    """[count] rows drawn evenly from the whole pool: without replacement while enough pass the gates, else with."""
    order = _places(len(view.pool))
    view.rng.shuffle(order)

    def rows(_group: np.ndarray, place: np.ndarray) -> np.ndarray:
        return view.pool.at(*np.divmod(place, view.pool.per_pair))

    return _first_admitted(view, order[None], np.array([count]), rows)


def _places(count: int) -> np.ndarray:
    """[count] 0, 1, …, in as few bytes as hold them: a pool has billions of rows sooner than its pairs are many."""
    return np.arange(count, dtype=np.min_scalar_type(max(0, count - 1)))


def _first_admitted(
    view: Round, orders: np.ndarray, wanted: np.ndarray, rows: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Of each order its first `wanted` rows that pass the gates; where fewer do, as many draws from those that do.

    orders: [G, L] places. wanted: [G]. rows: (order, place) → row, of [K] each. All orders go step by step together,
    so that variants are made in large batches and none beyond what is needed.
    """
    length = orders.shape[1]
    taken = np.zeros(orders.shape, dtype=bool)
    filled, at = np.zeros(len(orders), dtype=np.int64), np.zeros(len(orders), dtype=np.int64)
    while len(unfilled := np.flatnonzero((filled < wanted) & (at < length))):
        count = np.minimum(wanted[unfilled] - filled[unfilled], length - at[unfilled])
        order = np.repeat(unfilled, count)
        place = at[order] + np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        passed = view.admits(rows(order, orders[order, place]))
        taken[order, place] = passed
        filled += np.bincount(order[passed], minlength=len(orders))
        at[unfilled] += count
    drawn = rows(np.repeat(np.arange(len(orders)), filled), orders[taken])
    scarce = np.flatnonzero((filled > 0) & (filled < wanted))  # the pool is smaller than the budget
    if not len(scarce):
        return drawn
    parts = np.split(drawn, np.cumsum(filled)[:-1])
    for group in scarce:
        parts[group] = view.rng.choice(parts[group], wanted[group])
    return np.concatenate(parts)
