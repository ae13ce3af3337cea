"""What became of a trained policy: from a table of its replies to rewards, KL and win rate, step by step.

Gains are against the policy as it was, step 0, in standard deviations of its replies to one prompt, so that the gold
reward and the proxy of any reward model have one unit. The win rate is that of a reply of the trained policy against
one of the policy as it was, to the same prompt, by gold; a tie counts half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.protocol import Kind, finite
from mars.config import UserError

NAME = "trained_policy"
STEP = "step/"  # and a number: the parts of the curve
COLUMNS: dict[str, Kind] = {
    "id": "text", "subset": "text", "step": "count", "response": "count", "score": "score", "gold": "score",
    "length": "count", "tokens": "count", "kl": "score", "entropy": "score", "repetition": "score", "cut_off": "flag",
}  # fmt: skip
_PLAIN = ("kl", "entropy", "length", "tokens", "repetition", "cut_off")


@dataclass(frozen=True)
class Outcome:
    """[P] prompts by [S] steps: means over a prompt's replies.

    means: by column. variances: [P] within a prompt's replies at step 0, unbiased. wins: [P, S] by gold, None where no
    gold is known.
    """

    ids: pd.Index
    steps: tuple[int, ...]
    means: dict[str, np.ndarray]
    variances: dict[str, np.ndarray]
    wins: np.ndarray | None

    @classmethod
    def of(cls, table: pd.DataFrame) -> Outcome:
        """From a score table. Raises UserError for one that lacks something."""
        finite(table, ("score", "kl", "entropy"), NAME)
        if missing := [column for column in COLUMNS if column not in table]:
            raise UserError(f"{NAME}: the score table lacks {', '.join(missing)}")
        table = table.sort_values(["step", "id", "response"], kind="stable")
        steps, ids = np.unique(table["step"]), pd.Index(table["id"]).unique()
        number = len(table) // (len(steps) * len(ids))
        counts = table.groupby(["step", "id"]).size()
        if steps[0] != 0 or len(counts) != len(steps) * len(ids) or (counts != number).any() or number < 2:
            raise UserError(
                f"{NAME}: every prompt needs as many replies, two at least, at step 0 and after every other"
            )
        shape = (len(steps), len(ids), number)
        names = ["proxy", *(["gold"] if table["gold"].notna().all() else []), *_PLAIN]
        values = {
            name: table["score" if name == "proxy" else name].to_numpy(float).reshape(shape).transpose(1, 0, 2)
            for name in names
        }
        wins = None
        if "gold" in values:
            gold, before = values["gold"], values["gold"][:, :1]
            wins = metrics.correctness(gold[..., :, None] - before[..., None, :]).mean(axis=(2, 3))
        means = {name: value.mean(axis=2) for name, value in values.items()}
        variances: dict[str, np.ndarray] = {
            name: own[:, 0].var(axis=1, ddof=1) for name, own in values.items() if name in ("proxy", "gold")
        }
        return cls(ids, tuple(int(step) for step in steps), means, variances, wins)

    def estimates(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric but n as `PART METRIC`, [R] each, under weights [R, P] of the prompts."""
        averaged = {name: metrics.means(value, weights) for name, value in self.means.items()}
        for name, variance in self.variances.items():
            sd = np.sqrt(metrics.means(variance[:, None], weights))
            averaged[f"{name}_gain"] = (averaged[name] - averaged[name][:, :1]) / np.where(sd > 0, sd, np.nan)
        if self.wins is not None:
            averaged["gold_win_rate"] = metrics.means(self.wins, weights)
        return {
            f"{STEP}{step} {name}": values[:, column]
            for column, step in enumerate(self.steps)
            for name, values in averaged.items()
        }
