"""Keys to numbers, for more keys than Python objects have room for: 16 bytes and a few more a key, not two hundred.

A table of open addressing in two arrays. A key is a digest, so its first bytes are its hash. All keys of a batch are
looked up together, which is as fast as a `dict` from some hundred keys on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FEWEST = 1 << 10  # slots; a power of two, as always
_FULL = 2 / 3  # share of the slots that may be taken


class Numbering:
    """Keys of 16 bytes, spread evenly over all there could be, by number from 0 in the order in which they came."""

    def __init__(self) -> None:
        self._keys = np.empty((0, 2), dtype=np.uint64)  # with room at the end
        self._slots = np.full(_FEWEST, -1, dtype=np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, keys: Sequence[bytes]) -> np.ndarray:
        """[len(keys)] int64: the number of each key, −1 where it has none."""
        wanted = _words(keys)
        found = np.full(len(wanted), -1, dtype=np.int64)
        slots, unsettled = self._first(wanted), np.arange(len(wanted))
        while len(unsettled):
            numbers = self._slots[slots[unsettled]]
            unsettled, numbers = unsettled[numbers >= 0], numbers[numbers >= 0]
            same = (self._keys[numbers] == wanted[unsettled]).all(axis=1)
            found[unsettled[same]] = numbers[same]
            unsettled = unsettled[~same]
            self._step(slots, unsettled)
        return found

    def add(self, keys: Sequence[bytes]) -> None:
        """Gives the next numbers to `keys`, all different and none of which has one."""
        new, first = _words(keys), self._count
        self._count += len(new)
        if self._count > len(self._keys):
            room = np.empty((max(self._count, 2 * len(self._keys)), 2), dtype=np.uint64)
            room[:first] = self._keys[:first]
            self._keys = room
        self._keys[first : self._count] = new
        if self._count > _FULL * len(self._slots):
            more = 1 << int(self._count / _FULL).bit_length()
            self._slots, first = np.full(more, -1, dtype=np.int32), 0
        self._place(np.arange(first, self._count))

    def _place(self, numbers: np.ndarray) -> None:
        slots, homeless = self._first(self._keys[numbers]), np.arange(len(numbers))
        while len(homeless):
            free = homeless[self._slots[slots[homeless]] < 0]
            self._slots[slots[free]] = numbers[free]  # of several that want one slot, the last gets it
            homeless = homeless[self._slots[slots[homeless]] != numbers[homeless]]
            self._step(slots, homeless)

    def _first(self, keys: np.ndarray) -> np.ndarray:
        """[len(keys)] int64: where the search for each begins."""
        return (keys[:, 0] & np.uint64(len(self._slots) - 1)).astype(np.int64)

    def _step(self, slots: np.ndarray, which: np.ndarray) -> None:
        slots[which] = (slots[which] + 1) & (len(self._slots) - 1)


def _words(keys: Sequence[bytes]) -> np.ndarray:
    """[len(keys), 2] uint64."""
    return np.frombuffer(b"".join(keys), dtype=np.uint64).reshape(-1, 2)
