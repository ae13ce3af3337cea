"""Numbers in pages are made from what `docs/collect.py` kept of studies, so that none is copied by hand.

    <!-- value: settle/verdict/uniform/accuracy -->equivalent within 1 point …<!-- /value -->

What is between the marks is rewritten; the first word behind the study is one of KINDS below. The text stays in the
file, since GitHub shows README.md as it is. A study that nothing was kept of is "not studied yet".
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.table import number
from analysis.inference.pairing import ENDPOINTS, Endpoint
from analysis.inference.stats import mean_interval
from analysis.inference.verdicts import EQUIVALENT, OPEN
from analysis.report.wording import what_would
from mars.config import UserError, nearest

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "results" / "data"
PAGES = (ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if not p.is_relative_to(DATA)))
ABOUT, CURVATURE, LABELS, MAP = "about.json", "curvature.csv", "label_equivalence.csv", "regimes.csv"
NOT_YET = "not studied yet"
_MARK = re.compile(r"(<!-- value: (?P<value>[^>]+?) -->)(?P<text>.*?)(<!-- /value -->)", re.DOTALL)
_ENDPOINTS = {endpoint.metric: endpoint for endpoint in ENDPOINTS}
_COMPARED = {"accuracy": "comparisons.csv", "information": "bit_comparisons.csv"}
# Pages all of whose numbers about a study are made: README and the results of today. A signed number with its unit, or
# an interval, is one.
_MADE = re.compile(r"[−+]\d+(?:\.\d+)? (?:points|bits)|\[[−+]?\d+(?:\.\d+)?, [−+]?\d+(?:\.\d+)?\]")
_BOARD = {  # of a leaderboard: its head, what it is multiplied with, its format
    "accuracy": ("accuracy, %", 100, ".1f"),
    "difference": ("− uniform, points", 100, "+.1f"),
    "gold_accuracy": ("accuracy on gold, %", 100, ".1f"),
    "information": ("bits", 1, ".3f"),
    "steps": ("steps", 1, ".0f"),
}


def rewritten(text: str) -> str:
    """A page's text with what is between its marks made anew. Raises UserError for a mark that cannot be made."""
    return _MARK.sub(lambda mark: f"{mark[1]}{made(mark['value'])}{mark[4]}", text)


def stale(page: Path) -> Iterator[str]:
    """A line for each mark of the page that is not as the data have it, and for each number that has no mark."""
    text = page.read_text(encoding="utf-8")
    where = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
    for mark in _MARK.finditer(text):
        line = text.count("\n", 0, mark.start()) + 1
        try:
            now = made(mark["value"])
        except UserError as error:
            yield f"{where}:{line}: {error}"
            continue
        if now != mark["text"]:
            yield f'{where}:{line}: {mark["value"]}: the page has "{mark["text"].strip()}", the study "{now.strip()}"'
    if _is_of_today(page):
        bare = _MARK.sub(lambda mark: re.sub(r"[^\n]", " ", mark[0]), text)
        for found in _MADE.finditer(bare):
            line = bare.count("\n", 0, found.start()) + 1
            yield f'{where}:{line}: "{found[0]}" is typed; have it made by <!-- value: STUDY/… --> (docs/marks.py)'


def _is_of_today(page: Path) -> bool:
    return page.name in ("README.md", "index.md") or (page.parent.name == "results" and "archive" not in page.name)


def made(value: str) -> str:
    """The text of a mark, `STUDY/KIND/…`. Raises UserError for one that the study's files cannot answer."""
    study, _, asked = value.partition("/")
    kind, *arguments = asked.split("/")
    if kind not in KINDS:
        raise UserError(f'{value}: no kind of value "{kind}"{nearest(kind, KINDS)}')
    if not (DATA / study).is_dir():
        return NOT_YET
    try:
        inspect.signature(KINDS[kind]).bind(study, *arguments)
    except TypeError:
        raise UserError(f"{value}: expected is STUDY/{KINDS[kind].__doc__}") from None
    return KINDS[kind](study, *arguments)


# ---- kinds: each of a study's name and further parts


