"""The label noise of a study's main test splits, by what is known of each (`analysis.inference.noise_evidence`)."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.inference.noise_evidence import FEWEST, Known, Noise, flat, noise_of
from analysis.study.arm_names import method_of
from analysis.study.run_files import by_split
from analysis.study.study import BENCHMARK, NothingToShow, Study
from mars.config import UserError
from mars.record.layout import scores_of

BASE_ARMS = ("none_matched", "none")  # models that saw base pairs alone


class Found(NamedTuple):
    """What is known of one dataset × backbone. arm: whose margins. noises: what each kind of evidence says."""

    dataset: str
    backbone: str
    arm: str
    known: Known
    noises: list[Noise]


def label_noise(study: Study) -> pd.DataFrame:
    """A row for each dataset × backbone and kind of evidence, estimates as KEY, KEY_lo and KEY_hi.

    Raises NothingToShow as `of_study`.
    """
    return pd.DataFrame(
        [
            {"dataset": found.dataset, "backbone": found.backbone, "arm": found.arm} | flat(noise)
            for found in of_study(study)
            for noise in found.noises
        ]
    )


@functools.lru_cache(maxsize=4)
def of_study(study: Study) -> tuple[Found, ...]:
    """What the main test split of each dataset × backbone says, of those of which anything is known.

    The margins are those of an arm that saw base pairs alone, where there is one, the mean of its runs', each in their
    own root mean square; a pair counts once. Raises NothingToShow where nothing is known, with why.
    """
    found, why = [], []
    for _, group in study.groups():
        arm = _arm(group)
        known = _pooled(group, arm)
        try:
            noises = noise_of(known)
        except UserError as error:
            why.append(str(error))
            continue
        if noises:
            dataset, backbone = group.runs[["dataset", "backbone"]].iloc[0]
            found.append(Found(dataset, backbone, arm, known, noises))
    if not found:
        nothing = (
            f"no main test split has {FEWEST} pairs with gold margins or votes, or that a model ranks better than a"
        )
        how = "(python -m mars.run method=none_matched dataset.test_size=1000)"
        raise NothingToShow("; ".join(dict.fromkeys(why)) or f"{nothing} coin {how}")
    return tuple(found)


def _arm(group: Study) -> str:
    methods = {arm: method_of(arm) for arm in group.arms}
    wanted = (*BASE_ARMS, group.reference)
    return next((arm for name in wanted for arm, method in methods.items() if method == name), group.arms[0])


def _pooled(group: Study, arm: str) -> Known:
    parts = []
    for run in group.of(arm) if group.splits else ():
        file = run.file(scores_of(BENCHMARK))
        scores = by_split(file).get(group.splits[0], {}) if file else {}  # with its ties
        if not scores:
            continue
        margins = np.asarray(scores["chosen_score"], float) - np.asarray(scores["rejected_score"], float)
        none = np.full(len(margins), math.nan)
        unit = math.sqrt(float(np.square(margins).mean())) or 1.0
        told = {"gold": scores.get("gold_margin", none), "agreement": scores.get("agreement", none + 1)}
        parts.append(pd.DataFrame({"id": scores["id"], "margins": margins / unit} | told))
    if not parts:
        return Known(*np.empty((3, 0)))
    means = pd.concat(parts).groupby("id", sort=False)[["margins", "gold", "agreement"]].mean()
    return Known(*means.fillna({"agreement": 1.0}).to_numpy(float).T)
