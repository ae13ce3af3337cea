"""Rows of several replies and a label that says which is better: a winner, a signed strength, votes, scores, ranks.

A label becomes three things. Which reply is chosen. `agreement`: the share of annotators who preferred it, where there
are votes. `strength`: by how much it is better, on the dataset's own scale, where that is told. A label that prefers
neither is a tie.

    judgebench({"question": "2 + 2?", "response_A": "4", "response_B": "5", "label": "A>B"}).chosen  # "4"
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from mars.preferences.conventions import instruction
from mars.preferences.dialogue import Message
from mars.preferences.rows import (
    Defect,
    Row,
    decided,
    differ,
    listed,
    messages_of,
    missing,
    number_of,
    reply_to,
    shown,
    text_of,
    with_turns,
)
from mars.preferences.turns import conversation, tool_turns

Ranked = Literal["best_worst", "adjacent", "all"]
RANKED: tuple[Ranked, ...] = get_args(Ranked)


def arena(raw: Mapping[str, Any]) -> Row:
    """Two conversations of Chatbot Arena and the `winner`; or `prompt`, `response_a`, `response_b`, `winner_model_a`.

    Conversations of several turns have their own earlier replies, so that their prompts differ. Raises Defect.
    """
    fields = [f"conversation_{side}" for side in "ab"]
    raw = with_turns(raw, *fields)
    if fields[0] in raw:
        first, second = (reply_to((), conversation(raw.get(field), field), field) for field in fields)
    else:
        first, second = (_alternating(raw, f"response_{side}") for side in "ab")
    lead = _winner(raw)
    row = decided(first[0] if lead >= 0 else second[0], (first[1], second[1]), lead, "neither model won")
    found = (*row.doubts, *differ(first[0], second[0]), *tool_turns({field: raw.get(field) for field in fields}))
    return replace(row, doubts=found)


def judgebench(raw: Mapping[str, Any]) -> Row:
    """`question`, `response_A`, `response_B`, and a `label` "A>B" or "B>A". Raises Defect."""
    label = raw.get("label")
    leads = {"A>B": 1, "B>A": -1, "A=B": 0}
    if not isinstance(label, str) or label.strip() not in leads:
        raise Defect("unlabelled", f'"label" is {shown(label)}, not one of {", ".join(leads)}')
    replies = text_of(raw, "response_A"), text_of(raw, "response_B")
    return decided(messages_of(raw.get("question"), "question"), replies, leads[label.strip()], 'the label is "A=B"')


def helpsteer_preference(raw: Mapping[str, Any]) -> Row:
    """A signed strength from −3 to 3; below 0 the first response is better, 0 is a tie. `strength` is its size.

    `preference_strength` and `response_1` as in HelpSteer2, or `overall_preference` and `response1` as in HelpSteer3;
    `context` or `prompt`. Raises Defect.
    """
    column = _first(raw, "preference_strength", "overall_preference")
    strength = number_of(raw.get(column))
    if strength is None:
        raise Defect("unlabelled", f'"{column}" is {shown(raw.get(column))}, not a number')
    prompt = _first(raw, "context", "prompt")
    raw = with_turns(raw, prompt)
    replies = tuple(text_of(raw, _first(raw, f"response{i}", f"response_{i}")) for i in (1, 2))
    row = decided(messages_of(raw.get(prompt), prompt), (replies[0], replies[1]), -strength, f'"{column}" is 0')
    return replace(row, strength=abs(strength))


def shp(raw: Mapping[str, Any]) -> Row:
    """Two comments on a post, `history`; `labels` is 1 where A is the better one, 0 where B is.

    `strength` is the logarithm of `score_ratio`, the higher score over the lower; without it, the scores' difference.
    Raises Defect.
    """
    label = number_of(raw.get("labels"))
    if label not in (0, 1):
        raise Defect("unlabelled", f'"labels" is {shown(raw.get("labels"))}, not 0 or 1')
    replies = text_of(raw, "human_ref_A"), text_of(raw, "human_ref_B")
    row = decided(messages_of(raw.get("history"), "history"), replies, 1 if label else -1, "")
    ratio, a, b = (number_of(raw.get(column)) for column in ("score_ratio", "score_A", "score_B"))
    if ratio is not None and ratio > 0:
        return replace(row, strength=abs(math.log(ratio)))
    return row if a is None or b is None else replace(row, strength=a - b if label else b - a)


def pandalm(raw: Mapping[str, Any]) -> Row:
    """An `instruction` with any `input`, two responses, and a vote of each annotator: 1, 2, or 0 for a tie.

    The response with more votes is chosen. `agreement` is its share of the votes, a vote for a tie counting half for
    each: 1, 1, 0 is 5/6. It is a tie where both have as many, or more than half of the votes are for a tie. Raises
    Defect.
    """
    columns = sorted(filter(re.compile(r"annotator\d+").fullmatch, raw)) or ["annotator1"]
    votes = [number_of(raw.get(column)) for column in columns]
    for column, vote in zip(columns, votes, strict=True):
        if vote not in (0, 1, 2):
            raise Defect("unlabelled", f'"{column}" is {shown(raw.get(column))}, not 0, 1 or 2')
    lead = votes.count(1) - votes.count(2)
    if votes.count(0) > len(votes) / 2:
        lead = 0
    said = f"the votes are {', '.join(f'{vote:g}' for vote in votes if vote is not None)}"
    prompt = (Message("user", instruction(raw)),)
    row = decided(prompt, (_written(raw, "response1"), _written(raw, "response2")), lead, said)
    return replace(row, agreement=0.5 + abs(lead) / (2 * len(votes)))


def ranked(raw: Mapping[str, Any], rule: Ranked = "best_worst") -> Sequence[Row]:
    """A list of `responses` with a list of their ranks, 1 the best, or of scores, the highest the best.

    rule: "best_worst" is one pair, of equals the first; "adjacent" pairs each reply with the next lower one, "all" each
    with every lower one. `strength` is the difference of the scores; ranks tell none. Raises Defect.
    """
    column = _first(raw, *_REPLIES)
    texts = listed(raw.get(column))
    if not isinstance(texts, list) or len(texts) < 2 or not all(isinstance(text, str) for text in texts):
        raise Defect("not_text", f'"{column}" is {shown(texts)}, not a list of two or more texts')
    worth, scored = _worth(raw, len(texts))
    prompt = _first(raw, *_PROMPTS)
    raw = with_turns(raw, prompt)
    rows = []
    for i, j in _pairs(worth, rule):
        gap, said = worth[i] - worth[j], f"replies {i + 1} and {j + 1} are as good"
        row = decided(messages_of(raw.get(prompt), prompt), (texts[i], texts[j]), gap, said)
        part = "" if rule == "best_worst" else f"{i + 1}-{j + 1}"
        rows.append(replace(row, strength=gap if scored else None, part=part))
    return rows


_PROMPTS = ("prompt", "instruction", "question", "query")
_REPLIES = ("responses", "completions", "answers")
_RANKS, _SCORES = ("rank", "ranks", "ranking"), ("scores", "score", "ratings")
RANKED_COLUMNS = tuple(itertools.product(_PROMPTS, _REPLIES, (*_RANKS, *_SCORES)))


def _pairs(worth: Sequence[float], rule: Ranked) -> list[tuple[int, int]]:
    """The replies to compare, by number, the better one first."""
    order = sorted(range(len(worth)), key=lambda i: -worth[i])
    if rule == "adjacent":
        return list(itertools.pairwise(order))
    if rule == "all":
        return list(itertools.combinations(order, 2))
    worst = min(order, key=lambda i: worth[i])
    return [(order[0], worst if worth[worst] < worth[order[0]] else order[1])]


def _worth(raw: Mapping[str, Any], number: int) -> tuple[list[float], bool]:
    """(the higher the better, for each reply; whether these are scores). Raises Defect."""
    column = _first(raw, *_RANKS, *_SCORES)
    values = listed(raw.get(column))
    numbers = [number_of(value) for value in values] if isinstance(values, list) else []
    known = [value for value in numbers if value is not None]
    if len(known) != number or len(numbers) != number:
        raise Defect("unlabelled", f'"{column}" is {shown(values)}, not a list of {number} numbers')
    if column not in _RANKS:
        return known, True
    if min(known) != 1 or any(value % 1 for value in known):
        raise Defect("unlabelled", f'"{column}" is {shown(values)}, not ranks, whole numbers of which the best is 1')
    return [-value for value in known], False


def _winner(raw: Mapping[str, Any]) -> int:
    """1 where model A won, −1 where B did, 0 for a tie. Raises Defect."""
    if "winner" in raw:
        leads = {"model_a": 1, "model_b": -1, "tie": 0, "tie (bothbad)": 0, "both_bad": 0, "bothbad": 0}
        if not isinstance(raw["winner"], str) or raw["winner"] not in leads:
            raise Defect("unlabelled", f'"winner" is {shown(raw["winner"])}, not model_a, model_b or tie')
        return leads[raw["winner"]]
    said = [raw.get(f"winner_{side}") for side in ("model_a", "model_b", "tie")]
    won = [number_of({"True": 1, "False": 0}.get(value, value) if isinstance(value, str) else value) for value in said]
    if sorted(value or 0 for value in won) != [0, 0, 1]:
        raise Defect("unlabelled", 'none, or more than one, of "winner_model_a", "winner_model_b", "winner_tie" is 1')
    return (1, -1, 0)[won.index(1)]


def _alternating(raw: Mapping[str, Any], field: str) -> tuple[tuple[Message, ...], str]:
    """(prompt, response) where `prompt` holds the user's turns and `field` the replies to them."""
    asked, replied = _texts(raw, "prompt"), _texts(raw, field)
    if len(asked) != len(replied) or not asked:
        raise Defect("dialogue", f'"{field}" has {len(replied)} replies to the {len(asked)} turns of "prompt"')
    turns: list[Message] = []
    for question, reply in zip(asked, replied, strict=True):
        turns += [Message("user", question), Message("assistant", reply)]
    return tuple(turns[:-1]), replied[-1]


def _texts(raw: Mapping[str, Any], field: str) -> list[str]:
    """A text, a list of texts, or such a list as JSON text, as a list."""
    if field not in raw:
        raise missing(raw, field)
    value = listed(raw[field])
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise Defect("not_text", f'"{field}" is {shown(value)}, not text or a list of texts')
    return value


def _written(raw: Mapping[str, Any], field: str) -> str:
    """A text; the published file holds the reply "True" as a JSON true."""
    return str(raw[field]) if isinstance(raw.get(field), bool) else text_of(raw, field)


def _first(raw: Mapping[str, Any], *names: str) -> str:
    """The first of `names` that the row has, else the first of all."""
    return next((name for name in names if raw.get(name) is not None), names[0])
