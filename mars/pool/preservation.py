"""What drawn rows are worth by gold: how many still deserve the label they inherited, where a generated world knows."""

from __future__ import annotations

import numpy as np

from mars.pool import planted_reading
from mars.pool.pool import Pool
from mars.worlds import gaussian


def preservation(pool: Pool, rows: np.ndarray) -> dict[str, float] | None:
    """What drawn rows of generated pairs are worth by gold, copies of base pairs left out; None where none is left.

    rows: [M], repeats count. `true`: the share whose chosen side is the better one. `kept`: of those that inherit their
    label, the share on which gold says what it says of the parent.
    """
    rows = rows[~np.isin(rows, pool.copies)]
    if not len(rows):
        return None
    unique, counts = np.unique(rows, return_counts=True)
    parents, _, chosen, rejected = pool.address(unique)
    margins = _gold_margins(pool, parents, chosen, rejected)
    kept = np.sign(margins) == np.sign([pool.base[p].gold_margin or 0 for p in parents])
    inherits = pool.inherits(unique)
    shares = {"rows": int(counts.sum()), "true": float(np.average(margins > 0, weights=counts))}
    if inherits.any():
        shares["kept"] = float(np.average(kept[inherits], weights=counts[inherits]))
    return shares


def _gold_margins(pool: Pool, parents: np.ndarray, chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """[M] r*(chosen) − r*(rejected) of the pool's texts."""
    if gaussian.is_address(pool.base[0].chosen):
        cells, where = np.unique(
            np.stack([[*parents, *parents], [*chosen, *rejected]], axis=1), axis=0, return_inverse=True
        )
        rewards = gaussian.gold([pool.text(parent, slot) for parent, slot in cells.tolist()])[where.ravel()]
        return rewards[: len(parents)] - rewards[len(parents) :]
    texts = zip(parents, chosen, rejected, strict=True)
    return np.array([planted_reading.gold_margin(pool.base[p], pool.text(p, c), pool.text(p, r)) for p, c, r in texts])
