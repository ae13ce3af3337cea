"""Published values, to stand beside ours: what is known of them, from where, and nothing else.

Hardly any number of either version of the paper could be obtained, so `paper_reference.yaml` is nearly empty, and a
reader who holds the paper fills it in. A value is shown as it is printed; whatever the source leaves open (a unit, an
opponent) is null there and in doubt here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from analysis.study.arm_names import method_of
from mars.config import UserError, nearest

FILE = Path(__file__).with_name("paper_reference.yaml")
_CHOICES = {"version": ("v1", "v2"), "table": ("main", "rewardbench", "win_rates")}
_OPEN = ("dataset", "backbone", "unit")  # may be null: the source does not say


@dataclass(frozen=True)
class Published:
    """One published value. table: the table of ours beside which it stands. dataset, backbone: None fits any."""

    version: str
    table: str
    dataset: str | None
    backbone: str | None
    arm: str
    metric: str
    value: float
    unit: str | None
    source: str
    note: str

    @property
    def text(self) -> str:
        """The value as it is printed."""
        return f"{self.value:g}{f' {self.unit}' if self.unit else ''}"

    def fits(self, row: Mapping[str, Any], metric: str) -> bool:
        """Whether it is published of what a row shows. An arm of several settings is known by its method."""
        return (
            self.metric == metric
            and self.arm in (row["arm"], method_of(str(row["arm"])))
            and self.dataset in (None, row["dataset"])
            and self.backbone in (None, row["backbone"])
        )


@functools.cache
def load_published(file: Path = FILE) -> tuple[Published, ...]:
    """Every entry of a reference file. Raises UserError with the file and the entry's number."""
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8")) or []
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(entries, list):
        raise UserError(f"{file}: a list of entries is expected, each beginning with a dash")
    return tuple(_entry(entry, f"{file}: entry {i}") for i, entry in enumerate(entries, 1))


def published_value(known: Iterable[Published], row: Mapping[str, Any], metric: str) -> str:
    """What is published of `metric` for the arm, dataset and backbone of a row; empty where nobody knows."""
    return ", ".join(entry.text for entry in known if entry.fits(row, metric))


def citation(known: Iterable[Published], rows: Iterable[Mapping[str, Any]]) -> str:
    """A sentence with the source of every published value beside `rows`, or that there is none."""
    rows = list(rows)
    shown = [entry for entry in known if any(entry.fits(row, entry.metric) for row in rows)]
    if not shown:
        return f"Published: no value is known; {FILE.name} says how to enter one."
    notes = dict.fromkeys(f"{e.arm} {e.text} ({e.version}, {e.source}{f'; {e.note}' if e.note else ''})" for e in shown)
    return f"Published, as printed, of settings these runs need not share: {'; '.join(notes)}."


def _entry(entry: Any, place: str) -> Published:
    names = [f.name for f in fields(Published)]
    if not isinstance(entry, dict):
        raise UserError(f"{place}: keys and values are expected, not {entry!r}")
    for key in entry:
        if key not in names:
            raise UserError(f"{place}: no such key as {key}{nearest(str(key), names)}")
    for name in names:
        if name not in entry:
            raise UserError(
                f"{place}: {name} is missing{' (null if the source does not say)' if name in _OPEN else ''}"
            )
        value = entry[name]
        if name in _CHOICES and value not in _CHOICES[name]:
            raise UserError(f"{place}: {name} is {value!r}{nearest(str(value), _CHOICES[name])}")
        if name == "value":
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UserError(f"{place}: value is {value!r}, not a number (leave an unknown one out)")
        elif not (value is None and name in _OPEN) and not isinstance(value, str):
            raise UserError(f"{place}: {name} is {value!r}, not text")
        elif name in ("arm", "metric", "source") and not str(value).strip():
            raise UserError(f"{place}: {name} is empty")
    return Published(**entry)
