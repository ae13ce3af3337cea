"""Is a better pool worth more than a better allocation? Main effects of both, and their interaction, by replicate.

The same two arms, in focus and reference, ran with several pools (augmenter or semantic layer). Each effect is a
contrast of the arms of one replicate: of two pools, mean over the arms; of the arms, mean over the pools; how much the
arms' difference changes from one pool to the other; and the pools' difference less the arms'. Pools are held against
the first of them, `rules` where it ran, so that each pool is one contrast.

    python -m mars.run experiment=pools
    python -m mars.run experiment=factorial
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.inference.comparability import why_not_comparable
from analysis.inference.contrasts import outcomes
from analysis.inference.pairing import ENDPOINTS
from analysis.study.arm_names import fits, parted
from analysis.study.naming import place
from analysis.study.study import NothingToShow, Study, once_a_study

COLUMNS = [
    "dataset", "backbone", "split", "endpoint", "effect", "contrast", "difference", "difference_lo", "difference_hi",
    "p", "replicates", "not_compared",
]  # fmt: skip
POOL, ALLOCATION, WITHIN, INTERACTION, AGAINST = (
    "pool", "allocation", "allocation within a pool", "interaction", "pool less allocation",
)  # fmt: skip
_USUAL = "rules"  # the pool that others are held against
_WORDS = tuple(f"{group}{mark}" for group in ("augmenter", "semantic") for mark in "=.")


class Crossed(NamedTuple):
    """Two strategies that ran with the same pools. arms: [pools, 2] names, the reference's last."""

    strategies: tuple[str, str]
    pools: tuple[str, ...]
    arms: tuple[tuple[str, str], ...]


def split_pool(arm: str) -> tuple[str, str]:
    """(pool, strategy) of an arm: `mars augmenter=eda tau=2` is (`eda`, `mars tau=2`)."""
    of_pool, strategy = parted(arm, *_WORDS)
    return " ".join(word.removeprefix("augmenter=").removeprefix("augmenter.") for word in of_pool), strategy


def crossed(group: Study) -> list[Crossed]:
    """Every strategy in focus with the reference, over the pools that both ran with, where these are several."""
    by_pool: dict[str, dict[str, str]] = {}
    for arm in group.arms:
        pool, strategy = split_pool(arm)
        by_pool.setdefault(strategy, {})[pool] = arm
    found = []
    in_focus = [strategy for strategy, arms in by_pool.items() if all(map(group.in_focus, arms.values()))]
    for ours in in_focus:
        for theirs in by_pool:
            if ours == theirs or not fits(theirs, group.reference):
                continue
            both = by_pool[ours].keys() & by_pool[theirs].keys()
            pools = sorted(both, key=lambda pool: (pool != _USUAL, place(f"pool {pool}")))
            if len(pools) > 1:
                arms = tuple((by_pool[ours][pool], by_pool[theirs][pool]) for pool in pools)
                found.append(Crossed((ours, theirs), tuple(pools), arms))
    return found


@once_a_study
def pool_effects(study: Study) -> pd.DataFrame:
    """COLUMNS, a row for each endpoint and contrast. Raises NothingToShow where no two arms ran with several pools."""
    rows = [row for _, group in study.groups() for one in crossed(group) for row in _rows(group, one)]
    if not rows:
        raise NothingToShow(
            f"{study.focus} and {study.reference} did not run with several pools (python -m mars.run experiment=pools)"
        )
    return pd.DataFrame(rows, columns=COLUMNS).astype({"replicates": "Int64"})


def _rows(group: Study, one: Crossed) -> Iterator[dict[str, Any]]:
    split, confounded = group.splits[0] if group.splits else "", why_not_comparable(group)
    for endpoint in ENDPOINTS:
        arms = [(group, arm) for pair in one.arms for arm in pair]
        found = None if confounded else outcomes(arms, split, endpoint)
        for effect, contrast, weights in effects(one):
            row = {
                **group.runs[["dataset", "backbone"]].iloc[0],
                **{"split": split, "endpoint": endpoint.metric, "effect": effect, "contrast": contrast},
            }
            if found is None:
                why = f"arms differ in {confounded}" if confounded else "no seed and pair with scores in common"
                yield row | {"not_compared": why}
                continue
            result = found.judge(np.tensordot(weights.ravel(), found.cells, axes=1))
            why = ("one replicate" if found.replicates < 2 else "alike in every replicate") + ", so no interval"
            yield row | {
                **{"difference": result.difference, "difference_lo": result.lo, "difference_hi": result.hi},
                **{"p": result.p, "replicates": found.replicates, "not_compared": "" if result.spread else why},
            }


def effects(one: Crossed) -> Iterator[tuple[str, str, np.ndarray]]:
    """(effect, contrast in words, weights [pools, 2] of the arms)."""
    ours, theirs = one.strategies
    count, first = len(one.pools), one.pools[0]
    arms, of_pools = np.array([1.0, -1.0]), np.eye(count)
    allocation = np.outer(np.full(count, 1 / count), arms)
    against_first = [(pool, of_pools[k] - of_pools[0]) for k, pool in enumerate(one.pools) if k]
    means = {pool: np.outer(weights, [0.5, 0.5]) for pool, weights in against_first}
    for pool, weights in means.items():
        yield POOL, f"{pool} − {first}", weights
    yield ALLOCATION, f"{ours} − {theirs}", allocation
    for pool, weights in means.items():
        yield AGAINST, f"({pool} − {first}) − ({ours} − {theirs})", weights - allocation
    for k, pool in enumerate(one.pools):
        yield WITHIN, f"{ours} − {theirs}, {pool}", np.outer(of_pools[k], arms)
    for pool, weights in against_first:
        yield INTERACTION, f"{ours} − {theirs}, {pool} − {first}", np.outer(weights, arms)
