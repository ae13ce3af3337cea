"""Does what is measured of a reward model on test pairs foretell what it is worth downstream?

Over arms and replicates: a run is a point, with its accuracy, information, margins and curvature on one side and the
gold reward of its picks, or of the policy that was trained with it, on the other. Two rank correlations of the same
points. *all*: as they are. *within*: each replicate's mean over its arms is taken out of both sides first, so that a
draw of base pairs that is lucky for every arm, on both sides, counts for nothing.

Runs of one replicate lean on each other, so replicates are what is left out one by one: a jackknife on Fisher's z, with
Student's t (`rank_interval`). A correlation over a study's few arms is weak evidence all the same: whatever else sets
two arms apart moves both sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.inference.comparability import why_not_comparable
from analysis.inference.design import design
from analysis.inference.downstream import BENCHMARKS
from analysis.study.labels import labels_of
from analysis.study.study import Study, once_a_study
from benchmarks.metrics import LEVEL, t_central, t_quantile

FEWEST_REPLICATES = 3
_NORMAL = NormalDist()
PREDICTORS = {  # of the in-distribution test split, and means over rounds
    "accuracy": "accuracy", "gold_accuracy": "gold accuracy", "information": "information", "snr": "margin SNR",
    "h_gain": "gain in H", "g_gain": "gain in G",
}  # fmt: skip
OUTCOMES = {"gold_gain": "gold gain", "gold_win_rate": "gold win rate"}
_OF_ROUNDS = ("h_gain", "g_gain")
_KEYS = ["dataset", "backbone", "label", "outcome", "predictor"]
COLUMNS = [
    *_KEYS, "within", "within_lo", "within_hi", "p", "p_adjusted", "all", "all_lo", "all_hi", "runs", "arms",
    "replicates",
]  # fmt: skip


class RankInterval(NamedTuple):
    """Spearman's ρ with its 95 % interval and two-sided p; NaN where there is nothing to estimate them from."""

    rho: float
    lo: float = math.nan
    hi: float = math.nan
    p: float = math.nan


@once_a_study
def foretelling(study: Study) -> pd.DataFrame:
    """COLUMNS, a row for each predictor and outcome of each group of comparable arms that has four runs with both.

    p: of `within`; p_adjusted: by Holm's method over all rows.
    """
    table = pd.DataFrame([row for _, group in study.groups() for row in _of_group(group)], columns=COLUMNS)
    table["p_adjusted"] = stats.holm(table["p"].to_numpy(float))
    return table


def _of_group(group: Study) -> Iterator[dict[str, Any]]:
    judged = [label for name in BENCHMARKS for label in labels_of(group, name)]
    if not judged or why_not_comparable(group) or not group.splits:
        return
    first = {str(key): value for key, value in group.runs[["dataset", "backbone"]].iloc[0].items()}
    overlap = design(group).overlap
    predictors = {name: _by_run({arm: _predictor(group, arm, name) for arm in group.arms}) for name in PREDICTORS}
    for label in judged:
        for outcome in OUTCOMES:
            after = _by_run({arm: group.values(arm, "overall", outcome, label) for arm in group.arms})
            for predictor, before in predictors.items():
                both = pd.concat({"x": before, "y": after}, axis=1).dropna()
                of_all, of_arms = over_all(both, overlap), within(both, overlap)
                if math.isnan(of_all.rho):
                    continue
                row = {**first, "label": label, "outcome": outcome, "predictor": predictor}
                row |= {"within": of_arms.rho, "within_lo": of_arms.lo, "within_hi": of_arms.hi, "p": of_arms.p}
                row |= {"all": of_all.rho, "all_lo": of_all.lo, "all_hi": of_all.hi, "runs": len(both)}
                arms, replicates = (both.index.get_level_values(level).nunique() for level in ("arm", "replicate"))
                yield row | {"arms": arms, "replicates": replicates}


def _by_run(of_arms: Mapping[str, pd.Series]) -> pd.Series:
    """Each arm's values by replicate, by (arm, replicate)."""
    return pd.concat(of_arms, names=["arm", "replicate"]).astype(float)


def _predictor(group: Study, arm: str, name: str) -> pd.Series:
    if name not in _OF_ROUNDS:
        return group.values(arm, group.splits[0], name)
    if name not in group.rounds:
        return pd.Series(dtype=float, index=pd.Index([], name="replicate"))
    own = group.rounds[group.rounds["arm"] == arm]
    return own.groupby("replicate")[name].mean()


def over_all(both: pd.DataFrame, overlap: float = 0.0) -> RankInterval:
    """Spearman's ρ of x and y, by (arm, replicate), for new replicates."""
    return rank_interval(both, overlap=overlap)


def within(both: pd.DataFrame, overlap: float = 0.0) -> RankInterval:
    """The same of `centred` points."""
    left = centred(both)
    return rank_interval(left, len(left.index.unique("replicate")) - 1, overlap)


def centred(both: pd.DataFrame) -> pd.DataFrame:
    """Points less their replicate's mean; those of a replicate with a single arm are left out."""
    replicates = both.groupby(level="replicate")
    left = both - replicates.transform("mean")
    return left[replicates["x"].transform("size") > 1].round(12)  # alike arms leave zeros, not rounding errors


def rank_interval(both: pd.DataFrame, spent: int = 0, overlap: float = 0.0) -> RankInterval:
    """Spearman's ρ of x and y [M], by (arm, replicate), with an interval for new replicates.

    Fisher's z with the standard error that leaving out one replicate after another gives, and Student's t with R − 1
    degrees of freedom. Over a few replicates ranks may happen to stay as they are, so the interval is never narrower,
    nor p smaller, than for as many runs that do not lean on each other (Bonett & Wright 2000). Neither below
    FEWEST_REPLICATES. spent: degrees of freedom that are gone from the M. overlap: of the replicates' base pairs, which
    makes them alike (`design.Design`).
    """
    replicates = both.index.get_level_values("replicate")
    known, number = replicates.unique(), len(both)
    rho = spearman(both)
    if math.isnan(rho) or len(known) < FEWEST_REPLICATES:
        return RankInterval(rho)
    # A perfect order of M points has no z: it stands half-way to the next best order, one swap of neighbours away.
    most = 1 - 6 / (number * (number**2 - 1))
    left = np.arctanh(np.clip([spearman(both[replicates != one]) for one in known], -most, most))
    if np.isnan(left).any():  # too few points are left
        return RankInterval(rho)
    z, last = math.atanh(np.clip(rho, -most, most)), len(known) - 1
    alike = math.sqrt(1 + len(known) * overlap / (1 - overlap))
    se = alike * math.sqrt(last / len(known) * float(((left - left.mean()) ** 2).sum()))
    least = alike * math.sqrt((1 + rho**2 / 2) / max(1, number - spent - 3))
    half = max(t_quantile(LEVEL, last) * se, _NORMAL.inv_cdf((1 + LEVEL) / 2) * least)
    p = max(1 - t_central(abs(z) / se, last) if se > 0 else 0.0, 2 * _NORMAL.cdf(-abs(z) / least))
    return RankInterval(rho, min(rho, math.tanh(z - half)), max(rho, math.tanh(z + half)), p)


def spearman(both: pd.DataFrame) -> float:
    """Of x and y."""
    return stats.rank_correlation(both["x"].to_numpy(float), both["y"].to_numpy(float))
