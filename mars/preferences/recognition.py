"""Which shape a file's rows have, by their columns and by reading the first of them.

fitting([{"question": "2 + 2?", "response_A": "4", "response_B": "5", "label": "A>B"}])  # ["judgebench"]
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from mars.preferences.pair import DataError
from mars.preferences.rows import PAIR, Defect, Schema, near, respelt, shown, with_turns
from mars.preferences.shapes import PLAIN, SHAPES, Reading
from mars.preferences.sources import Source

SAMPLE = 100  # rows that are read to recognise a shape
_FEWEST = 0.5  # share of them that must be readable


def fitting(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the shapes in which the first rows of a file can be read, in the order of `SHAPES`.

    A shape fits where its columns are there and half of the first `SAMPLE` rows hold a preference in it; for the plain
    one a single row does. A shape that reads the rows as an earlier one does is not named again.
    """
    sample = rows[:SAMPLE]
    found: dict[str, list[list[_Key] | None]] = {}
    for name in _by_columns(sample):
        read = [_keys(next(iter(SHAPES[name].values())), row) for row in sample]
        number = len(read) - read.count(None)
        fits = number >= (1 if name == PLAIN else max(1, _FEWEST * len(sample)))
        if fits and not any(_alike(read, earlier) for earlier in found.values()):
            found[name] = read
    return list(found)


class _Key(NamedTuple):
    texts: tuple[Any, str, str]
    label: tuple[float, float | None]


def _keys(schema: Schema, raw: Mapping[str, Any]) -> list[_Key] | None:
    try:
        rows = schema.rows(raw)
    except Defect:
        return None
    return [_Key((row.prompt, row.chosen, row.rejected), (row.agreement, row.strength)) for row in rows]


def _alike(one: Sequence[list[_Key] | None], other: Sequence[list[_Key] | None]) -> bool:
    return all(a == b for a, b in zip(one, other, strict=True) if a is not None and b is not None)


def _by_columns(rows: Sequence[Mapping[str, Any]], besides: tuple[str, ...] = ()) -> list[str]:
    """The shapes that have all columns of one of their alternatives in some row; `besides` does not count as one."""
    columns = set().union(*rows)
    alternatives = {name: next(iter(variants.values())).columns for name, variants in SHAPES.items()}
    return [
        name
        for name, sets in alternatives.items()
        if any(columns.issuperset(needed) for needed in sets if needed != besides)
    ]


def recognised(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The shape in which these first rows of a file are read: plain where that fits, else the only one that does."""
    names = fitting(rows)
    return names[0] if PLAIN in names or len(names) == 1 else None


def open_rows(sources: Sequence[Source], reading: Reading) -> tuple[Schema, Sequence[Source]]:
    """(how the rows of the sources are read, the sources): the schema named, else the one that is recognised.

    No row is gone from the sources; the identity of rows that are not plain says how they are read. Raises DataError
    where no shape fits the first source, or several do, with the settings to give; and ConfigError where the settings
    do not fit the shape.
    """
    name = reading.schema
    if name is None:
        name, sources = _recognise(sources, reading)
    schema = reading.shape(name)
    if schema.rule != SHAPES[PLAIN][""].rule:
        told = {"rule": schema.rule} | ({"recognised": True} if reading.schema is None else {})
        sources = [replace(source, identity={**source.identity, **told}) for source in sources]
    return schema, sources


def _recognise(sources: Sequence[Source], reading: Reading) -> tuple[str, Sequence[Source]]:
    """(the shape of the first source, the sources with the rows that were looked at). Raises DataError."""
    first, *others = sources
    rows = iter(first.rows)
    head = list(itertools.islice(rows, SAMPLE))
    values = [reading.columns.renamed(row.value) for row in head if row.value is not None]
    name = recognised(values) or _nearest(values)
    if name is None:
        raise DataError(f"{first.label}: {_unknown([row.value or {} for row in head], values, reading)}")
    return name, [replace(first, rows=itertools.chain(head, rows)), *others]


def _nearest(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The shape whose columns are there although its rows cannot be read: the defects of the rows then say why."""
    columns = set().union(*rows)
    if not columns or columns.issuperset(("prompt", *PAIR)):
        return PLAIN
    if fitting(rows):
        return None
    own = _by_columns(rows, besides=PAIR)
    return own[0] if len(own) == 1 else None


def _unknown(rows: Sequence[Mapping[str, Any]], usual: Sequence[Mapping[str, Any]], reading: Reading) -> str:
    """What was found in rows of no shape, or of several, and what to set. usual: the rows under the usual names."""
    try:
        for row in usual:
            with_turns(row, *PAIR)
    except Defect as defect:
        return str(defect)
    key = reading.key
    columns = sorted(set().union(*rows))
    if names := fitting(usual):
        return f"its rows fit {' and '.join(names)} (say which: {' or '.join(f'{key}.schema={n}' for n in names)})"
    for own in reading.needed.values():
        if own not in columns:
            return f'no column "{own}"{near(own, columns)}'
    missing = [column for column in ("prompt", *PAIR) if column not in set().union(*usual)]
    sides = [column for column in missing if column != "prompt"] or missing
    absent = " and ".join(f'"{column}"{respelt(column, columns)}' for column in sides)
    has = ", ".join(shown(column) for column in columns[:20])
    settings = " and ".join(f"{key}.columns.{column}=NAME" for column in sides)
    return (
        f"no column {absent}, and no shape fits the columns {has} (name yours, as {settings}, or the shape, as "
        f"{key}.schema=NAME; known: {', '.join(SHAPES)})"
    )
