"""Variants and the synthetic pairs they make, on demand: a variant that nobody draws is never made.

So a pool of 1000 × 25 pairs costs nothing until rows are drawn, and every row an arm could want has a number
(`mars.pool.rows`), whether it inherits its label or not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from mars.augment.variant import Augmenter, Request, Variant, why_unchanged
from mars.pool.gates import Gates
from mars.pool.rows import Addresses, PoolConfig
from mars.preferences.dialogue import Message
from mars.preferences.labels import Labels
from mars.preferences.pair import SIDES, Pair, Part

if TYPE_CHECKING:  # pandas is loaded when a run needs it
    import pandas as pd

Refine = Callable[[Sequence[int]], list[Pair]]  # base rows → the pairs their variants are made from
Cell = tuple[str, int, int]  # "text" or "prompt", parent, slot
_UNKNOWN, _KEPT, _REFUSED = 0, 1, 2


class Verdict(NamedTuple):
    """A variant and the gates' decision; `refused` is the gate that refused it, or ""."""

    request: Request
    variant: Variant
    refused: str


class Pool(Addresses):
    """All synthetic pairs of `pairs` under one augmenter, made when drawn.

    fill: makes or finds the variants asked for, `Store.fill` of the augmenter; without one, the augmenter itself.
    refine: the pair that takes a base pair's place as the source of variants (`mars.pool.semantic`). gates: which
    variants there may be; without them, those of `config`.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        augmenter: Augmenter,
        config: PoolConfig | None = None,
        fill: Callable[[Sequence[Request]], list[Variant]] | None = None,
        refine: Refine | None = None,
        gates: Gates | None = None,
    ):
        super().__init__(len(pairs), config or PoolConfig())
        self.base, self.augmenter = pairs, augmenter
        self._fill, self._refine = fill or augmenter.make, refine
        self._gates = gates or Gates(self.config.gates)
        n, width = len(pairs), self.config.width
        self._sources: dict[int, Pair] = {}
        self._latest: tuple[int, Pair] | None = None  # base pair read: of a large corpus it is made each time
        slots = {"text": self.shape[2], "prompt": self.shape[1]}
        self._state = {kind: np.zeros((n, count), dtype=np.int8) for kind, count in slots.items()}
        self._state["text"][:, [0, width + 1]] = _KEPT
        self._state["prompt"][:, [0, width + 1]] = _KEPT
        self.looked_at: dict[Cell, Verdict] = {}

    @cached_property
    def labels(self) -> Labels:
        """What the base pairs' labels say beyond which reply was chosen. Raises DataError for what cannot be."""
        return Labels.of(self.base)

    # ---- variants

    def admits(self, rows: np.ndarray) -> np.ndarray:
        """[M] bool: whether the gates let each row pass; makes the variants that are missing."""
        self._make(rows)
        parents, prompts, chosen, rejected = self.address(rows)
        text, prompt = self._state["text"], self._state["prompt"]
        return (
            (text[parents, chosen] == _KEPT) & (text[parents, rejected] == _KEPT) & (prompt[parents, prompts] == _KEPT)
        )

    def _make(self, rows: np.ndarray) -> None:
        parents, prompts, chosen, rejected = self.address(rows)
        cells = []
        for kind, owners, slots in (
            ("text", np.concatenate([parents, parents]), np.concatenate([chosen, rejected])),
            ("prompt", parents, prompts),
        ):
            state = self._state[kind]
            new = np.unique(np.ravel_multi_index((owners, slots), state.shape)[state[owners, slots] == _UNKNOWN])
            places = np.unravel_index(new, state.shape)
            cells += [(kind, parent, slot) for parent, slot in zip(*(part.tolist() for part in places), strict=True)]
        self.look_at(cells)

    def look_at(self, cells: Sequence[Cell]) -> None:
        """Makes or reads the variants of `cells`, none of which was looked at before, and applies the gates."""
        parents = {parent for _, parent, _ in cells}
        admitted = {p for p in parents if p in self._sources or self._gates.admit(self.base[p])}
        free = [cell for cell in cells if cell[1] in admitted]
        self._find_sources(sorted(admitted))
        requests = [Request(self._sources[parent], *self._part(kind, slot)) for kind, parent, slot in free]
        variants = self._fill(requests) if requests else []
        reasons = self._gates.refusals([r.source for r in requests], [v.text for v in variants])
        for cell, verdict in zip(free, map(Verdict, requests, variants, reasons), strict=True):
            self._decide(cell, verdict)
        for cell in set(cells) - set(free):
            request = Request(self.base[cell[1]], *self._part(cell[0], cell[2]))
            self._decide(cell, Verdict(request, Variant(None, ""), "held out"))

    def _decide(self, cell: Cell, verdict: Verdict) -> None:
        kind, parent, slot = cell
        self._state[kind][parent, slot] = _REFUSED if verdict.refused else _KEPT
        self.looked_at[cell] = verdict

    def _find_sources(self, parents: Sequence[int]) -> None:
        new = [p for p in parents if p not in self._sources]
        pairs = self._refine(new) if self._refine else [self.base[p] for p in new]
        self._sources.update(zip(new, pairs, strict=True))

    def _part(self, kind: str, slot: int) -> tuple[Part, int]:
        """(the part that a slot is a variant of, the variant's number, −1 for the original)."""
        if kind == "prompt":
            return "prompt", slot - 1
        side, place = divmod(slot, self.config.width + 1)
        return SIDES[side], place - 1

    # ---- contents

    def text(self, parent: int, slot: int) -> str:
        """The text in a slot of `parent`: an original, or a variant that was made."""
        part, number = self._part("text", slot)
        return self._pair(parent).part(part) if number < 0 else self._variant("text", parent, slot)

    def prompt(self, parent: int, slot: int) -> tuple[Message, ...]:
        """The dialogue before the reply: the original, the original with its last turn reworded, or one empty turn."""
        original = self._pair(parent).prompt
        if slot == 0:
            return original
        if slot == self.config.width + 1:
            return (Message("user", ""),)
        return (*original[:-1], replace(original[-1], content=self._variant("prompt", parent, slot)))

    def _pair(self, parent: int) -> Pair:
        latest = self._latest
        if latest is None or latest[0] != parent:
            latest = self._latest = parent, self.base[parent]
        return latest[1]

    def _variant(self, kind: str, parent: int, slot: int) -> str:
        text = self.looked_at[kind, parent, slot].variant.text
        assert text is not None  # the gates refuse a blank one
        return text

    def names(self, rows: np.ndarray) -> list[str]:
        """The ids of the rows' pairs: `parent-id/rules.0.3.8`, the numbers being prompt, chosen and rejected slot."""
        return [
            f"{self._pair(parent).id}/{self.augmenter.name}.{prompt}.{chosen}.{rejected}"
            for parent, prompt, chosen, rejected in zip(*(part.tolist() for part in self.address(rows)), strict=True)
        ]

    def ids(self, rows: np.ndarray) -> Sequence[str]:
        """The ids of the base pairs, then those of `rows`, each made when it is read."""
        return _Ids(self, rows)

    def draw(self, rows: np.ndarray) -> list[Pair]:
        """The synthetic pairs of `rows`, [M] int; repeats are allowed, rows refused by a gate are not.

        A row that inherits its label has its parent's votes and strength too.
        """
        self._make(rows)
        drawn = []
        for row in zip(self.names(rows), *self.address(rows), self.inherits(rows).tolist(), strict=True):
            name, parent, prompt, chosen, rejected, inherits = row
            base, texts = self._pair(parent), (self.text(parent, chosen), self.text(parent, rejected))
            pair = Pair(name, self.prompt(parent, prompt), *texts, subset=base.subset)
            drawn.append(replace(pair, agreement=base.agreement, strength=base.strength) if inherits else pair)
        return drawn

    # ---- records

    @property
    def possible(self) -> int:
        """The number of distinct variants of the whole pool."""
        return len(self.base) * self.config.width * (3 if self.config.prompts else 2)

    def look_at_all(self) -> None:
        """Makes or reads every variant of the pool and applies the gates; none was looked at before."""
        width, n = self.config.width, len(self.base)
        slots = {"text": [*range(1, width + 1), *range(width + 2, self.shape[2])]}
        slots |= {"prompt": list(range(1, width + 1))} if self.config.prompts else {}
        self.look_at([(kind, i, slot) for i in range(n) for kind, places in slots.items() for slot in places])

    def requests(self) -> list[Request]:
        """The requests for every variant of the pool, as if no semantic layer rewrote a base pair."""
        parts: list[Part] = [*SIDES, "prompt"] if self.config.prompts else list(SIDES)
        return [Request(pair, part, k) for pair in self.base for part in parts for k in range(self.config.width)]

    @property
    def refused(self) -> dict[str, int]:
        """The number of variants refused, by gate."""
        return dict(Counter(o.refused for o in self.looked_at.values() if o.refused))

    def table(self) -> pd.DataFrame:
        """One row per variant looked at: parent, part, number, operation, parameters (JSON), unchanged (why it equals
        its source, else ""), refused (reason or "").
        """
        import pandas as pd

        rows = [
            (o.request.pair.id, o.request.part, o.request.number, o.variant.operation,
             json.dumps(dict(o.variant.parameters), sort_keys=True) if o.variant.parameters else "{}",
             why_unchanged(self.augmenter, o.request, o.variant), o.refused)
            for o in map(self.looked_at.__getitem__, sorted(self.looked_at))
        ]  # fmt: skip
        columns = ["parent", "part", "number", "operation", "parameters", "unchanged", "refused"]
        return pd.DataFrame(rows, columns=columns)


class _Ids(Sequence[str]):
    """See `Pool.ids`."""

    def __init__(self, pool: Pool, rows: np.ndarray):
        self.pool, self.rows = pool, rows

    def __len__(self) -> int:
        return len(self.pool.base) + len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place, base = range(len(self))[index], len(self.pool.base)
        return self.pool.base[place].id if place < base else self.pool.names(self.rows[[place - base]])[0]
