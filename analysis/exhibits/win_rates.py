"""Policies made with the arms' reward models, judged: win rates by arm, the judges beside their controls, the bars.

What a judge says is believed as far as it can be told from judges that know nothing, so its controls stand beside it
in every report: one that always says A, a coin, the longer reply, the released parser, and one reply shown as both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels
from analysis.exhibits.measures import whole
from analysis.exhibits.reference import Published, citation, load_published, published_value
from analysis.exhibits.table import Column, records
from analysis.inference.win_rates import KEYS, Judged, judged, judges_of, same_twice, win_rates
from analysis.study.judgements import contests
from analysis.study.study import NothingToShow, Study
from benchmarks.judges.findings import Row, controls, number

_NOTHING = (
    "no policy of a run was judged (python -m benchmarks.replies study=DIR, then python -m benchmarks.judge study=DIR "
    "ours=best_of_n-16 theirs=best_of_n-1 judge=NAME)"
)
_CONTROL = "control: "
_INTERVAL = "95 % intervals for new prompts and, where there are several, new replicates"


class ByArm(Exhibit):
    """Each arm's policy against the opponent, and against the policy of the reference arm on the same prompts.

    reference: what is published, paper_reference.yaml unless told.
    """

    name, title = "win_rates", "Win rates by arm"
    by = tuple(KEYS)
    columns = (
        Column("arm", "arm"),
        Column("win_rate", "win rate %", ".1f", 100, interval=True),
        Column("win_published", "publ. win", always=True),
        Column("p_adjusted", "adjusted p", "p"),
        Column("length_controlled", "length-contr. %", ".1f", 100, interval=True),
        Column("difference", "against the reference, points", "+.1f", 100, interval=True),
        Column("difference_p_adjusted", "adjusted p", "p"),
        Column("win", "win %", ".1f", 100),
        Column("tie", "tie %", ".1f", 100),
        Column("lose", "lose %", ".1f", 100),
        Column("unread", "unread %", ".1f", 100),
        Column("position_bias", "position bias %", ".1f", 100, interval=True),
        Column("replicates", "replicates", "d"),
        Column("prompts", "prompts", ",d"),
        Column("remark", "remark"),
    )

    def __init__(self, reference: Iterable[Published] | None = None) -> None:
        known = load_published() if reference is None else reference
        self.known = [entry for entry in known if entry.table == self.name]

    def frame(self, study: Study) -> pd.DataFrame:
        frame = win_rates(study)
        if frame.empty:
            raise NothingToShow(_NOTHING)
        frame = frame.assign(win_published=[published_value(self.known, row, "win") for row in records(frame)])
        return whole(frame, "replicates", "prompts")

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "Policies made with each arm's reward model against an opponent, by judge; headed by policy, opponent and "
            "judge. Both orders of a pair are shown and are one unit. Win rate: a tie counts ½; win, tie, lose: shares "
            "of the units, a tie being one without a preference over both orders. Length-controlled: at equal lengths, "
            "in the manner of AlpacaEval 2. Unread: of the verdicts, which leave their unit out. "
            f"{_INTERVAL[0].upper()}{_INTERVAL[1:]}. Against the reference ({study.reference}): the difference in win "
            "rate on the same replicates and prompts. p: of a win rate of ½ and of a difference of 0, by Holm's method "
            "over all of this table; not of the declared comparisons. A judge that is useless gives none. "
            f"{citation(self.known, records(frame))}"
        )


class Judges(Exhibit):
    """Each judge on the replies of all arms, and below it the judges that know nothing."""

    name, title = "judges", "Judges and their controls"
    by = tuple(KEYS)
    columns = (
        Column("who", "judge"),
        Column("win_rate", "win rate %", ".1f", 100, interval=True),
        Column("position_bias", "position bias %", ".1f", 100, interval=True),
        Column("consistency", "consistency", ".2f", interval=True),
        Column("said_a", "A %", ".1f", 100),
        Column("said_b", "B %", ".1f", 100),
        Column("said_tie", "tie %", ".1f", 100),
        Column("unread", "unread %", ".1f", 100),
        Column("kappa", "κ with the judge", ".2f", interval=True),
        Column("units", "units", ",d"),
        Column("model", "model, question"),
        Column("remark", "remark"),
    )
    caption = (
        "On the replies of all arms. Position bias: units with the same position preferred in both orders. "
        "Consistency: 1 if what is preferred follows the replies, 0 for a coin and for a judge that looks at the order "
        "alone. A, B, tie, unread: of the verdicts. Controls, on the same replies: always_a prefers the reply shown "
        "first, coin tosses, length prefers the longer reply, released reads verdicts as the parser of the authors' "
        "notebook does, by its description. Identical replies: one reply shown as both, of which all that can be said "
        f"is a tie. κ: Cohen's, beyond chance. {_INTERVAL[0].upper()}{_INTERVAL[1:]}; of κ for new prompts."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        frame = pd.DataFrame(row for _, group in study.groups() for row in _judge_rows(group))
        if frame.empty:
            raise NothingToShow(_NOTHING)
        return whole(frame, "units")


def _judge_rows(group: Study) -> Iterator[dict[str, Any]]:
    known = contests(group)
    for contest in known:
        if (of := judged(group, tuple(group.arms), contest)) is None:
            continue
        dataset, backbone = group.runs[["dataset", "backbone"]].iloc[0]
        keys = {"dataset": dataset, "backbone": backbone, **contest._asdict()}
        agreeing = judges_of(group, contest, known)
        with_others = [f"κ with {other} {number(found.kappa)}" for other, found in agreeing.items()]
        remark = "; ".join(filter(None, (of.useless, *with_others)))
        yield keys | _judge_row(Row(contest.judge, of.findings, remark)) | {"model": _answered(of)}
        if found := same_twice(of):
            said = {f"said_{name.lower()}": found.counts.get(name, 0) / found.asked for name in ("A", "B", "tie")}
            unread = found.counts.get("unparsable", 0) / found.asked
            yield keys | {"who": "identical replies", **said, "unread": unread, "units": found.asked}
        yield from (
            keys | _judge_row(row._replace(name=_CONTROL + row.name)) for row in controls(of.comparisons, of.units)
        )


def _judge_row(row: Row) -> dict[str, Any]:
    found, said = row.findings, max(1, sum(row.findings.counts.values()))
    shares = {"win_rate": found.win_rate, "position_bias": found.position_bias, "consistency": found.consistency}
    if row.with_judge:
        shares["kappa"] = row.with_judge.kappa
    told: dict[str, Any] = {"who": row.name}
    for name, share in shares.items():
        told |= {name: share.value, f"{name}_lo": share.lo, f"{name}_hi": share.hi}
    counted = {"said_a": "A", "said_b": "B", "said_tie": "tie", "unread": "unparsable"}
    told |= {name: found.counts[code] / said for name, code in counted.items()}
    return told | {"units": found.units, "remark": row.flag}


def _answered(of: Judged) -> str:
    """Dated model names, and the versions of the question, of the records."""
    named = dict.fromkeys(name for one in of.judgements for name in one.record.get("models") or ())
    wordings = dict.fromkeys(one.record.get("wording") or "" for one in of.judgements)
    return ", ".join(filter(None, (*named, *wordings)))


class _Outcome(NamedTuple):
    column: str
    colour: str
    ink: str  # of the number on it


_OUTCOMES = (_Outcome("win", "#0072B2", "white"), _Outcome("tie", "0.87", "0.2"), _Outcome("lose", "#E69F00", "0.1"))
_ROOM = 0.06  # of a bar, from which its number fits on it


class Bars(Exhibit):
    """A panel for each dataset × backbone, judge and opponent; policies one below the other, an arm a bar."""

    name, title = "win_rates", "Win, tie and lose by arm"
    see = "Whose replies the judge prefers; a dot right of the middle is a win for the arm."
    caption = (
        "Shares of the prompts on which the judge prefers the arm's policy, neither, or the opponent, in both orders "
        "of the two replies together. The dot is the win rate, a tie counting ½, with its 95 % interval for new "
        "prompts and, where there are several, new replicates. The table of judges says how far each can be believed."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        rows = win_rates(study)
        if rows.empty:
            raise NothingToShow(_NOTHING)
        known = [entry for entry in load_published() if entry.table == self.name]
        rows = rows.assign(published=[published_value(known, row, "win") for row in records(rows)])
        keys = ["dataset", "backbone", "judge", "opponent"]
        return in_panels((_heading(own.iloc[0]), own) for _, own in rows.groupby(keys, sort=False))

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        names, row = style.names_room([*study.arms, *(name for p in panels for name in p.frame["policy"])])
        high = row * max(len(_lines(panel.frame)) for panel in panels)
        published = max(style.width(_published(text), style.SMALL) for p in panels for text in p.frame["published"])
        return style.Layout(style.columns(len(panels)), (3.0, high), left=names, right=published + 0.1)

    def legend(self, study: Study, frame: pd.DataFrame) -> Mapping[str, Artist]:
        bars: dict[str, Artist] = {one.column: Patch(color=one.colour) for one in _OUTCOMES}
        return bars | {"win rate": Line2D([], [], color="black", marker="o", markersize=4, linewidth=1.2)}

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        replicates = int(frame["replicates"].max())
        parts = ["dashed: ½", "one replicate: intervals for new prompts alone" if replicates < 2 else ""]
        if (frame["published"] != "").any():
            parts.append("publ.: as printed; opponent, policy and unit need not be these, see the table")
        return "; ".join(filter(None, parts))

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        lines = _lines(frame)
        for y, (_, row) in enumerate(lines):
            if row is not None:
                _bar(axes, y, row)
        axes.axvline(50, color="0.25", linestyle="--", linewidth=0.9, zorder=3)
        style.name_rows(axes, [name for name, _ in lines])
        for label, (_, row) in zip(axes.get_yticklabels(), lines, strict=True):
            label.set(color="0.35" if row is None else "black", fontstyle="italic" if row is None else "normal")
        axes.set(xlim=(0, 100), xlabel="% of prompts")
        axes.spines["left"].set_visible(False)


def _heading(row: Any) -> str:
    useless = ", useless judge" if row["useless"] else ""
    return f"{row['dataset']} / {row['backbone']}: against {row['opponent']}, judge {row['judge']}{useless}"


def _lines(frame: pd.DataFrame) -> list[tuple[str, dict[str, Any] | None]]:
    """(name, its row) of each line of a panel, from the top; a policy heads its arms, and has no row."""
    found: list[tuple[str, dict[str, Any] | None]] = []
    for policy, own in frame.groupby("policy", sort=False):
        found += [(str(policy), None), *((str(row["arm"]), row) for row in records(own))]
    return found


def _bar(axes: Axes, y: int, row: dict[str, Any]) -> None:
    left = 0.0
    for one in _OUTCOMES:
        share = 100 * row[one.column]
        axes.barh(y, share, left=left, height=0.86, color=one.colour, edgecolor="white", linewidth=0.5)
        if share >= 100 * _ROOM:
            behind = {"facecolor": one.colour, "linewidth": 0, "pad": 0.6}  # so that no line runs through the number
            look: dict[str, Any] = {"fontsize": style.SMALL - 1.5, "color": one.ink, "bbox": behind, "zorder": 4}
            axes.text(left + share / 2, y - 0.13, f"{share:.0f}", ha="center", va="center", **look)
        left += share
    rate, lo, hi = (100 * row[f"win_rate{end}"] for end in ("", "_lo", "_hi"))
    for colour, width in (("white", 3.2), ("black", 1.2)):
        axes.plot([lo, hi], [y + 0.24] * 2, color=colour, linewidth=width, zorder=4, solid_capstyle="butt")
    axes.plot(rate, y + 0.24, "o", color="black", markersize=4, markeredgecolor="white", markeredgewidth=0.6, zorder=5)
    axes.text(1.02, y, _published(row["published"]), transform=axes.get_yaxis_transform(), va="center", **style.ASIDE)


def _published(text: str) -> str:
    return f"publ. {text}" if text else ""
