"""Candidates: several replies to each of many prompts, read row by row, with a gold reward where a column has it.

A row has one candidate, or a list of them; the rows of a prompt need not stand together. Nothing is kept of a text but
a digest, so that a hundred thousand candidates are read in the memory of their numbers.

    {"prompt": "Is tea hot?", "candidate": "Yes.", "gold": 1.5}
    {"prompt": "Is tea hot?", "candidates": ["Yes.", "No."], "gold": [1.5, 0.2]}

A list of {role, content} may stand for the prompt. `reward` is another name for `gold`; `id` names the prompt, `subset`
its kind.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from mars.preferences.dialogue import Message
from mars.preferences.pair import DataError
from mars.preferences.rows import Defect, messages_of, near, shown
from mars.preferences.sources import Source

Repeated = Literal["raise", "keep"]
_GOLD = ("gold", "reward")


class Candidate(NamedTuple):
    """One reply to a prompt. id: the prompt's. number: within the prompt, from 0. gold: its reward, NaN if unknown."""

    id: str
    number: int
    prompt: tuple[Message, ...]
    text: str
    gold: float = math.nan
    subset: str = ""


@dataclass
class Tally:
    """What has been read so far: candidates by prompt id, and the places that messages name."""

    number: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    repeated: int = 0
    has_gold: bool | None = None  # None before the first row
    place: dict[str, str] = field(default_factory=dict)  # of a prompt's first row, by its id
    ids: dict[bytes, str] = field(default_factory=dict)  # by the prompt's digest
    seen: dict[bytes, str] = field(default_factory=dict)  # place by the digest of prompt and candidate


def read_candidates(source: Source, tally: Tally, repeated: Repeated = "raise") -> Iterator[Candidate]:
    """Every candidate in file order, counted in `tally` as it is read.

    repeated: what happens to a prompt's candidate that is there already; samples of a policy may be alike, a row that
    was copied is a mistake, and only the reader of the file knows which it is.

    Raises DataError with file and row at the first row that cannot be used, and for a file without rows.
    """
    for number, value, defect in source.rows:
        place = f"{source.label}:{number}"
        if value is None or defect is not None:
            raise DataError(f"{place}: {defect}")
        try:
            found = _row(value)
        except Defect as wrong:
            raise DataError(f"{place}: {wrong}") from None
        if tally.has_gold not in (None, found.gold is not None):
            told = "a gold reward, earlier rows have none" if found.gold else "no gold reward, earlier rows have one"
            raise DataError(f"{place}: has {told} (give one to every candidate, or drop the column)")
        tally.has_gold = found.gold is not None
        name = _enter(tally, value.get("id"), found.prompt, place)
        for text, gold in zip(found.texts, found.gold or [math.nan] * len(found.texts), strict=True):
            tally.empty += not text.strip()
            _once(tally, name, text, place, repeated)
            yield Candidate(name, tally.number[name], found.prompt, text, gold, _subset(value.get("subset")))
            tally.number[name] += 1
    if not tally.number:
        raise DataError(f"{source.label}: holds no rows")


def check_number(tally: Tally, least: int, key: str) -> None:
    """Raises DataError where a prompt has fewer candidates than `least`; key: the setting that asks for so many."""
    few = [name for name, number in tally.number.items() if number < least]
    if few:
        has, so = tally.number[few[0]], f"so few have {len(few)} of {len(tally.number)} prompts"
        raise DataError(
            f"{tally.place[few[0]]}: its prompt has {has} of the {least} candidates that {key} asks for; {so} (add "
            f"candidates, or lower {key})"
        )


class _Row(NamedTuple):
    prompt: tuple[Message, ...]
    texts: list[str]
    gold: list[float] | None


def _row(raw: Mapping[str, Any]) -> _Row:
    """A raw row understood. Raises Defect."""
    if raw.get("prompt") is None:
        raise Defect("not_text", f'"prompt" is {"null" if "prompt" in raw else "missing"}{near("prompt", raw)}')
    prompt = messages_of(raw["prompt"], "prompt")
    if prompt[-1].role != "user" or not prompt[-1].content.strip():
        raise Defect("dialogue", "the prompt does not end with a user's turn that says something")
    several = raw.get("candidates")
    texts = several if raw.get("candidate") is None and "candidates" in raw else [raw.get("candidate")]
    column = "candidate" if texts is not several else "candidates"
    if not isinstance(texts, list) or not texts:
        raise Defect("not_text", f'"candidates" is {shown(texts)}, not a list of texts')
    for text in texts:
        if not isinstance(text, str):
            missing = "missing" if column not in raw else shown(text)
            raise Defect("not_text", f'"{column}" {"is" if column == "candidate" else "holds"} {missing}, not text')
    return _Row(prompt, texts, _gold(raw, len(texts), several is texts))


def _gold(raw: Mapping[str, Any], number: int, listed: bool) -> list[float] | None:
    """The gold reward of each candidate; None where the row has no such column. Raises Defect."""
    column = next((name for name in _GOLD if raw.get(name) is not None), None)
    if column is None:
        return None
    values = raw[column] if listed else [raw[column]]
    if not isinstance(values, list) or len(values) != number:
        raise Defect("unlabelled", f'"{column}" is {shown(raw[column])}, not a list of {number} numbers')
    rewards = []
    for value in values:
        try:
            rewards.append(float(value))
        except (TypeError, ValueError, OverflowError):
            raise Defect("unlabelled", f'"{column}" is {shown(value)}, not a number') from None
        if not math.isfinite(rewards[-1]):
            raise Defect("unlabelled", f'"{column}" is {rewards[-1]}, not a finite number')
    return rewards


def _enter(tally: Tally, given: Any, prompt: tuple[Message, ...], place: str) -> str:
    """The prompt's id: its first row's own, else its number among the prompts. Raises DataError for an id of two."""
    key = _digest([[message.role, message.content] for message in prompt])
    if key in tally.ids:
        return tally.ids[key]
    name = f"prompt-{len(tally.ids)}" if given in (None, "") else str(given)
    if name in tally.place:
        raise DataError(f'{place}: the id "{name}" names another prompt at {tally.place[name]}')
    tally.ids[key], tally.place[name] = name, place
    return name


def _once(tally: Tally, name: str, text: str, place: str, repeated: Repeated) -> None:
    key = _digest([name, text])
    if key in tally.seen:
        if repeated == "raise":
            raise DataError(
                f"{place}: repeats the candidate at {tally.seen[key]} (benchmark.repeated=keep counts both, as for "
                "samples of a policy)"
            )
        tally.repeated += 1
    tally.seen.setdefault(key, place)


def _digest(value: Any) -> bytes:
    return blake2b(json.dumps(value).encode(), digest_size=12).digest()


def _subset(value: Any) -> str:
    return "" if value is None or value != value else str(value)  # NaN: how pandas stores none
