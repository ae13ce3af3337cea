"""Raw rows to preferences: one function for each dataset's own schema.

A schema function returns a `Row` or raises a `Defect`; it reads no file and decides no policy. A row that is doubtful
but usable carries its doubts in `Row.doubts`, so that one place decides which rows are dropped
(`mars.preferences.policies`). Text is taken as it is, except that HH-RLHF dialogues lose the white space around each
turn.

    files({"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}).rejected  # "No."
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from mars.config import ConfigError, choose, nearest
from mars.preferences.dialogue import Message, Role, parse_hh, split_last_assistant

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
KINDS: tuple[Kind, ...] = get_args(Kind)

Finding = Literal[  # what is counted and kept, because the row is a preference all the same
    "contradictory",  # an earlier row of the split has the same prompt and responses, the other way round
    "invisible",  # a text of nothing but white space, controls and marks without width, such as U+200B
    "turn_marker",  # a text holds "\n\nHuman:" or "\n\nAssistant:", which the plain template cannot tell from a turn
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


@dataclass(frozen=True)
class Schema:
    """How one dataset's rows are read. columns: alternatives; a file needs all columns of one of them."""

    parse: Callable[[Mapping[str, Any]], Row]
    columns: tuple[tuple[str, ...], ...]
    rule: str  # recorded with the run: how the label came about


def hh_rlhf(raw: Mapping[str, Any]) -> Row:
    """A row whose `chosen` and `rejected` are whole dialogues; its prompt is everything before the last assistant turn.

    Raises Defect.
    """
    sides = []
    for field in ("chosen", "rejected"):
        try:
            sides.append(split_last_assistant(parse_hh(_text(raw, field))))
        except ValueError as error:
            raise Defect("dialogue", f'"{field}": {error}') from None
    (prompt, chosen), (other, rejected) = sides
    return Row(prompt, chosen, rejected, doubts=_differ(prompt, other))


def ultrafeedback(raw: Mapping[str, Any], preference: str = "overall") -> Row:
    """A row of either form on the hub: `chosen` against `rejected`, or an `instruction` with scored `completions`.

    preference: the score that decides between completions, "overall" or "fine_grained". Raises Defect.
    """
    return _best_against_worst(raw, preference) if "completions" in raw else _scored_pair(raw)


def pku_saferlhf(raw: Mapping[str, Any], preference: str = "better") -> Row:
    """A row of two responses and the id, 0 or 1, of the better or of the safer one (`preference`). Raises Defect."""
    responses = [_text(raw, "response_0"), _text(raw, "response_1")]
    prompt = messages_of(raw.get("prompt"), "prompt")
    column = f"{preference}_response_id"
    better = _number(raw.get(column))
    if better not in (0, 1):
        raise Defect("unlabelled", f'"{column}" is {shown(raw.get(column))}, not 0 or 1')
    chosen, rejected = responses[int(better)], responses[1 - int(better)]
    return Row(prompt, chosen, rejected)


def files(raw: Mapping[str, Any]) -> Row:
    """A row of `prompt`, `chosen` and `rejected`, each a text or a list of {role, content}, with any `subset` and `id`.

    A side's list is the reply alone, or the whole dialogue, and then there need be no `prompt`. Raises Defect.
    """
    given = messages_of(raw["prompt"], "prompt") if raw.get("prompt") is not None else ()
    prompt, chosen = _reply(raw, "chosen", given)
    other, rejected = _reply(raw, "rejected", given)
    if not prompt:
        raise _missing(raw, "prompt")
    return Row(prompt, chosen, rejected, _name(raw, "subset"), _name(raw, "id") or None, _differ(prompt, other))


def _scored_pair(raw: Mapping[str, Any]) -> Row:
    """The binarised form; where it carries scores, equal ones mean that `chosen` was picked at random."""
    row = files({field: raw.get(field) for field in ("prompt", "chosen", "rejected")})
    score = _number(raw.get("score_chosen"))
    if score is None or score != _number(raw.get("score_rejected")):
        return row
    tie = Defect("tie", f"both responses score {score:g}")
    return Row(row.prompt, row.chosen, row.rejected, doubts=(*row.doubts, tie))


_SCORES = {"overall": "overall_score", "fine_grained": "fine-grained_score"}


