"""A run's state, so that an interrupted run goes on where it stopped and ends in the same bits.

Kept after every round, and now and then within one (`mars.method.checkpoint`). Between two rounds no generator's state
is needed, because everything random in a round is drawn from generators seeded by (seed, round); within a round
`Underway` has them. The state after the last round is what the run has to show.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mars import files
from mars.method import checkpoint
from mars.method.best import Best
from mars.method.journal import SCORING
from mars.method.strategy import Noise, Round, Selection
from mars.method.training import Underway

log = logging.getLogger(__name__)

_KINDS = ("text", "prompt")  # of a cell, by their number in the file

COUNTED = ("refused", "flipped", "trial_steps", "texts_scored")  # what a view counts until its arm has selected
COSTS = "costs.json"  # beside the checkpoints: what was made and paid so far, of unfinished rounds too

Spectra = dict[str, np.ndarray]  # "h base", "g base", …: [k] float64, descending; none that is not defined


@dataclass(frozen=True)
class Snapshot:
    """What is left in memory: the loop's living parts as they are."""

    model: dict[str, torch.Tensor]  # shared with the living model: what trains next changes it
    optimizer: dict[str, Any] | None  # within a round, and where one schedule runs over all rounds
    cells: list[tuple[str, int, int]]  # variants looked at in the run so far (`mars.pool.pool.Cell`)
    memory: dict[str, Any]  # how steps are cut (`mars.reward.engine.Engine.memory`)
    best: Best | None  # under rounds.keep=best


@dataclass(frozen=True)
class Begun:
    """A round that trains: what came before its training, and cannot be had again when the model has moved on."""

    selection: Selection
    seen: dict[str, float]  # columns of curvature
    spectra: Spectra  # empty where curvature is not recorded or not defined
    margins: np.ndarray | None  # [N] float64, where the arm asked
    counted: dict[str, int]  # by the arm's view (`COUNTED`)
    seconds: dict[str, float]  # by part (`mars.method.clock.COLUMNS`), known when the round is left underway
    training: Underway | None = None

    def as_tree(self) -> dict[str, Any]:
        """All of it as arrays and plain values."""
        noise = self.selection.noise
        return {
            **vars(self),
            "selection": {**vars(self.selection), "noise": None if noise is None else asdict(noise)},
            "training": None if self.training is None else self.training.as_tree(),
        }

    @classmethod
    def of_tree(cls, tree: Mapping[str, Any]) -> Begun:
        """What `as_tree` made this of."""
        selection, training = dict(tree["selection"]), tree["training"]
        if selection["noise"] is not None:
            selection["noise"] = Noise(**selection["noise"])
        training = None if training is None else Underway.of_tree(training)
        return cls(**{**tree, "selection": Selection(**selection), "training": training})


@dataclass(frozen=True)
class State:
    """What a resumed run needs, and what a finished one has recorded."""

    round: int = 0  # rounds done
    model: dict[str, torch.Tensor] | None = None  # what training can change of it (`checkpoint.moving`)
    optimizer: dict[str, Any] | None = None
    records: list[dict[str, Any]] = field(default_factory=list)  # one a round
    drawn: list[np.ndarray] = field(default_factory=list)  # [M] pool rows by round
    margins: list[np.ndarray | None] = field(default_factory=list)  # [N] by round
    spectra: list[Spectra] = field(default_factory=list)  # by round
    cells: list[tuple[str, int, int]] = field(default_factory=list)
    weights: np.ndarray | None = None  # [N] loss weights of the base pairs in the last round, where the arm sets them
    memory: dict[str, Any] = field(default_factory=dict)
    best: Best | None = None  # the best moment so far, under rounds.keep=best
    seconds: float = 0.0  # of the run so far
    begun: Begun | None = None  # the round that is underway

    @property
    def whereabouts(self) -> str:
        """Where a run goes on from it, in words."""
        training = self.begun and self.begun.training
        if training:
            return f"round {self.round} after step {len(training.losses)} of {len(training.steps)}"
        return f"after round {self.round}"

    def begin(self, view: Round, selection: Selection, seen: dict[str, float], spectra: Spectra) -> State:
        """The state as its next round begins to train; a round that has begun stays as it was."""
        if self.begun:
            return self
        counted = {name: getattr(view, name) for name in COUNTED}
        margins = view.margins if view.asked else None
        return replace(self, begun=Begun(selection, seen, spectra, margins, counted, {}))

    def midway(self, training: Underway, seconds: dict[str, float], left: Snapshot) -> State:
        """The state between two steps of the round that is underway."""
        assert self.begun is not None
        return replace(self, **vars(left), begun=replace(self.begun, seconds=seconds, training=training))

    def after(self, record: dict[str, Any], left: Snapshot) -> State:
        """The state one round on: what it drew, the columns it recorded, and what it left in memory."""
        assert self.begun is not None
        selection, begun = self.begun.selection, self.begun
        weights = None if selection.weights is None else selection.weights[: record["base_pairs"]].astype(np.float64)
        return replace(
            self,
            **vars(left),
            round=self.round + 1,
            records=[*self.records, files.as_json(record)],
            drawn=[*self.drawn, selection.rows],
            margins=[*self.margins, begun.margins],
            spectra=[*self.spectra, begun.spectra],
            weights=weights,
            begun=None,
        )

    def save(self, directory: Path) -> None:
        """Makes the state the newest checkpoint in `directory`. Raises UserError where the disk does not take it."""
        cells = [(_KINDS.index(kind), parent, slot) for kind, parent, slot in self.cells]
        tree = {
            **vars(self),
            "cells": np.array(cells, dtype=np.int64).reshape(-1, 3),  # of which there are tens of thousands
            "begun": None if self.begun is None else self.begun.as_tree(),
            "best": None if self.best is None else vars(self.best),
        }
        checkpoint.write(directory, tree)

    @classmethod
    def load(cls, directory: Path) -> State | None:
        """The state of the newest whole checkpoint; None where there is none: the run then starts afresh."""
        left = any(path.name != COSTS and not path.name.startswith(SCORING) for path in directory.glob("*"))
        saved = checkpoint.newest(directory)
        if saved is None:
            if left:
                log.warning("%s holds no checkpoint that can be used: the run starts from its first round", directory)
            return None
        try:
            saved["cells"] = [(_KINDS[kind], parent, slot) for kind, parent, slot in saved["cells"].tolist()]
            saved["begun"] = None if saved["begun"] is None else Begun.of_tree(saved["begun"])
            saved["best"] = Best(**saved["best"]) if saved.get("best") else None
            return cls(**saved)
        except (TypeError, KeyError, AttributeError):
            log.warning(
                "%s is of another version of mars and is not used: the run starts from its first round", directory
            )
            return None
