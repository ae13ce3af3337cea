"""Best-of-n by arm: what the reward models' picks are worth, and whether they stay so as n grows."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.exhibits import downstream
from analysis.exhibits.downstream import HOW, against_reference
from analysis.exhibits.measures import OVER_REPLICATES, column, over_replicates
from analysis.exhibits.table import Column
from analysis.study.study import Study
from benchmarks.picks import CURVE, NAME

_NOTHING = f"no run picked the best of n candidates ({HOW}{NAME})"


class ByArm(downstream.ByArm):
    """What the pick of the largest n is worth."""

    name, title = "best_of_n", "Best of n by arm"
    benchmark, nothing = NAME, _NOTHING
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

    def own(self, group: Study, arm: str, label: str, parts: dict[str, pd.DataFrame]) -> dict[str, Any]:
        overall = parts["overall"]
        regret = over_replicates("gold_regret", column(overall, "gold_regret"))
        return {"kl": overall["kl"].mean(), "n": _largest(group, arm, label), **regret}

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            f"The reward model picks the best of n candidates to a prompt, {OVER_REPLICATES}. Gain: the reward of the "
            "pick over that of a random candidate; regret: of the best candidate there is over the pick; both in "
            "standard deviations of a prompt's candidates. Gold is the true reward, proxy the reward model's own, that "
            f"rises whatever it picks. {against_reference(study)} KL: at most log n − (n − 1)/n (Beirami et al. 2024)."
        )


def _largest(group: Study, arm: str, label: str) -> float:
    """n of the last point of the curve; NaN where no record says it."""
    told = [(run.record(label).get("protocol") or {}).get("n") for run in group.of(arm)]
    return next((float(ns[-1]) for ns in told if isinstance(ns, list) and ns), math.nan)


class Curves(downstream.Curves):
    """Gold and proxy gain over n at its KL."""

    name, title = "best_of_n", "Best of n: gold and proxy reward"
    see = "Whether the true reward rises along with the model's own as more candidates are tried."
    benchmark, nothing = NAME, _NOTHING
    point, prefix, neutral = "n", CURVE, "a random pick"
    caption = (
        "What picking the best of n candidates gains over a random one, mean over replicates, in standard deviations "
        "of a prompt's candidates; every point is the estimate over all subsets of size n. Left the gold reward, right "
        "the proxy, the reward model's own. Where the proxy rises and gold does not, the reward model is "
        "over-optimised. n stands at its KL, log n − (n − 1)/n nats, an upper bound (Beirami et al. 2024)."
    )

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        super().panel(axes, study, frame)
        ticks = frame.drop_duplicates("n").sort_values("n")
        axes.set_xticks(ticks["kl"], [f"{n:.0f}" for n in ticks["n"]])
        axes.set_xlabel("n, at its KL")
