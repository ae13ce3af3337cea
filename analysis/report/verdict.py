"""What the numbers allow to be said: a sentence for each declared comparison, and what speaks against believing it.

Sentences are made from `analysis.inference.comparisons` alone, always in the same words, so that nobody's hopes find
their way into them. "Not settled" is a normal answer and comes with what would settle it.
Warnings come from what runs recorded of themselves; they do not change a verdict, they tell a reader what it rests on.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.table import number, records
from analysis.inference import design, lengths
from analysis.inference.comparability import confounds, say_once
from analysis.inference.curvature import CONDITIONS, EVERYWHERE, GAINS, correlations, has_curvature
from analysis.inference.pairing import ENDPOINTS
from analysis.inference.stats import ALPHA
from analysis.report.downstream import on_downstream
from analysis.report.judged import on_judges, on_win_rates
from analysis.report.wording import MANY, by_endpoint, outcomes, size_of
from analysis.study.pools import changed_labels, pool_table
from analysis.study.study import Run, Study
from benchmarks.calibration import FEWEST_HELD_OUT
from benchmarks.metrics import coin_half_width
from benchmarks.pair_metrics import VALIDATION

FEW = 5  # replicates: below it intervals are wide and lean on normality
_BY_NAME = {endpoint.metric: endpoint for endpoint in ENDPOINTS}
FINDINGS = {  # of manifest.json's data.contamination, by split
    "prompt": "share their prompt with a training pair",
    "prompt_response": "share prompt and response with a training pair",
    "any_ngram": "share a {ngram}-gram with a training pair",
}

OF_ROWS = {  # of manifest.json's data.sources, by split: what was counted and kept
    "contradictory": "contradictory labels: rows with the responses of an earlier row the other way round",
    "invisible": "texts of nothing that can be seen, such as U+200B: rows",
    "turn_marker": "turn markers inside a text, which the plain template cannot tell from turns: rows",
    "repeats_prompt": "replies that begin with their prompt, both of them (dataset.schema=trl takes it off): rows",
}


def sentences(study: Study, comparisons: pd.DataFrame) -> tuple[str, ...]:
    """All that the study settles: declared comparisons, what they hold for, downstream, judges, curvature."""
    beside = (
        *lengths.in_words(study),
        *design.in_words(study),
        *on_downstream(study),
        *on_win_rates(study),
        *on_curvature(study),
    )
    return (*verdict(comparisons), *beside)


def verdict(comparisons: pd.DataFrame) -> tuple[str, ...]:
    """Of `comparisons.compare`: a summary where there are several, a sentence for each; one where there is none.

    MANY sentences are not read: of more there is the summary alone.
    """
    if comparisons.empty:
        return ("No comparison was declared for the arms of this study: it takes the arm in focus and another one.",)
    pairs = comparisons.groupby(["dataset", "backbone", "arm", "reference"], sort=False)
    summary = tuple(_summary(of_it) for _, of_it in comparisons.groupby("endpoint", sort=False))
    if len(pairs) > MANY:
        return (*summary, f"The {len(pairs)} are in the tables of comparisons, one a row.")
    several = comparisons[["dataset", "backbone"]].drop_duplicates().shape[0] > 1
    told = lengths.KEPT[0] in comparisons
    each = tuple(_sentence(records(of_it), several) + (_length(of_it) if told else "") for _, of_it in pairs)
    return (*summary, *each) if len(each) > 1 else each


def _summary(comparisons: pd.DataFrame) -> str:
    """How many comparisons came out how by one endpoint, and against whom, where all are of one arm in one group."""
    one = len(comparisons[["dataset", "backbone", "arm"]].drop_duplicates()) == 1
    names = comparisons["reference"] if one else comparisons["reference"].map(lambda _: "")
    found = {str(verdict): list(of_it) for verdict, of_it in names.groupby(comparisons["verdict"])}
    who = comparisons["arm"].iloc[0] if one else "the arm in focus"
    endpoint = comparisons["endpoint"].iloc[0]
    return f"By {endpoint}, of {len(comparisons)} declared comparisons {outcomes(who, found)}."


def _sentence(rows: list[dict[str, Any]], several: bool) -> str:
    """One comparison by either endpoint. rows: of `comparisons.compare`."""
    first = rows[0]
    where = f"{first['dataset']} / {first['backbone']}: " if several else ""
    pair = f"{first['arm']} and {first['reference']}"
    if first["not_compared"] and np.isnan(first["difference"]):
        return f"{where}{pair} were not compared: {first['not_compared']}."
    parts = [by_endpoint(row, _BY_NAME[row["endpoint"]]) for row in rows]
    if first["not_compared"]:
        exact = f"exact McNemar for these two models p {number(first['mcnemar_p'], 'p')}"
        differ = " and ".join(parts)
        return f"{where}{pair} differ by {differ} on {first['examples']} pairs; {first['not_compared']} ({exact})."
    ours, theirs = first["steps"], first["reference_steps"]
    unequal = f" Steps differ: {ours:.0f} against {theirs:.0f}." if abs(ours - theirs) > 0 else ""  # unknown: NaN
    return (
        f"{where}{first['arm']} against {first['reference']}, {size_of(first, 'pairs')}: {'; '.join(parts)}.{unequal}"
    )


def _length(comparison: pd.DataFrame) -> str:
    """At which length a pair was compared, where some pairs of the study were at their best; empty if it was not."""
    row = records(comparison)[0]
    if np.isnan(row["difference"]):
        return ""
    if not lengths.at_best(row):
        return f" {lengths.EQUAL}."
    ours, theirs = (row[name] for name in lengths.KEPT)
    return f" {lengths.BEST}: kept after {ours:.0f} and {theirs:.0f} of {row['steps']:.0f} steps."


def on_curvature(study: Study) -> tuple[str, ...]:
    """One line on what was recorded: whether the bound's conditions held, and what went with accuracy; or nothing."""
    if not has_curvature(study):
        return ()
    parts = [*_bound(study.rounds), *_went_with(study)]
    return (f"Curvature was recorded. {' '.join(parts)}",) if parts else ()


