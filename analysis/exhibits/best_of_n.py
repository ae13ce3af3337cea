"""Best-of-n by arm: what the reward models' picks are worth, and whether they stay so as n grows.

Proxy and gold stand side by side on one axis of KL: where the proxy goes on rising and gold does not, the reward model
is over-optimised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels, most_replicates
from analysis.exhibits.measures import (
    OVER_REPLICATES,
    arm_rows,
    benchmark,
    by_replicate,
    column,
    labels,
    over_replicates,
    values_by_arm,
    whole,
)
from analysis.exhibits.table import Column
from analysis.exhibits.training import Measure, draw_curves
from analysis.inference import stats
from analysis.inference.best_of_n import gain_over
from analysis.inference.comparability import why_not_comparable
from analysis.inference.comparisons import counterpart, why_not
from analysis.study.study import NothingToShow, Study
from benchmarks.picks import CURVE, NAME

_MEASURES = (
    Measure("gold_gain", "gold gain over n = 1, sd", 0.0, (-math.inf, math.inf)),
    Measure("proxy_gain", "proxy gain over n = 1, sd", 0.0, (-math.inf, math.inf)),
)
_NOTHING = "no run picked the best of n candidates (python -m benchmarks.evaluate study=DIR benchmark=best_of_n)"
_NO_GOLD = "gold unknown: the proxy is no measure of quality"


def judged(study: Study) -> list[str]:
    """The labels of best-of-n."""
    return [label for label in labels(study) if benchmark(study, label) == NAME]


class ByArm(Exhibit):
    """What the pick of the largest n is worth, and each arm against the reference on the same prompts."""

    name, title = "best_of_n", "Best of n by arm"
    by = ("dataset", "backbone", "label")
    columns = (
        Column("arm", "arm"),
        Column("n", "n", "d"),
        Column("kl", "KL, nats, at most", ".2f"),
        Column("gold_gain", "gold gain, sd", "+.2f", interval=True),
        Column("difference", "against the reference, sd", "+.2f", interval=True),
        Column("p_adjusted", "adjusted p", "p"),
        Column("gold_regret", "regret, sd", ".2f", interval=True),
        Column("proxy_gain", "proxy gain, sd", "+.2f", interval=True),
        Column("replicates", "replicates", "d"),
        Column("prompts", "prompts", ",d"),
        Column("remark", "remark"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        rows = [row for label in judged(study) for row in _rows(study, label)]
        if not rows:
            raise NothingToShow(_NOTHING)
        frame = pd.DataFrame(rows)
        for _, own in frame.groupby(list(self.by), sort=False):
            frame.loc[own.index, "p_adjusted"] = stats.holm(own["p"].to_numpy(float))
        frame = frame.sort_values(["dataset", "backbone"], kind="stable")
        return whole(frame, "replicates", "prompts", "n")

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            f"The reward model picks the best of n candidates to a prompt, {OVER_REPLICATES}. Gain: the reward of the "
            "pick over that of a random candidate; regret: of the best candidate there is over the pick; both in "
            "standard deviations of a prompt's candidates. Gold is the true reward, proxy the reward model's own, that "
            f"rises whatever it picks. Against the reference ({study.reference}): on the same replicates and prompts, "
            "with a 95 % interval for new ones, p by Holm's method over the arms of a section; not of the declared "
            "comparisons, on which the verdict rests. KL: at most log n − (n − 1)/n (Beirami et al. 2024)."
        )


def _rows(study: Study, label: str) -> list[dict[str, Any]]:
    rows = []
    for _, group in study.groups():
        found = values_by_arm(group, label)
        confounded = why_not_comparable(group)
        for _, arm, row in arm_rows(group):
            if (overall := found.get((arm, "overall"))) is None:
                continue
            for metric in ("gold_gain", "gold_regret", "proxy_gain"):
                row |= over_replicates(metric, column(overall, metric))
            known = column(overall, "gold_gain") is not None
            row |= {"label": label, "kl": overall["kl"].mean(), "n": _largest(group, arm, label)}
            row |= {"replicates": len(overall), "prompts": overall["n"].mean(), "p": math.nan}
            row["remark"] = "" if known else _NO_GOLD
            if known:
                row |= _against(group, arm, label, confounded)
            rows.append(row)
    return rows


def _against(group: Study, arm: str, label: str, confounded: str) -> dict[str, Any]:
    """The difference from the reference with interval and p, or in `remark` why there is none."""
    reference = counterpart(group.arms, arm, group.reference)
    if reference in (None, arm):
        return {}
    if confounded:
        return {"remark": f"not compared: arms differ in {confounded}"}
    found = gain_over(group, arm, str(reference), label)
    if not found.replicates:
        return {"remark": "not compared: no prompt in common with the reference"}
    difference, lo, hi, p, _ = found.result
    numbers = {"difference": difference, "difference_lo": lo, "difference_hi": hi, "p": p}
    return {**numbers, "remark": why_not(found).replace("pairs", "prompts").replace("pair ", "prompt ")}


def _largest(group: Study, arm: str, label: str) -> float:
    """n of the last point of the curve; NaN where no record says it."""
    told = [(run.record(label).get("protocol") or {}).get("n") for run in group.of(arm)]
    return next((float(ns[-1]) for ns in told if isinstance(ns, list) and ns), math.nan)


class Curves(Exhibit):
    """Two panels per dataset × backbone × label: gold gain, and beside it proxy gain, over n at its KL."""

    name, title = "best_of_n", "Best of n: gold and proxy reward"
    caption = (
        "What picking the best of n candidates gains over a random one, mean over replicates, in standard deviations "
        "of a prompt's candidates; every point is the estimate over all subsets of size n. Left the gold reward, right "
        "the proxy, the reward model's own. Where the proxy rises and gold does not, the reward model is "
        "over-optimised. n stands at its KL, log n − (n − 1)/n nats, an upper bound (Beirami et al. 2024)."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        parts = []
        row = 0
        for label in judged(study):
            for title, group in study.groups():
                own = [
                    (f"{title}, {label}: {measure.column.partition('_')[0]}", rows.assign(row=row))
                    for measure in _MEASURES
                    if len(rows := _curve(group, label, measure))
                ]
                parts += own
                row += bool(own)
        if not parts:
            raise NothingToShow(_NOTHING)
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(len({panel.frame["measure"].iloc[0] for panel in panels}), (3.4, 2.6), left=0.75)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        replicates = most_replicates(study, frame.loc[frame["mean"].notna(), "arm"])
        return f"dashed: a random pick; {style.replicates_key('bands: 95 % interval over replicates', replicates)}"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        measure = next(m for m in _MEASURES if m.column == frame["measure"].iloc[0])
        curves = {
            str(arm): (own["kl"].to_numpy(float), own[["mean", "lo", "hi"]].to_numpy(float))
            for arm, own in frame.groupby("arm", sort=False)
        }
        ticks = frame.drop_duplicates("n").sort_values("n")
        draw_curves(axes, curves, style.looks(study.arms), measure, float(ticks["kl"].max()))
        axes.set_xticks(ticks["kl"], [f"{n:.0f}" for n in ticks["n"]])
        axes.set(xlabel="n, at its KL", ylabel=measure.label)


def _curve(group: Study, label: str, measure: Measure) -> pd.DataFrame:
    """arm, n, kl, mean, lo, hi and the measure: a row for each point of each arm that has any."""
    m = group.metrics[(group.metrics["benchmark"] == label) & (group.metrics["metric"] == "kl")]
    points = m[m["split"].str.startswith(CURVE)].drop_duplicates("split")
    rows = []
    for part, kl in zip(points["split"], points["value"], strict=True):
        means = by_replicate(group, part, measure.column, label).drop_duplicates("arm").dropna(subset=["mean"])
        n = int(part.removeprefix(CURVE))
        rows.append(means[["arm", "mean", "lo", "hi"]].assign(n=n, kl=float(kl), measure=measure.column))
    if not rows:
        return pd.DataFrame()
    found = pd.concat(rows, ignore_index=True)
    order = {arm: place for place, arm in enumerate(group.arms)}
    return found.sort_values(["arm", "n"], key=lambda c: c.map(order) if c.name == "arm" else c, ignore_index=True)
