"""How a comparison is put into words: its size, its numbers and which of the verdicts they allow, always alike.

not settled within ± 1, +0.3 points of accuracy [−0.9, +1.5], p 0.512 (1.000 adjusted for 14); about 9 more replicates
would settle it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.exhibits.table import number
from analysis.inference.pairing import Endpoint
from analysis.inference.verdicts import BETTER, EQUIVALENT, OPEN, WORSE

MANY = 30  # comparisons, beyond which none has a sentence
_ARE = {EQUIVALENT: ("is equivalent", "are equivalent"), OPEN: ("is not settled", "are not settled")}
_UNTESTED = ("could not be tested", "could not be tested")


def outcomes(who: str, found: Mapping[str, Sequence[str]]) -> str:
    """How many comparisons came out how; of which there are none is not told, but that none is better or worse is.

    mars is better in 1 (none); 2 are not settled (uniform, eda)

    found: {verdict: what `who` was compared with in those that have it}, empty texts for what is not to be named.
    """
    parts = [f"{way} in {_listed(found[way])}" for way in (BETTER, WORSE) if found.get(way)]
    parts = [f"{who} is {'; '.join(parts)}" if parts else f"none finds {who} better or worse"]
    for verdict in (EQUIVALENT, OPEN, ""):
        if of_it := found.get(verdict):
            parts.append(_listed(of_it, f" {_ARE.get(verdict, _UNTESTED)[len(of_it) > 1]}"))
    return "; ".join(parts)


def _listed(names: Sequence[str], are: str = "") -> str:
    """`2 are not settled (uniform, eda)`."""
    return f"{len(names)}{are}" + (f" ({', '.join(names)})" if all(names) else "")


def size_of(row: dict[str, Any], examples: str) -> str:
    """`3 replicates × 500 pairs of their own`."""
    replicates, number = round(row["replicates"]), round(row["examples"])  # floats beside a comparison without numbers
    size = f"{replicates} replicate{'' if replicates == 1 else 's'} × {number} {examples}"
    return size + (" of their own" if row.get("own_rows") is True else "")


def by_endpoint(row: dict[str, Any], endpoint: Endpoint, examples: str = "test pairs") -> str:
    """The difference of a row of `verdicts.as_family`, and what it settles."""
    metric, _, unit, scale, spec = endpoint
    estimate = f"{number(scale * row['difference'], f'+{spec}')} {unit} of {metric.replace('_', ' ')}"
    if row["not_compared"]:
        return estimate
    ends = (number(scale * row[key], f"+{spec}") for key in ("difference_lo", "difference_hi"))
    numbers = f"{estimate} [{', '.join(ends)}], {_tested(row, 'p')}"
    margin = f"± {number(scale * row['margin'], 'g')}"
    if row["verdict"] in (BETTER, WORSE):
        return f"{row['verdict']}, {numbers}"
    if row["verdict"] == EQUIVALENT:
        return f"equivalent within {margin}, {numbers}; of a difference that large {_tested(row, 'equivalence_p')}"
    return f"not settled within {margin}, {numbers}; {what_would(row, examples)}"


def _tested(row: dict[str, Any], p: str) -> str:
    adjusted = f" ({number(row[f'{p}_adjusted'], 'p')} adjusted for {row['family']})" if row["family"] > 1 else ""
    return f"p {number(row[p], 'p')}{adjusted}"


def what_would(row: dict[str, Any], examples: str) -> str:
    """About how many replicates more would settle it."""
    more = row["more_replicates"]
    if np.isinf(more):
        larger = {f"judged on {{}} {examples}": row["larger_examples"], "drawn from {} rows": row["larger_rows"]}
        such = " and ".join(text.format(_rough(count)) for text, count in larger.items() if np.isfinite(count))
        return f"no number of these replicates would settle it; about {_rough(row['larger_replicates'])} {such} would"
    return f"about {more:,.0f} more replicate{'' if more == 1 else 's'} would settle it"


def _rough(count: float) -> str:
    """Two digits of an estimate, which has no more."""
    return f"{float(f'{count:.2g}'):,.0f}"
