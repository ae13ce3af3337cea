"""What a run would have to make, before it makes anything: `python -m mars.run augmenter=instruct dry_run=true`.

Upper bounds, since what a run draws depends on margins nobody has yet. Distances of a semantic layer are measured: they
cost time, and no call.
"""

from __future__ import annotations

from collections.abc import Sequence

from mars.assembly import Pieces
from mars.augment.variant import Request
from mars.method.settings import RoundsConfig
from mars.pool.store import Supply


def report(pieces: Pieces, rounds: RoundsConfig) -> str:
    """A line for the pool, and one for the semantic layer's writer, if there is one."""
    if pieces.pool.augmenter.name == "none":
        return "this arm draws no variant: nothing to make"
    pool, per_row = pieces.pool, 3 if pieces.pool.config.prompts else 2
    lines = [
        _line("pool", pieces.supply, pool.requests())
        + (", more for what the semantic layer rewrites" if pieces.refiner else "")
        + f"; {rounds.number} rounds of {rounds.budget} rows draw at most {per_row * rounds.number * rounds.budget}, "
        "an arm that scores the whole pool looks at all"
    ]
    if pieces.refiner and pieces.writer:
        close = [pair for pair, is_close in zip(pool.base, pieces.refiner.close, strict=True) if is_close]
        config = pieces.refiner.config
        tries = [("rejected", config.tries_rejected), ("chosen", config.tries_chosen)]
        requests = [Request(pair, side, k) for pair in close for side, most in tries for k in range(most)]  # type: ignore[arg-type]
        lines.append(_line(f"semantic layer, {len(close)} close pairs", pieces.writer, requests))
    return "\n".join(lines)


def _line(what: str, supply: Supply, requests: Sequence[Request]) -> str:
    missing = supply.missing(requests)
    calls = getattr(supply.augmenter, "calls", None)
    return (
        f"{what}: {supply.augmenter.name}, at most {len(missing)} of {len(requests)} variants to make, the rest stored"
        + (f", in at most {calls(missing)} calls" if calls else "")
    )
