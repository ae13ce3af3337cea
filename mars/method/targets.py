"""What the loss makes of labels that say more than which reply was chosen.

Base pairs have their own label, and a synthetic row has that of the pair it is made from. A row that the arm labelled
itself says what the model says: it is a plain preference without votes or strength.

Where strengths are weights, −s·log σ(Δ) (Wang et al. 2410.01257, there "scaled Bradley–Terry"), they are divided by
their mean over the base pairs, so that a row that the arm labelled itself weighs as much as the mean pair. They
multiply the arm's own weights. A step's loss is divided by the weight of its pairs, so weights count against each other
alone. A pair of strength 0, as a tie is, weighs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mars.config import ConfigError
from mars.method.settings import TrainConfig
from mars.pool.pool import Pool
from mars.preferences.labels import Labels
from mars.preferences.pair import Pair


@dataclass(frozen=True)
class Targets:
    """Of M rows, [M] each; None where all rows have what a label has that says no more than which reply was chosen.

    agreement: p (`mars.reward.loss`), else 1. offsets: m, else 0. weights: of the loss, else 1.
    """

    agreement: np.ndarray | None = None
    offsets: np.ndarray | None = None
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, pairs: Sequence[Pair], cfg: TrainConfig, labels: Labels | None = None) -> Targets:
        """Those of base pairs; labels: theirs, where they have been read.

        Raises ConfigError where `train.margin` needs strengths that the pairs do not have.
        """
        labels = labels or Labels.of(pairs)
        if cfg.margin == "none":
            return cls(labels.agreement)
        strength = np.full(len(pairs), np.nan) if labels.strength is None else labels.strength
        if len(odd := np.flatnonzero(~(np.isfinite(strength) & (strength >= 0)))):
            pair = pairs[int(odd[0])]
            what = "tell no strength" if pair.strength is None else "have a strength that is negative or not finite"
            raise ConfigError(
                f"train.margin: {len(odd)} of {len(pairs)} base pairs {what}, {pair.id} is the first (name the column "
                f"that has it, or set train.margin=none)"
            )
        if cfg.margin == "column":
            return cls(labels.agreement, cfg.margin_scale * strength)
        if not strength.any():
            raise ConfigError(
                "train.margin: the strength of every base pair is 0, no pair would count (set it to none)"
            )
        return cls(labels.agreement, None, strength / strength.mean())

    def of_rows(self, pool: Pool, rows: np.ndarray, labelled: bool) -> Targets:
        """Those of [M] pool rows, self being those of the pool's base pairs.

        labelled: whether the arm labelled what it drew. Rows that do not inherit their label have one of the arm's.
        """
        if all(part is None for part in vars(self).values()):
            return self
        own = ~pool.inherits(rows)
        if labelled:
            own |= ~np.isin(rows, pool.copies)
        parents = pool.parents(rows)
        plain = {"agreement": 1.0, "offsets": 0.0, "weights": 1.0}
        return Targets(
            **{
                name: None if part is None else np.where(own, plain[name], part[parents])
                for name, part in vars(self).items()
            }
        )

    def weighted(self, weights: np.ndarray | None) -> np.ndarray | None:
        """[M] these weights times the arm's own, [M]; None where there are neither."""
        if self.weights is None or weights is None:
            return weights if self.weights is None else self.weights
        return self.weights * weights
