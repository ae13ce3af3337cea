"""Verdicts: what a study says of its comparisons, judged as one family.

One arm is *better*, the two are *equivalent* within a margin declared beforehand, or it is *not settled*. Every p is
multiplied by the number of comparisons of the study, over all datasets, backbones and both endpoints. A comparison is
tested twice, for a difference and for equivalence, and counts once: no difference and a difference of at least the
margin cannot both be true, so at most one of its two verdicts can be false. (Holm's method would not do here: an arm
that is rightly called better leaves its other hypothesis standing.) So a false verdict of any kind appears in at most
one study in twenty.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.inference.difference import equivalence_p
from analysis.inference.settling import detectable, larger_study, more_replicates
from analysis.study.looks import FUTILE, key_of
from analysis.study.parallel import made

BETTER, WORSE, EQUIVALENT, OPEN = "better", "worse", "equivalent", "not settled"  # verdicts


def as_family(rows: list[dict[str, Any]], columns: list[str], settled: Mapping[str, str] | None) -> pd.DataFrame:
    """A table of compared arms (`comparisons.numbers` with a margin each), judged as one family of all that have a p.

    settled: of a study that was looked at while it grew (`Study`); None goes by p alone.
    """
    table = pd.DataFrame(rows, columns=columns)
    if any(row.get("own_rows") for row in rows):
        table["own_rows"] = [bool(row.get("own_rows")) for row in rows]
    family = int(np.isfinite(table["p"].to_numpy(float)).sum())
    level = stats.ALPHA / max(1, family)
    spreads = [row.get("spread") for row in rows]
    table["family"] = family
    table["detectable"] = made(functools.partial(detectable, level=level), spreads)
    of = list(zip(table["difference"], spreads, table["margin"], strict=True))
    table["equivalence_p"] = [equivalence_p(*one) for one in of]
    table["more_replicates"] = [more_replicates(*one, level) for one in of]
    larger = [larger_study(*one, level) for one in of]
    table["larger_replicates"] = [study.replicates for study in larger]
    table["larger_examples"] = [study.examples for study in larger]
    table["larger_rows"] = [row.get("size", 0) / study.overlap for row, study in zip(rows, larger, strict=True)]
    for p in ("p", "equivalence_p"):
        table[f"{p}_adjusted"] = (family * table[p].astype(float)).clip(upper=1.0)
    table["verdict"] = [_verdict(row, settled) for row in table.to_dict("records")]
    return table


def _verdict(row: Mapping[Any, Any], settled: Mapping[str, str] | None) -> str:
    """By one endpoint. A difference that is found but lies within the margin is a difference.

    settled: of a study that was looked at while it grew, by its rule, which this p does not know of.
    """
    if math.isnan(row["p"]):
        return ""
    if settled is not None:
        return settled.get(key_of(row), OPEN).replace(FUTILE, OPEN)
    if row["p_adjusted"] < stats.ALPHA:
        return BETTER if row["difference"] > 0 else WORSE
    return EQUIVALENT if row["equivalence_p_adjusted"] < stats.ALPHA else OPEN
