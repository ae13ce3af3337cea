"""Variants that equal their source, and the drawn rows that repeat their base pair because of them.

An augmenter has nothing to offer for some texts: EDA edits words between blanks, so a Chinese text, code or a reply of
one word comes back as it was. A run on such data trains on its base pairs again and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from mars.augment.variant import why_unchanged
from mars.pool.pool import Pool

NOTEWORTHY = 0.25  # share of the variants looked at; on English replies EDA leaves some 9 % unchanged, the rules 16 %


def unchanged(pool: Pool) -> dict[str, int]:
    """The number of variants looked at that equal their source, by reason, the commonest first."""
    looks = pool.looked_at.values()
    reasons = Counter(why_unchanged(pool.augmenter, request, variant) for request, variant, _ in looks)
    return {reason: number for reason, number in reasons.most_common() if reason}


def repeats(pool: Pool, rows: np.ndarray) -> np.ndarray:
    """[M] bool: whether the variants of a row, all looked at, say what its base pair says; False for `pool.copies`."""
    width, (n, prompts, texts, _) = pool.config.width, pool.shape
    same = {"text": np.zeros((n, texts), dtype=bool), "prompt": np.zeros((n, prompts), dtype=bool)}
    same["text"][:, [0, width + 1]] = same["prompt"][:, 0] = True
    for (kind, parent, slot), (request, variant, _) in pool.looked_at.items():
        if variant.text == request.source:  # which a semantic layer may have written
            same[kind][parent, slot] = variant.text == pool.base[parent].part(request.part)
    owners, prompt, chosen, rejected = pool.address(rows)
    whole = same["text"][owners, chosen] & same["text"][owners, rejected] & same["prompt"][owners, prompt]
    return whole & pool.inherits(rows) & ~np.isin(rows, pool.copies)


def listed(counts: Mapping[str, int]) -> str:
    """`120 (100 no word to edit, 20 by chance)`; `0` without any."""
    reasons = ", ".join(f"{number} {reason}" for reason, number in counts.items())
    return f"{sum(counts.values())} ({reasons})" if counts else "0"


def remark(record: Mapping[str, Any]) -> str:
    """A line for the log about manifest.json's `pool`, where so many variants equal their source; else empty."""
    same, looked_at = sum(record["unchanged_by"].values()), record["looked_at"]
    if not looked_at or same < NOTEWORTHY * looked_at:
        return ""
    return (
        f"{same / looked_at:.0%} of the variants of {record['augmenter']} equal their source: "
        f"{listed(record['unchanged_by'])}; {record['repeats']} of {record['rows']} drawn rows repeat their base pair "
        "(docs/method/pools.md says which texts each augmenter can edit)"
    )