def _bound(rounds: pd.DataFrame) -> Iterator[str]:
    if not set(CONDITIONS) <= set(rounds):
        return
    known = rounds.dropna(subset=list(CONDITIONS))
    if len(known):
        separated, gains = (known[name] == 1 for name in CONDITIONS[:2])
        yield (
            f"The bound's margins were separated (m_L < m_H) in {int(separated.sum())} of {len(known)} rounds, its "
            f"factor was above 1 (κ·σ′(m_L) > σ′(m_H)) in {int(gains.sum())}, both in {int((separated & gains).sum())}."
        )


def _went_with(study: Study) -> Iterator[str]:
    table = correlations(study)
    table = table[table["outcome"] == "accuracy_change"]
    if EVERYWHERE in set(table["dataset"]):
        table = table[table["dataset"] == EVERYWHERE]
    for row in records(table):
        rho, lo, hi = (number(row[f"within{end}"], "+.2f") for end in ("", "_lo", "_hi"))
        if not lo:
            known = f" (ρ {rho})" if rho else ""
            yield f"A round's {GAINS[row['gain']]}: one seed, so no telling whether it goes with accuracy{known}."
            continue
        said = (
            "went with"
            if row["within_lo"] > 0
            else "went against"
            if row["within_hi"] < 0
            else "did not clearly go with"
        )
        yield (
            f"A round's {GAINS[row['gain']]} {said} its change in held-out accuracy (rank correlation within rounds "
            f"{rho} [{lo}, {hi}], {row['replicates']} replicates)."
        )


@functools.lru_cache(maxsize=4)  # page and terminal ask for the same
def warnings(study: Study) -> tuple[str, ...]:
    """What in the runs' records speaks against taking the numbers at their word, group by group."""
    groups = list(study.groups())
    lines = [(title, line) for title, group in groups for line in _of_group(group)]
    found = say_once(lines, len(groups)) if len(groups) > 1 else [line for _, line in lines]
    return (*found, *study.remarks)


def _of_group(group: Study) -> Iterator[str]:
    """The gravest first: a page shows the first two at once."""
    yield from (confound.text for confound in sorted(confounds(group), key=lambda confound: not confound.blocks))
    yield from _chance(group)
    yield from _contaminated(group)
    yield from _few(group)
    yield from changed_labels(pool_table(group))
    yield from _flat(group)
    yield from _doubtful_rows(group)
    yield from on_judges(group)
    yield from _cross_fitted(group)


