"""At which length arms are compared: all after the same steps, or each at its best (`rounds.keep`, `mars.method.best`).

A run that kept its best model trained as long as any other, so that its arm's best length differs from another's is no
confound. It is another question: what an arm is worth where somebody stops it in time. Only what a run recorded of
itself counts, not what it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.study.pools import numbers
from analysis.study.study import Study

KEPT = ("kept_step", "reference_kept_step")  # of a compared pair: mean steps of the models kept, NaN for the last ones
EQUAL, BEST = "At equal steps", "Each at its best length"


def kept_steps(group: Study) -> pd.Series:
    """By arm, the mean steps of the models it kept; NaN for an arm that was judged by its last models."""
    return numbers(group.runs, "kept_step").groupby(group.runs["arm"]).mean()


def at_best(row: dict[str, Any]) -> bool:
    """Whether a compared pair (`comparisons.compare`) is of arms at their best lengths."""
    return bool(np.isfinite(row.get(KEPT[0], np.nan)))


def in_words(study: Study) -> Iterator[str]:
    """A sentence for each group in which a run kept its best model."""
    for title, group in study.groups():
        kept = kept_steps(group).reindex(group.arms).dropna()
        if kept.empty:
            continue
        whole = numbers(group.runs, "steps")[group.runs["arm"].isin(kept.index)].mean()
        listed = ", ".join(f"{arm} {steps:.0f}" for arm, steps in kept.items())
        others = "" if len(kept) == len(group.arms) else "; the other arms were judged after all of them"
        which = "every arm" if not others else "arms of rounds.keep=best"
        yield (
            f"{title}: {which} trained {whole:,.0f} steps, and the model that told most of the validation pairs was "
            f"judged (steps kept, on average: {listed}){others}."
        )
