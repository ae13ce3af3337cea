"""Turns as people store them, and where a prompt ends and a reply begins.

A turn is {role, content} or, as in ShareGPT files, {from, value}. A call of a tool becomes text: the turn's own words,
if any, then each call as JSON on a line of its own. What a tool gave back is told to the model, so it is a user's turn;
chat templates without a place for tools do the same. Rows with such turns are counted (`tool_turn`).

    split_alike("Who? He did. Yes.", "Who? She did. No.")  # 5, after "Who? "
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from mars.preferences.dialogue import Message, Role
from mars.preferences.rows import Defect, shown

Form = Literal["role", "from"]  # the key that says who speaks
_SAYS: dict[Form, str] = {"role": "content", "from": "value"}
_TOOL: dict[Form, dict[str, Role]] = {
    "role": {"tool": "user", "function": "user"},
    "from": {"tool": "user", "observation": "user", "function_call": "assistant"},
}
_SPEAKS: dict[Form, dict[str, Role]] = {
    "role": {"system": "system", "user": "user", "assistant": "assistant"},
    "from": {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"},
}


def conversation(value: Any, field: str, form: Form = "role") -> tuple[Message, ...]:
    """A text as the user's one turn, else one turn or a list of them, calls of tools as text. Raises Defect."""
    if isinstance(value, str):
        return (Message("user", value),)
    turns = [value] if isinstance(value, Mapping) else value
    if not isinstance(turns, list) or not turns:
        raise Defect("not_text", f'"{field}" is {shown(value)}, not text or a list of turns')
    roles = _SPEAKS[form] | _TOOL[form]
    messages = []
    for turn in turns:
        speaker = turn.get(form) if isinstance(turn, Mapping) else None
        if not isinstance(speaker, str) or speaker not in roles:
            known = ", ".join(roles)
            raise Defect("dialogue", f'"{field}" holds a turn of {shown(speaker)}, not "{form}" one of {known}')
        messages.append(Message(roles[speaker], _words(turn, field, _SAYS[form])))
    return tuple(messages)


def tool_turns(values: Mapping[str, Any], form: Form = "role") -> tuple[Defect, ...]:
    """The finding of a row in which a turn calls a tool or tells its answer; values: its fields by name."""
    for field, value in values.items():
        turns = value if isinstance(value, list) else [value]
        if any(isinstance(t, Mapping) and (t.get("tool_calls") or t.get(form) in _TOOL[form]) for t in turns):
            return (Defect("tool_turn", f'"{field}" holds a call of a tool, or its answer'),)
    return ()


def _words(turn: Mapping[str, Any], field: str, key: str) -> str:
    words, calls = turn.get(key), turn.get("tool_calls")
    lines = [words] if isinstance(words, str) else []
    if not lines and (words is not None or not calls):
        raise Defect("not_text", f'"{field}" holds a turn without text: {shown(turn)}')
    if calls:
        if not isinstance(calls, list):
            raise Defect("not_text", f'"{field}" holds "tool_calls" that are no list: {shown(calls)}')
        try:
            lines = [*filter(None, lines), *(json.dumps(call, ensure_ascii=False) for call in calls)]
        except (TypeError, ValueError, RecursionError):  # a table's cell may hold what JSON cannot
            raise Defect("not_text", f'"{field}" holds a call that cannot be written as JSON') from None
    return "\n".join(lines)


# A place where a text may be cut: behind the marker of the reply's turn, else behind a sentence or a line.
_REPLY = re.compile(
    r"(?:^|\n)\s*(?:(?:#+\s*)?(?:Assistant|Response|ASSISTANT)|#+\s*(?:Answer|A))\s*:[ \t]*\n?"
    r"|<\|(?:im_start|start_header_id)\|>assistant(?:<\|end_header_id\|>)?\s*"
    r"|<\|?assistant\|?>\s*|\[/INST\]\s*"
)
# A bare `A:` may be an option to choose from: it is a marker behind a question's, or at the end of what is shared.
_ANSWER = re.compile(r"(?:^|\n)\s*(?:Answer|A)\s*:(?![^\n]*\n\s*B\s*:)[ \t]*\n?")
_QUESTION = re.compile(r"(?:^|\n)\s*(?:Question|Q)\s*:")
_SENTENCE = re.compile(r"[.!?:;][\"')\]”’]*\s+|[。！？：]|\n\s*")


def split_alike(one: str, other: str) -> int:
    """Where the common beginning of two texts ends, in characters: 0 where they share none that ends at a boundary.

    The last marker of the reply's turn in it (`Assistant:`, `### Response:`, a chat template's), else the end of its
    last sentence or line.
    """
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    alike = one[:length]
    ends = _markers(alike) or [match.end() for match in _SENTENCE.finditer(alike)]
    return max(ends, default=0)


def _markers(text: str) -> list[int]:
    """Where the markers of a reply's turn in `text` end."""
    asked = _QUESTION.search(text)
    answers = [
        match.end()
        for match in _ANSWER.finditer(text)
        if match.end() == len(text) or (asked and asked.start() < match.start())
    ]
    return [*(match.end() for match in _REPLY.finditer(text)), *answers]


def repeats(prompt: str, *replies: str) -> bool:
    """Whether every reply begins with the whole prompt, which ends there at a sentence's or a line's end."""
    whole = prompt.strip()
    rests = [reply.lstrip()[len(whole) :] for reply in replies if whole and reply.lstrip().startswith(whole)]
    ended = bool(_SENTENCE.search(whole[-2:] + " ")) if whole else False
    return len(rests) == len(replies) and all(rest.strip() and (ended or rest.startswith("\n")) for rest in rests)


def without_prompt(prompt: str, reply: str) -> str:
    """A reply that `repeats` the prompt, less it."""
    return reply.lstrip()[len(prompt.strip()) :].lstrip()
