"""AdaBoost-style reweighting: no new rows; pairs the current model mis-ranks weigh more in the next round's loss.

Source: named in the authors' README; no code was released, so this is our reading. w ←
w·exp(a·[mis-ranked]), a = ½·ln((1 − e)/e), e the weighted error clipped to (0, ½), then normalised to mean one so that
the step's size stays comparable. Deviation from boosting: one model goes on training, there is no ensemble of weak
ones.

Under votes a pair is mis-ranked where the model prefers the reply that most annotators do not; how many they are, the
loss says. On a tie no order is right: it is half a mistake, as a margin of 0 is. The weights multiply those that
`train.margin=weight` gives the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mars.method.strategy import Round, Selection

_EDGE = 1e-6  # how close e may come to 0 and ½


@dataclass(frozen=True)
class AdaBoost:
    """Weights of the base pairs, carried from round to round; a margin of exactly 0 and a tie are half a mistake."""

    draws: ClassVar[bool] = False

    def select(self, view: Round) -> Selection:
        """Draws nothing: the base pairs with weights that grow where the current model mis-ranks them."""
        before = np.ones(len(view.pairs)) if view.weights is None else view.weights
        wrong = np.where(view.directed == 0, 0.5, view.directed < 0)
        error = np.clip(np.average(wrong, weights=before), _EDGE, 0.5 - _EDGE)
        a = 0.5 * np.log((1 - error) / error)
        weights = before * np.exp(a * wrong)
        weights *= len(weights) / weights.sum()
        share = weights / weights.sum()
        return Selection(
            np.empty(0, dtype=np.int64),
            weights=weights,
            diagnostics={
                "weighted_error": float(error),
                "effective_weights": float(1 / np.square(share).sum()),
            },
        )
