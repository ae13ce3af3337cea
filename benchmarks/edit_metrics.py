"""What edits of pairs do to a model's margins: flips, changes, and the worst case over all edits.

Each pair's margin is known without an edit and under it. The worst case leaves EDA out, which may change what is right;
with it, it bounds a model's fault from above (`benchmarks.protocols.robustness`). Pairs are weighted, so that a
bootstrap draws a pair's margins before and after an edit together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks import metrics

_OF_AN_EDIT = (
    "unseen", "flip_rate", "accuracy_before", "accuracy_after", "accuracy_change", "margin_change", "margin_change_abs",
)  # fmt: skip


def edit_metrics(
    unedited: np.ndarray, edited: np.ndarray, changed: np.ndarray, unseen: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """What an edit does to margins [N], [R] each under weights [R, N]; changed: [N] bool, the pairs it concerns.

    unchanged: share of the others; all else is over the changed pairs, NaN where there are none. unseen: share of those
    of which no score moved, so that the edit probably never reached the model; they dilute the rest. flip_rate: pairs
    whose order turns round, a tie on either end counting ½. accuracy_before, accuracy_after and their difference
    accuracy_change. margin_change: mean of Δ' − Δ; margin_change_abs: of |Δ' − Δ|; `…_relative`: over the standard
    deviation of all unedited margins, NaN where that is 0.
    """
    was, now = metrics.correctness(unedited), metrics.correctness(edited)
    shift = edited - unedited
    columns = np.column_stack([unseen, np.abs(now - was), was, now, now - was, shift, np.abs(shift)])
    number = weights @ changed
    sums = weights @ (columns * changed[:, None])
    means = np.divide(sums, number[:, None], out=np.full_like(sums, np.nan), where=number[:, None] > 0).T
    found = dict(zip(_OF_AN_EDIT, means, strict=True))
    sd = _sd(unedited, weights)
    for name in ("margin_change", "margin_change_abs"):
        found[f"{name}_relative"] = np.divide(found[name], sd, out=np.full_like(sd, np.nan), where=sd > 0)
    return {"unchanged": 1 - number / weights.sum(axis=1), **found}


def overall_metrics(
    unedited: np.ndarray, edited: Mapping[str, np.ndarray], weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Over all pairs, changed or not, [R] each: accuracy without an edit, and in the worst case.

    A pair's worst case is its least correctness without an edit and under every label-preserving one: 1 where it is
    ranked right each time, ½ where a tie is the worst. worst_case_change: worst_case_accuracy − accuracy.
    """
    plain = metrics.correctness(unedited)
    every = {edit: metrics.correctness(margins) for edit, margins in edited.items()}
    preserving = [correct for edit, correct in every.items() if edit != "eda"]
    columns = {"accuracy": plain}
    if preserving:
        columns["worst_case_accuracy"] = np.min([plain, *preserving], axis=0)
        columns["worst_case_change"] = columns["worst_case_accuracy"] - plain
    if "eda" in every:
        columns["worst_case_accuracy_with_eda"] = np.min([plain, *every.values()], axis=0)
    means = metrics.means(np.column_stack(list(columns.values())), weights)
    return dict(zip(columns, means.T, strict=True))


def coin(changed: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """What is expected where the order is a coin, tossed anew for every pair an edit changes.

    changed: {edit: [N] bool, the pairs it changes}.
    """
    toss = {"flip_rate": 0.5, "accuracy_before": 0.5, "accuracy_after": 0.5, "accuracy_change": 0.0}

    def worst(edits: Sequence[str]) -> float:
        return float(np.mean(0.5 ** (1 + np.sum([changed[edit] for edit in edits], axis=0))))

    overall = {"accuracy": 0.5}
    if preserving := [edit for edit in changed if edit != "eda"]:
        overall |= {"worst_case_accuracy": worst(preserving), "worst_case_change": worst(preserving) - 0.5}
    if "eda" in changed:
        overall["worst_case_accuracy_with_eda"] = worst(list(changed))
    return {"overall": overall, **{edit: toss for edit in changed if changed[edit].any()}}


def _sd(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[R] population sd of `values` [N] under weights [R, N]; 0 where all are equal."""
    centred = values - values.mean()
    mean, square = metrics.means(np.column_stack([centred, centred**2]), weights).T
    variance = square - mean**2
    return np.sqrt(np.where(variance > 1e-12 * square, variance, 0.0))  # below that it is rounding, not spread
