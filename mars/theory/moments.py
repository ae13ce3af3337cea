"""The sums over preference rows that curvature and information are made of: exact, streamed, per parent.

With δ = φ(chosen) − φ(rejected) and Δ = θᵀδ, the Bradley–Terry loss of a row of weight w has the gradient −w σ(−Δ) δ
and the Hessian w σ′(Δ) δδᵀ, where σ′(Δ) = σ(Δ)σ(−Δ). Curvature adds over rows; labels do not. A variant repeats its
parent's label, so gradients are summed per parent before their scatter is taken. Where a share p of the annotators
preferred the chosen reply, the gradient is w (σ(Δ) − p) δ. The Hessian is the same for every p.

Only three d×d sums are kept, so that a million pairs can be streamed from disk. They are float64 whatever the features
are stored in: single precision would halve a cost of seconds and add an error that would have to be stated. PyTorch
computes the products rather than NumPy, so that the run's `threads` setting applies: threads that wait for a core cost
ten times the work.

    python -m benchmarks.speed curvature
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

_NUMBERS = 4_000_000  # numbers in a chunk of differences: 32 MB in float64


@dataclass(frozen=True)
class Moments:
    """Sums over weighted rows; rows of weight 0 are not counted anywhere.

    rows: their number. weight: Σ w. labels: distinct parents. hessian: [d, d] A = Σ w σ′(Δ) δδᵀ. score: [d, d]
    C = Σ_i (g_i − ḡ)(g_i − ḡ)ᵀ over the parents i that have rows, g_i = Σ w (σ(Δ) − p) δ over the rows of i. coverage:
    [d, d] Σ w δδᵀ. margin_min, margin_max: the extremes of |Δ|.
    """

    rows: int
    weight: float
    labels: int
    hessian: np.ndarray = field(repr=False)
    score: np.ndarray = field(repr=False)
    coverage: np.ndarray = field(repr=False)
    margin_min: float
    margin_max: float


@dataclass(frozen=True)
class Grouped(Moments):
    """Moments with every parent's gradient, so that those of more rows of the same parents can be joined to them.

    parents: [labels] int, ascending. gradients: [labels, d] float, the g_i.
    """

    parents: np.ndarray = field(repr=False)
    gradients: np.ndarray = field(repr=False)


class Accumulator:
    """Moments of rows that come in chunks; the rows of one parent must follow one another, across chunks too."""

    def __init__(self) -> None:
        self._given = self._rows = 0  # including rows of weight 0, and excluding them
        self._weight = 0.0
        self._sums: np.ndarray | None = None  # [3, d, d]: A, coverage, Σ g gᵀ
        self._gradient = np.empty(0)  # [d] Σ g of the parents that are complete
        self._parents: list[np.ndarray] = []
        self._open: tuple[int, np.ndarray] | None = None  # the last parent and its gradient so far
        self._extremes = (np.inf, -np.inf)

    def add(
        self,
        differences: np.ndarray,
        margins: np.ndarray,
        weights: np.ndarray | None = None,
        parents: np.ndarray | None = None,
    ) -> None:
        """Adds M rows.

        differences: [M, d] float. margins: [M] float. weights: [M] float ≥ 0, default 1. parents: [M] int, or None in
        every call, and then each row is a label of its own. Raises ValueError for lengths that differ, values that are
        not finite, and negative weights.
        """
        given = len(margins)
        differences, margins, weights, parents = _checked(differences, margins, weights, parents, self._given)
        self._given += given
        d = differences.shape[1]
        if self._sums is None:
            self._sums, self._gradient = np.zeros((3, d, d)), np.zeros(d)
        if self._sums.shape[1] != d:
            raise ValueError(f"differences: {d} features after chunks of {self._sums.shape[1]}")
        if not len(margins):
            return

        hessian, coverage, own, gradients = _sums(differences, margins, weights, parents)
        self._sums[0] += hessian
        self._sums[1] += coverage
        self._rows += len(margins)
        self._weight += float(weights.sum())
        size = np.abs(margins)
        self._extremes = min(self._extremes[0], float(size.min())), max(self._extremes[1], float(size.max()))

        if self._open is not None and self._open[0] == own[0]:
            gradients[0] += self._open[1]
        elif self._open is not None:
            self._close(np.array([self._open[0]]), self._open[1][None])
        self._close(own[:-1], gradients[:-1])
        self._open = int(own[-1]), gradients[-1].copy()

    def _close(self, parents: np.ndarray, gradients: np.ndarray) -> None:
        assert self._sums is not None
        self._parents.append(parents)
        self._sums[2] += gram(gradients)
        self._gradient += gradients.sum(axis=0)

    def moments(self) -> Moments:
        """The moments of all rows so far.

        Raises ValueError where there are none, or where a parent's rows did not follow one another.
        """
        if self._sums is None or self._open is None:
            raise ValueError("curvature needs at least one row of positive weight")
        parents = np.concatenate([*self._parents, [self._open[0]]])
        labels = len(parents)
        if _distinct(parents) < labels:
            raise ValueError("parents: rows of one parent must follow one another when they come in chunks")
        gradient = self._gradient + self._open[1]
        score = self._sums[2] + np.outer(self._open[1], self._open[1]) - np.outer(gradient, gradient) / labels
        hessian, coverage = self._sums[0].copy(), self._sums[1].copy()
        return Moments(self._rows, self._weight, labels, hessian, score, coverage, *self._extremes)


def moments(
    differences: np.ndarray,
    margins: np.ndarray,
    weights: np.ndarray | None = None,
    parents: np.ndarray | None = None,
    chunk: int | None = None,
) -> Moments:
    """The moments of rows in memory or in a memory-mapped file, read `chunk` rows at a time.

    differences: [M, d] float, φ(chosen) − φ(rejected). margins: [M] float, θᵀδ. weights: [M] float ≥ 0, default 1.
    parents: [M] int, in any order; by default every row is a label of its own. Where the rows of a parent do not follow
    one another they are read in the order of their parents, which is slow from a disk.

    Raises ValueError as `Accumulator.add`, and where no row has a positive weight.
    """
    differences, margins = np.asanyarray(differences), np.asarray(margins)
    weights, parents = (None if given is None else np.asarray(given) for given in (weights, parents))
    _match(differences, margins, weights, parents)
    order = None if parents is None or _adjacent(parents) else np.argsort(parents, kind="stable")
    step = chunk or max(1, _NUMBERS // max(1, differences.shape[1]))
    sums = Accumulator()
    for start in range(0, len(margins), step):
        rows = slice(start, start + step) if order is None else order[start : start + step]
        sums.add(
            differences[rows],
            margins[rows],
            None if weights is None else weights[rows],
            None if parents is None else parents[rows],
        )
    return sums.moments()


def grouped(
    differences: np.ndarray,
    margins: np.ndarray,
    parents: np.ndarray,
    weights: np.ndarray | None = None,
    agreement: np.ndarray | None = None,
) -> Grouped:
    """The moments of rows in memory, with every parent's gradient; arguments and errors as `moments`.

    agreement: [M] p, default 1.
    """
    if agreement is not None and weights is not None:
        agreement = agreement[np.asarray(weights) > 0]
    differences, margins, weights, parents = _checked(differences, margins, weights, parents)
    if not len(margins):
        raise ValueError("curvature needs at least one row of positive weight")
    if (np.diff(parents) < 0).any():
        order = np.argsort(parents, kind="stable")
        differences, margins, weights, parents = differences[order], margins[order], weights[order], parents[order]
        agreement = None if agreement is None else agreement[order]
    hessian, coverage, own, gradients = _sums(differences, margins, weights, parents, agreement)
    size = np.abs(margins)
    total, extremes = float(weights.sum()), (float(size.min()), float(size.max()))
    score = _scatter(gradients)
    return Grouped(len(margins), total, len(own), hessian, score, coverage, *extremes, own, gradients)


def joined(first: Grouped, second: Grouped) -> Grouped:
    """The moments of the rows of both; a parent that is in both has one gradient, the sum of its two."""
    parents, where = np.unique(np.concatenate([first.parents, second.parents]), return_inverse=True)
    gradients = np.zeros((len(parents), first.gradients.shape[1]))
    gradients[where[: first.labels]] = first.gradients
    gradients[where[first.labels :]] += second.gradients
    return Grouped(
        first.rows + second.rows,
        first.weight + second.weight,
        len(parents),
        first.hessian + second.hessian,
        _scatter(gradients),
        first.coverage + second.coverage,
        min(first.margin_min, second.margin_min),
        max(first.margin_max, second.margin_max),
        parents,
        gradients,
    )


def curvature_weight(margins: np.ndarray) -> np.ndarray:
    """[M]: σ′(Δ) = σ(Δ)σ(−Δ) of [M] margins, without overflow; ¼ at 0, falling in |Δ|."""
    small = np.exp(-np.abs(margins))
    return small / (1 + small) ** 2


def gram(rows: np.ndarray) -> np.ndarray:
    """[d, d]: XᵀX of [M, d] float64 rows; one of the four blocks is a copy of its mirror image."""
    x, half = torch.from_numpy(rows), rows.shape[1] // 2
    product = torch.empty((x.shape[1], x.shape[1]), dtype=x.dtype)
    torch.mm(x[:, :half].T, x, out=product[:half])
    torch.mm(x[:, half:].T, x[:, half:], out=product[half:, half:])
    product[half:, :half] = product[:half, half:].T
    return product.numpy()


def _sums(
    differences: np.ndarray,
    margins: np.ndarray,
    weights: np.ndarray,
    parents: np.ndarray,
    agreement: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(A [d, d], coverage [d, d], parents [P], their gradients [P, d]); the rows of a parent follow one another."""
    differences = np.asarray(differences, dtype=np.float64)
    scaled = differences * np.sqrt(weights)[:, None]
    coverage = gram(scaled)
    if not np.isfinite(coverage).all():
        bad = ~np.isfinite(differences).all(axis=1)
        raise ValueError(
            f"differences: {f'a row of parent {parents[bad][0]} is' if bad.any() else 'squares are'} not finite"
        )

    np.multiply(differences, np.sqrt(weights * curvature_weight(margins))[:, None], out=scaled)
    hessian = gram(scaled)

    small = np.exp(-np.abs(margins))
    slope = -weights * np.where(margins > 0, small, 1.0) / (1 + small)  # −w σ(−Δ)
    if agreement is not None:
        slope += weights * (1 - agreement)  # w (σ(Δ) − p)
    np.multiply(differences, slope[:, None], out=scaled)
    starts = np.flatnonzero(np.concatenate([[True], parents[1:] != parents[:-1]]))
    gradients = scaled if len(starts) == len(parents) else np.add.reduceat(scaled, starts, axis=0)
    return hessian, coverage, parents[starts], gradients


