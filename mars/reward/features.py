"""What a linear head reads: features of texts, by the run's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mars.preferences.dialogue import Rendered
from mars.reward.encoder import FeatureEncoder, FrozenEncoder
from mars.reward.vectors import Vectors


class Features:
    """`Inputs` of a linear head. Numbers are the run's own, so a run never depends on what ran before it.

    padded: each text is encoded as far as the encoder goes.
    """

    def __init__(self, encoder: FeatureEncoder, padded: bool = False):
        self.encoder = encoder
        self._vectors = _vectors_of(encoder, padded)
        # Both with room at the end.
        self._places = np.zeros(0, dtype=np.int64)  # [T] where the vectors are, by number
        self._numbers = np.zeros(0, dtype=np.int32)  # the number plus one by place, 0 where the run has none
        self.lengths = _ones(0)  # every text costs the same: one row
        self.cuts = np.zeros(0, dtype=np.uint8)

    def add(self, texts: Sequence[Rendered]) -> np.ndarray:
        """[len(texts)] text numbers; a text seen before keeps its number."""
        places = self._vectors.places(texts)
        self._numbers = _with_room(self._numbers, len(self._vectors))
        unseen = places[self._numbers[places] == 0]
        if len(unseen):
            _, first = np.unique(unseen, return_index=True)
            new = unseen[np.sort(first)]  # in the order in which they come
            before, after = len(self.cuts), len(self.cuts) + len(new)
            self._numbers[new] = np.arange(before, after) + 1
            self._places = _with_room(self._places, after)
            self._places[before:after] = new
            self.cuts = np.concatenate([self.cuts, self._vectors.cuts[new]])
            self.lengths = _ones(after)
        return self._numbers[places].astype(np.int64) - 1

    @property
    def dimension(self) -> int:
        """d; known once a text has been added."""
        return self._vectors.dimension

    def batch(self, numbers: np.ndarray) -> dict[str, torch.Tensor]:
        """features, [len(numbers), d] float32."""
        return {"features": self._vectors.take(self._places[numbers])}

    def padded(self) -> Features:
        """Features of the same encoder, still empty, each text padded to `max_length` when it is encoded."""
        return Features(self.encoder, padded=True)


def _ones(count: int) -> np.ndarray:
    """[count] int64, all one and in the memory of one."""
    return np.broadcast_to(np.int64(1), (count,))


def _with_room(numbers: np.ndarray, count: int) -> np.ndarray:
    """`numbers` with zeros after them where there are fewer than `count`: twice as many, so that few are copied."""
    if count <= len(numbers):
        return numbers
    return np.pad(numbers, (0, max(count, 2 * len(numbers)) - len(numbers)))


def _vectors_of(encoder: FeatureEncoder, padded: bool) -> Vectors:
    """Those that an encoder keeps for all runs; else fresh ones, of an encoder to which a text costs nothing."""
    if isinstance(encoder, FrozenEncoder):
        return encoder.padded_vectors if padded else encoder.vectors

    def fill(texts: Mapping[bytes, Rendered]) -> None:
        vectors.put(list(texts), *(encoder.padded if padded else encoder)(list(texts.values())))

    vectors = Vectors(fill)
    return vectors
