"""A run's state between two rounds, so that an interrupted run goes on where it stopped and ends in the same bits.

One file, replaced atomically after every round. Everything random in a round is drawn from generators seeded by (seed,
round), so no generator state needs saving. The state after the last round is what the run has to show.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mars import files
from mars.method.strategy import Selection

log = logging.getLogger(__name__)

_KINDS = ("text", "prompt")  # of a cell, by their number in the file

Spectra = dict[str, np.ndarray]  # "h base", "g base", …: [k] float64, descending; none that is not defined


@dataclass(frozen=True)
class Snapshot:
    """What a round leaves in memory: the loop's living parts as they are after it."""

    model: dict[str, torch.Tensor]  # shared with the living model: what trains next changes it
    optimizer: dict[str, Any] | None  # where one schedule runs over all rounds
    margins: np.ndarray | None  # [N] float64 before the round, where the arm asked
    spectra: Spectra  # empty where curvature is not recorded or not defined
    cells: list[tuple[str, int, int]]  # variants looked at in the run so far (`mars.pool.pool.Cell`)
    memory: dict[str, Any]  # how steps are cut (`mars.reward.engine.Engine.memory`)


@dataclass(frozen=True)
class State:
    """What a resumed run needs, and what a finished one has recorded.

    In the file all of it is tensors and plain Python, so that it loads without unpickling code.
    """

    round: int = 0  # rounds done
    model: dict[str, torch.Tensor] | None = None
    optimizer: dict[str, Any] | None = None
    records: list[dict[str, Any]] = field(default_factory=list)  # one a round
    drawn: list[np.ndarray] = field(default_factory=list)  # [M] pool rows by round
    margins: list[np.ndarray | None] = field(default_factory=list)  # [N] by round
    spectra: list[Spectra] = field(default_factory=list)  # by round
    cells: list[tuple[str, int, int]] = field(default_factory=list)
    weights: np.ndarray | None = None  # [N] loss weights of the base pairs in the last round, where the arm sets them
    memory: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0  # of the run so far
    costs: dict[str, Any] = field(default_factory=dict)  # what the finished rounds made and paid (`Supply` of the pool)

    def after(self, selection: Selection, record: dict[str, Any], left: Snapshot) -> State:
        """The state one round on: what it drew, the columns it recorded, and what it left in memory."""
        weights = None if selection.weights is None else selection.weights[: record["base_pairs"]].astype(np.float64)
        return replace(
            self,
            round=self.round + 1,
            model=left.model,
            optimizer=left.optimizer,
            records=[*self.records, files.as_json(record)],
            drawn=[*self.drawn, selection.rows],
            margins=[*self.margins, left.margins],
            spectra=[*self.spectra, left.spectra],
            cells=left.cells,
            memory=left.memory,
            weights=weights,
        )

    def save(self, path: Path) -> None:
        """Write the state to `path`, in one step: a reader finds the state before or this one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        cells = [(_KINDS.index(kind), parent, slot) for kind, parent, slot in self.cells]
        # As tensors: torch.save looks at every number of a list, and there are tens of thousands.
        arrays = {name: _to_tensors(getattr(self, name)) for name in ("drawn", "margins", "spectra", "weights")}
        torch.save(vars(self) | arrays | {"cells": torch.tensor(cells, dtype=torch.int64).reshape(-1, 3)}, aside)
        os.replace(aside, path)

    @classmethod
    def load(cls, path: Path) -> State | None:
        """The saved state; None where there is none, or where it cannot be read: the run then starts afresh."""
        if not path.exists():
            return None
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            saved |= {name: _to_arrays(saved[name]) for name in ("drawn", "margins", "spectra", "weights")}
            saved["cells"] = [(_KINDS[kind], parent, slot) for kind, parent, slot in saved["cells"].tolist()]
            return cls(**saved)
        except Exception as error:  # damaged bytes raise almost anything from inside zip and pickle
            log.warning("%s cannot be read (%s): the run starts from its first round", path, type(error).__name__)
            return None


def _to_tensors(value: Any) -> Any:
    """`value` with a tensor for every array in it."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value, order="C"))
    if isinstance(value, list):
        return [_to_tensors(one) for one in value]
    return {key: _to_tensors(one) for key, one in value.items()} if isinstance(value, dict) else value


def _to_arrays(value: Any) -> Any:
    """`value` with an array for every tensor in it."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, list):
        return [_to_arrays(one) for one in value]
    return {key: _to_arrays(one) for key, one in value.items()} if isinstance(value, dict) else value
