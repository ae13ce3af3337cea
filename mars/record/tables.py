"""The tables a run leaves: what each round drew, what steered the draw, and the curvature where it was measured.

Those with a row for each pair come round by round, so that one round of them is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from mars.method.observer import PARTS
from mars.method.state import Spectra
from mars.pool.pool import Pool


def selections(drawn: Sequence[np.ndarray], pool: Pool) -> Iterator[pd.DataFrame]:
    """(round, row, parent, budget) of each round: every pool row that it drew, and how many their parents got."""
    for t, rows in enumerate(drawn):
        parents = pool.parents(rows)
        budgets = np.bincount(parents, minlength=len(pool.base))
        yield pd.DataFrame({"round": t, "row": rows, "parent": parents, "budget": budgets[parents]})


def allocations(
    drawn: Sequence[np.ndarray], margins: Sequence[np.ndarray | None], pool: Pool
) -> Iterator[pd.DataFrame]:
    """(round, pair, margin, budget) of each round, a row for each base pair: what steered the draw, and what it drew.

    pair: its place among the base pairs, from 0 (manifest.json's `base_ids`). margin: before the round's training; NaN
    where the arm did not ask. budget: rows drawn from the pair.
    """
    pairs = np.arange(len(pool.base))
    for t, (rows, known) in enumerate(zip(drawn, margins, strict=True)):
        budgets = np.bincount(pool.parents(rows), minlength=len(pairs))
        margin = np.full(len(pairs), np.nan) if known is None else known
        yield pd.DataFrame({"round": t, "pair": pairs, "margin": margin, "budget": budgets})


def spectra_table(spectra: Sequence[Spectra]) -> pd.DataFrame:
    """(round, part, index, h, g), a row for each round, part (base, selection, mixture) and direction of the span.

    index: from 0, the largest eigenvalue. h: of the average Hessian. g: of the information per label, NaN where there
    are too few labels to tell.
    """
    frames = []
    for t, found in enumerate(spectra):
        for part in (part for part in PARTS if f"h {part}" in found):
            h = found[f"h {part}"]
            g = found[f"g {part}"] if f"g {part}" in found else np.full(len(h), np.nan)
            frames.append(pd.DataFrame({"round": t, "part": part, "index": np.arange(len(h)), "h": h, "g": g}))
    return pd.concat(frames, ignore_index=True)
