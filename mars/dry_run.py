"""What a run would have to make, before it makes anything: `python -m mars.run augmenter=instruct dry_run=true`.

The numbers are upper bounds, because what a run draws depends on margins that are not known yet. The distances of a
semantic layer are measured, which takes time but no call.
"""

from __future__ import annotations

from collections.abc import Sequence

from mars.assembly import Pieces
from mars.augment.variant import Request
from mars.method.settings import RoundsConfig
from mars.pool.store import Supply
from mars.progress import counted


def report(pieces: Pieces, rounds: RoundsConfig) -> str:
    """A line for the pool, and one for the writer of the semantic layer if there is one."""
    if pieces.pool.augmenter.name == "none":
        return "this arm draws no variant: nothing to make"
    pool, per_row = pieces.pool, 3 if pieces.pool.config.prompts else 2
    lines = [
        _line("pool", pieces.supply, pool.requests())
        + (", and more for pairs that the semantic layer rewrites" if pieces.refiner else "")
        + f"; {counted(rounds.number, 'round')} of {counted(rounds.budget, 'row')} draw at most "
        f"{per_row * rounds.number * rounds.budget} of them, and an arm that scores the whole pool needs all"
    ]
    if pieces.refiner and pieces.writer:
        close = [pair for pair, is_close in zip(pool.base, pieces.refiner.close, strict=True) if is_close]
        config = pieces.refiner.config
        tries = [("rejected", config.tries_rejected), ("chosen", config.tries_chosen)]
        requests = [Request(pair, side, k) for pair in close for side, most in tries for k in range(most)]  # type: ignore[arg-type]
        lines.append(_line(f"semantic layer, {counted(len(close), 'close pair')}", pieces.writer, requests))
    return "\n".join(lines)


def _line(what: str, supply: Supply, requests: Sequence[Request]) -> str:
    missing = supply.missing(requests)
    calls = getattr(supply.augmenter, "calls", None)
    return (
        f"{what}: {supply.augmenter.name}, at most {len(missing)} of {counted(len(requests), 'variant')} to make"
        + (f", in at most {counted(calls(missing), 'call')}" if calls else "")
        + ", the others are stored"
    )