def _verdict(study: str, reference: str, endpoint: str, dataset: str = "") -> str:
    """verdict/REFERENCE/ENDPOINT[/DATASET]: how the declared comparison with it came out, and its numbers."""
    row, of = _row(study, reference, endpoint, dataset), _ENDPOINTS[endpoint]
    if row["not_compared"]:
        return f"not compared: {row['not_compared']}"
    words = {EQUIVALENT: f"equivalent within {_margin(row, of)}", OPEN: "not settled"}
    return f"{words.get(row['verdict'], row['verdict'])}: {_numbers(row, of)}"


def _outcome(study: str, reference: str, endpoint: str, dataset: str = "") -> str:
    """outcome/REFERENCE/ENDPOINT[/DATASET]: the same, and what would settle it where nothing did."""
    row, said = _row(study, reference, endpoint, dataset), _verdict(study, reference, endpoint, dataset)
    return f"{said}; {what_would(row, 'test pairs')}" if row["verdict"] == OPEN else said


def _difference(study: str, reference: str, endpoint: str, dataset: str = "") -> str:
    """difference/REFERENCE/ENDPOINT[/DATASET]: the numbers of the declared comparison alone."""
    return _numbers(_row(study, reference, endpoint, dataset), _ENDPOINTS[endpoint])


def _about(study: str, what: str) -> str:
    """about/WHAT: replicates, pairs (of a split), runs, minutes, date or commit."""
    if what in ("replicates", "pairs"):
        column = {"replicates": "replicates", "pairs": "examples"}[what]
        return f"{_table(study, 'leaderboard.csv')[column].max():.0f}"
    known = json.loads((DATA / study / ABOUT).read_text(encoding="utf-8"))
    known["minutes"] = max(1, round(known["seconds"] / 60))
    if what not in known:
        raise UserError(f'{study}: no "{what}"{nearest(what, known)}')
    return str(known[what])


def _said(study: str, words: str) -> str:
    """said/WORDS: the sentence of the study's verdict that begins with WORDS."""
    lines = (DATA / study / "verdict.md").read_text(encoding="utf-8").splitlines()
    found = [line.removeprefix("- ") for line in lines if line.startswith(f"- {words}")]
    if len(found) != 1:
        raise UserError(f'{study}/verdict.md: {len(found)} sentences begin with "{words}"')
    return found[0].removesuffix(".")


