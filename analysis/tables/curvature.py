"""Curvature and information by arm: what the rows an arm draws do to H and to G, and whether the paper's bound speaks.

H rises when rows of small margin are added, copies or not; G counts a label once, however many copies it has. An arm
that raises the one and not the other has gained steepness and no knowledge, which is why they stand side by side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.table import Column, Table
from analysis.inference.curvature import GAINS, KINDS, OUTCOMES, PARTS, correlations, recorded, require
from analysis.study.study import NothingToShow, Study
from analysis.tables.arms import arm_rows, over_seeds

_WHOLE_MODEL = {"hessian_trace": "trace", "hessian_largest": "largest", "hessian_smallest": "smallest"}
_CURVATURE = (
    Column("arm", "arm"),
    Column("part", "of"),
    *(Column(gain, f"{name}, nats", "+.3f", interval=True) for gain, name in GAINS.items()),
    *(Column(f"{kind}_logdet", f"log det {name}", ".2f") for kind, name in KINDS.items()),
    *(Column(f"{kind}_condition", f"condition {name}", ",.3g") for kind, name in KINDS.items()),
    *(Column(f"{kind}_effective_rank", f"effective rank {name}", ".1f") for kind, name in KINDS.items()),
    *(Column(name, f"{head}, whole model", ".3g") for name, head in _WHOLE_MODEL.items()),
    Column("labels", "labels", ".0f"),
    Column("directions", "directions", ".0f"),
    Column("seeds", "seeds", "d"),
    Column("rounds", "rounds", "d"),
)
_BOUND = (
    Column("arm", "arm"),
    Column("separated", "m_L < m_H, %", ".0f", 100),
    Column("gains", "κσ′(m_L) > σ′(m_H), %", ".0f", 100),
    Column("both", "both, %", ".0f", 100),
    Column("holds", "truth ≥ factor, %", ".0f", 100),
    Column("factor", "factor", ".3f", interval=True),
    Column("truth", "truth", ".3f", interval=True),
    Column("low", "m_L", ".2f"),
    Column("high", "m_H", ".2g"),
    Column("kappa", "κ", ".3f"),
    Column("share", "λ", ".2f"),
    Column("rounds", "rounds", ",d"),
)


def curvature(study: Study) -> Table:
    """Raises NothingToShow where no run recorded its curvature."""
    require(study)
    rows = [
        row | values
        for group, arm, row in arm_rows(study)
        if recorded(group)
        for values in _parts(group.rounds[group.rounds["arm"] == arm])
    ]
    caption = (
        "Of the base pairs, the drawn rows (selection) and both (mixture), under the model that drew them: means over "
        "rounds, then over seeds. Gain: log det of the mixture − log det of the base pairs, in nats per direction, "
        "with its 95 % t interval over seeds; H is the average Hessian of the loss, G the Godambe information per "
        "label, in which copies of a pair add nothing. Condition number: geometric mean. Effective rank: exp of the "
        "entropy of the eigenvalues. All on the directions in which base pairs vary. G is a fair estimate only with "
        "many more labels than directions: at 2.6 labels a direction its gain was 0.2 nats too high in a simulation. "
        "Nothing is tested."
    )
    return Table("curvature", "Curvature and information", caption, pd.DataFrame(rows), _CURVATURE)


def _parts(rounds: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each part that an arm has anything of; the gains stand with the mixture."""
    rows = []
    for part in PARTS:
        names = [f"{kind}_{part}_logdet" for kind in KINDS]
        known = rounds.dropna(subset=[name for name in names if name in rounds], how="all")
        if names[0] not in rounds or known.empty:
            continue
        row: dict[str, Any] = {"part": part}
        for gain in GAINS:
            by_seed = known.groupby("seed")[gain].mean() if part == "mixture" and gain in known else None
            row |= over_seeds(gain, by_seed)
        means = _means(known)
        for kind in KINDS:
            for summary in ("logdet", "effective_rank", "condition"):
                row[f"{kind}_{summary}"] = means.get(f"{kind}_{part}_{summary}", math.nan)
        row |= {name: means.get(name, math.nan) if part == "base" else math.nan for name in _WHOLE_MODEL}
        row |= {"labels": means.get("curvature_labels", math.nan), "directions": means.get("curvature_span", math.nan)}
        row |= {"seeds": known["seed"].nunique()}
        rows.append(row | {"rounds": known["round"].nunique()})
    return rows


