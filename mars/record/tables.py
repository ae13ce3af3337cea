"""The tables a run leaves: what each round drew, what steered the draw, and the curvature where it was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mars.method.observer import PARTS
from mars.method.state import Spectra
from mars.pool.pool import Pool


def selection_table(drawn: Sequence[np.ndarray], pool: Pool) -> pd.DataFrame:
    """(round, row, parent, budget): every pool row each round drew, and how many its parent got that round."""
    frames = []
    for t, rows in enumerate(drawn):
        parents = pool.parents(rows)
        budgets = np.bincount(parents, minlength=len(pool.base))
        frames.append(pd.DataFrame({"round": t, "row": rows, "parent": parents, "budget": budgets[parents]}))
    return pd.concat(frames, ignore_index=True)


def allocation_table(drawn: Sequence[np.ndarray], margins: Sequence[np.ndarray | None], pool: Pool) -> pd.DataFrame:
    """(round, pair, margin, budget), a row for each round and base pair: what steered the draw, and what it drew.

    pair: its place among the base pairs, from 0 (manifest.json's `base_ids`). margin: before the round's training; NaN
    where the arm did not ask. budget: rows drawn from the pair.
    """
    pairs = np.arange(len(pool.base))
    frames = []
    for t, (rows, known) in enumerate(zip(drawn, margins, strict=True)):
        budgets = np.bincount(pool.parents(rows), minlength=len(pairs))
        margin = np.full(len(pairs), np.nan) if known is None else known
        frames.append(pd.DataFrame({"round": t, "pair": pairs, "margin": margin, "budget": budgets}))
    return pd.concat(frames, ignore_index=True)


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
