"""Reports of a few figures, for the tests that look at the rest: to draw all takes nine tenths of a report's time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from analysis.exhibits import FIGURES
from analysis.report import build


@contextmanager
def figures(*names: str) -> Iterator[None]:
    """Inside, reports have these figures alone."""
    in_order = sorted(names, key=list(FIGURES).index)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FIGURES", {name: FIGURES[name] for name in in_order})
        yield
