"""Does what a study finds hang on how its arms were trained? The comparison at several learning rates and lengths.

A cell is one rate and one length, `rounds.steps`: more rounds would also score and allocate more often, and so change
the arm and not its length alone. Verdicts are those of the declared family, which grows with the cells. A verdict that
changes from cell to cell is weak evidence by itself, since "not settled" may be a matter of luck. So there is also what
the difference itself changes by from the least to the largest rate, and length: a mean over the other setting, with the
interval of any contrast of arms (`analysis.inference.contrasts`), and not tested.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from analysis.inference.comparisons import compare
from analysis.inference.contrasts import outcomes
from analysis.inference.pairing import ACCURACY, INFORMATION
from analysis.inference.stats import Interval
from analysis.study.arm_names import method_of, value_of, without
from analysis.study.study import Study

RATE, LENGTH = "train.lr", "rounds.steps"
SETTINGS = {"rate": RATE, "length": LENGTH}
_NUMBERS = ["difference", "difference_lo", "difference_hi", "verdict"]
_PAIR = ["dataset", "backbone", "split", "arm", "reference"]


def cells(study: Study) -> pd.DataFrame:
    """The comparisons with the reference of arms that name a rate and a length, a row each; empty where there is none.

    dataset, backbone, split, arm, reference, line: `mars − uniform`; rate, length; difference with _lo and _hi and its
    verdict by accuracy, as share of pairs; the same as bits, bits_lo, bits_hi, bits_verdict by information; replicates,
    margin of accuracy, not_compared.
    """
    compared = compare(study)
    of_reference = compared["reference"].astype(str).map(method_of) == method_of(study.reference)
    found = compared[of_reference]
    rates, lengths = ([value_of(arm, setting) for arm in found["arm"]] for setting in (RATE, LENGTH))
    found = found.assign(rate=rates, length=lengths).dropna(subset=["rate", "length"])
    line = [
        " − ".join(without(arm, RATE, LENGTH) for arm in pair)
        for pair in zip(found["arm"], found["reference"], strict=True)
    ]
    found = found.assign(line=line)
    by_accuracy, by_bits = (found[found["endpoint"] == of.metric] for of in (ACCURACY, INFORMATION))
    bits = by_bits[[*_PAIR, *_NUMBERS]].rename(columns=lambda name: name.replace("difference", "bits"))
    bits = bits.rename(columns={"verdict": "bits_verdict"})
    shown = [*_PAIR, "line", "rate", "length", *_NUMBERS, "replicates", "margin", "not_compared"]
    table = by_accuracy[shown].merge(bits, on=_PAIR, how="left")
    return table.sort_values([*_PAIR[:3], "line", "length", "rate"], kind="stable", ignore_index=True)


def hangs_on(rows: pd.DataFrame, setting: str) -> list[float]:
    """At which values of the other setting the verdict by accuracy changes with this one. rows: of one line.

    A cell that was not tested has no verdict, and so none that differs.
    """
    (other,) = set(SETTINGS) - {setting}
    verdicts = rows[rows["verdict"] != ""].groupby(other)["verdict"].nunique()
    return [float(at) for at in verdicts.index[verdicts > 1]]


def change(study: Study, rows: pd.DataFrame, setting: str) -> Interval:
    """What the difference in accuracy changes by from the least to the largest value of a setting.

    rows: of one line. The mean over values of the other setting at which both ends ran; NaN where there is none.
    """
    (other,) = set(SETTINGS) - {setting}
    group = next(of for _, of in study.groups() if set(rows["arm"]) <= set(of.arms) and _is(of, rows))
    ends = rows[setting].min(), rows[setting].max()
    arms: list[tuple[Study, str]] = []  # of each other setting: arm and reference at the high end, then at the low one
    for _, own in rows.groupby(other):
        at = own.set_index(setting)
        if ends[0] != ends[1] and set(ends) <= set(at.index):
            named = (str(at.loc[end, side]) for end in reversed(ends) for side in ("arm", "reference"))
            arms += [(group, name) for name in named]
    found = outcomes(arms, str(rows["split"].iloc[0]), ACCURACY) if arms else None
    if found is None:
        return Interval(math.nan, math.nan, math.nan)
    signs = np.resize([1.0, -1.0, -1.0, 1.0], len(arms)) * 4 / len(arms)
    result = found.judge(np.tensordot(signs, found.cells, axes=1))
    return Interval(result.difference, result.lo, result.hi)


def _is(group: Study, rows: pd.DataFrame) -> bool:
    return bool((group.runs[["dataset", "backbone"]].iloc[0] == rows[["dataset", "backbone"]].iloc[0]).all())