def _scatter(gradients: np.ndarray) -> np.ndarray:
    """[d, d]: Σ (g − ḡ)(g − ḡ)ᵀ of [P, d] gradients."""
    return gram(gradients - gradients.mean(axis=0))


def _adjacent(parents: np.ndarray) -> bool:
    """Whether the rows of every parent follow one another."""
    return int((np.diff(parents) != 0).sum()) + 1 == _distinct(parents)


def _distinct(parents: np.ndarray) -> int:
    ordered = np.sort(parents)  # np.unique hashes, a hundred times slower where most are distinct
    return int((ordered[1:] != ordered[:-1]).sum()) + min(1, len(ordered))


def _match(
    differences: np.ndarray, margins: np.ndarray, weights: np.ndarray | None, parents: np.ndarray | None
) -> None:
    if differences.ndim != 2 or not differences.shape[1]:
        raise ValueError(f"differences: must be [rows, features], not {list(differences.shape)}")
    for name, values in (("margins", margins), ("weights", weights), ("parents", parents)):
        if values is not None and np.shape(values) != (len(differences),):
            raise ValueError(f"{name}: {list(np.shape(values))} do not match {len(differences)} differences")


def _checked(
    differences: np.ndarray,
    margins: np.ndarray,
    weights: np.ndarray | None,
    parents: np.ndarray | None,
    given: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(differences, margins, weights, parents) of the rows of positive weight, with defaults filled in.

    Rows without parents are numbered from `given` on. Raises ValueError as `Accumulator.add`.
    """
    differences = np.asanyarray(differences)
    _match(differences, margins, weights, parents)
    margins = np.asarray(margins, dtype=np.float64)
    weights = np.ones(len(margins)) if weights is None else np.asarray(weights, dtype=np.float64)
    parents = np.arange(given, given + len(margins)) if parents is None else np.asarray(parents)
    if not np.isfinite(margins).all():
        raise ValueError(f"margins: that of a row of parent {parents[~np.isfinite(margins)][0]} is not finite")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights: must be finite and not negative")
    kept = weights > 0
    if kept.all():
        return differences, margins, weights, parents
    return differences[kept], margins[kept], weights[kept], parents[kept]
