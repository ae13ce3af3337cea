"""Self-training: pool rows labelled by the current model, kept where it is confident.

Source: named in the authors' README, no code was released; pseudo-labelling with a confidence threshold is the textbook
form. B rows are drawn as uniform draws them; the model's preference σ(Δ) becomes the label, which may exchange a row's
sides, and rows it is not sure of are left out. So a round may train on fewer than B synthetic rows, and an untrained
model keeps none: compare steps. The pseudo-label takes the place of the parent's: what annotators said of that, their
votes, a tie or its strength, is not the row's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mars.method.strategy import Round, Selection, anywhere


@dataclass(frozen=True)
class SelfTraining:
    """Keeps rows with max(σ(Δ), σ(−Δ)) ≥ confidence."""

    confidence: float = 0.7

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence: must be in [0.5, 1), not {self.confidence}")

    def select(self, view: Round) -> Selection:
        """Those of B uniform rows whose label the model is sure of, sides exchanged where it turns the label round."""
        rows = anywhere(view, view.budget)
        margins = view.margins_of(rows)
        kept = np.abs(margins) >= np.log(self.confidence / (1 - self.confidence))  # σ(|Δ|) ≥ confidence
        turned = margins < 0
        labelled = np.where(turned, view.pool.swapped(rows), rows)[kept]
        return Selection(
            labelled,
            labelled=True,
            diagnostics={
                "kept_share": float(kept.mean()) if len(rows) else 0.0,
                "relabelled_share": float(turned[kept].mean()) if kept.any() else 0.0,
            },
        )
