"""Vectors of texts, each made once: a matrix that only grows, shared by all runs of a process.

The matrix lies in an unlinked temporary file that is mapped into memory, as token ids do (`mars.reward.tokens`). So it
grows without being copied, there is one of it however many runs read it, and what of it is resident is bounded: after
so many reads all pages are handed back to the system, which keeps them while nobody else needs the memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from mars import files
from mars.preferences.dialogue import Rendered
from mars.preferences.numbering import Numbering
from mars.reward.tokens import text_key

_RESIDENT = 1 << 30  # bytes of the matrix that are resident at most
_AROUND = 1 << 16  # bytes that one read makes resident: Linux maps the pages around the one asked for too
Fill = Callable[[Mapping[bytes, Rendered]], None]  # `Vectors.put`s the vectors of these texts


class Vectors:
    """[T, d] float32 by place, from 0. fill: makes or finds the vectors of texts that have none yet."""

    def __init__(self, fill: Fill):
        self._fill = fill
        self._places = Numbering()
        self._file = files.scratch("mars-vectors-")  # lives as long as the memory map
        self._pages: mmap.mmap | None = None
        self._matrix: torch.Tensor | None = None
        self._reads = 0  # rows, since pages were handed back
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
        self._pages = mmap.mmap(self._file.fileno(), 0)
        self._matrix = torch.frombuffer(self._pages, dtype=torch.float32).reshape(len(self), -1)

    @property
    def dimension(self) -> int:
        """d, known once there is a vector."""
        assert self._matrix is not None
        return self._matrix.shape[1]

    def take(self, places: np.ndarray) -> torch.Tensor:
        """[n, d] float32: a copy of the vectors at [n] places, of which there is at least one in all."""
        assert self._matrix is not None
        assert self._pages is not None
        self._reads += len(places)
        if self._reads * _AROUND > _RESIDENT and self._matrix.nbytes > _RESIDENT and hasattr(self._pages, "madvise"):
            self._pages.madvise(mmap.MADV_DONTNEED)  # of a file: they are read again where they are needed
            self._reads = 0
        return self._matrix[torch.from_numpy(places)]

    def of(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        """([n, d] vectors, [n] cuts) of at least one text."""
        places = self.places(texts)
        return self.take(places).numpy(), self.cuts[places]
