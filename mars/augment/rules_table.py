"""The closed list of `mars.augment.rules`, read: rows of rules.tsv, whose head says what they mean, as rules.

A row of several forms or endings is a rule for each, and they are looked up by the first word of their form.

    rules()["i'm"]  # those whose form begins with that word
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import NamedTuple

Condition = tuple[str, bool, frozenset[str]]  # (prev or next, whether it must be one of these, words)


class Rule(NamedTuple):
    """A form and what it may become."""

    place: str
    form: str
    words: int  # in `form`
    targets: tuple[str, ...]
    conditions: tuple[Condition, ...]


def table_text() -> str:
    """rules.tsv, as it is."""
    return resources.files("mars.augment").joinpath("rules.tsv").read_text(encoding="utf-8")


@functools.cache
def rules() -> Mapping[str, tuple[Rule, ...]]:
    """The rules by the first word of their form, in lower case; longest form first."""
    table: dict[str, list[Rule]] = {}
    sets: dict[str, str] = {}
    for line in table_text().splitlines():
        if not line or line.startswith("#"):
            continue
        place, forms, *rest = line.split("\t")
        if place == "set":
            sets[forms] = rest[0].replace(" ", "|")
            continue
        settings = dict(item.split("=", 1) for item in rest[0].split()) if rest else {}
        endings = settings.pop("ends", "").split("|")
        conditions = tuple(_condition(key, value, sets) for key, value in settings.items())
        for ending in endings:
            for column, form, targets in _directions(forms, "" if ending == "-" else ending):
                kind = f"spelling {column}" if place == "spelling" else place
                words = form.split()
                rule = Rule(kind, form, len(words), targets, conditions)
                table.setdefault(words[0].rstrip(",.!?").lower(), []).append(rule)
    return {word: tuple(sorted(found, key=lambda r: -len(r.form))) for word, found in table.items()}


def _directions(forms: str, ending: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(column, form, targets) of a row: `a / b` in both directions, `a / b > c / d` from left to right."""
    left, _, right = forms.partition(" > ")
    targets = [form.removesuffix("-") + ending for form in (right or left).split(" / ")]
    for column, stem in enumerate(left.split(" / ")):
        form = stem.removesuffix("-") + ending
        yield column, form, tuple(target for target in targets if target != form)


def _condition(key: str, value: str, sets: Mapping[str, str]) -> Condition:
    expanded = "|".join(sets.get(word, word) for word in value.split("|"))
    return key.rstrip("!"), not key.endswith("!"), frozenset(expanded.split("|"))
