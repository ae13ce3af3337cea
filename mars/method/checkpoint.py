"""A run's state between two rounds, so that an interrupted run goes on where it stopped and ends in the same bits.

One file, replaced atomically after every round. Everything random in a round is drawn from generators seeded by (seed,
round), so no generator state needs saving.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

_KINDS = ("text", "prompt")  # of a cell, by their number in the file


@dataclass
class State:
    """What a resumed run needs: all of it is tensors and plain Python, so it loads without unpickling code."""

    round: int = 0  # rounds done
    model: dict[str, torch.Tensor] | None = None
    optimizer: dict[str, Any] | None = None  # where one schedule runs over all rounds
    records: list[dict[str, Any]] = field(default_factory=list)  # one a round
    drawn: list[list[int]] = field(default_factory=list)  # pool rows by round
    margins: list[torch.Tensor | None] = field(default_factory=list)  # [N] float64 by round, where the arm asked
    spectra: list[dict[str, torch.Tensor]] = field(default_factory=list)  # by round (`mars.method.observer.Spectra`)
    cells: list[tuple[str, int, int]] = field(default_factory=list)  # variants looked at (`mars.pool.pool.Cell`)
    weights: list[float] | None = None  # loss weights of the base pairs in the last round, where the arm sets them
    seconds: float = 0.0
    costs: dict[str, Any] = field(default_factory=dict)  # what the finished rounds made and paid (`Supply` of the pool)


def save(path: Path, state: State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    cells = [(_KINDS.index(kind), parent, slot) for kind, parent, slot in state.cells]
    drawn = [torch.tensor(rows, dtype=torch.int64) for rows in state.drawn]
    # As tensors: torch.save looks at every number of a list, and there are tens of thousands.
    torch.save(vars(state) | {"cells": torch.tensor(cells, dtype=torch.int64).reshape(-1, 3), "drawn": drawn}, aside)
    os.replace(aside, path)


def load(path: Path) -> State | None:
    """The saved state, or None where there is none or it cannot be read: the run then starts afresh, and says so."""
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(saved["cells"], torch.Tensor):
            saved["cells"] = [(_KINDS[kind], parent, slot) for kind, parent, slot in saved["cells"].tolist()]
            saved["drawn"] = [rows.tolist() for rows in saved["drawn"]]
        return State(**saved)
    except Exception as error:  # damaged bytes raise almost anything from inside zip and pickle
        log.warning("%s cannot be read (%s): the run starts from its first round", path, type(error).__name__)
        return None