def _board(study: str, columns: str) -> str:
    """board/COLUMN,COLUMN: a table of the arms, in the order of the leaderboard."""
    names = columns.split(",")
    if unknown := set(names) - set(_BOARD):
        raise UserError(f"{study}: board has no column {', '.join(sorted(unknown))}{nearest(min(unknown), _BOARD)}")
    heads = ["arm", *(_BOARD[name][0] for name in names)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    table = _table(study, "leaderboard.csv")
    for row in table[table["kind"] == "arm"].to_dict("records"):
        lines.append(f"| {' | '.join([row['arm'], *(_cell(row, name) for name in names)])} |")
    return "\n" + "\n".join(lines) + "\n"


def _gain(study: str, arm: str, reference: str, kind: str) -> str:
    """gain/ARM/REFERENCE/h: how much more curvature (h) or information (g) the drawn rows of an arm bring."""
    mean, lo, hi = _paired(study, arm, reference, f"{kind}_gain")
    told = "cannot be told apart" if lo <= 0 <= hi else "higher" if mean > 0 else "lower"
    return f"{told}: {_interval(mean, lo, hi, '+.3f', ' nats a direction')}"


def _labels(study: str, arm: str, labels: str, reference: str, endpoint: str) -> str:
    """labels/ARM/N/REFERENCE/ENDPOINT: with how many labels the reference is as good as the arm with N."""
    table = _table(study, LABELS)
    known = {"arm": arm, "labels": labels, "reference": reference, "endpoint": endpoint}
    found = table[(table[list(known)].astype(str) == list(known.values())).all(axis=1)]
    if len(found) != 1:
        asked = ", ".join(map(str, known.values()))
        raise UserError(f"docs/results/data/{study}/{LABELS}: {len(found)} rows of {asked}")
    return str(found.iloc[0]["equals"])


def _on_map(study: str, data: str, arm: str) -> str:
    """map/DATA/ARM: how an arm came out against the reference on a kind of data of the map of regimes."""
    table = _table(study, MAP)
    found = table[(table["dataset"] == data) & (table["strategy"] == arm)]
    if len(found) != 1:
        raise UserError(f"docs/results/data/{study}/{MAP}: {len(found)} rows of {arm} on {data}")
    ends = (100 * float(found.iloc[0][key]) for key in ("difference", "difference_lo", "difference_hi"))
    return f"{found.iloc[0]['outcome']}: {_interval(*ends, '+.1f', ' points')}"


def _condition(study: str, arm: str, reference: str) -> str:
    """condition/ARM/REFERENCE: the condition number of H with the drawn rows of an arm, over the reference's."""
    mean, lo, hi = _paired(study, arm, reference, "h_log_condition")
    told = "cannot be told apart" if lo <= 0 <= hi else "worse" if mean > 0 else "better"
    return f"{told}: {_interval(*map(math.exp, (mean, lo, hi)), '.2f', ' times as large')}"


KINDS: dict[str, Callable[..., str]] = {
    "verdict": _verdict, "outcome": _outcome, "difference": _difference, "about": _about, "said": _said,
    "board": _board, "gain": _gain, "labels": _labels, "map": _on_map,
    "condition": _condition,
}  # fmt: skip


# ---- what they are made from


@functools.cache
def _table(study: str, name: str) -> pd.DataFrame:
    file = DATA / study / name
    if not file.exists():
        raise UserError(f"docs/results/data/{study} has no {name} (python docs/collect.py outputs/{study})")
    return pd.read_csv(file)


def _row(study: str, reference: str, endpoint: str, dataset: str) -> dict[Any, Any]:
    """The declared comparison with an arm by an endpoint, of the only dataset unless told."""
    if endpoint not in _COMPARED:
        raise UserError(f'{study}: no endpoint "{endpoint}"{nearest(endpoint, _COMPARED)}')
    table = _table(study, _COMPARED[endpoint])
    table = table[table["dataset"] == dataset] if dataset else table
    found = table[table["reference"] == reference]
    if len(found) != 1:
        raise UserError(
            f'{study}: {len(found)} declared comparisons with "{reference}"{f" on {dataset}" if dataset else ""}'
            f"{nearest(reference, table['reference'].unique())}"
        )
    row: dict[Any, Any] = found.iloc[0].to_dict()
    return row | {"not_compared": row["not_compared"] if isinstance(row["not_compared"], str) else ""}


def _paired(study: str, arm: str, reference: str, column: str) -> tuple[float, float, float]:
    """Mean difference of two arms over replicates, with its 95 % t interval."""
    table = _table(study, CURVATURE)
    if column not in table or table.groupby(["dataset", "backbone"]).ngroups != 1:
        raise UserError(f"docs/results/data/{study}/{CURVATURE}: no {column}, or several kinds of data")
    by_arm = table.pivot(index="replicate", columns="arm", values=column)
    for name in (arm, reference):
        if name not in by_arm:
            raise UserError(f'{study}: no arm "{name}"{nearest(name, by_arm.columns)}')
    mean, lo, hi = mean_interval(np.asarray((by_arm[arm] - by_arm[reference]).dropna(), dtype=float))
    return mean, lo, hi


def _margin(row: dict[Any, Any], of: Endpoint) -> str:
    size = of.scale * row["margin"]
    unit = f"{of.unit.removesuffix('s') if size == 1 else of.unit} of {of.metric}"
    return f"{number(size, 'g')} {unit}"


def _numbers(row: dict[Any, Any], of: Endpoint) -> str:
    ends = (of.scale * row[key] for key in ("difference", "difference_lo", "difference_hi"))
    return _interval(*ends, f"+{of.spec}", f" {of.unit}")


def _interval(mean: float, lo: float, hi: float, spec: str, unit: str = "") -> str:
    return f"{number(mean, spec)}{unit} [{number(lo, spec)}, {number(hi, spec)}]"


def _cell(row: dict[Any, Any], name: str) -> str:
    _, scale, spec = _BOARD[name]
    value, ends = row[name], (row.get(f"{name}_lo", math.nan), row.get(f"{name}_hi", math.nan))
    if math.isnan(value) or math.isnan(ends[0]):
        return number(scale * value, spec)
    return _interval(scale * value, scale * ends[0], scale * ends[1], spec)
