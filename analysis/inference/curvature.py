"""What runs recorded of curvature and information, and whether either goes with accuracy.

Each round of rounds.csv holds summaries of H (the average Hessian of the loss) and G (the Godambe information per
label) of the base pairs, of the rows that were drawn and of both together, under the model that drew them:
mars/theory/curvature.py measures them, docs/theory.md says what they mean. Here a round's *gain*, log det of the
mixture − log det of the base pairs in nats per direction, is held against what the round did to held-out accuracy.
Correlations are of ranks, within a seed, and averaged over seeds: the interval is for new seeds, not for new points, of
which one seed's lean on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.inference.comparability import why_not_comparable
from analysis.inference.comparisons import counterpart, same_variants
from analysis.inference.regimes import split_arm
from analysis.study.study import NothingToShow, Run, Study, once_a_study
from mars.record.layout import SPECTRA

PARTS = ("base", "selection", "mixture")
KINDS = {"h": "H", "g": "G"}  # by the prefix of their columns
CONDITIONS = ("bound_separated", "bound_gains", "bound_holds")
GAINS = {f"{kind}_gain": f"gain in {name}" for kind, name in KINDS.items()}
EVERYWHERE = "all groups"  # the dataset of a correlation that is the mean over several
HOW = "python -m mars.run train=head, other modes with curvature=true; finished runs again with force=true"
NO_BOUND = "no arm drew rows, so there is no bound to hold against the truth (python -m mars.run method=uniform)"


class Outcome(NamedTuple):
    """What a gain is held against. of_rounds: a point a round of each arm, not one an arm."""

    name: str
    of_rounds: bool


OUTCOMES = {
    "accuracy_change": Outcome("change in held-out accuracy", True),
    "loss_fall": Outcome("fall in held-out log-loss", True),
    "accuracy": Outcome("test accuracy − {reference}", False),
    "gold_accuracy": Outcome("gold accuracy − {reference}", False),
}


def has_curvature(study: Study) -> bool:
    """Whether any round of the study has its curvature."""
    return "h_gain" in study.rounds and bool(study.rounds["h_gain"].notna().any())


def require(study: Study) -> None:
    """Raises NothingToShow where no round has its curvature."""
    if not has_curvature(study):
        raise NothingToShow(f"no run recorded its curvature ({HOW})")


def spectra(run: Run) -> pd.DataFrame | None:
    """round, part, index (0 = largest), h and g: every eigenvalue; None where the run kept none that can be read."""
    file = run.file(SPECTRA)
    try:
        return pd.read_parquet(file, columns=["round", "part", "index", *KINDS]) if file else None
    except (OSError, ValueError, KeyError):  # damaged: the figure goes without this run
        return None


def points(group: Study) -> pd.DataFrame:
    """arm, seed, round, the gains, `accuracy_change` and `loss_fall` of every round of a group's arms.

    Changes are from the round before, so the first round has none; positive is better in both. A round that tried its
    rows on the held-out pairs has none either: what it chose by flatters it.
    """
    columns = ["arm", "replicate", "round", *(gain for gain in GAINS if gain in group.rounds)]
    ordered = group.rounds.sort_values(["run", "round"], kind="stable")
    found = ordered[columns].reindex(columns=["arm", "replicate", "round", *GAINS])
    for name, column, sign in (("accuracy_change", "validation_accuracy", 1), ("loss_fall", "validation_loss", -1)):
        known = column in ordered
        found[name] = sign * ordered.groupby("run")[column].diff() if known else math.nan
        if "trial_steps" in ordered:
            found[name] = found[name].where(~(ordered["trial_steps"] > 0))
    return found.reset_index(drop=True)


def finals(group: Study) -> pd.DataFrame:
    """arm, seed, a run's mean gains and its test and gold accuracy, less those of the reference at the same seed.

    The reference itself is left out, as it differs in nothing. Empty where arms differ in more than their strategy,
    unless the study is judged all the same.
    """
    means = points(group).groupby(["arm", "replicate"], as_index=False)[list(GAINS)].mean()
    if why_not_comparable(group) or not group.splits:
        return means.iloc[:0].reindex(columns=["arm", "replicate", *GAINS, "accuracy", "gold_accuracy"])
    for metric in ("accuracy", "gold_accuracy"):
        values = {arm: group.values(arm, group.splits[0], metric) for arm in group.arms}
        pairs = zip(means["arm"], means["replicate"], strict=True)
        means[metric] = [values[arm].get(seed, math.nan) for arm, seed in pairs]
    others = {arm: counterpart(group.arms, arm, group.reference) for arm in group.arms}
    others = {a: r for a, r in others.items() if r is not None and r != a and same_variants(group, a, r)}
    ours = means[means["arm"].isin(list(others))].reset_index(drop=True)
    keys = ours[["arm", "replicate"]].assign(arm=ours["arm"].map(others))
    theirs = keys.merge(means, on=["arm", "replicate"], how="left")
    columns = [*GAINS, "accuracy", "gold_accuracy"]
    ours[columns] -= theirs[columns]
    return ours


@once_a_study
def correlations(study: Study) -> pd.DataFrame:
    """dataset, backbone, gain, outcome, rho, within, points and seeds: a row for each gain and outcome of each group.

    rho: Spearman's, of a seed's points, mean over seeds, with `_lo` and `_hi`. within: the same of what is left when
    the mean over arms is taken out of each round and kind of variants, so that what all arms do as training goes on, or
    what other variants do to all of them, counts for nothing.
    points: of a seed, on average. Of several groups there are further rows, EVERYWHERE: a seed's mean over groups.
    """
    found = pd.DataFrame(
        [row for _, group in study.groups() for row in _of_group(group)],
        columns=["dataset", "backbone", "gain", "outcome", "replicate", "rho", "within", "points"],
    )
    several = len(found[["dataset", "backbone"]].drop_duplicates()) > 1
    tables = [found, found.assign(dataset=EVERYWHERE, backbone="mean over groups")] if several else [found]
    rows = []
    for table in reversed(tables):  # the mean over groups first
        for keys, same in table.groupby(["dataset", "backbone", "gain", "outcome"], sort=False):
            row = dict(zip(("dataset", "backbone", "gain", "outcome"), keys, strict=True))
            of_seeds = same.groupby("replicate")
            for name in ("rho", "within"):
                by_seed = of_seeds[name].mean().dropna().to_numpy(float)
                mean, lo, hi = stats.mean_interval(by_seed) if len(by_seed) else (math.nan,) * 3
                row |= {name: mean, f"{name}_lo": max(lo, -1.0), f"{name}_hi": min(hi, 1.0)}
            rows.append(row | {"points": of_seeds["points"].sum().mean(), "replicates": len(of_seeds)})
    columns = ["dataset", "backbone", "gain", "outcome", *(f"{n}{end}" for n in ("rho", "within") for end in _ENDS)]
    return pd.DataFrame(rows, columns=[*columns, "points", "replicates"])


_ENDS = ("", "_lo", "_hi")


def _of_group(group: Study) -> Iterator[tuple[object, ...]]:
    """dataset, backbone, gain, outcome, seed, rho, within, points of each seed that has enough points."""
    if not has_curvature(group):
        return
    keys = group.runs[["dataset", "backbone"]].iloc[0]
    tables = {True: points(group), False: finals(group)}
    kinds = {arm: split_arm(arm)[0] for arm in group.arms}
    for outcome, (_, of_rounds) in OUTCOMES.items():
        table = tables[of_rounds]
        kind = table["arm"].map(kinds)
        alike = table.groupby(["replicate", "round", kind], dropna=False).ngroup() if of_rounds else None
        for gain in GAINS:
            both = table[[gain, outcome]].to_numpy(float)
            known = ~np.isnan(both).any(axis=1)
            both, seeds = both[known], table["replicate"].to_numpy()[known]
            left = both if alike is None else _less_means(both, alike.to_numpy()[known])
            for seed in np.unique(seeds):
                own = seeds == seed
                rho = stats.rank_correlation(*both[own].T)
                within = math.nan if alike is None else stats.rank_correlation(*left[own].T)
                if not math.isnan(rho):
                    yield keys["dataset"], keys["backbone"], gain, outcome, seed, rho, within, int(own.sum())


def _less_means(points: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """[M, 2] points less the mean of their group [M]. What is alike leaves zeros, not rounding errors."""
    sums = np.column_stack([np.bincount(groups, column) for column in points.T])
    with np.errstate(invalid="ignore"):  # groups of which no point is left
        means = sums / np.bincount(groups)[:, None]
    return (points - means[groups]).round(12)
