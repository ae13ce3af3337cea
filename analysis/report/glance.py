"""What a reader knows after ten seconds: one plain sentence, four numbers, and what speaks against it.

The sentence says in words without statistics what the declared comparison with the reference came to by accuracy. It is
made from the verdict of `analysis.inference.comparisons` and from nothing else, so it cannot say more than that does:
better or worse, no better and no worse within a margin, or not settled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.table import number, points, records
from analysis.inference.comparability import MANY_GROUPS
from analysis.inference.design import design
from analysis.inference.lengths import BEST, EQUAL, at_best
from analysis.inference.pairing import ACCURACY, INFORMATION
from analysis.inference.verdicts import BETTER, EQUIVALENT, OPEN, WORSE
from analysis.report.page import Fact, Glance
from analysis.study.arm_names import method_of
from analysis.study.pools import numbers
from analysis.study.study import Study

_PLAIN = {
    "mars": "MARS",
    "uniform": "uniform augmentation",
    "none": "no augmentation",
    "none_matched": "no augmentation at as many steps",
    "stratified": "stratified augmentation",
    "eda": "EDA",
}
_OF_INFORMATION = {
    BETTER: "better",
    WORSE: "worse",
    EQUIVALENT: "that there is no difference that matters",
    OPEN: "not settled",
}
_SPANS = ((3600.0, "hours"), (60.0, "minutes"), (0.0, "seconds"))


def glance(study: Study, compared: pd.DataFrame, cautions: Sequence[str]) -> Glance:
    """compared: of `comparisons.compare`. cautions: what the runs' records say against the numbers."""
    shown = against_reference(study, compared)
    return Glance(
        headline(study, compared), " ".join(_meaning(shown)), tuple(_facts(study)), against(study, cautions, compared)
    )


def headline(study: Study, compared: pd.DataFrame) -> str:
    """`sentence` on the comparisons with the study's reference; it names the data where the study has others too."""
    shown = against_reference(study, compared)
    several = len(shown) > 0 and len(list(study.groups())) > 1
    return sentence(shown, f"{shown['dataset'].iloc[0]} / {shown['backbone'].iloc[0]}" if several else "this data")


def against(study: Study, cautions: Sequence[str], compared: pd.DataFrame) -> tuple[str, ...]:
    """What speaks against the headline: what it is not about, the gravest of `cautions`, the single draw, the rest."""
    return (*_not_told(study, compared), *cautions[:1], *_one_draw(study), *cautions[1:])


def _not_told(study: Study, compared: pd.DataFrame) -> Iterator[str]:
    """That another arm stands in for the reference, and which data the headline is not about."""
    shown = against_reference(study, compared)
    if shown.empty:
        return
    if method_of(shown["reference"].iloc[0]) != method_of(study.reference):
        yield f"{study.reference} did not run: the sentence above compares with {plain(shown['reference'].iloc[0])}"
    told = set(zip(shown["dataset"], shown["backbone"], strict=True))
    others = dict.fromkeys(zip(compared["dataset"], compared["backbone"], strict=True))
    untold = [" / ".join(group) for group in others if group not in told]
    if untold:
        them = "it" if len(untold) == 1 else "them"
        named = ", ".join(untold) if len(untold) <= MANY_GROUPS else f"{len(untold)} of {len(others)} groups"
        yield f"{named}: {study.reference} did not run, so the sentence above is not about {them}"


