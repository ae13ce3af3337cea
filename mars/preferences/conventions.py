"""Rows in the conventions of training programs, whatever the dataset: those of TRL, of ShareGPT and of Alpaca.

Such a row leaves more open than a dataset's own schema does. The prompt may stand in a field of its own, or be the
beginning of both replies, and then it has to be found; a split that was found and not given is a doubt of the row, so
that a report counts it.

    trl({"chosen": "Hi? Hello.", "rejected": "Hi? No."}).prompt[-1].content  # "Hi?"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mars.preferences.dialogue import Message
from mars.preferences.rows import (
    PAIR,
    Defect,
    Row,
    decided,
    differ,
    listed,
    missing,
    name_of,
    number_of,
    reply_to,
    shown,
    text_of,
    with_turns,
)
from mars.preferences.schemas import hh_rlhf
from mars.preferences.turns import Form, conversation, repeats, split_alike, tool_turns, without_prompt


def trl(raw: Mapping[str, Any]) -> Row:
    """A preference row of TRL: a prompt that is given, or is the beginning that chosen and rejected share.

    Lists of turns may call tools. Texts that begin with the prompt, or alike, are split there; those of HH-RLHF, and
    such with single line breaks, at their last turn. Raises Defect.
    """
    raw = with_turns(raw, "prompt", *PAIR)
    given = conversation(raw["prompt"], "prompt") if raw.get("prompt") is not None else ()
    if all(isinstance(raw.get(field), str) for field in PAIR):
        return _texts(raw, given)
    return _turns(raw, given, "prompt", "role")


def sharegpt(raw: Mapping[str, Any]) -> Row:
    """A row of {from, value} turns: `conversations` and a reply in `chosen` and in `rejected`, or two whole dialogues.

    `prompt` is another name of `conversations`; a text in `system` comes first. Raises Defect.
    """
    before = "prompt" if raw.get("conversations") is None else "conversations"
    raw = with_turns(raw, before, *PAIR)
    given = conversation(raw[before], before, "from") if raw.get(before) is not None else ()
    row = _turns(raw, given, before, "from")
    return replace(row, prompt=(*_system(raw), *row.prompt))


def alpaca(raw: Mapping[str, Any]) -> Row:
    """A row of `instruction` and any `input`, with chosen and rejected, or `output` as a list of two, the better first.

    Or with `output_1`, `output_2` and `preference`, the number of the better one, as in AlpacaFarm. Any `system` and
    `history` of [question, answer] come before. Raises Defect.
    """
    prompt = (*_earlier(raw), Message("user", instruction(raw)))
    if "chosen" in raw:
        return Row(prompt, text_of(raw, "chosen"), text_of(raw, "rejected"))
    if "output_1" in raw:
        replies = text_of(raw, "output_1"), text_of(raw, "output_2")
        number = number_of(raw.get("preference"))
        if number not in (0, 1, 1.5, 2):
            raise Defect("unlabelled", f'"preference" is {shown(raw.get("preference"))}, not 1 or 2, nor 0 for a tie')
        return decided(prompt, replies, (number == 1) - (number == 2), f'"preference" is {number:g}')
    output = listed(raw.get("output"))
    if not isinstance(output, list) or len(output) != 2 or not all(isinstance(text, str) for text in output):
        raise Defect("not_text", f'"output" is {shown(output)}, not a list of two texts, the better one first')
    return Row(prompt, *output)


def _turns(raw: Mapping[str, Any], given: tuple[Message, ...], before: str, form: Form) -> Row:
    """A row whose sides are turns that follow the `given` ones, of the field `before`, or whole dialogues."""
    sides = [
        (given, raw[field])
        if isinstance(raw.get(field), str)
        else reply_to(given, conversation(raw.get(field), field, form), field)
        for field in PAIR
    ]
    (prompt, chosen), (other, rejected) = sides
    if not prompt:
        raise missing(raw, before)
    called = tool_turns({field: raw.get(field) for field in (before, *PAIR)}, form)
    return Row(prompt, chosen, rejected, doubts=(*differ(prompt, other), *called))


def _texts(raw: Mapping[str, Any], given: tuple[Message, ...]) -> Row:
    """A TRL row of texts, split where the prompt ends."""
    chosen, rejected = (text_of(raw, field) for field in PAIR)
    if given:
        last = given[-1].content
        if not repeats(last, chosen, rejected):
            return Row(given, chosen, rejected)
        split = Defect("split_prompt", "both replies begin with the prompt, which was taken off")
        return Row(given, without_prompt(last, chosen), without_prompt(last, rejected), doubts=(split,))
    if chosen.lstrip().startswith(_SPEAKERS) and rejected.lstrip().startswith(_SPEAKERS):
        return _dialogues(chosen, rejected)
    if (name := next((name for name in _ASKS if name in raw), None)) is not None:
        raise Defect("not_text", f'"prompt" is missing, and "{name}" may be it')
    end = split_alike(chosen, rejected)
    if not chosen[:end].strip():
        raise Defect("not_text", '"prompt" is missing, and chosen and rejected share no beginning that ends a sentence')
    split = Defect("split_prompt", f"chosen and rejected are alike for {end} characters, taken for the prompt")
    return Row((Message("user", chosen[:end].strip()),), chosen[end:], rejected[end:], doubts=(split,))


def _dialogues(chosen: str, rejected: str) -> Row:
    """A row of whole dialogues, as HH-RLHF has them or without an empty line between the turns."""
    try:
        return hh_rlhf({"chosen": chosen, "rejected": rejected})
    except Defect:
        return hh_rlhf(
            {field: _LINE.sub(r"\n\n\1:", text) for field, text in zip(PAIR, (chosen, rejected), strict=True)}
        )


_SPEAKERS = ("Human:", "Assistant:")
_LINE = re.compile(r"\s*\n\s*(Human|Assistant):")
_ASKS = ("instruction", "question", "query", "input", "history", "context", "post", "messages", "conversations")


def instruction(raw: Mapping[str, Any]) -> str:
    """`instruction`, and below an empty line what `input` has."""
    more = name_of(raw, "input")
    return text_of(raw, "instruction") + (f"\n\n{more}" if more else "")


def _system(raw: Mapping[str, Any]) -> list[Message]:
    text = name_of(raw, "system")
    return [Message("system", text)] if text else []


def _earlier(raw: Mapping[str, Any]) -> list[Message]:
    """The turns before an Alpaca row's instruction."""
    messages = _system(raw)
    history = raw.get("history") or []
    if not isinstance(history, list):
        raise Defect("dialogue", f'"history" is {shown(history)}, not a list of [question, answer]')
    for turns in history:
        if not isinstance(turns, list) or len(turns) != 2 or not all(isinstance(turn, str) for turn in turns):
            raise Defect("dialogue", f'"history" holds {shown(turns)}, not [question, answer]')
        messages += [Message("user", turns[0]), Message("assistant", turns[1])]
    return messages
