"""Raw rows to preferences: one function for each dataset's own schema, and for plain prompt, chosen and rejected.

A schema function returns a `Row` or raises a `Defect`; it reads no file and decides no policy. A row that is doubtful
but usable carries its doubts in `Row.doubts`, so that one place decides which rows are dropped
(`mars.preferences.bad_rows`). Text is taken as it is, except that HH-RLHF dialogues lose the white space around each
turn.

    files({"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}).rejected  # "No."
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from mars.config import ConfigError, choose
from mars.preferences.dialogue import Message, parse_hh, split_last_assistant
from mars.preferences.rows import (
    PAIR,
    Defect,
    Row,
    Schema,
    decided,
    differ,
    label_of,
    messages_of,
    missing,
    number_of,
    reply_to,
    shown,
    text_of,
    with_turns,
)
from mars.preferences.turns import repeats


def hh_rlhf(raw: Mapping[str, Any]) -> Row:
    """A row whose `chosen` and `rejected` are whole dialogues; its prompt is everything before the last assistant turn.

    Raises Defect.
    """
    sides = []
    for field in ("chosen", "rejected"):
        try:
            sides.append(split_last_assistant(parse_hh(text_of(raw, field))))
        except ValueError as error:
            raise Defect("dialogue", f'"{field}": {error}') from None
    (prompt, chosen), (other, rejected) = sides
    return Row(prompt, chosen, rejected, doubts=differ(prompt, other))


def ultrafeedback(raw: Mapping[str, Any], preference: str = "overall") -> Row:
    """A row of either form on the hub: `chosen` against `rejected`, or an `instruction` with scored `completions`.

    preference: the score that decides between completions, "overall" or "fine_grained". `strength` is the difference
    of the scores. Raises Defect.
    """
    return _best_against_worst(raw, preference) if "completions" in raw else _scored_pair(raw)


def _without_strength(raw: Mapping[str, Any], preference: str) -> Row:
    """As the dataset has always been read: its runs are named by what their pairs hold."""
    return replace(ultrafeedback(raw, preference), strength=None)


def pku_saferlhf(raw: Mapping[str, Any], preference: str = "better") -> Row:
    """A row of two responses and the id, 0 or 1, of the better or of the safer one (`preference`). Raises Defect."""
    responses = [text_of(raw, "response_0"), text_of(raw, "response_1")]
    prompt = messages_of(raw.get("prompt"), "prompt")
    column = f"{preference}_response_id"
    better = number_of(raw.get(column))
    if better not in (0, 1):
        raise Defect("unlabelled", f'"{column}" is {shown(raw.get(column))}, not 0 or 1')
    chosen, rejected = responses[int(better)], responses[1 - int(better)]
    return Row(prompt, chosen, rejected)


def plain(raw: Mapping[str, Any]) -> Row:
    """A row of `prompt`, `chosen` and `rejected`, each a text or a list of {role, content}, with any `subset` and `id`.

    A side's list is the reply alone, or the whole dialogue, and then there need be no `prompt`. A list may be
    JSON text. Raises Defect.
    """
    raw = with_turns(raw, "prompt", *PAIR)
    given = messages_of(raw["prompt"], "prompt") if raw.get("prompt") is not None else ()
    prompt, chosen = _reply(raw, "chosen", given)
    other, rejected = _reply(raw, "rejected", given)
    if not prompt:
        raise missing(raw, "prompt")
    return Row(prompt, chosen, rejected, label_of(raw, "subset"), label_of(raw, "id") or None, differ(prompt, other))


def files(raw: Mapping[str, Any]) -> Row:
    """A plain row, with the finding where both replies begin with the prompt. Raises Defect."""
    row = plain(raw)
    if not repeats(row.prompt[-1].content, row.chosen, row.rejected):
        return row
    found = Defect("repeats_prompt", "both replies begin with the prompt (dataset.schema=trl takes it off)")
    return replace(row, doubts=(*row.doubts, found))


def _reply(raw: Mapping[str, Any], field: str, given: tuple[Message, ...]) -> tuple[tuple[Message, ...], str]:
    """(prompt, response) of one side; a list that opens with the assistant continues the `given` prompt."""
    if not isinstance(raw.get(field), list):
        return given, text_of(raw, field)
    return reply_to(given, messages_of(raw[field], field), field)


def _scored_pair(raw: Mapping[str, Any]) -> Row:
    """The binarised form; where it carries scores, equal ones mean that `chosen` was picked at random."""
    row = plain({field: raw.get(field) for field in ("prompt", "chosen", "rejected")})
    score, other = number_of(raw.get("score_chosen")), number_of(raw.get("score_rejected"))
    if score is None or other is None:
        return row
    tie = () if score != other else (Defect("tie", f"both responses score {score:g}"),)
    return replace(row, doubts=(*row.doubts, *tie), strength=score - other)


_SCORES = {"overall": "overall_score", "fine_grained": "fine-grained_score"}


def _best_against_worst(raw: Mapping[str, Any], preference: str) -> Row:
    """Highest score against lowest, of equals the first; completions without that score are passed over."""
    column = _SCORES[preference]
    prompt = messages_of(raw.get("instruction"), "instruction")
    completions = raw["completions"]
    if not isinstance(completions, list) or not all(isinstance(c, Mapping) for c in completions):
        raise Defect("not_text", f'"completions" is {shown(completions)}, not a list of completions')
    scored = [(score, c) for c in completions if (score := number_of(c.get(column))) is not None]
    if len(scored) < 2:
        other = next(name for name in _SCORES if name != preference)
        detail = f'{len(scored)} of {len(completions)} completions have "{column}"'
        raise Defect("unlabelled", f"{detail} (dataset.preference={other} takes the other score)")
    best, worst = max(scored, key=lambda s: s[0]), min(scored, key=lambda s: s[0])
    gap = best[0] - worst[0]
    if not gap:
        best, worst = scored[:2]
    replies = text_of(best[1], "response"), text_of(worst[1], "response")
    source = raw.get("source")
    row = decided(prompt, replies, gap, f"all completions score {best[0]:g}")
    return replace(row, subset=source if isinstance(source, str) else "", strength=gap)


# name -> preference -> schema: which label decides, where a dataset has several; the first is the default.
SCHEMAS: dict[str, dict[str, Schema]] = {
    "hh_rlhf": {"": Schema(hh_rlhf, (PAIR,), "as published")},
    "ultrafeedback": {
        preference: Schema(
            partial(_without_strength, preference=preference),
            (("prompt", *PAIR), ("instruction", "completions")),
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
    "files": {"": Schema(files, (PAIR,), "as given")},
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
