"""What a report leaves on the terminal: its arms as a picture in text, and the few sentences that matter.

    python -m analysis.report study=outputs/quick

The picture is the leaderboard: best arm first, its accuracy, and its difference to the reference as an interval. What
more there is to know (p, the other endpoint, every sentence of the verdict) is on the page, whose path comes last.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.exhibits.ranking import Ranking
from analysis.exhibits.table import number, points, records
from analysis.inference.pairing import ACCURACY
from analysis.inference.stats import ALPHA
from analysis.inference.verdicts import BETTER, EQUIVALENT, OPEN, WORSE
from analysis.report.bars import Bar, Screen, draw
from analysis.report.glance import against, against_reference, headline, plain
from analysis.report.wording import what_would
from analysis.study.study import Study

_MANY, _FIRST = 6, 2  # groups: of more than so many, the first few are drawn
_SAID = 3  # warnings that are said here
_SAYS = {
    BETTER: "better than",
    WORSE: "worse than",
    EQUIVALENT: "no better and no worse than",
    OPEN: "not settled against",
}


def shown(
    study: Study,
    board: Ranking,
    compared: pd.DataFrame,
    cautions: Sequence[str],
    page: Path,
    screen: Screen | None = None,
) -> str:
    """The text. cautions: of `verdict.warnings`. page: what its last line names. screen: standard output by default."""
    screen = screen or Screen.of(sys.stdout)
    parts = [
        _picture(study, board, compared, screen),
        _verdict(study, compared, screen),
        _against(study, compared, cautions, screen),
    ]
    texts = ["\n".join(lines) for part in parts if (lines := list(part))]
    return screen.written("\n\n".join([*texts, str(page)]))


def _picture(study: Study, board: Ranking, compared: pd.DataFrame, screen: Screen) -> Iterator[str]:
    sections = list(board.table.sections())
    drawn = sections if len(sections) <= _MANY else sections[:_FIRST]
    paired = any(math.isfinite(row["difference"]) for _, rows in drawn for row in rows)
    verdicts = _verdicts(compared)
    groups = [
        (_title(title, rows), [_bar(row, study.reference, paired, verdicts) for row in rows if row["kind"] == "arm"])
        for title, rows in drawn
    ]
    margin = 100 * study.margins[ACCURACY.metric] if paired else 0.0
    yield from draw(groups, margin, screen)
    yield from screen.wrap(_legend(study.reference, margin)).splitlines()
    if len(drawn) < len(sections):
        yield f"The first {_FIRST} of {len(sections)} groups; the page has them all."


def _title(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """`planted / minilm / test: 5 replicates × 500 pairs`, and why it is not ranked where it is not."""
    arms = [row for row in rows if row["kind"] == "arm"]
    counts = [_range([int(row[key]) for row in arms]) for key in ("replicates", "examples")]
    why = f"; {rows[0]['not_ranked']}" if rows[0]["not_ranked"] else ""
    plural = "" if counts[0] == "1" else "s"
    return f"{title}: {counts[0]} replicate{plural} × {counts[1]} pairs{why}"


def _range(counts: Sequence[int]) -> str:
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"


def _verdicts(compared: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """{(dataset, backbone, arm, reference): the verdict by accuracy} of the declared comparisons."""
    rows = records(compared[compared["endpoint"] == ACCURACY.metric])
    return {(*(row[key] for key in ("dataset", "backbone", "arm", "reference")),): row["verdict"] for row in rows}


def _bar(row: Mapping[str, Any], reference: str, paired: bool, verdicts: Mapping[tuple[str, ...], str]) -> Bar:
    """An arm's row of the leaderboard. paired: its difference to the reference is shown, else its accuracy."""
    name, accuracy = row["arm"], number(100 * row["accuracy"], ".1f")
    key, spec = ("difference", "+.1f") if paired else ("accuracy", ".1f")
    value, lo, hi = (100 * float(row[f"{key}{end}"]) for end in ("", "_lo", "_hi"))
    if not math.isfinite(value):
        return Bar(name, accuracy, said="reference" if name == reference and not row["not_ranked"] else "")
    ends = f" [{number(lo, spec)}, {number(hi, spec)}]" if math.isfinite(lo) else ""
    declared = verdicts.get((row["dataset"], row["backbone"], name, reference))
    found = BETTER if value > 0 else WORSE
    verdict = declared if declared is not None else found if paired and row["p_holm"] < ALPHA else ""
    return Bar(name, accuracy, value, lo, hi, f"{number(value, spec)}{ends}", verdict)


def _legend(reference: str, margin: float) -> str:
    accuracy = "Accuracy in %, mean over replicates"
    if not margin:
        return f"{accuracy}, with its 95 % interval."
    band = f"░ within {points(margin)}: as good as equal"
    return f"{accuracy}; difference to {reference} in points, with its 95 % interval; {band}."


def _verdict(study: Study, compared: pd.DataFrame, screen: Screen) -> Iterator[str]:
    """The page's sentence, what would settle it, and the comparisons with the other arms."""
    rows = compared[compared["endpoint"] == ACCURACY.metric]
    first = against_reference(study, rows)
    said = [headline(study, compared)]
    if len(first) == 1 and len(list(study.groups())) == 1:
        said += [_sentence(what_would(row, "test pairs")) for row in records(first) if row["verdict"] == OPEN]
        said += _others(records(rows.drop(first.index)))
    yield screen.wrap(" ".join(said))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _others(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One sentence on the comparisons with all other arms."""
    by = {verdict: [row["reference"] for row in rows if row["verdict"] == verdict] for verdict in _SAYS}
    parts = [f"{says} {', '.join(by[verdict])}" for verdict, says in _SAYS.items() if by[verdict]]
    if parts:
        yield f"{plain(rows[0]['arm'])} is {'; '.join(parts)}."


def _against(study: Study, compared: pd.DataFrame, cautions: Sequence[str], screen: Screen) -> Iterator[str]:
    """What speaks against it, the first few."""
    out = len(study.left_out)
    lines = [
        *against(study, cautions, compared),
        *([f"{out} run{'' if out == 1 else 's'} left out; the page says why"] if out else []),
    ]
    for line in lines[:_SAID]:
        yield screen.wrap(line, "! ", "  ")
    if len(lines) > _SAID:
        yield f"! and {len(lines) - _SAID} more on the page"
