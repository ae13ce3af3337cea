"""Which arm of a group may be printed in bold: the best one, if it is distinguishable from every other.

Bold is a claim. The arm with the highest mean has to differ from each other arm on the seeds and examples they share,
Holm-adjusted over these comparisons; no other arm is tried, and a tie at the top leaves all of them plain. A larger
margin is not a better one, so margins are never bold. Arms that may not be compared have no best, nor has an arm that
was trained once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.inference import stats
from analysis.inference.comparability import forbidden
from analysis.inference.comparisons import paired
from analysis.study.study import Pairs, Study

METRICS = ("accuracy", "auc", "snr")  # more is better
MEANING = (
    "Bold: the best arm of a section, where it differs from every other one on the same seeds and pairs (95 %, "
    "Holm-adjusted over these comparisons); never for margins, of which more is not better, nor where arms differ in "
    "more than their strategy."
)


def best(group: Study, split: str, means: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """{metric: the arm that is distinguishably best on `split`}, without the metrics that have none.

    means: {metric: {arm: its mean}}, less the arms without one.
    """
    if len(group.arms) < 2 or forbidden(group):
        return {}
    pairs = {arm: group.pairs(arm, split) for arm in group.arms}
    found = {}
    for metric in METRICS:
        of_arm = means.get(metric, {})
        top = max(of_arm, key=lambda arm: of_arm[arm], default=None)
        if top is not None and len(of_arm) == len(pairs) and _distinguishable(pairs, top, metric):
            found[metric] = top
    return found


def _distinguishable(pairs: Mapping[str, Pairs], top: str, metric: str) -> bool:
    differences = [paired(pairs[top], other, metric).result for arm, other in pairs.items() if arm != top]
    adjusted = stats.holm(np.array([difference.p for difference in differences]))
    ahead = all(difference.difference > 0 for difference in differences)
    return ahead and bool(np.all(adjusted < stats.ALPHA))  # NaN, of a single seed, is not below it
