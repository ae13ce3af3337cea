"""What the judges of a study's policies allow to be said, and which of them cannot be believed.

A sentence for each group, policy, opponent and judge, where there are replicates to speak for; its numbers are those of
`analysis.inference.win_rates`, adjusted for all that the judges of the study say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from analysis.exhibits.table import number, records
from analysis.inference.stats import ALPHA
from analysis.inference.win_rates import KEYS, judged, win_rates
from analysis.study.judgements import contests, identity, of_run
from analysis.study.study import Study


def on_win_rates(study: Study) -> Iterator[str]:
    """Whose replies are preferred to the opponent's, and how the arm in focus does; nothing without replicates."""
    rows = win_rates(study)
    if rows.empty:
        return
    family = int(rows[["p", "difference_p"]].notna().to_numpy().sum())
    groups = len(rows[["dataset", "backbone"]].drop_duplicates())
    for keys, own in rows[rows["replicates"] > 1].groupby(KEYS, sort=False):
        dataset, backbone, policy, opponent, judge = map(str, keys)
        where = f"{dataset} / {backbone}: " if groups > 1 else ""
        contest = f"{policy} against {opponent}, judged by {judge}"
        if useless := own["useless"].iloc[0]:
            yield f"{where}{contest}: no verdict, the judge is {useless}."
            continue
        found = records(own)
        parts = [_outcomes(found, family)]
        parts += [text for row in found if study.in_focus(row["arm"]) for text in _of_arm(row)]
        yield f"{where}{contest}: {'; '.join(parts)}."


def _outcomes(rows: list[dict[str, Any]], family: int) -> str:
    """Which arms' policies are better than the opponent, worse, or neither."""
    by: dict[str, list[str]] = {"better": [], "worse": [], "not settled": []}
    for row in rows:
        by[_settled(row["p_adjusted"], row["win_rate"] - 0.5)].append(row["arm"])
    said = ", ".join(f"{outcome} in {len(arms)} ({', '.join(arms)})" for outcome, arms in by.items() if arms)
    return f"of {len(rows)} arm{'' if len(rows) == 1 else 's'} {said}, p adjusted for {family}"


def _of_arm(row: dict[str, Any]) -> Iterator[str]:
    rate, lo, hi = (number(100 * row[f"win_rate{end}"], ".1f") for end in ("", "_lo", "_hi"))
    yield f"{row['arm']} wins {rate} % [{lo}, {hi}], p {number(row['p_adjusted'], 'p')} adjusted"
    if not math.isnan(row["difference_p"]):
        more, lo, hi = (number(100 * row[f"difference{end}"], "+.1f") for end in ("", "_lo", "_hi"))
        settled = _settled(row["difference_p_adjusted"], row["difference"])
        numbers = f"{more} points of win rate [{lo}, {hi}], p {number(row['difference_p_adjusted'], 'p')} adjusted"
        yield f"{row['arm']} against {row['against']} {settled}, {numbers}"


def _settled(p: float, difference: float) -> str:
    return "not settled" if not p < ALPHA else "better" if difference > 0 else "worse"


def on_judges(group: Study) -> Iterator[str]:
    """A warning for each judge of a group that is useless or not the same in all runs, and for what is not counted."""
    runs = [of_run(group.members[name]) for name in group.runs["run"]]
    for contest in contests(group):
        who = f"judge {contest.judge} ({contest.policy} against {contest.opponent})"
        if (of := judged(group, tuple(group.arms), contest)) and of.useless:
            yield f"{who} is {of.useless}"
        records_of = [one.record for run in runs for one in run.judgements if one.contest == contest]
        asked = {identity(record) for record in records_of}
        models = {name for record in records_of for name in record.get("models") or ()}
        if max(len(asked), len(models)) > 1:
            yield f"{who} was not the same in all runs"
    for run in runs:
        yield from run.problems
