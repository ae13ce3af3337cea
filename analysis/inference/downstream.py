"""What reward models are worth downstream: arms compared prompt by prompt in what their picks or their policy gain.

Two benchmarks tell: `best_of_n`, where a reward model picks among candidates, and `trained_policy`, where a policy is
trained with it. All arms of a replicate choose among the same candidates, or begin with the same policy and are judged
on the same prompts, so arms are compared as on the same test pairs: by `pairing.paired_difference`, where an example is
a prompt. Its outcome is the gold reward after over that before, in standard deviations of a prompt's replies before.

`compare_gains` is a family of its own beside the declared comparisons of `analysis.inference.comparisons`, for the same
arms and by the same rule, with MARGIN fixed here and not by a setting. A study that stops by its endpoints is judged by
those; that it stopped, these p do not know.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.inference.comparability import why_not_comparable
from analysis.inference.comparisons import COLUMNS, declared_comparisons, numbers
from analysis.inference.design import design
from analysis.inference.pairing import Endpoint, Paired, of_prompts, paired_difference
from analysis.inference.verdicts import as_family
from analysis.study.labels import labels_of
from analysis.study.study import Pairs, Study, once_a_study
from benchmarks import picks
from benchmarks.align import outcome
from mars.config import UserError
from mars.record.layout import scores_of

GAIN = Endpoint("gold_gain", lambda pairs: pairs.margins, "sd", 1.0, ".2f")
MARGIN = 0.1  # sd, within which two arms are equivalent downstream
_OF_PAIRS = {"split", "bootstrap_lo", "bootstrap_hi", "mcnemar_p", "steps", "reference_steps"}  # no columns here
_COLUMNS = ["label", *(name for name in COLUMNS if name not in _OF_PAIRS)]


class _Gold(NamedTuple):
    """Mean gold reward by prompt, [P] each. variance: of the replies to a prompt before."""

    ids: pd.Index
    before: np.ndarray
    after: np.ndarray
    variance: np.ndarray


def _of_picks(table: pd.DataFrame, protocol: Mapping[str, Any]) -> _Gold | None:
    found = picks.Picked.of(table, int(protocol["n"][-1]))
    if found.gold is None or found.gold_variance is None:
        return None
    return _Gold(found.ids, found.gold[:, 0], found.gold[:, -1], found.gold_variance)


def _of_training(table: pd.DataFrame, _: Mapping[str, Any]) -> _Gold | None:
    found = outcome.Outcome.of(table)
    if (gold := found.means.get("gold")) is None:
        return None
    return _Gold(found.ids, gold[:, 0], gold[:, -1], found.variances["gold"])


_GOLD: dict[str, Callable[[pd.DataFrame, Mapping[str, Any]], _Gold | None]] = {
    picks.NAME: _of_picks,
    outcome.NAME: _of_training,
}
BENCHMARKS = tuple(_GOLD)  # in the order in which they are told


@functools.lru_cache(maxsize=64)
def gains(group: Study, arm: str, label: str) -> Pairs:
    """[S seeds, E prompts] gold reward: `chosen` of the pick of the largest n, or of the trained policy; `rejected` of
    a random candidate, or of the policy before.

    Both in standard deviations within a prompt before, the run's own. Of the runs that were judged under the label and
    whose gold is known and varies; bits are not defined and NaN.
    """
    known = group.runs[group.runs["arm"] == arm].set_index("seed")["replicate"]
    rows: dict[int, pd.DataFrame] = {}
    for run in group.of(arm):
        file, record = run.file(scores_of(label)), run.record(label)
        if file is None or not file.exists() or (read := _GOLD.get(str(record.get("benchmark")))) is None:
            continue
        try:
            found = read(pd.read_parquet(file), record["protocol"])
        except (OSError, ValueError, KeyError, TypeError, IndexError, UserError):  # a remark of the study names it
            continue
        if found is None or not found.variance.any():
            continue
        sd = np.sqrt(found.variance.mean())
        columns = {"chosen": found.after / sd, "rejected": found.before / sd}
        rows[run.manifest["seed"]] = pd.DataFrame(columns, index=found.ids)
    return of_prompts(rows, known)


def gain_over(group: Study, arm: str, reference: str, label: str) -> Paired:
    """arm − reference in gold gain, for new replicates and new prompts; without replicates where they share none."""
    overlap = design(group).overlap
    return paired_difference(gains(group, arm, label), gains(group, reference, label), GAIN, overlap)


@once_a_study
def compare_gains(study: Study) -> pd.DataFrame:
    """The declared pairs of arms in gold gain, a row for each label of BENCHMARKS that both were judged under.

    Columns, adjustment and verdicts as of `comparisons.compare`, with `label` for `split`; the family is the rows here.
    """
    every = [label for name in BENCHMARKS for label in labels_of(study, name)]
    rows = [row for _, group in study.groups() for label in every for row in _of_label(group, label)]
    return as_family(rows, _COLUMNS, None)


def _of_label(group: Study, label: str) -> Iterator[dict[str, Any]]:
    confounded = why_not_comparable(group)
    for declared in declared_comparisons(group):
        arm, reference = declared["arm"], declared["reference"]
        if reference not in group.arms or not all(len(gains(group, one, label).seeds) for one in (arm, reference)):
            continue
        row = {**declared, "label": label, "endpoint": GAIN.metric, "margin": MARGIN}
        if confounded:
            row["not_compared"] = f"arms differ in {confounded}"
        elif not row["not_compared"]:
            row |= numbers(gain_over(group, arm, reference, label), GAIN, "prompt") | {"size": design(group).size}
        yield row
