"""What a reward model's picks are worth: from a score table of candidates to a prompt's expected reward, and to means.

The table has a row for each candidate; here it becomes one number for each prompt and n, of the gold reward and of the
score itself. Those numbers are what arms are paired on (`analysis.inference.downstream`) and what the bootstrap draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.candidates import COLUMNS
from benchmarks.order_statistics import expected_best, sizes
from benchmarks.protocol import finite
from mars.config import UserError

NAME = "best_of_n"
CURVE = "best_of/"  # and n: the parts of the curve


@dataclass(frozen=True)
class Picked:
    """What is expected of the pick among n candidates, by prompt: [P] prompts and [P, K] sizes.

    gold, best, and variance of gold are None where no gold reward is known. best: of a prompt's candidates.
    """

    ids: pd.Index
    ns: tuple[int, ...]
    proxy: np.ndarray
    proxy_variance: np.ndarray  # [P] of the candidates within a prompt, unbiased
    gold: np.ndarray | None
    gold_variance: np.ndarray | None
    best: np.ndarray | None

    @classmethod
    def of(cls, table: pd.DataFrame, most: int) -> Picked:
        """From a score table. Raises UserError for one that lacks something."""
        scores = finite(table, ("score",), NAME)[:, 0]
        if missing := [column for column in COLUMNS if column not in table]:
            raise UserError(f"{NAME}: the score table lacks {', '.join(missing)}")
        gold = table["gold"].to_numpy(float)
        if (unknown := np.isnan(gold)).any() and not unknown.all():
            raise UserError(
                f'{NAME}: "{table["id"][unknown].iloc[0]}" has a candidate without a gold reward, others have one'
            )
        codes, ids = pd.factorize(table["id"])
        number = np.bincount(codes)
        if (few := np.flatnonzero(number < most)).size:
            raise UserError(f'{NAME}: "{ids[few[0]]}" has {number[few[0]]} candidates, fewer than n={most}')
        order = np.argsort(codes, kind="stable")
        starts = np.cumsum(number) - number
        ns = sizes(most)
        columns = {"proxy": scores} if unknown.all() else {"proxy": scores, "gold": gold}
        picked = {name: np.empty((len(ids), len(ns))) for name in columns}
        variance = {name: np.empty(len(ids)) for name in columns}
        best = np.empty(len(ids))
        for size in np.unique(number):  # prompts of as many candidates are one block
            prompts = np.flatnonzero(number == size)
            rows = order[starts[prompts][:, None] + np.arange(size)]
            best[prompts] = gold[rows].max(axis=1)
            for name, values in columns.items():
                own = values[rows]
                variance[name][prompts] = np.where(np.ptp(own, axis=1) > 0, own.var(axis=1, ddof=1), 0.0)
                for k, n in enumerate(ns):
                    picked[name][prompts, k] = expected_best(scores[rows], own, n)
        of_gold = (picked["gold"], variance["gold"], best) if "gold" in columns else (None, None, None)
        return cls(pd.Index(ids), ns, picked["proxy"], variance["proxy"], *of_gold)

    def estimates(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric but kl and n as `PART METRIC`, [R] each, under weights [R, P] of the prompts."""
        found: dict[str, np.ndarray] = {}
        rewards: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]
        rewards = {"proxy": (self.proxy, self.proxy_variance, None)}
        if self.gold is not None and self.gold_variance is not None:
            rewards["gold"] = (self.gold, self.gold_variance, self.best)
        for name, (values, variance, best) in rewards.items():
            sd = np.sqrt(metrics.means(variance[:, None], weights)[:, 0])
            sd = np.where(sd > 0, sd, np.nan)
            means = metrics.means(values, weights)
            top = None if best is None else metrics.means(best[:, None], weights)[:, 0]
            for k, n in enumerate(self.ns):
                found[f"{CURVE}{n} {name}"] = means[:, k]
                found[f"{CURVE}{n} {name}_gain"] = (means[:, k] - means[:, 0]) / sd
                if top is not None:
                    found[f"{CURVE}{n} {name}_regret"] = (top - means[:, k]) / sd
        return found
