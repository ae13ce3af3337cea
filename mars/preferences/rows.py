"""What a raw row is read as: a `Row`, or a `Defect` that says why there is no preference in it.

Also the readers of single fields that every schema uses, and what is checked of a row whatever its schema. Nothing here
reads a file or decides a policy. A row that is doubtful but usable carries its doubts in `Row.doubts`, so that one
place decides which rows are dropped (`mars.preferences.bad_rows`).
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mars.config import nearest
from mars.preferences.dialogue import Message, Role, split_last_assistant

Kind = Literal[  # each has a policy
    "bad_json",  # the line is not a JSON object
    "encoding",  # bytes that are not UTF-8, or half of a surrogate pair
    "not_text",  # a field is missing, null or of another type
    "dialogue",  # turns that do not make a dialogue: unknown speaker, no reply at the end, no user before it
    "unlabelled",  # nothing says which response is the better one
    "prompts_differ",  # the two sides answer different prompts
    "empty",  # white space only
    "identical",  # chosen and rejected are the same text
    "tie",  # both responses have the same score
    "duplicate",  # prompt, chosen and rejected repeat an earlier row of the split
    "long_prompt",  # more characters than dataset.max_prompt_chars
]
PAIR = ("chosen", "rejected")

Finding = Literal[  # what is counted and kept, because the row is a preference all the same
    "contradictory",  # an earlier row of the split has the same prompt and responses, the other way round
    "invisible",  # a text of nothing but white space, controls and marks without width, such as U+200B
    "turn_marker",  # a text holds "\n\nHuman:" or "\n\nAssistant:", which the plain template cannot tell from a turn
    "repeats_prompt",  # both replies begin with the prompt, and keep it
    "split_prompt",  # chosen and rejected begin alike, and were split there into prompt and replies
    "tool_turn",  # a turn calls a tool, or tells what a tool gave back
]


class Defect(Exception):
    """What is wrong with one row. Raised where the row holds no preference, else listed in `Row.doubts`."""

    def __init__(self, kind: Kind | Finding, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Row:
    """A raw row understood: the texts of a `Pair`, before the policies are applied and an id is given."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    subset: str = ""
    id: str | None = None  # the row's own, where its schema has one
    doubts: tuple[Defect, ...] = ()
    agreement: float = 1.0  # share of annotators who preferred `chosen`; ½: no side is the better one
    strength: float | None = None  # by how much `chosen` is better, on the dataset's own scale
    part: str = ""  # which of the pairs of a raw row this is, where it has several; ends the pair's id


@dataclass(frozen=True)
class Schema:
    """How one dataset's rows are read. columns: alternatives; a file needs all columns of one of them."""

    parse: Callable[[Mapping[str, Any]], Row | Sequence[Row]]
    columns: tuple[tuple[str, ...], ...]
    rule: str  # recorded with the run: how the label came about

    def rows(self, raw: Mapping[str, Any]) -> Sequence[Row]:
        """The pairs of one raw row: one, but for lists of ranked replies. Raises Defect where it holds none."""
        parsed = self.parse(raw)
        return (parsed,) if isinstance(parsed, Row) else parsed


def differ(prompt: tuple[Message, ...], other: tuple[Message, ...]) -> tuple[Defect, ...]:
    """The doubt about a row whose two sides answer different prompts; none where they are one."""
    if prompt == other:
        return ()
    told = f"({len(prompt)}, {len(other)} turns; dataset.on.prompts_differ=keep takes that of the chosen one)"
    return (Defect("prompts_differ", f"chosen and rejected answer different prompts {told}"),)


def decided(prompt: tuple[Message, ...], replies: tuple[str, str], lead: float, said: str) -> Row:
    """The row of two replies of which the first is better where `lead` is above 0, the second where it is below.

    Where it is 0 neither is: a tie, with `said` to tell of it, which only `dataset.on.tie=half` can keep.
    """
    if not lead:
        return Row(prompt, *replies, doubts=(Defect("tie", said),), agreement=0.5)
    return Row(prompt, *(replies if lead > 0 else reversed(replies)))


def reply_to(given: tuple[Message, ...], turns: tuple[Message, ...], field: str) -> tuple[tuple[Message, ...], str]:
    """(prompt, response) of one side's turns; those that open with the assistant continue the `given` prompt."""
    try:
        return split_last_assistant((*given, *turns) if turns[0].role == "assistant" else turns)
    except ValueError as error:
        raise Defect("dialogue", f'"{field}": {error}') from None


def messages_of(value: Any, field: str) -> tuple[Message, ...]:
    """A string as the user's one turn, or a list of {role, content} as it stands."""
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, list) or not value:
        raise Defect("not_text", f'"{field}" is {shown(value)}, not text or a list of messages')
    turns = []
    for turn in value:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
            hint = _TOOLS if isinstance(turn, Mapping) and turn.get("tool_calls") else ""
            raise Defect("not_text", f'"{field}" holds a turn without text: {shown(turn)}{hint}')
        if turn.get("role") not in get_args(Role):
            hint = _TOOLS if turn.get("role") in ("tool", "function") else ""
            known = ", ".join(get_args(Role))
            raise Defect("dialogue", f'"{field}" holds the role {shown(turn.get("role"))} (known: {known}){hint}')
        turns.append(Message(turn["role"], turn["content"]))
    return tuple(turns)


