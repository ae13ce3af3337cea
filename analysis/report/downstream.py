"""What the numbers allow to be said of what reward models are worth downstream.

Three things: whether the pairs of arms that the study declared differ in gold gain, whether gold followed the proxy,
and whether any test score foretold it. The first is a second family of comparisons, apart from the endpoints that a
study is judged by, and every report says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.measures import column, over_replicates, values_by_arm
from analysis.exhibits.table import number, records
from analysis.inference.downstream import BENCHMARKS, GAIN, compare_gains
from analysis.inference.foretelling import FEWEST_REPLICATES, OUTCOMES, PREDICTORS, foretelling
from analysis.inference.stats import ALPHA
from analysis.report import wording
from analysis.study.labels import labels_of
from analysis.study.study import Study


def on_downstream(study: Study) -> tuple[str, ...]:
    """Sentences on what was judged downstream with a gold reward; none where nothing was.

    Of more than MANY comparisons or curves there is the summary alone.
    """
    compared = compare_gains(study)
    several = sum(1 for _ in study.groups()) > 1
    each = [_sentence(row, several) for row in records(compared)]
    followed = list(_followed(study, several))
    shown = [*each, *followed] if len(each) + len(followed) <= wording.MANY else []
    return (*_summary(compared, study.settled is not None), *shown, *foretold(foretelling(study)))


def _summary(compared: pd.DataFrame, stopped: bool) -> Iterator[str]:
    if compared.empty:
        return
    found = {str(verdict): [""] * count for verdict, count in compared["verdict"].value_counts().items()}
    text = (
        "Downstream, in gold gain, arms are compared in a second family, apart from the declared endpoints, adjusted "
        f"within itself: of {len(compared)} comparisons {wording.outcomes('the arm in focus', found)}."
    )
    yield text + (" The study stopped by its endpoints, for which these p make no allowance." if stopped else "")


def _sentence(row: dict[str, Any], several: bool) -> str:
    where = f"{row['dataset']} / {row['backbone']}: " if several else ""
    if row["not_compared"] and np.isnan(row["difference"]):
        pair = f"{row['arm']} and {row['reference']}"
        return f"{where}{row['label']}: {pair} were not compared: {row['not_compared']}."
    numbers = wording.by_endpoint(row, GAIN, "prompts")
    numbers += f" ({row['not_compared']})" if row["not_compared"] else ""
    size = wording.size_of(row, "prompts")
    return f"{where}{row['label']}, {row['arm']} against {row['reference']}, {size}: {numbers}."


def _followed(study: Study, several: bool) -> Iterator[str]:
    """Of each group and label: in how many arms the proxy rose, and what gold did there."""
    for title, group in study.groups():
        where = f"{title}: " if several else ""
        for label in (label for name in BENCHMARKS for label in labels_of(group, name)):
            found = values_by_arm(group, label)
            gains = {arm: _gains(overall) for arm in group.arms if (overall := found.get((arm, "overall"))) is not None}
            known = {arm: row for arm, row in gains.items() if not np.isnan(row["gold_gain"])}
            tested = {arm: row for arm, row in known.items() if not np.isnan(row["gold_gain_lo"])}
            if tested:
                yield f"{where}{label}: {_of_arms(tested)}"
            elif known:
                yield f"{where}{label}: one replicate, so no telling whether gold followed the proxy."


def _gains(overall: pd.DataFrame) -> dict[str, float]:
    """Both gains with their intervals."""
    proxy, gold = (over_replicates(name, column(overall, name)) for name in ("proxy_gain", "gold_gain"))
    return proxy | gold


def _of_arms(arms: dict[str, dict[str, float]]) -> str:
    raised = {arm: row for arm, row in arms.items() if row["proxy_gain_lo"] > 0}
    text = f"the proxy rose, its 95 % interval above 0, in {len(raised)} of {len(arms)} arms"
    if not raised:
        return f"{text}, so whether gold follows it is open."
    parts = []
    for words, way in (("rose in", 1), ("fell in", -1), ("did not clearly move in", 0)):
        of_it = [arm for arm, row in raised.items() if (row["gold_gain_lo"] > 0) - (row["gold_gain_hi"] < 0) == way]
        listed = (f"{arm} {_interval(raised[arm], 'gold_gain')}" for arm in of_it)
        parts += [f"{words} {', '.join(listed)}"] if of_it else []
    return f"{text}; there gold {'; '.join(parts)} (gold gain, sd)."


def foretold(table: pd.DataFrame) -> Iterator[str]:
    """One sentence on a table of `foretelling`; none on an empty one."""
    if table.empty:
        return
    known = table.dropna(subset=["p_adjusted"])
    start = f"Of {len(known)} rank correlations of test scores with gold reward downstream, within replicates, "
    if known.empty:
        yield (
            "Whether a test score foretells gold reward downstream cannot be told: it takes arms that differ in both "
            f"and {FEWEST_REPLICATES} replicates."
        )
    elif (clear := known[known["p_adjusted"] < ALPHA]).empty:
        yield f"{start}none can be told from 0 after adjustment."
    else:
        listed = (
            f"{PREDICTORS[row['predictor']]} with {row['label']} {OUTCOMES[row['outcome']]} {_interval(row, 'within')}"
            for row in records(clear)
        )
        yield f"{start}{len(clear)} can be told from 0 after adjustment: {'; '.join(listed)}."


def _interval(row: dict[str, Any], key: str) -> str:
    mean, lo, hi = (number(row[f"{key}{end}"], "+.2f") for end in ("", "_lo", "_hi"))
    return f"{mean} [{lo}, {hi}]"
