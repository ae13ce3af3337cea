"""What the machine does to a run, in tables: a full disk, a lost or foreign file, a directory that goes, no rights.

Each line is a fault: how it is made, and what is said of it. It ends in one line of a UserError, or in a line of the
log where the program mends it alone; and once it is mended, the same run comes to its end in the undisturbed one's bits.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.commands import run_here
from support.faults import Disk, bound_by_rights, mounted

from analysis.report import build as report
from mars import cache, files
from mars.config import UserError
from mars.method import checkpoint, start, trainer
from mars.record.ledger import FILE
from mars.reward import engine
from mars.reward.features import frozen_encoder
from mars.run import execute, main

SETTINGS = ("scale=tiny", "rounds.number=2", "rounds.warmup=1", "rounds.warmup_seed=3")
BITS = ("metrics.json", "selection.parquet", "allocation.parquet", "variants.parquet", "scores/in_distribution.parquet")
BITS += ("model/model.safetensors",)


class Tried(NamedTuple):
    """A run that is tried in a folder, again and again. place: its directory."""

    config: dict[str, Any]
    place: Path

    @property
    def cache(self) -> Path:
        """Where its features and variants are."""
        return Path(self.config["cache"])

    def run(self) -> None:
        """As a new process would: nothing is known of before."""
        frozen_encoder.cache_clear()
        execute(self.config)

    def refused(self) -> str:
        """The one line in which it ends."""
        with pytest.raises(UserError) as error:
            self.run()
        assert "\n" not in str(error.value)
        assert not (self.place / "DONE").exists()
        return str(error.value)

    def log(self) -> str:
        """All that its run.log says."""
        return (self.place / "run.log").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an undisturbed run."""
    tried = made(tmp_path_factory.mktemp("whole"))
    tried.run()
    return bits(tried)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was interrupted in its second round."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.MonkeyPatch.context() as patch:
        during_round(patch, 2, interrupt)
        with pytest.raises(KeyboardInterrupt):
            made(folder).run()
    return folder


@pytest.fixture
def left(half: Path, tmp_path: Path) -> Tried:
    """A copy of that run, to be gone on with."""
    shutil.copytree(half, tmp_path / "left")
    return made(tmp_path / "left")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk") as disk:
        yield disk


def made(folder: Path) -> Tried:
    """The run that all these tests try, in `folder`."""
    from mars.cli import composed

    global _composed
    _composed = _composed or composed("config", SETTINGS)
    config = {**_composed, "study": f"{folder}/study", "cache": f"{folder}/cache", "out": f"{folder}/study/run"}
    return Tried(config, folder / "study" / "run")


_composed: dict[str, Any] | None = None


def bits(tried: Tried) -> dict[str, bytes]:
    return {name: (tried.place / name).read_bytes() for name in BITS}


def interrupt() -> None:
    raise KeyboardInterrupt


def during_round(patch: pytest.MonkeyPatch, number: int, fault: Callable[[], object]) -> None:
    """`fault()` as the training of a round begins, the first being 1."""
    real, begun = trainer.train_round, []

    def train_round(*args: Any, **named: Any) -> Any:
        begun.append(1)
        if len(begun) == number:
            fault()
        return real(*args, **named)

    patch.setattr(trainer, "train_round", train_round)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*")]


# ---- a full disk, from the moment at which this is to be written

FULL = {  # what: the function that writes it (module, name), what of its first argument, what is said
    "features": (cache.Cache, "insert", "features/tiny", "features/tiny-.*sqlite: database or disk is full"),
    "variants": (cache.Cache, "transaction", "variants/rules", "variants/rules-.*sqlite: database or disk is full"),
    "warm start": (start, "save_file", "", r"starts/tiny-.*\.safetensors: cannot be written: No space left on device"),
    "config": (files, "aside", "config.yaml", "run/config.yaml: cannot be written: No space left on device"),
    "costs": (files, "aside", "costs.json", "checkpoint/costs.json: cannot be written: No space left on device"),
    "checkpoint": (
        checkpoint,
        "save_file",
        "",
        "run/checkpoint: no checkpoint can be written: No space left on device",
    ),
    "model": (engine, "save_file", "", "run/model: cannot be written: No space left on device"),
    "scores": (files, "aside", "in_distribution.parquet", "in_distribution.parquet: cannot be written: No space left"),
    "evaluation record": (files, "aside", "in_distribution.json", r"(json|parquet): cannot be written: No space left"),
    "metrics": (files, "aside", "metrics.json", r"metrics.json: cannot be written: No space left on device"),
    "rounds": (files, "aside", "rounds.csv", "run/rounds.csv: cannot be written: No space left on device"),
    "selection": (files, "aside", "selection.parquet", "run/selection.parquet: cannot be written: No space left"),
    "spectra": (files, "aside", "spectra.parquet", "run/spectra.parquet: cannot be written: No space left on device"),
    "manifest": (files, "aside", "manifest.json", "run/manifest.json: cannot be written: No space left on device"),
    "model card": (files, "aside", "README.md", "model/README.md: cannot be written: No space left on device"),
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_one_line_and_with_room_the_run_comes_to_its_end(
    what: str, whole: dict[str, bytes], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, name, of, said = FULL[what]
    real, tried = getattr(home, name), made(disk.path)

    def filling(first: Any, *rest: Any, **named: Any) -> Any:
        if of in str(getattr(first, "path", first)) or not of:
            disk.fill()
        return real(first, *rest, **named)

    monkeypatch.setattr(home, name, filling)
    line = tried.refused()
    assert said_in(said, line), line
    assert "make room" in line
    monkeypatch.undo()
    disk.free()
    assert leftovers(disk.path) == []
    assert all(cp.is_dir() for cp in tried.place.glob("checkpoint/0*"))
    tried.run()
    assert bits(tried) == whole


def said_in(pattern: str, text: str) -> bool:
    import re

    return re.search(pattern, text) is not None
