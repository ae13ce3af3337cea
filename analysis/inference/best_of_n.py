"""Best-of-n by arm, prompt by prompt: what two arms pick for one prompt, and what the gold rewards of it differ by.

All arms of a replicate choose among the same candidates, so arms are compared on the same prompts, as on the same test
pairs: by `pairing.paired_difference`, where an example is a prompt. Its outcome is the gold reward that is expected of
the pick over that of a random candidate, in standard deviations of the candidates.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from analysis.inference.design import design
from analysis.inference.pairing import Endpoint, Paired, of_prompts, paired_difference
from analysis.study.study import Pairs, Study
from benchmarks.picks import NAME, Picked
from mars.config import UserError
from mars.record.run_directory import scores_of

GAIN = Endpoint("gold_gain", lambda pairs: pairs.margins, "sd", 1.0, ".2f")


@functools.lru_cache(maxsize=64)
def picks(group: Study, arm: str, label: str) -> Pairs:
    """[S seeds, E prompts]: `chosen`, gold reward of the pick of the largest n; `rejected`, of a random candidate.

    Both in standard deviations of the run's candidates. Of the runs that were judged under the label and have gold;
    bits are not defined and NaN.
    """
    known = group.runs[group.runs["arm"] == arm].set_index("seed")["replicate"]
    rows: dict[int, pd.DataFrame] = {}
    for run in group.of(arm):
        file, record = run.file(scores_of(label)), run.record(label)
        if file is None or not file.exists() or record.get("benchmark") != NAME:
            continue
        try:
            found = Picked.of(pd.read_parquet(file), int(record["protocol"]["n"][-1]))
        except (OSError, ValueError, KeyError, TypeError, IndexError, UserError):  # a remark of the study names it
            continue
        if found.gold is None or found.gold_variance is None or not found.gold_variance.any():
            continue
        sd = np.sqrt(found.gold_variance.mean())
        columns = {"chosen": found.gold[:, -1] / sd, "rejected": found.gold[:, 0] / sd}
        rows[run.manifest["seed"]] = pd.DataFrame(columns, index=found.ids)
    return of_prompts(rows, known)


def gain_over(group: Study, arm: str, reference: str, label: str) -> Paired:
    """arm − reference in gold gain, for new replicates and new prompts; without replicates where they share none."""
    overlap = design(group).overlap
    return paired_difference(picks(group, arm, label), picks(group, reference, label), GAIN, overlap)