def listed(value: Any) -> Any:
    """The list that a cell of text holds as JSON, which is all that a CSV file can do; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def with_turns(raw: Mapping[str, Any], *fields: str) -> Mapping[str, Any]:
    """`raw` with lists of turns where one of the `fields` is such a list as JSON text.

    Raises Defect for turns as Python prints them, which is what `DataFrame.to_csv` makes of a list: their text is no
    reply.
    """
    return {**raw, **{field: _turns_in(raw[field], field) for field in fields if isinstance(raw.get(field), str)}}


def _turns_in(text: str, field: str) -> Any:
    if _PRINTED.match(text) and text.rstrip().endswith("]"):
        told = "holds turns as Python prints them, not as JSON (save the rows as .jsonl or .parquet)"
        raise Defect("not_text", f'"{field}" {told}')
    found = listed(text)
    return found if isinstance(found, list) and found and all(map(_is_turn, found)) else text


def _is_turn(value: Any) -> bool:
    says = {"role": ("content", "tool_calls"), "from": ("value",)}
    return isinstance(value, Mapping) and any(
        key in value and any(said in value for said in words) for key, words in says.items()
    )


_PRINTED = re.compile(r"\s*\[\s*\{'(?:role|content|from|value)'")


_TOOLS = " (dataset.schema=trl reads calls of tools)"


def text_of(raw: Mapping[str, Any], field: str) -> str:
    """A field that must be text. Raises Defect."""
    value = raw.get(field)
    if isinstance(value, str):
        return value
    raise Defect("not_text", f'"{field}" is {shown(value)}, not text') if field in raw else missing(raw, field)


def missing(raw: Mapping[str, Any], field: str) -> Defect:
    """The defect of a row without that field; it names the nearest one there is."""
    return Defect("not_text", f'"{field}" is missing{near(field, raw)}')


def name_of(raw: Mapping[str, Any], field: str) -> str:
    """An optional text or number as text; "" where there is none, or NaN, which is how pandas stores none."""
    value = raw.get(field)
    if value is None or value != value:
        return ""
    if not isinstance(value, str | int | float):
        raise Defect("not_text", f'"{field}" is {shown(value)}, neither text nor number')
    return str(value)


def label_of(raw: Mapping[str, Any], field: str) -> str:
    """`name_of` a column that nobody named: a list or an object in it is something else that bears the name."""
    return "" if isinstance(raw.get(field), list | Mapping) else name_of(raw, field)


def number_of(value: Any) -> float | None:
    """Scores and ids come as numbers or, from CSV files and some hub rows, as text; "N/A" and NaN are no number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # a whole number may have 4000 digits
        return None
    return number if math.isfinite(number) else None


def shown(value: Any) -> str:
    """A value for a one-line message: rows can hold whole documents where a string belongs."""
    if value is None:
        return "null"
    try:
        text = repr(value[:40] if isinstance(value, str) else value)
    except (RecursionError, ValueError):  # nested too deep, or a number of too many digits
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 40 else f"{text[:37]}…"


def near(column: str, columns: Iterable[str]) -> str:
    """`mars.config.nearest` of columns that look like names, of which twenty are listed: a row may have any keys.

    A side's is its name written otherwise or none: one that is only near may be that of the other side.
    """
    names = list(itertools.islice(filter(_is_name, columns), 100))
    if column in PAIR:
        return respelt(column, names) or (f" (known: {', '.join(names[:20])})" if names else "")
    told = nearest(column, names)
    return told if len(names) <= 20 or "did you mean" in told else nearest(column, names[:20])


def respelt(column: str, columns: Iterable[str]) -> str:
    """The end of a message: a name of the `columns` that is this one but for a letter, case, blanks and `_`, or ""."""
    written = {re.sub(r"[\s_]", "", name).casefold(): name for name in columns if _is_name(name)}
    same = difflib.get_close_matches(column, written, n=1, cutoff=0.9)
    return f' (did you mean "{written[same[0]]}"?)' if same else ""


def _is_name(column: str) -> bool:
    return column.isprintable() and len(column) <= 40


def examine(row: Row, max_prompt_chars: int | None) -> list[Defect]:
    """All that is doubtful about one row: first what its schema noted, then what is checked for every dataset.

    max_prompt_chars: a longer prompt is a defect; None is no limit.
    """
    found = list(row.doubts)
    if not row.prompt or row.prompt[-1].role != "user":
        found.append(Defect("dialogue", "the prompt does not end with the user's turn"))
    texts = {"prompt": "".join(m.content for m in row.prompt), "chosen": row.chosen, "rejected": row.rejected}
    found += [Defect("empty", f'"{field}" is empty') for field, text in texts.items() if not text.strip()]
    unseen = [field for field, text in texts.items() if text.strip() and is_invisible(text)]
    found += [Defect("invisible", f'"{field}" has nothing that can be seen') for field in unseen]
    if row.chosen.strip() == row.rejected.strip():
        found.append(Defect("identical", "chosen and rejected are the same text"))
    if max_prompt_chars is not None and len(texts["prompt"]) > max_prompt_chars:
        found.append(Defect("long_prompt", f"the prompt has {len(texts['prompt'])} characters"))
    for field, contents in {"prompt": [m.content for m in row.prompt], **{f: [texts[f]] for f in PAIR}}.items():
        if any(_MARKER.search(content) for content in contents):
            found.append(Defect("turn_marker", f'"{field}" holds a turn marker'))
    return found


def is_invisible(text: str) -> bool:
    """Whether there is nothing to see in `text`: white space, controls, and marks of no width such as U+200B."""
    return all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in text)


_MARKER = re.compile(r"\n\n(?:Human|Assistant):")
