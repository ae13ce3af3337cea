"""What stands in the columns of raw rows: which kinds of value, and in how many rows one.

A value that is null, NaN or "" counts as missing, because a CSV file knows no other way to leave a field out.

    columns = Columns()
    for row in columns.noting(source.rows): ...
    columns.found["prompt"].kinds  # Counter({"text": 1000})
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mars.preferences.containers.raw import RawRow


@dataclass
class Column:
    """What stands in one column. kinds: in words. present: rows with a value that is neither null, NaN nor ""."""

    kinds: Counter[str] = field(default_factory=Counter)
    present: int = 0

    def note(self, value: Any) -> None:
        """Counts one more value."""
        if value is None or value == "" or value != value:
            return
        self.present += 1
        self.kinds[_kind(value)] += 1


@dataclass
class Columns:
    """The columns of the rows that were read so far, in the order in which they first come."""

    rows: int = 0
    found: dict[str, Column] = field(default_factory=dict)

    def noting(self, rows: Iterable[RawRow]) -> Iterator[RawRow]:
        """The same rows, each noted as it is read."""
        for row in rows:
            self.rows += 1
            for name, value in (row.value or {}).items():
                self.found.setdefault(name, Column()).note(value)
            yield row


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case str():
            return "text"
        case int() | float():
            return "number"
        case [{"content": _}, *_] | [{"value": _}, *_]:
            return "turns"
        case list():
            return "list"
        case dict():
            return "object"
    return type(value).__name__
