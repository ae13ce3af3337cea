"""How texts reach a model: padded into batches, or packed into one row where it takes them so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from mars.reward.batching import Step, micro_batches, packed_batches
from mars.reward.packing import Packing
from mars.reward.tokens import Inputs, Tokens

_START = 64  # tokens; texts that begin with the same ones are near neighbours


@dataclass(frozen=True)
class Feed:
    """The texts of `inputs` as `model` takes them. pack: False pads them also for a model that takes them packed."""

    model: nn.Module
    inputs: Inputs
    pack: bool = True

    @property
    def packing(self) -> Packing | None:
        """How texts are packed; None where they are padded."""
        packable = self.pack and isinstance(self.inputs, Tokens) and not self.inputs.width
        return getattr(self.model, "packing", None) if packable else None

    def batch(self, numbers: np.ndarray, share: bool = True) -> dict[str, Any]:
        """What the model's forward takes for these texts. share: False computes a common start once for each."""
        if self.packing is None:
            return self.inputs.batch(numbers)
        assert isinstance(self.inputs, Tokens)
        return self.inputs.packed(numbers, self.packing, share)

    def batches(self, numbers: np.ndarray, token_budget: int, most: int | None = None) -> Step:
        """Positions in `numbers`, each once, cut for one forward pass each of up to `token_budget` tokens.

        most: texts of a pass, at most.
        """
        lengths = self.inputs.lengths[numbers]
        if self.packing is None:
            return micro_batches(np.arange(len(numbers)), lengths, token_budget, texts_per_item=1, most=most)
        return packed_batches(self._order(numbers), lengths, token_budget, most)

    def _order(self, numbers: np.ndarray) -> np.ndarray:
        """Positions in `numbers`: texts that can share their start beside each other, else the longest first."""
        assert self.packing is not None
        assert isinstance(self.inputs, Tokens)
        if not self.packing.causal:
            return np.argsort(-self.inputs.lengths[numbers], kind="stable")
        starts = [ids[:_START].tobytes() for ids in self.inputs.ids(numbers)]
        return np.array(sorted(range(len(starts)), key=starts.__getitem__), dtype=np.int64)
