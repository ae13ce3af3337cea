"""Which endpoint tells two arms apart sooner: both measured on the same replicates of one finished study.

    python -m benchmarks.speed endpoints outputs/settle

A difference of t standard errors takes a number of replicates in proportion to 1 / t² to be found. So the ratio of the
replicates that two endpoints need, for the same power, is that of their t², the one of accuracy over the other's.
"""

from __future__ import annotations

import itertools
import math

import pandas as pd

from analysis.inference.pairing import ENDPOINTS, difference_of
from analysis.study.loading import load
from analysis.study.study import Study

TOLD_APART = 2.0  # standard errors by both endpoints, below which a ratio is one of noise


def endpoints(study: Study) -> pd.DataFrame:
    """group, arm, reference, and of each endpoint its difference in standard errors, for every two arms of a group.

    ratio: replicates that information needs for each one that accuracy needs; NaN where the two arms are not told
    apart by both. Arms that do the same on every pair have no standard error, and no row.
    """
    rows = []
    for title, group in study.groups():
        for arm, reference in itertools.combinations(group.arms, 2):
            found = [difference_of(group, arm, reference, group.splits[0], endpoint).result for endpoint in ENDPOINTS]
            if any(one.spread is None for one in found):
                continue
            accuracy, information = (one.difference / one.spread.se for one in found if one.spread is not None)
            apart = min(abs(accuracy), abs(information)) >= TOLD_APART
            ratio = (accuracy / information) ** 2 if apart else math.nan
            rows.append((title, arm, reference, accuracy, information, ratio))
    return pd.DataFrame(rows, columns=["group", "arm", "reference", "accuracy", "information", "ratio"])


def main(study: str) -> None:
    print(endpoints(load(study)).to_string(index=False, float_format="{:.2f}".format, na_rep=""))
