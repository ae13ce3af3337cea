"""The shapes in which people store preferences, and how rows of one are read under the user's settings.

A shape is a schema that `dataset=files` can read: `dataset.schema=NAME` names it; without a name it is recognised
(`mars.preferences.recognition`). prompt, chosen and rejected are the plain shape, and come before all others.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from mars.config import ConfigError, choose
from mars.preferences import conventions, ranked_replies, schemas
from mars.preferences.ranked_replies import RANKED, RANKED_COLUMNS, Ranked
from mars.preferences.rows import (
    PAIR,
    Defect,
    Row,
    Schema,
    label_of,
    name_of,
    number_of,
    shown,
)

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
            ranked_replies.arena,
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
            ranked_replies.judgebench,
            (("question", "response_A", "response_B", "label"),),
            '"label" A>B or B>A names the better response',
        )
    },
    "helpsteer_preference": {
        "": Schema(
            ranked_replies.helpsteer_preference,
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
            ranked_replies.shp,
            (("history", "human_ref_A", "human_ref_B", "labels"),),
            '"labels" is 1 where A is better; the strength is the log ratio of the scores, or their difference',
        )
    },
    "pandalm": {
        "": Schema(
            ranked_replies.pandalm,
            (("instruction", "response1", "response2", "annotator1"),),
            "the response with more votes; the agreement is its share, a vote for a tie counting half for each",
        )
    },
    "alpaca": {
        "": Schema(
            conventions.alpaca,
            (
                ("instruction", "output_1", "output_2", "preference"),
                ("instruction", *PAIR),
                ("instruction", "output"),
            ),
            'chosen and rejected as given; of an "output" of two the first; of outputs 1 and 2 that of "preference"',
        )
    },
    "ranked": {
        rule: Schema(partial(ranked_replies.ranked, rule=rule), RANKED_COLUMNS, f"of the ranked replies {told}")
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
    "sharegpt": {
        "": Schema(conventions.sharegpt, (("conversations", *PAIR), PAIR), "as given, turns of from and value")
    },
    "trl": {"": Schema(conventions.trl, (PAIR,), "as given, a prompt in the replies split off")},
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
