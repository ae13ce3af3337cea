"""The shapes in which people store preferences, and which of them a file has.

A shape is a schema that `dataset=files` can read: `dataset.schema=NAME` names it. Without a name it is recognised, by
its columns and by reading the first rows, where exactly one fits. prompt, chosen and rejected are the plain shape, and
come before all others.

    fitting([{"question": "2 + 2?", "response_A": "4", "response_B": "5", "label": "A>B"}])  # ["judgebench"]
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from mars.config import ConfigError, choose
from mars.preferences import comparisons, schemas
from mars.preferences.comparisons import RANKED, RANKED_COLUMNS, Ranked
from mars.preferences.pair import DataError
from mars.preferences.rows import (
    PAIR,
    Defect,
    Row,
    Schema,
    label_of,
    name_of,
    near,
    number_of,
    respelt,
    shown,
    with_turns,
)
from mars.preferences.sources import Source

SAMPLE = 100  # rows that are read to recognise a shape
_FEWEST = 0.5  # share of them that must be readable

PLAIN = "plain"
_BESIDE = ("subset", "id", "margin")  # columns that rows of any shape may have
_MAY_HAVE_PROMPT = (PLAIN, "trl", "sharegpt")  # the column is read, but need not be there


def _preferred(name: str, parse: Any) -> dict[str, Schema]:
    """The dataset's own schemas by preference, read by `parse`."""
    known = schemas.SCHEMAS[name]
    return {key: replace(schema, parse=partial(parse, preference=key)) for key, schema in known.items()}


# name -> what is chosen by dataset.preference or dataset.ranked -> schema; the first is the default. Of two that read
# rows alike, the first counts.
SHAPES: dict[str, dict[str, Schema]] = {
    PLAIN: schemas.SCHEMAS["files"],
    "hh": {"": Schema(schemas.hh_rlhf, (PAIR,), "as published")},
    "ultrafeedback": {
        key: replace(
            schema,
            columns=(("prompt", *PAIR, "score_chosen", "score_rejected"), schema.columns[1]),
            rule=schema.rule.replace("as published", "chosen and rejected as given, by the difference of their scores"),
        )
        for key, schema in _preferred("ultrafeedback", schemas.ultrafeedback).items()
    },
    "pku": _preferred("pku_saferlhf", schemas.pku_saferlhf),
    "arena": {
        "": Schema(
            comparisons.arena,
            (
                ("conversation_a", "conversation_b", "winner"),
                ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b"),
                ("prompt", "response_a", "response_b", "winner"),
            ),
            "the winner's last reply against the other's",
        )
    },
    "judgebench": {
        "": Schema(
            comparisons.judgebench,
            (("question", "response_A", "response_B", "label"),),
            '"label" A>B or B>A names the better response',
        )
    },
    "helpsteer_preference": {
        "": Schema(
            comparisons.helpsteer_preference,
            (
                ("context", "response1", "response2", "preference_strength"),
                ("context", "response1", "response2", "overall_preference"),
                ("prompt", "response_1", "response_2", "preference_strength"),
            ),
            "the first response is better where the preference is below 0; its size is the strength",
        )
    },
    "shp": {
        "": Schema(
            comparisons.shp,
            (("history", "human_ref_A", "human_ref_B", "labels"),),
            '"labels" is 1 where A is better; the strength is the log ratio of the scores, or their difference',
        )
    },
    "pandalm": {
        "": Schema(
            comparisons.pandalm,
            (("instruction", "response1", "response2", "annotator1"),),
            "the response with more votes; the agreement is its share, a vote for a tie counting half for each",
        )
    },
    "alpaca": {
        "": Schema(
            schemas.alpaca,
            (
                ("instruction", "output_1", "output_2", "preference"),
                ("instruction", *PAIR),
                ("instruction", "output"),
            ),
            'chosen and rejected as given; of an "output" of two the first; of outputs 1 and 2 that of "preference"',
        )
    },
    "ranked": {
        rule: Schema(partial(comparisons.ranked, rule=rule), RANKED_COLUMNS, f"of the ranked replies {told}")
        for rule, told in zip(
            RANKED,
            (
                "the best against the worst, of equals the first",
                "each against the next lower one",
                "each against every lower one",
            ),
            strict=True,
        )
    },
    "sharegpt": {"": Schema(schemas.sharegpt, (("conversations", *PAIR), PAIR), "as given, turns of from and value")},
    "trl": {"": Schema(schemas.trl, (PAIR,), "as given, a prompt in the replies split off")},
}