def _best_against_worst(raw: Mapping[str, Any], preference: str) -> Row:
    """Highest score against lowest, of equals the first; completions without that score are passed over."""
    column = _SCORES[preference]
    prompt = messages_of(raw.get("instruction"), "instruction")
    completions = raw["completions"]
    if not isinstance(completions, list) or not all(isinstance(c, Mapping) for c in completions):
        raise Defect("not_text", f'"completions" is {shown(completions)}, not a list of completions')
    scored = [(score, c) for c in completions if (score := _number(c.get(column))) is not None]
    if len(scored) < 2:
        other = next(name for name in _SCORES if name != preference)
        detail = f'{len(scored)} of {len(completions)} completions have "{column}"'
        raise Defect("unlabelled", f"{detail} (dataset.preference={other} takes the other score)")
    best, worst = max(scored, key=lambda s: s[0]), min(scored, key=lambda s: s[0])
    if best[0] == worst[0]:
        raise Defect("tie", f"all completions score {best[0]:g}")
    source = raw.get("source")
    subset = source if isinstance(source, str) else ""
    return Row(prompt, _text(best[1], "response"), _text(worst[1], "response"), subset)


def _differ(prompt: tuple[Message, ...], other: tuple[Message, ...]) -> tuple[Defect, ...]:
    if prompt == other:
        return ()
    return (
        Defect("prompts_differ", f"chosen and rejected answer different prompts ({len(prompt)}, {len(other)} turns)"),
    )


def _reply(raw: Mapping[str, Any], field: str, given: tuple[Message, ...]) -> tuple[tuple[Message, ...], str]:
    """(prompt, response) of one side; a list that opens with the assistant continues the `given` prompt."""
    if not isinstance(raw.get(field), list):
        return given, _text(raw, field)
    turns = messages_of(raw[field], field)
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
            raise Defect("not_text", f'"{field}" holds a turn without text: {shown(turn)}')
        if turn.get("role") not in get_args(Role):
            known = ", ".join(get_args(Role))
            raise Defect("dialogue", f'"{field}" holds the role {shown(turn.get("role"))} (known: {known})')
        turns.append(Message(turn["role"], turn["content"]))
    return tuple(turns)


def _text(raw: Mapping[str, Any], field: str) -> str:
    value = raw.get(field)
    if isinstance(value, str):
        return value
    raise Defect("not_text", f'"{field}" is {shown(value)}, not text') if field in raw else _missing(raw, field)


def _missing(raw: Mapping[str, Any], field: str) -> Defect:
    return Defect("not_text", f'"{field}" is missing{near(field, raw)}')


def _name(raw: Mapping[str, Any], field: str) -> str:
    """An optional text or number as text; "" where there is none, or NaN, which is how pandas stores none."""
    value = raw.get(field)
    if value is None or value != value:
        return ""
    if not isinstance(value, str | int | float):
        raise Defect("not_text", f'"{field}" is {shown(value)}, neither text nor number')
    return str(value)


def _number(value: Any) -> float | None:
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
    """`mars.config.nearest` of columns that look like names, of which twenty are listed: a row may have any keys."""
    names = list(itertools.islice((c for c in columns if c.isprintable() and len(c) <= 40), 100))
    told = nearest(column, names)
    return told if len(names) <= 20 or "did you mean" in told else nearest(column, names[:20])


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
    for field, contents in {"prompt": [m.content for m in row.prompt], **{f: [texts[f]] for f in _PAIR}}.items():
        if any(_MARKER.search(content) for content in contents):
            found.append(Defect("turn_marker", f'"{field}" holds a turn marker'))
    return found


def is_invisible(text: str) -> bool:
    """Whether there is nothing to see in `text`: white space, controls, and marks of no width such as U+200B."""
    return all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in text)


_PAIR = ("chosen", "rejected")
_MARKER = re.compile(r"\n\n(?:Human|Assistant):")

# name -> preference -> schema: which label decides, where a dataset has several; the first is the default.
SCHEMAS: dict[str, dict[str, Schema]] = {
    "hh_rlhf": {"": Schema(hh_rlhf, (_PAIR,), "as published")},
    "ultrafeedback": {
        preference: Schema(
            partial(ultrafeedback, preference=preference),
            (("prompt", *_PAIR), ("instruction", "completions")),
            f'as published; of scored completions the highest "{column}" against the lowest, of equals the first',
        )
        for preference, column in _SCORES.items()
    },
    "pku_saferlhf": {
        preference: Schema(
            partial(pku_saferlhf, preference=preference),
            (("prompt", "response_0", "response_1", f"{preference}_response_id"),),
            f'"{preference}_response_id" names the chosen response',
        )
        for preference in ("better", "safer")
    },
    "files": {"": Schema(files, (_PAIR,), "as given")},
}


def schema_of(name: str, preference: str | None) -> Schema:
    """The schema of dataset `name` that decides by the label `preference`; None is the dataset's usual label.

    Raises ConfigError for an unknown name, or a preference the dataset does not have.
    """
    schemas = choose(SCHEMAS, name, "dataset.name")
    if preference is None:
        return next(iter(schemas.values()))
    if "" in schemas:
        raise ConfigError(f"dataset.preference: {name} has one label and nothing to choose (leave it null)")
    return choose(schemas, preference, "dataset.preference")
