"""Vectors of texts, each made once: a matrix that only grows, shared by all runs of a process.

The matrix lies in an unlinked temporary file that is mapped into memory, as token ids do (`mars.reward.tokens`). So it
grows without being copied, and there is one of it however many runs read it. Of a large one the rows that are asked for
are read instead. A look at a mapped row may make two megabytes around it resident, so after a few thousand looks the
whole matrix would be.
"""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from mars import files
from mars.preferences.dialogue import Rendered
from mars.preferences.numbering import Numbering
from mars.reward.tokens import text_key

MAPPED = 1 << 30  # bytes of the largest matrix that is mapped
_AT_ONCE = 1 << 30  # bytes of one read; no system takes two gigabytes
Fill = Callable[[Mapping[bytes, Rendered]], None]  # `Vectors.put`s the vectors of these texts


class Vectors:
    """[T, d] float32 by place, from 0.

    fill: makes or finds the vectors of texts that have none yet. mapped: bytes of the largest matrix read as memory.
    """

    def __init__(self, fill: Fill, mapped: int = MAPPED):
        self._fill, self._mapped = fill, mapped
        self._places = Numbering()
        self._file = files.scratch("mars-vectors-")  # lives as long as the memory map
        self._matrix: torch.Tensor | None = None
        self.cuts = np.zeros(0, dtype=np.uint8)  # [T] what truncation took (`mars.reward.tokens`)

    def __len__(self) -> int:
        return len(self.cuts)

    def places(self, texts: Sequence[Rendered]) -> np.ndarray:
        """[len(texts)] int: where the vector of each text is; those without one get one."""
        keys = [text_key(text) for text in texts]
        places = self._places.find(keys)
        new = {key: text for key, text, place in zip(keys, texts, places.tolist(), strict=True) if place < 0}
        if new:
            self._fill(new)
            places = self._places.find(keys)
        return places

    def put(self, keys: Sequence[bytes], vectors: np.ndarray, cuts: np.ndarray) -> None:
        """Adds [n, d] float32 vectors under n keys (`text_key`), none of which is known. cuts: [n] uint8."""
        files.append(self._file, vectors.astype(np.float32, copy=False).tobytes())
        self._places.add(keys)
        self.cuts = np.concatenate([self.cuts, cuts])
        pages = mmap.mmap(self._file.fileno(), 0)
        self._matrix = torch.frombuffer(pages, dtype=torch.float32).reshape(len(self), -1)

    @property
    def dimension(self) -> int:
        """d, known once there is a vector."""
        assert self._matrix is not None
        return self._matrix.shape[1]

    def take(self, places: np.ndarray) -> torch.Tensor:
        """[n, d] float32: a copy of the vectors at [n] places, of which there is at least one in all."""
        assert self._matrix is not None
        if self._matrix.nbytes <= self._mapped:
            return self._matrix[torch.from_numpy(places)]
        return torch.from_numpy(self._read(places))

    def _read(self, places: np.ndarray) -> np.ndarray:
        """[n, d] from the file, neighbours at once."""
        found = np.empty((len(places), self.dimension), dtype=np.float32)
        row = found.itemsize * self.dimension
        starts = np.flatnonzero(np.diff(places, prepend=-2) != 1).tolist()
        for start, end in itertools.pairwise([*starts, len(places)]):
            wanted, at = found[start:end].data.cast("B"), int(places[start]) * row
            while wanted:
                got = os.preadv(self._file.fileno(), [wanted[:_AT_ONCE]], at)
                assert got
                wanted, at = wanted[got:], at + got
        return found

    def of(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """([n, d] vectors, [n] cuts) of at least one text."""
        places = self.places(texts)
        return self.take(places).numpy(), self.cuts[places]