def against_reference(study: Study, compared: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with the study's reference; where it did not run, with the first arm that was declared."""
    of_it = compared[compared["reference"].astype(str).map(method_of) == method_of(study.reference)]
    if of_it.empty and len(compared):
        return compared[compared["reference"] == compared["reference"].iloc[0]]
    return of_it


def plain(arm: str) -> str:
    """An arm's name for a reader who knows none: `MARS (tau=0.5)`. At which length it is compared is said apart."""
    method, *settings = (word for word in arm.split() if word != "rounds.keep=best")
    name = _PLAIN.get(method, method)
    return f"{name} ({' '.join(settings)})" if settings else name


def sentence(compared: pd.DataFrame, where: str = "this data") -> str:
    """One sentence on the comparisons of one reference, by accuracy; one more for arms at their best lengths.

    where: the data, where it is one comparison.
    """
    rows = records(compared[compared["endpoint"] == ACCURACY.metric])
    if not rows:
        return "Nothing was compared: it takes the arm in focus and another one to compare it with."
    best = [row for row in rows if at_best(row)]
    if not best:
        return _said(rows, where)
    parts = {EQUAL: [row for row in rows if not at_best(row)], BEST: best}
    said = ((length, _said(of, where)) for length, of in parts.items() if of)
    return " ".join(f"{length}: {text[0].lower()}{text[1:]}" for length, text in said)


def _said(rows: Sequence[dict[str, Any]], where: str) -> str:
    return _of_one(rows[0], where) if len(rows) == 1 else _of_several(rows)


def _of_one(row: dict[str, Any], where: str) -> str:
    ours, theirs = plain(row["arm"]), plain(row["reference"])
    low, high, found = (100 * row[key] for key in ("difference_lo", "difference_hi", "difference"))
    if row["not_compared"]:
        ahead = f"{number(abs(found), '.1f')} points {'ahead' if found > 0 else 'behind'}"
        known = "" if np.isnan(found) else f": it is {ahead if found else 'level'} here"
        return f"Whether {ours} is better than {theirs} cannot be said{known} ({row['not_compared']})."
    margin = points(100 * row["margin"])
    if row["verdict"] == EQUIVALENT:
        return f"On {where} {ours} is no better and no worse than {theirs}, within {margin} of accuracy."
    if row["verdict"] in (BETTER, WORSE):
        small = f", less than the {margin} that would matter" if max(abs(low), abs(high)) < 100 * row["margin"] else ""
        return (
            f"On {where} {ours} is {row['verdict']} than {theirs}, by {number(abs(found), '.1f')} points of accuracy "
            f"({_between(low, high)}){small}."
        )
    if low > 0 or high < 0:
        near, far = (number(size, ".1f") for size in sorted((abs(low), abs(high))))
        return (
            f"On {where} {ours} looks {'better' if low > 0 else 'worse'} than {theirs}, by {near} to {far} points of "
            f"accuracy with these {row['replicates']:.0f} replicates, but that is not enough to be sure."
        )
    return (
        f"On {where} {ours} and {theirs} cannot be told apart with these {row['replicates']:.0f} replicates: "
        f"{ours} may be anywhere {_range(low, high)}."
    )


def _between(low: float, high: float) -> str:
    """The ends of an interval as sizes: which side they are on is said. One that holds 0 keeps its signs."""
    if low < 0 < high:
        return f"between {number(low, '+.1f')} and {number(high, '+.1f')}"
    near, far = sorted((abs(low), abs(high)))
    return f"between {number(near, '.1f')} and {number(far, '.1f')}"


def _range(low: float, high: float) -> str:
    """`from 2.3 points worse to 0.7 points better`."""
    ends = (f"{number(abs(end), '.1f')} points {'worse' if end < 0 else 'better'}" for end in (low, high))
    return "from " + " to ".join(ends)


def _of_several(rows: Sequence[dict[str, Any]]) -> str:
    """The verdict that all have, or how often there is which."""
    margin = points(100 * rows[0]["margin"])
    ours, theirs = (plain(_common([row[side] for row in rows])) for side in ("arm", "reference"))
    verdicts = [row["verdict"] for row in rows]
    if len(set(verdicts)) == 1:
        every = {
            BETTER: f"{ours} is better than {theirs}",
            WORSE: f"{ours} is worse than {theirs}",
            EQUIVALENT: f"{ours} is no better and no worse than {theirs}, within {margin} of accuracy",
            OPEN: f"{ours} and {theirs} cannot be told apart",
            "": f"it cannot be said whether {ours} is better than {theirs}",
        }
        return f"In all {len(rows)} comparisons {every[verdicts[0]]}."
    words = {
        BETTER: "better in {}",
        WORSE: "worse in {}",
        EQUIVALENT: f"no better and no worse, within {margin}, in {{}}",
        OPEN: "not to be told apart in {}",
        "": "not comparable in {}",
    }
    said = [text.format(verdicts.count(v)) for v, text in words.items() if v in verdicts]
    return f"In {len(rows)} comparisons with {theirs}, {ours} is {', '.join(said)}."


def _common(arms: Sequence[str]) -> str:
    """The method of the first arm, and the settings that all of them have."""
    method, *settings = arms[0].split()
    return " ".join([method, *(word for word in settings if all(word in arm.split() for arm in arms))])


def _meaning(compared: pd.DataFrame) -> Iterator[str]:
    """What the sentence is in, what the second endpoint says, and what it all holds for."""
    yield "A point of accuracy is one more of 100 held-out pairs in which the model scores the preferred reply higher."
    rows = records(compared[compared["endpoint"] == INFORMATION.metric])
    if len(rows) == 1 and rows[0]["verdict"]:
        by_accuracy = compared.loc[compared["endpoint"] == ACCURACY.metric, "verdict"].iloc[0]
        found = "the same" if by_accuracy == rows[0]["verdict"] else _OF_INFORMATION[rows[0]["verdict"]]
        yield f"Judged by how sure the models are of the right reply (information), the answer is {found}."


def _one_draw(study: Study) -> Iterator[str]:
    """That other data may give another answer, where the base pairs were drawn once."""
    drawn = [design(group).draws for _, group in study.groups()]
    if max(drawn) < 2:
        yield "all runs share one draw of the base pairs: another draw of the same data may give another answer"


def _facts(study: Study) -> Iterator[Fact]:
    """Arms, replicates, pairs and compute."""
    groups = [group for _, group in study.groups()]
    arms, of = study.arms, [design(group) for group in groups]
    yield Fact(str(len(arms)), _plural("arm", len(arms)), ", ".join(arms) if len(arms) <= 6 else "ways to augment")
    most = max(one.replicates for one in of)
    redrawn = any(one.draws > 1 for one in of)
    what = "new data and seeds each" if redrawn else "new seeds, the same data"
    yield Fact(str(most), _plural("replicate", most), what if most > 1 else "so nothing to tell chance by")
    tested = float(np.median([_tested(group) for group in groups]))
    if np.isfinite(tested):
        trained = numbers(study.rounds, "base_pairs").dropna()
        ends = dict.fromkeys(number(end, ",.0f") for end in (trained.min(), trained.max()) if len(trained))
        base = f"to test on, {' to '.join(ends)} to train on" if ends else "to test on"
        yield Fact(number(tested, ",.0f"), "pairs", base)
    yield _compute(study)


def _tested(group: Study) -> float:
    """Pairs of the main test split that a run was judged on; NaN where none says."""
    by_arm = [group.values(arm, group.splits[0], "n") for arm in group.arms] if group.splits else []
    return float(pd.concat(by_arm).median()) if by_arm else np.nan


def _compute(study: Study) -> Fact:
    """Time that all runs took; their steps where no run recorded time."""
    runs, groups = study.runs, len(list(study.groups()))
    of_all = f"{len(runs):,} {_plural('run', len(runs))}" + (f" in {groups} settings" if groups > 1 else "")
    seconds = numbers(runs, "wall_seconds").sum()
    if seconds > 0:
        size, unit = next((size, unit) for size, unit in _SPANS if seconds >= 2 * size)
        return Fact(number(seconds / (size or 1.0), ".3g" if seconds < 1e5 else ",.0f"), f"{unit} of computing", of_all)
    return Fact(number(numbers(runs, "steps").sum(), ",.0f"), "optimiser steps", of_all)


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
