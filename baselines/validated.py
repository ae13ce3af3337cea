"""MARS that knows when not to steer: each round several τ are tried, and held-out pairs say which one trains.

Source: this project. Whether ambiguous pairs help depends on the labels' noise, which nobody knows beforehand
(docs/regimes.md): at some noise steering harms, at some it helps, and validation pairs can tell. Every τ of the grid
draws with the same random numbers, trains a copy of the model for this round, and is judged on the validation pairs by
the log-loss of the copy's margins at the temperature that suits them best: steering changes the scale of margins, which
ranks nothing. Not to steer (τ = 0) is left only for an improvement of more than one standard error (the
one-standard-error rule of Breiman et al. 1984), since the best of several noisy means flatters itself. The cost is a
round's training, and the variants drawn for it, for each τ that draws differently. Under votes the log-loss is the
cross entropy with them: ties count too, for models whose margin is near 0. Base pairs are read as by MARS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mars.method import allocation
from mars.method.strategy import Mars, Round, Selection
from mars.preferences.labels import calibrated_losses


@dataclass(frozen=True)
class Validated:
    """MARS at the τ of `grid` that validation pairs choose; a negative τ prefers easy pairs, 0 is stratified."""

    grid: tuple[float, ...] = (-2.0, -0.5, 0.0, 0.5, 2.0)
    score: allocation.Score = "absolute"

    def __post_init__(self) -> None:
        if not np.isfinite(self.grid).all() or len(set(self.grid)) < len(self.grid) or 0.0 not in self.grid:
            raise ValueError(f"grid: needs 0 and other finite numbers, none of them twice, not {list(self.grid)}")

    def select(self, view: Round) -> Selection:
        """What `Mars` draws at the τ of the grid that suits held-out pairs best, or at 0 if none is clearly better."""
        random = view.rng.bit_generator.state
        selections, refusals = [], []
        for tau in self.grid:
            view.rng.bit_generator.state = random  # the same random numbers for each
            view.refused = view.flipped = 0
            selections.append(Mars(tau, self.score).select(view))
            refusals.append((view.refused, view.flipped))
        losses = calibrated_losses(_held_out_margins(view, selections), view.held_out_agreement)
        chosen = choose(losses, self.grid)
        view.refused, view.flipped = refusals[chosen]  # of the rows that train, not of those that were tried
        advantage, error = advantages(losses, self.grid)
        best = _best(advantage, self.grid)
        diagnostics = dict(selections[chosen].diagnostics)
        if not self.grid[chosen]:
            del diagnostics["steering"]  # not to steer was the choice, and nothing to warn of
        return replace(
            selections[chosen],
            diagnostics={
                **diagnostics,
                "tau": self.grid[chosen],
                "tau_best": self.grid[best],
                "advantage": float(advantage[best]),
                "advantage_se": float(error[best]),
            },
        )


def _held_out_margins(view: Round, selections: list[Selection]) -> np.ndarray:
    """[K, V] held-out margins after training on each; selections of the same rows are tried once."""
    margins: dict[bytes, np.ndarray] = {}
    for selection in selections:
        if selection.rows.tobytes() not in margins:
            margins[selection.rows.tobytes()] = view.trial(selection)
    return np.stack([margins[selection.rows.tobytes()] for selection in selections])


def choose(losses: np.ndarray, grid: tuple[float, ...]) -> int:
    """The place in `grid` of the τ to train with: the best one if it improves on τ = 0 by more than a standard error.

    losses: [K, V] of V held-out pairs under the models each τ trained.
    """
    advantage, error = advantages(losses, grid)
    best = _best(advantage, grid)
    return best if advantage[best] > error[best] else grid.index(0.0)


def advantages(losses: np.ndarray, grid: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """([K] mean drop of [K, V] losses against those of τ = 0, [K] its standard error, paired over the V pairs).

    A standard error of one pair is infinite.
    """
    drop = losses[grid.index(0.0)] - losses
    pairs = drop.shape[1]
    error = drop.std(axis=1, ddof=1) / np.sqrt(pairs) if pairs > 1 else np.full(len(drop), np.inf)
    return drop.mean(axis=1), error


def _best(advantage: np.ndarray, grid: tuple[float, ...]) -> int:
    """Where the advantage is largest; of equal ones where τ is nearest to 0."""
    return max(range(len(grid)), key=lambda k: (advantage[k], -abs(grid[k])))
