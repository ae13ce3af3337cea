"""What judges said of an arm's policies, over its replicates: win rate, bias, controls, and arms against each other.

The verdicts of an arm's runs are one set of units, in which prompts and replicates are crossed random factors
(`benchmarks.judges.clustered_shares`), so an interval is for new ones of both. Two arms whose policies met the same
opponent are compared prompt by prompt, as on the same test pairs. A judge that is useless on all replies of a group
gives no p.

Every p that the judges of a study give, of a win rate of ½ and of a difference of 0, is adjusted for all of them
together (Holm): so no false "better" among all that is said, with 95 %.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.inference import stats
from analysis.inference.comparability import why_not_comparable
from analysis.inference.comparisons import counterpart, why_not
from analysis.inference.design import design
from analysis.inference.pairing import Endpoint, Paired, of_prompts, paired_difference
from analysis.study.judgements import Contest, Judgement, contests, judgement
from analysis.study.study import Pairs, Study
from benchmarks.judges.clustered_shares import Clusters
from benchmarks.judges.findings import SameTwice, flag
from benchmarks.judges.generations import Comparison
from benchmarks.judges.winrate import Agreement, Findings, Units, agreement, measure

KEYS = ["dataset", "backbone", "policy", "opponent", "judge"]
_IN_COMMON = 0.5  # of a run's prompts, below which replicates have prompts of their own
WIN_RATE = Endpoint("win rate", lambda pairs: pairs.margins, "points", 100.0, ".1f")


class Judged(NamedTuple):
    """What a judge said of an arm's policy, or of those of several arms, in one group.

    shares: of units won, tied and lost. useless: why the judge is, "" where it is not. units, comparisons: all of them.
    """

    findings: Findings
    shares: tuple[float, float, float]
    useless: str
    units: Units
    comparisons: Sequence[Comparison]
    judgements: Sequence[Judgement]
    replicates: int

    @property
    def prompts(self) -> int:
        """How many distinct ones."""
        return len(np.unique(self.units.clusters.prompt))


@functools.lru_cache(maxsize=256)
def judged(group: Study, arms: tuple[str, ...], contest: Contest) -> Judged | None:
    """The verdicts of the arms' runs together; None where no run of theirs was judged in the contest."""
    known = group.runs[group.runs["arm"].isin(arms)].sort_values(["arm", "seed"], kind="stable")
    parts = [
        (of_run, int(replicate))
        for name, replicate in zip(known["run"], known["replicate"], strict=True)
        if (of_run := judgement(group.members[name], contest))
    ]
    if not parts:
        return None
    tables = [of.table.assign(replicate=replicate) for of, replicate in parts]
    units = Units.of(pd.concat(tables, ignore_index=True))
    replicates = np.unique(units.clusters.replicate, return_inverse=True)
    units = replace(units, clusters=Clusters(units.clusters.prompt, replicates[1]))
    found, outcome = measure(units), units.outcome[~np.isnan(units.outcome)]
    read = max(1, len(outcome))
    won, lost = float((outcome > 0.5).sum()) / read, float((outcome < 0.5).sum()) / read
    comparisons = [replace(one, replicate=replicate) for of, replicate in parts for one in of.comparisons]
    shares, judgements = (won, 1 - won - lost, lost), [of for of, _ in parts]
    return Judged(found, shares, flag(found), units, comparisons, judgements, len(replicates[0]))


def judges_of(group: Study, contest: Contest, others: Sequence[Contest]) -> dict[str, Agreement]:
    """{another judge: how far it agrees with that of the contest} on the same replies, without useless ones."""
    found = {}
    one = judged(group, tuple(group.arms), contest)
    for rival in others:
        other = judged(group, tuple(group.arms), rival)
        same = rival != contest and rival[:2] == contest[:2] and one and other
        if same and one and other and not other.useless and one.comparisons == other.comparisons:
            found[rival.judge] = agreement(one.units, other.units)
    return found


def same_twice(of: Judged) -> SameTwice | None:
    """What the judge said of one reply shown as both, over the runs; None where it was not asked."""
    counts: Counter[str] = Counter()
    for one in of.judgements:
        counts.update((one.record.get("same_twice") or {}).get("counts") or {})
    return SameTwice(sum(counts.values()), counts) if counts else None


