"""What best-of-n and a trained policy are shown by alike: a table by arm, and curves of gold beside proxy over KL.

Proxy and gold stand side by side on one axis of KL: where the proxy goes on rising and gold does not, the reward model
is over-optimised. `best_of_n` and `trained_policy` say what is their own; gains, axes and comparisons are the same, so
that what picking brings and what training brings can be held against each other.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels, most_replicates
from analysis.exhibits.measures import arm_rows, by_replicate, column, over_replicates, values_by_arm, whole
from analysis.exhibits.training import Measure, draw_curves
from analysis.inference import stats
from analysis.inference.comparability import why_not_comparable
from analysis.inference.comparisons import counterpart, why_not
from analysis.inference.downstream import gain_over
from analysis.study.labels import labels_of
from analysis.study.study import NothingToShow, Study

MEASURES = (
    Measure("gold_gain", "gold gain, sd", 0.0, (-math.inf, math.inf)),
    Measure("proxy_gain", "proxy gain, sd", 0.0, (-math.inf, math.inf)),
)
HOW = "python -m mars.run experiment=downstream, or python -m benchmarks.evaluate study=DIR benchmark="
_NO_GOLD = "gold unknown: the proxy is no measure of quality"
_NO_GAIN = "gold is the same for all replies to a prompt, so it has no unit"


class ByArm(Exhibit):
    """A row an arm, and each arm against the reference on the same prompts. benchmark: whose labels are shown."""

    by = ("dataset", "backbone", "label")
    benchmark: str
    nothing: str

    def frame(self, study: Study) -> pd.DataFrame:
        rows = [row for label in labels_of(study, self.benchmark) for row in self._rows(study, label)]
        if not rows:
            raise NothingToShow(self.nothing)
        frame = pd.DataFrame(rows)
        for _, own in frame.groupby(list(self.by), sort=False):
            frame.loc[own.index, "p_adjusted"] = stats.holm(own["p"].to_numpy(float))
        frame = frame.sort_values(["dataset", "backbone"], kind="stable")
        return whole(frame, "replicates", "prompts", "n", "step")

    @abstractmethod
    def own(self, group: Study, arm: str, label: str, parts: dict[str, pd.DataFrame]) -> dict[str, Any]:
        """The columns of one arm that are this benchmark's own. parts: [replicates × metrics] of each part."""

    def _rows(self, study: Study, label: str) -> list[dict[str, Any]]:
        rows = []
        for _, group in study.groups():
            found = values_by_arm(group, label)
            confounded = why_not_comparable(group)
            for _, arm, row in arm_rows(group):
                parts = {part: values for (of_arm, part), values in found.items() if of_arm == arm}
                if (overall := parts.get("overall")) is None:
                    continue
                for measure in MEASURES:
                    row |= over_replicates(measure.column, column(overall, measure.column))
                row |= {"label": label, "replicates": len(overall), "prompts": overall["n"].mean(), "p": math.nan}
                row |= {"remark": "", **self.own(group, arm, label, parts)}
                if column(overall, "gold_gain") is not None:
                    row |= _against(group, arm, label, confounded)
                else:
                    row["remark"] = _NO_GOLD if column(overall, "gold") is None else _NO_GAIN
                rows.append(row)
        return rows


def against_reference(study: Study) -> str:
    """What a caption says of the difference."""
    return (
        f"Against the reference ({study.reference}): on the same replicates and prompts, with a 95 % interval for new "
        "ones, p by Holm's method over the arms of a section; not of the declared comparisons, on which the verdict "
        "rests."
    )


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
    return {**numbers, "remark": why_not(found, "prompt")}


class Curves(Exhibit):
    """Two panels per dataset × backbone × label: gold gain, and beside it proxy gain, over KL.

    benchmark: whose labels are shown. point, prefix: what tells the points of a curve apart, and what their parts begin
    with. neutral: what the dashed line is.
    """

    benchmark: str
    nothing: str
    point: str
    prefix: str
    neutral: str

    def frame(self, study: Study) -> pd.DataFrame:
        """A row for each point of each arm that has any: `point`, kl, mean, lo, hi and the measure."""
        parts = []
        row = 0
        for label in labels_of(study, self.benchmark):
            for title, group in study.groups():
                own = [
                    (f"{title}, {label}: {measure.column.partition('_')[0]}", rows.assign(row=row))
                    for measure in MEASURES
                    if len(rows := self.curves(group, label, measure))
                ]
                parts += own
                row += bool(own)
        if not parts:
            raise NothingToShow(self.nothing)
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(len({panel.frame["measure"].iloc[0] for panel in panels}), (3.4, 2.6), left=0.75)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        replicates = most_replicates(study, frame.loc[frame["mean"].notna(), "arm"])
        key = style.replicates_key("bands: 95 % interval over replicates", replicates)
        return f"dashed: {self.neutral}; {key}"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        measure = next(m for m in MEASURES if m.column == frame["measure"].iloc[0])
        curves = {
            str(arm): (own["kl"].to_numpy(float), own[["mean", "lo", "hi"]].to_numpy(float))
            for arm, own in frame.groupby("arm", sort=False)
        }
        draw_curves(axes, curves, style.looks(study.arms), measure, float(frame["kl"].max()))
        axes.set(xlabel="KL, nats", ylabel=measure.label)

    def curves(self, group: Study, label: str, measure: Measure) -> pd.DataFrame:
        """One label's rows of the frame, in one group; empty where it has none."""
        own = group.metrics[group.metrics["benchmark"] == label]
        parts = [part for part in own["split"].unique() if part.startswith(self.prefix)]
        rows = []
        for part in parts:
            means = by_replicate(group, part, measure.column, label).drop_duplicates("arm").dropna(subset=["mean"])
            kl = own[(own["split"] == part) & (own["metric"] == "kl")].groupby("arm")["value"].mean()
            means[self.point], means["kl"] = int(part.removeprefix(self.prefix)), means["arm"].map(kl)
            columns = ["arm", "mean", "lo", "hi", self.point, "kl"]
            rows.append(means[columns].dropna(subset=["kl"]).assign(measure=measure.column))
        if not rows:
            return pd.DataFrame()
        found = pd.concat(rows, ignore_index=True)
        order = {arm: place for place, arm in enumerate(group.arms)}
        by_arm = ["arm", self.point]
        return found.sort_values(by_arm, key=lambda c: c.map(order) if c.name == "arm" else c, ignore_index=True)
