"""Corpora larger than memory: pairs that lie on disk and become objects when they are read.

A `Pair` of two short replies takes a kilobyte as objects; ten million take more than many a machine has. Here such a
pair is a line of an unlinked temporary file, as token ids and features are, and costs its offset, 8 bytes. A subset is
the numbers of its pairs. The file is read, not mapped, so that what is resident does not grow with what was read.

The first pairs of a corpus stay objects: a study of the usual size never touches the disk.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import cached_property
from typing import IO, overload

import numpy as np

from mars import files
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair

_PLAIN = [field.name for field in fields(Pair)][2:]  # of a pair's fields those that JSON takes as they are
IN_MEMORY = 1 << 16  # pairs that stay objects, some 60 MB
_BYTES = 1 << 20  # of lines that are written at once
_BLOCK = 4096  # numbers turned into Python's own at once


class PairFile:
    """Pairs in an unlinked temporary file, by number from 0. Raises UserError where the disk does not take one."""

    def __init__(self) -> None:
        self._ends = array("q", [0])  # of each line, in bytes from the file's beginning
        self._late = bytearray()  # the last lines, which are not in the file yet

    @cached_property
    def _file(self) -> IO[bytes]:
        return files.scratch("mars-pairs-")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, pair: Pair) -> int:
        """Its number."""
        prompt = [(message.role, message.content) for message in pair.prompt]
        row = [pair.id, prompt, *(getattr(pair, name) for name in _PLAIN)]
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(self._late) >= _BYTES:
            self._flush()
        self._late += line
        self._ends.append(self._ends[-1] + len(line))
        return len(self) - 1

    def _flush(self) -> None:
        files.append(self._file, bytes(self._late))
        self._late.clear()

    def read(self, number: int) -> Pair:
        """The pair of that number."""
        start, end = self._ends[number], self._ends[number + 1]
        if self._late and end > self._ends[-1] - len(self._late):
            self._flush()
        name, prompt, *rest = json.loads(os.pread(self._file.fileno(), end - start, start))
        return Pair(name, tuple(Message(role, content) for role, content in prompt), *rest)


class Lazy(Sequence[Pair]):
    """A sequence that makes its pairs when they are read; a slice is one too."""

    def pair(self, number: int) -> Pair:
        """The pair in that place, counted from 0."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        if isinstance(index, slice):
            return pick(self, np.arange(*index.indices(len(self))))
        return self.pair(range(len(self))[index])

    def __iter__(self) -> Iterator[Pair]:
        return map(self.pair, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class Stored(Lazy):
    """Pairs in the order in which they are appended: the first `IN_MEMORY` as objects, the rest on disk."""

    def __init__(self) -> None:
        self._first: list[Pair] = []
        self._rest = PairFile()

    def append(self, pair: Pair) -> None:
        """Raises UserError where the disk does not take it."""
        if len(self._first) < IN_MEMORY:
            self._first.append(pair)
        else:
            self._rest.add(pair)

    def __len__(self) -> int:
        return len(self._first) + len(self._rest)

    def pair(self, number: int) -> Pair:
        """The pair that was appended at that place."""
        return self._first[number] if number < len(self._first) else self._rest.read(number - len(self._first))


class Picked(Lazy):
    """The pairs of `pairs` at `rows`, [n] int, in that order."""

    def __init__(self, pairs: Sequence[Pair], rows: np.ndarray):
        self.pairs, self.rows = pairs, rows

    def __len__(self) -> int:
        return len(self.rows)

    def pair(self, number: int) -> Pair:
        """The pair in that place."""
        return self.pairs[int(self.rows[number])]

    def __iter__(self) -> Iterator[Pair]:
        for start in range(0, len(self.rows), _BLOCK):
            yield from map(self.pairs.__getitem__, self.rows[start : start + _BLOCK].tolist())


class Changed(Lazy):
    """`pairs`, each as `change` makes it when it is read."""

    def __init__(self, pairs: Sequence[Pair], change: Callable[[Pair], Pair]):
        self.pairs, self._change = pairs, change

    def __len__(self) -> int:
        return len(self.pairs)

    def pair(self, number: int) -> Pair:
        """The pair in that place, changed."""
        return self._change(self.pairs[number])

    def __iter__(self) -> Iterator[Pair]:
        return map(self._change, self.pairs)


def pick(pairs: Sequence[Pair], rows: np.ndarray) -> Picked:
    """The pairs of `pairs` at `rows`, [n] int; a pick of a pick reads from what the first was picked from."""
    return Picked(pairs.pairs, pairs.rows[rows]) if isinstance(pairs, Picked) else Picked(pairs, rows)
