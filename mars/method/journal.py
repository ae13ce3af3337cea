"""What long passes over texts have found since a run's last checkpoint, so that a kill in one loses a minute of it.

Scores that an arm asks for before its round trains, and those of a benchmark, may take longer than the training. A page
holds what one such pass has found, batch by batch. It is found again by the sha256 of the weights, the texts and the
way they were read, so what is taken up is what the pass would find. Pages lie in a checkpoint of their own, and go when
the run has come on.

    journal = Journal(checkpoints, "rank0", minutes=1)
    with journal.page(lambda: sha256, values) as page:
        for batch in page.left(batches):
            values[batch] = ...
            page.found(batch)
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mars.method import checkpoint
from mars.method.checkpoint import Pace
from mars.process.stopping import Stopped
from mars.reward.batching import Step

SCORING = "scoring-"  # begins the name of a journal's directory, beside the run's checkpoints
_SHORT = 10.0  # seconds; a pass that took less is made again
_LARGE = 2**29  # bytes of a page that is not kept: it would take longer to write than much of the pass


@dataclass
class Page:
    """What a pass has found. values: [N, …], the pass's own array, filled in place."""

    values: np.ndarray
    done: np.ndarray  # [N] bool
    identity: Callable[[], str]  # the sha256 that the pass goes by; it takes a while to take
    on_found: Callable[[], None]
    earlier: dict[str, np.ndarray] | None = None  # "values" and "done" of an interrupted pass like this one

    def left(self, batches: Step) -> Step:
        """Of `batches`, positions in `values`, those still to be read; `values` of the others is filled in."""
        if self.earlier is None:
            return batches
        found = [bool(self.earlier["done"][batch].all()) for batch in batches]
        for batch, known in zip(batches, found, strict=True):
            if known:
                self.values[batch] = self.earlier["values"][batch]
                self.done[batch] = True
        return [batch for batch, known in zip(batches, found, strict=True) if not known]

    def found(self, batch: np.ndarray) -> None:
        """`values[batch]` is what the pass finds."""
        self.done[batch] = True
        self.on_found()

    def as_tree(self) -> dict[str, np.ndarray]:
        """As it is kept."""
        return {"values": self.values, "done": self.done}


class Journal:
    """The pages of one process.

    checkpoints: the directory of the run's. name: of who makes the passes. minutes: between two times that pages are
    saved.
    """

    def __init__(self, checkpoints: Path, name: str, minutes: float = 1):
        self.directory = checkpoints / f"{SCORING}{name}"
        self._pace = Pace(minutes)
        self._pages: dict[str, Any] = checkpoint.newest(self.directory) or {}  # by identity: of passes that have ended

    @contextmanager
    def page(self, identity: Callable[[], str], values: np.ndarray) -> Iterator[Page]:
        """The page of a pass that fills `values`. Raises UserError where the disk does not take it."""
        began = time.monotonic()
        page = Page(values, np.zeros(len(values), dtype=bool), identity, lambda: self._save_when_due(page))
        if self._pages:
            page.earlier = self._pages.get(identity())
        try:
            yield page
        except (Stopped, KeyboardInterrupt):
            self._save(page)
            raise
        if time.monotonic() - began >= min(_SHORT, self._pace.pause) and values.nbytes <= _LARGE:
            self._pages[identity()] = page.as_tree()

    def clear(self) -> None:
        """Forgets all pages: the run has come on, and none of these passes is made again."""
        self._pages = {}
        if self.directory.exists():
            shutil.rmtree(self.directory, ignore_errors=True)
            with suppress(OSError):
                self.directory.parent.rmdir()  # where nothing else was in there

    def _save_when_due(self, page: Page) -> None:
        if self._pace.due:
            self._save(page)

    def _save(self, page: Page) -> None:
        with self._pace.saving():
            if page.values.nbytes <= _LARGE:
                checkpoint.write(self.directory, {**self._pages, page.identity(): page.as_tree()})