def _few(group: Study) -> Iterator[str]:
    counts = group.runs.groupby("arm")["replicate"].nunique()
    single = [arm for arm in group.arms if counts[arm] == 1]
    few = [arm for arm in group.arms if 1 < counts[arm] < FEW]
    if single:
        yield f"one replicate, so no interval and no test: {_named(single, group)}"
    if few:
        fewest = min(counts[arm] for arm in few)
        yield f"as few as {fewest} replicates ({FEW} or more are wanted): {_named(few, group)}"


def _cross_fitted(group: Study) -> Iterator[str]:
    """That too few validation pairs were scored to fit a temperature on."""
    scored = [len(run.scores[VALIDATION]["id"]) if VALIDATION in run.scores else 0 for run in _judged_runs(group)]
    if few := [number for number in scored if number < FEWEST_HELD_OUT]:
        yield (
            f"{min(few)} validation pairs, fewer than {FEWEST_HELD_OUT}: the temperature of information is fitted on "
            "one half of the test pairs for the other"
        )


def _judged_runs(group: Study) -> list[Run]:
    return [run for name in group.runs["run"] if (run := group.members[name]).scores]


def _named(arms: list[str], group: Study) -> str:
    return "every arm" if arms == group.arms else ", ".join(arms)


def _flat(group: Study) -> Iterator[str]:
    """Arms whose margins steered nothing: every pair got an equal share, within one row, in some or all rounds."""
    if "steering" not in group.rounds:
        return
    steered = group.rounds.dropna(subset=["steering"])
    for arm in group.arms:
        rounds = steered.loc[steered["arm"] == arm, "steering"]
        flat = int((rounds == 0).sum())
        if flat:
            which = "every round" if flat == len(rounds) else f"{flat} of {len(rounds)} rounds (over all runs)"
            yield (
                f"allocation of {arm} was flat in {which}: each pair got an equal share, rounded up or down, as "
                "in stratified sampling"
            )


def _contaminated(group: Study) -> Iterator[str]:
    """Pairs that the training rows know already, in a line for each kind of finding; the most of any run."""
    most: dict[str, dict[str, int]] = {}
    for run in group.runs["run"]:
        for split, found in ((group.members[run].manifest.get("data") or {}).get("contamination") or {}).items():
            for kind, text in FINDINGS.items():
                count = (found.get(kind) or {}).get("count") or 0
                if count:
                    by_split = most.setdefault(text.format(ngram=found.get("ngram", "n")), {})
                    where = f"of {found['pairs']} in {split}"
                    by_split[where] = max(by_split.get(where, 0), count)
    for text, by_split in most.items():
        listed = ", ".join(f"{count} {where}" for where, count in by_split.items())
        yield f"contamination: pairs that {text}: {listed}"


def _doubtful_rows(group: Study) -> Iterator[str]:
    """Rows that were kept and should be known of, in a line for each kind of finding; the most of any run."""
    most: dict[str, dict[str, int]] = {}
    for run in group.runs["run"]:
        for split, sources in ((group.members[run].manifest.get("data") or {}).get("sources") or {}).items():
            kept = sum(source.get("kept", 0) for source in sources)
            for kind, text in OF_ROWS.items():
                if count := sum((source.get("kept_despite") or {}).get(kind, 0) for source in sources):
                    by_split = most.setdefault(text, {})
                    where = f"of {kept} in {split}"
                    by_split[where] = max(by_split.get(where, 0), count)
    for text, by_split in most.items():
        yield f"{text}: {', '.join(f'{count} {where}' for where, count in by_split.items())}"


def _chance(group: Study) -> Iterator[str]:
    """No arm's mean accuracy is above what a coin reaches on as many pairs."""
    if not group.splits:
        return
    means = {arm: group.values(arm, group.splits[0], "accuracy").mean() for arm in group.arms}
    pairs = group.values(group.arms[0], group.splits[0], "n")
    best = max(means.values())
    if len(pairs) and best - 0.5 <= coin_half_width(round(pairs.mean())):
        yield f"no arm can be told from a coin on {pairs.mean():.0f} pairs (best accuracy {best:.1%}, α = {ALPHA:.2g})"
