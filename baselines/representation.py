"""Representation-level augmentation: base pairs again, with noise on what the model sees of them.

Source: named in the paper's abstract, without a released arm; the noise is NEFTune's (Jain et al. 2310.05914).
Deviation: NEFTune perturbs all training rows, here the base rows stay clean and B repeats of them carry the noise, so
that the arm differs from `none_matched` in nothing but the noise. In head mode the noise is on the frozen features.
No label is read; a repeat has its pair's votes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mars.method.strategy import Noise, Round, Selection, equal_shares


@dataclass(frozen=True)
class Representation:
    """Repeats the base pairs, B rows in equal shares, under noise of size α (`mars.method.strategy.Noise`)."""

    draws: ClassVar[bool] = False
    alpha: float = 5.0  # on token embeddings
    feature_alpha: float = 0.5  # on frozen features

    def __post_init__(self) -> None:
        for name in ("alpha", "feature_alpha"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name}: must not be negative, not {getattr(self, name)}")

    def select(self, view: Round) -> Selection:
        """B rows that are the base pairs themselves in equal shares, with noise on them in training."""
        rows = np.repeat(view.pool.copies, equal_shares(view))
        return Selection(rows, noise=Noise(self.alpha, self.feature_alpha))