@functools.lru_cache(maxsize=256)
def rate_over(group: Study, arm: str, reference: str, contest: Contest) -> Paired:
    """arm − reference in win rate, for new replicates and prompts; without replicates where they share none."""
    ours, theirs = (_by_prompt(group, name, contest) for name in (arm, reference))
    return paired_difference(ours, theirs, WIN_RATE, design(group).overlap)


def _by_prompt(group: Study, arm: str, contest: Contest) -> Pairs:
    """The arm's outcomes, mean over a prompt's replies, as `chosen`; `rejected` is 0.

    Where replicates have prompts of their own, one that two of them have by chance is two, as other examples are.
    """
    known = group.runs[group.runs["arm"] == arm].set_index("seed")["replicate"]
    rows: dict[int, pd.DataFrame] = {}
    for run in group.of(arm):
        if found := judgement(run, contest):
            outcome = pd.Series(Units.of(found.table).outcome, [one.prompt_id for one in found.comparisons])
            chosen = outcome.groupby(level=0, sort=False).mean().dropna()
            rows[run.manifest["seed"]] = pd.DataFrame({"chosen": chosen, "rejected": 0.0})
    prompts = [set(of_run.index) for of_run in rows.values()]
    if prompts and len(set.intersection(*prompts)) < _IN_COMMON * min(map(len, prompts)):
        rows = {seed: of.set_axis([f"{known[seed]} {prompt}" for prompt in of.index]) for seed, of in rows.items()}
    return of_prompts(rows, known)


@functools.lru_cache(maxsize=8)
def win_rates(study: Study) -> pd.DataFrame:
    """A row for each arm, group and contest that was judged: KEYS, arm, `_numbers` and `_against`; empty without any.

    p, difference_p: not adjusted; p_adjusted, difference_p_adjusted: for all in the frame.
    """
    frame = pd.DataFrame(row for _, group in study.groups() for row in _rows(group))
    if len(frame):
        adjusted = stats.holm(frame[["p", "difference_p"]].to_numpy(float).ravel()).reshape(-1, 2)
        frame[["p_adjusted", "difference_p_adjusted"]] = adjusted
    return frame


def _rows(group: Study) -> Iterator[dict[str, Any]]:
    confounded = why_not_comparable(group)
    dataset, backbone = group.runs[["dataset", "backbone"]].iloc[0]
    for contest in contests(group):
        everyone = judged(group, tuple(group.arms), contest)
        useless = everyone.useless if everyone else ""
        for arm in group.arms:
            if of := judged(group, (arm,), contest):
                row = {"dataset": dataset, "backbone": backbone, **contest._asdict(), "arm": arm, "useless": useless}
                yield row | _numbers(of, useless) | _against(group, arm, contest, confounded, useless)


def _numbers(of: Judged, useless: str) -> dict[str, Any]:
    found, said = of.findings, max(1, sum(of.findings.counts.values()))
    shares = {"win_rate": found.win_rate, "length_controlled": found.length_controlled}
    shares |= {"position_bias": found.position_bias}
    ends = {f"{name}{end}": value for name, share in shares.items()
            for end, value in (("", share.value), ("_lo", share.lo), ("_hi", share.hi))}  # fmt: skip
    return ends | {
        **dict(zip(("win", "tie", "lose"), of.shares, strict=True)),
        "said_tie": found.counts["tie"] / said,
        "unread": found.counts["unparsable"] / said,
        "p": math.nan if useless else found.p,
        "replicates": of.replicates,
        "prompts": of.prompts,
    }


def _against(group: Study, arm: str, contest: Contest, confounded: str, useless: str) -> dict[str, Any]:
    """The difference from the reference with interval and p, or in `remark` why there is none."""
    nothing = {"against": "", "difference": math.nan, "difference_p": math.nan, "remark": useless}
    reference = counterpart(group.arms, arm, group.reference)
    if useless or reference in (None, arm):
        return nothing
    if confounded:
        return nothing | {"remark": f"not compared: arms differ in {confounded}"}
    paired = rate_over(group, arm, str(reference), contest)
    if not paired.replicates:
        return nothing | {"remark": "not compared: no prompt in common with the reference"}
    difference, lo, hi, p, _ = paired.result
    numbers = {"difference": difference, "difference_lo": lo, "difference_hi": hi, "difference_p": p}
    return {
        "against": str(reference),
        **numbers,
        "remark": why_not(paired).replace("pairs", "prompts").replace("pair ", "prompt "),
    }
