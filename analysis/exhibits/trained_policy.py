"""Policies trained with the reward models, by arm: what they are worth, and what they became on the way.

Whether gold follows the proxy is one question; how a policy comes to please its reward model, by longer replies, by
repeating itself or by saying one thing only, stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import best_of_n, downstream, style
from analysis.exhibits.downstream import HOW, against_reference
from analysis.exhibits.measures import OVER_REPLICATES, column, over_replicates
from analysis.exhibits.table import Column
from analysis.exhibits.training import Measure
from analysis.study.labels import labels_of
from analysis.study.study import Study
from benchmarks import picks
from benchmarks.align.outcome import NAME, STEP

_NOTHING = f"no policy was trained with a run's reward model ({HOW}{NAME})"
_SIGNS = ("kl", "gold_win_rate", "length", "repetition", "entropy", "cut_off")


class ByArm(downstream.ByArm):
    """The policy after its last step, against the policy before training."""

    name, title = "trained_policy", "Trained policies by arm"
    benchmark, nothing = NAME, _NOTHING
    columns = (
        Column("arm", "arm"),
        Column("step", "steps", "d"),
        Column("gold_win_rate", "gold win rate %", ".1f", 100, interval=True),
        Column("gold_gain", "gold gain, sd", "+.2f", interval=True),
        Column("difference", "against the reference, sd", "+.2f", interval=True),
        Column("p_adjusted", "adjusted p", "p"),
        Column("proxy_gain", "proxy gain, sd", "+.2f", interval=True),
        Column("kl", "KL, nats", ".2f", interval=True),
        Column("length", "length, characters", ".0f"),
        Column("length_change", "change", "+.0f", interval=True),
        Column("repetition", "repetition %", ".1f", 100),
        Column("entropy", "entropy, nats a token", ".2f"),
        Column("cut_off", "cut off %", ".0f", 100),
        Column("replicates", "replicates", "d"),
        Column("prompts", "prompts", ",d"),
        Column("remark", "remark"),
    )

    def own(self, group: Study, arm: str, label: str, parts: dict[str, pd.DataFrame]) -> dict[str, Any]:
        row: dict[str, Any] = {"step": max((int(p.removeprefix(STEP)) for p in parts if p.startswith(STEP)), default=0)}
        for name in _SIGNS:
            row |= over_replicates(name, column(parts["overall"], name))
        after, before = (column(parts.get(part), "length") for part in ("overall", f"{STEP}0"))
        return row | over_replicates("length_change", None if after is None or before is None else after - before)

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            f"A policy trained with the reward model, after its last step, on prompts that it was not trained on, "
            f"{OVER_REPLICATES}. Gold win rate: how often its reply has a higher true reward than one of the policy "
            "before training, a tie half; 50 % is no change. Gain: the mean reward over that before training, in "
            "standard deviations of the replies to a prompt before. Gold is the true reward, proxy the reward model's "
            f"own, that training raises whatever it rewards. {against_reference(study)} KL: of whole replies, from the "
            "policy before training. Change: of the length. Repetition: share of runs of three words that were there "
            "before in the reply. Cut off: replies that reached the most tokens allowed."
        )


class Curves(downstream.Curves):
    """Gold and proxy gain of the judged steps over how far each arm's policy has moved."""

    name, title = "trained_policy", "Trained policies: gold and proxy reward"
    see = "Whether the true reward rises along with the model's own as the policy is trained."
    benchmark, nothing = NAME, _NOTHING
    point, prefix, neutral = "step", STEP, "the policy before training"
    caption = (
        "What training a policy with the reward model gains over the policy before, in standard deviations of the "
        "replies to a prompt before training. A point is a judged step, at the arm's KL from the policy before; gains "
        "and KL are means over replicates. Left the gold reward, right the proxy, the reward model's own. Where the "
        "proxy rises and gold does not, the reward model is over-optimised. Dotted without markers, where the "
        "candidates of best of n are the same policy's: what its picks gain, at their KL, an upper bound."
    )

    def curves(self, group: Study, label: str, measure: Measure) -> pd.DataFrame:
        """With the picks of the same arms among replies of the same policy; `of`: the label of each row."""
        own = super().curves(group, label, measure)
        if own.empty or (policy := _policy(group, label)) is None:
            return own.assign(of=label)
        others = [other for other in labels_of(group, picks.NAME) if _policy(group, other) == policy]
        picked = [best_of_n.Curves().curves(group, other, measure).assign(of=other) for other in others]
        found = pd.concat([own.assign(of=label), *(rows.drop(columns="n") for rows in picked if "n" in rows)])
        return found[found["arm"].isin(own["arm"])]

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        few = (frame.groupby("panel")["arm"].nunique() <= style.FEW).any()
        dotted = "; dotted without markers: best of n" if frame["step"].isna().any() and few else ""
        return super().foot(study, frame) + dotted

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        trained = frame["step"].notna()
        super().panel(axes, study, frame[trained])
        if frame["arm"].nunique() > style.FEW:
            return
        low, high = axes.get_ylim()
        for (arm, _), picked in frame[~trained].groupby(["arm", "of"], sort=False):
            axes.plot(picked["kl"], picked["mean"], ":", color=style.looks(study.arms)[str(arm)].colour, linewidth=1.4)
            low, high = min(low, picked["mean"].min()), max(high, 1.08 * picked["mean"].max())
        axes.set_ylim(low, high)


def _policy(group: Study, label: str) -> Mapping[str, Any] | None:
    """Whose replies were judged and how they were sampled, by the first record that says so."""
    records = (group.members[run].record(label) for run in group.runs["run"])
    return next(filter(None, ((record.get("protocol") or {}).get("policy") for record in records)), None)