@dataclass(frozen=True)
class Columns:
    """The user's names of columns; None: the usual name, and for `margin` none, so that it is not read."""

    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    subset: str | None = None
    id: str | None = None
    margin: str | None = None  # a number: by how much chosen is better

    @property
    def named(self) -> dict[str, str]:
        """{usual name: the user's}, of the columns that have one."""
        return {usual: own for usual, own in asdict(self).items() if own is not None}

    def renamed(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """A raw row under the usual names."""
        named = self.named
        kept = {column: value for column, value in raw.items() if column not in named}
        return kept | {usual: raw[own] for usual, own in named.items() if own in raw}


@dataclass(frozen=True)
class Reading:
    """What the user says of how rows are to be read.

    schema: None: to be recognised. key: of these settings. judged: the rows are to be judged, not to train on, so that
    a subset, an id or a margin that the user named need not be there.
    """

    schema: str | None = None
    columns: Columns = field(default_factory=Columns)
    ranked: Ranked = RANKED[0]
    preference: str | None = None
    key: str = "dataset"
    judged: bool = False

    @property
    def needed(self) -> dict[str, str]:
        """{usual name: the user's}, of the columns that the rows must have."""
        return {usual: own for usual, own in self.columns.named.items() if not (self.judged and usual in _BESIDE)}

    def shape(self, name: str) -> Schema:
        """The shape of that name as these settings have it. Raises ConfigError for one that cannot be."""
        variants = choose(SHAPES, name, f"{self.key}.schema")
        for setting, value, usual in (("preference", self.preference, None), ("ranked", self.ranked, RANKED[0])):
            if value != usual and value not in variants:
                known = f" (known: {', '.join(variants)})" if "" not in variants else ""
                raise ConfigError(f"{self.key}.{setting}: rows of {name} have no {value} to choose{known}")
        schema = variants.get(self.preference or "") or variants.get(self.ranked) or next(iter(variants.values()))
        if name == PLAIN and not self.columns.named:
            return schema
        return self._worn(name, replace(schema, rule=f"{name}: {schema.rule}"))

    def _worn(self, name: str, schema: Schema) -> Schema:
        """`schema` for rows with the user's columns."""
        named = self.columns.named
        known = {*itertools.chain(*schema.columns), *_BESIDE}
        known |= {"prompt"} if name in _MAY_HAVE_PROMPT else set()
        if wrong := next((usual for usual in named if usual not in known), None):
            raise ConfigError(f"{self.key}.columns.{wrong}: rows of {name} have no such column (leave it null)")
        columns = tuple(
            tuple(dict.fromkeys([*(named.get(column, column) for column in needed), *self.needed.values()]))
            for needed in schema.columns
        )
        told = "".join(f"; {usual} is {shown(own)}" for usual, own in named.items())
        return Schema(partial(_read, schema=schema, reading=self), columns, schema.rule + told)


def _read(raw: Mapping[str, Any], schema: Schema, reading: Reading) -> list[Row]:
    """The rows of a raw one, with what any shape may have beside its own columns."""
    usual, column = reading.columns.renamed(raw), reading.columns.margin
    subset, name = (
        (name_of if field in reading.columns.named else label_of)(usual, field) for field in ("subset", "id")
    )
    rows = [replace(row, subset=row.subset or subset, id=row.id or name or None) for row in schema.rows(usual)]
    if column is None or ("margin" not in reading.needed and usual.get("margin") is None):
        return rows
    margin = number_of(usual.get("margin"))
    if margin is None:
        raise Defect("not_text", f'"{column}" is {shown(usual.get("margin"))}, not a finite number')
    return [replace(row, strength=margin) for row in rows]


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
