"""What a judgement means, in sentences and one table: the verdict, whether the judge can be believed, the controls.

A judge is useless where it looks at the order alone, or where what it prefers in one order says nothing of what it
prefers in the other, as with a coin (`winrate.consistency`). Then there is no verdict, whatever the win rate. The
controls of `benchmarks.judges.controls` stand below every judge, on the same replies.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from benchmarks.judges.clustered_shares import Share
from benchmarks.judges.controls import SHOWN, control
from benchmarks.judges.generations import Comparison
from benchmarks.judges.judge import Judge, Showing
from benchmarks.judges.verdicts import verdicts
from benchmarks.judges.winrate import FEWEST, Agreement, Findings, Units, agreement, measure

_FOLLOWS_ORDER = 0.9  # position bias from which the judge looks at nothing else
_UNREAD = 0.5  # share of verdicts
_LIKE_LENGTH = 0.8  # agreement with the longer reply, lower end


class Row(NamedTuple):
    """A line of the table: a judge or a control, what it found, and how far it agrees with the judge above it."""

    name: str
    findings: Findings
    flag: str
    with_judge: Agreement | None = None


@dataclass(frozen=True)
class SameTwice:
    """What the judge says of one reply shown as both: of `asked` prompts, how often A, B, tie, unparsable."""

    asked: int
    counts: Mapping[str, int]

    @property
    def tie(self) -> float:
        """The share of ties, which is all that a judge could say."""
        return self.counts.get("tie", 0) / self.asked


def flag(found: Findings) -> str:
    """Why the judge is useless on these replies, in one sentence; "" where it is not."""
    if not found.asked:
        return ""
    said = sum(found.counts.values())
    unread = found.counts["unparsable"] / said
    bias = found.position_bias
    if unread > _UNREAD:
        return f"useless: {unread:.0%} of its verdicts cannot be read"
    if bias.value >= _FOLLOWS_ORDER:
        where = "first" if found.toward_first > 0 else "second" if found.toward_first < 0 else "same position"
        return f"useless: it prefers the {where} reply whatever the replies say (position bias {bias.value:.2f})"
    if not found.consistency.lo > 0:
        few = "too few prompts to tell it" if found.consistency.n < FEWEST else "it cannot be told"
        return f"useless here: {few} from a coin (consistency {found.consistency.value:.2f} over the two orders)"
    return ""


def verdict(found: Findings, useless: str, ours: str, theirs: str) -> str:
    """Which policy is better, in one sentence."""
    if useless:
        return f"No verdict: the judge is {useless}."
    if not found.asked and found.win_rate.value == 0.5:
        return f"No difference: {ours} and {theirs} gave the same replies."
    rate = f"win rate of {ours} {percent(found.win_rate)}"
    if found.win_rate.lo > 0.5:
        return f"{ours} is better: {rate}."
    if found.win_rate.hi < 0.5:
        return f"{theirs} is better: {rate}."
    return f"Not settled: {rate}."


def remarks(found: Findings, reasons: Mapping[str, int], with_length: Agreement | None) -> list[str]:
    """What a reader should know before believing the verdict, each a sentence."""
    said = []
    if found.left_out:
        why = ", ".join(f"{n} {name}" for name, n in sorted(reasons.items()))
        said.append(
            f"{found.left_out} of {found.units} pairs are left out, because a verdict could not be read ({why}): lost "
            f"or won, they would put the win rate between {found.worst:.1%} and {found.best:.1%}."
        )
    if with_length and with_length.raw.lo > _LIKE_LENGTH:
        said.append(f"It says what length alone would in {with_length.raw.value:.0%} of pairs.")
    return said


def controls(comparisons: Sequence[Comparison], judged: Units) -> list[Row]:
    """The controls on the same replies, in their order."""
    rows = []
    for name in SHOWN:
        units = Units.of(verdicts(control(name), comparisons))
        found = measure(units)
        rows.append(Row(name, found, flag(found), agreement(judged, units)))
    return rows


def same_twice(judge: Judge, comparisons: Sequence[Comparison], most: int) -> SameTwice | None:
    """The judge asked about ours shown as both replies, on the first `most` prompts; None without any."""
    shown = repeated(comparisons, most)
    if not shown:
        return None
    return SameTwice(len(shown), dict(Counter(answer.said for answer in judge.ask(shown))))


def repeated(comparisons: Sequence[Comparison], most: int) -> list[Showing]:
    """What `same_twice` shows."""
    asked = [one for one in comparisons if not one.ruled][:most]
    return [Showing(one.prompt, one.ours, one.ours, one.id) for one in asked]


def unread(table: pd.DataFrame) -> dict[str, int]:
    """{reason: verdicts that could not be read}."""
    reasons = table.loc[table["said"] == "unparsable", "reason"]
    return {str(reason): int(n) for reason, n in reasons.value_counts().items()}


def table(judges: Sequence[Row], beside: Sequence[Row], same: Mapping[str, SameTwice]) -> str:
    """The judges, each with its one reply shown twice, and the controls, as a markdown table."""
    head = ["judge", "units", "win rate", "length-controlled", "position bias", "consistency", "A / B / tie / unread",
            "agrees with the judge (κ)", ""]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for row in judges:
        lines.append(_cells(row))
        if found := same.get(row.name):
            said = _counted(found.counts)
            lines.append([f"… one reply shown twice to {row.name}", str(found.asked), "", "", "", "", said, "",
                          f"a tie in {found.tie:.0%}"])  # fmt: skip
    lines += [_cells(row._replace(name=f"*control:* {row.name}")) for row in beside]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def percent(share: Share) -> str:
    """62.0 % [57.1, 66.7]; a dash where there is none."""
    if math.isnan(share.value):
        return "–"
    value = f"{100 * share.value:.1f} %"
    return value if math.isnan(share.lo) else f"{value} [{100 * share.lo:.1f}, {100 * share.hi:.1f}]"


def _cells(row: Row) -> list[str]:
    found = row.findings
    kappa = "–" if row.with_judge is None else f"{row.with_judge.kappa.value:.2f}".replace("nan", "–")
    return [
        row.name,
        str(found.units),
        percent(found.win_rate),
        percent(found.length_controlled),
        percent(found.position_bias),
        number(found.consistency),
        _counted(found.counts),
        kappa,
        row.flag,
    ]


def number(share: Share) -> str:
    """0.62 [0.57, 0.67]."""
    if math.isnan(share.value):
        return "–"
    return f"{share.value:.2f}" if math.isnan(share.lo) else f"{share.value:.2f} [{share.lo:.2f}, {share.hi:.2f}]"


def _counted(counts: Mapping[str, int]) -> str:
    return " / ".join(str(counts.get(name, 0)) for name in ("A", "B", "tie", "unparsable"))