def _means(rounds: pd.DataFrame) -> dict[str, float]:
    """Of each summary the mean over rounds, then over seeds; of condition numbers the geometric one."""
    values = rounds.filter(regex="^([hg]_|curvature_|hessian_)").astype(float)
    ratios = [str(name) for name in values.columns if str(name).endswith("_condition")]
    values = values.where(np.isfinite(values))
    values[ratios] = np.log(values[ratios])
    means = values.groupby(rounds["seed"]).mean().mean()
    return {str(name): math.exp(mean) if name in ratios else float(mean) for name, mean in means.items()}


def bound(study: Study) -> Table:
    """Raises NothingToShow where no run recorded the bound."""
    require(study)
    rows = [
        row | values
        for group, arm, row in arm_rows(study)
        if (values := _bound(group.rounds[group.rounds["arm"] == arm]))
    ]
    if not rows:
        raise NothingToShow(
            "no arm drew rows, so there is no bound to hold against the truth (python -m mars.run method=uniform)"
        )
    caption = (
        "H of the mixture is at least (1 + λ(κσ′(m_L)/σ′(m_H) − 1)) times H of the base pairs, as matrices, where no "
        "drawn row has |Δ| above m_L, no base pair one below m_H, and the drawn rows cover κ times what base pairs do. "
        "Shares of all rounds of all seeds: margins separated; factor above 1, without which the bound promises no "
        "gain; both; and truth not below the factor, which is the theorem. Truth: the smallest generalised eigenvalue "
        "of the two matrices. Factor and truth: median [least, most]; the rest: medians."
    )
    return Table("bound", "The bound against the truth", caption, pd.DataFrame(rows), _BOUND)


def _bound(rounds: pd.DataFrame) -> dict[str, Any]:
    """An arm's numbers; none where it drew no rows."""
    if "bound_truth" not in rounds or rounds["bound_truth"].isna().all():
        return {}
    known = rounds.dropna(subset=["bound_truth"])
    separated, gains = known["bound_separated"] == 1, known["bound_gains"] == 1
    row: dict[str, Any] = {
        "separated": separated.mean(),
        "gains": gains.mean(),
        "both": (separated & gains).mean(),
        "holds": (known["bound_holds"] == 1).mean(),
        "rounds": len(known),
    }
    for name in ("factor", "truth"):
        values = known[f"bound_{name}"]
        row |= {name: values.median(), f"{name}_lo": values.min(), f"{name}_hi": values.max()}
    return row | {name: known[f"bound_{name}"].median() for name in ("low", "high", "kappa", "share")}


def information(study: Study) -> Table:
    """Raises NothingToShow where there is too little to correlate."""
    require(study)
    frame = correlations(study)
    if frame.empty:
        raise NothingToShow(
            "too few points to correlate, for want of arms or rounds (python -m mars.run -m method=uniform,mars)"
        )
    caption = (
        "Spearman's rank correlation of a round's gain in H and in G (log det, mixture against base pairs) with what "
        "the round did to the held-out pairs, over a seed's arms and rounds (less those that chose their rows by "
        f"these pairs); and of a run's mean gain with its test accuracy, both less {study.reference}'s, over a seed's "
        "arms, where arms may be compared. Mean over seeds with its 95 % t interval. Within rounds: the same without "
        "what all arms of a round and kind of variants have in common, such as early rounds gaining more. Points: of "
        "a seed. Correlation over a study's few arms is weak evidence: whatever else "
        "sets two arms apart moves both numbers. Nothing is tested."
    )
    shown = frame.assign(
        gain=frame["gain"].map(GAINS),
        outcome=[OUTCOMES[name].name.format(reference=study.reference) for name in frame["outcome"]],
    )
    columns = (
        Column("gain", "of"),
        Column("outcome", "with"),
        Column("rho", "ρ", "+.2f", interval=True),
        Column("within", "ρ within rounds", "+.2f", interval=True),
        Column("points", "points", ".0f"),
        Column("seeds", "seeds", "d"),
    )
    return Table("information", "Does curvature or information go with accuracy?", caption, shown, columns)
