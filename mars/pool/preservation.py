"""How many drawn rows still deserve the label they inherited, in generated worlds, where the gold reward is known."""

from __future__ import annotations

import numpy as np

from mars.pool import planted_reading
from mars.pool.pool import Pool
from mars.worlds import gaussian
from mars.worlds.planted_latents import gold


def preservation(pool: Pool, rows: np.ndarray) -> dict[str, float] | None:
    """Shares of the drawn `rows` whose label is right by gold, excluding copies of base pairs; None where none is left.

    rows: [M] int, repeats count. In the result, `rows` is the number counted and `true` the share whose chosen side is
    the better one. `kept` is the share with the parent's gold preference among the rows that inherit their label.
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
    """[M] float: r*(chosen) − r*(rejected) of the pool's texts in these slots, each [M] int."""
    both = np.stack([np.concatenate([parents, parents]), np.concatenate([chosen, rejected])], axis=1)
    cells, where = np.unique(both, axis=0, return_inverse=True)  # a pool combines each text with several others
    texts = [pool.text(parent, slot) for parent, slot in cells.tolist()]
    if gaussian.is_address(pool.base[0].chosen):
        rewards = gaussian.gold(texts)
    else:
        ids = [pool.base[parent].id for parent in cells[:, 0]]
        rewards = np.array([gold(planted_reading.read(*one)) for one in zip(texts, ids, strict=True)])
    of_chosen, of_rejected = rewards[where.ravel()].reshape(2, -1)
    return of_chosen - of_rejected
