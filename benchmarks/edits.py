"""Edits of a pair that should not matter to a judge of replies: white space, and a system turn before the prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mars.augment.words import PROTECTED, uniforms
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair


def respaced(text: str, key: str) -> str:
    """`text` with other white space, a pure function of it and `key`; code and every word stay as they are.

    Outside code a single blank between two words is doubled and a single line break, save in a table, becomes an empty
    line, each with probability ½; and the text ends in one blank or line break more, so that none is unchanged.
    """
    draw = uniforms(key).__next__

    def widened(match: re.Match[str]) -> str:
        code = match[0] not in (" ", "\n")
        return match[0] if code or draw() < 0.5 else 2 * match[0]

    return _SPACES.sub(widened, text) + (" " if draw() < 0.5 else "\n")


_SPACES = re.compile(rf"{PROTECTED}|(?<=\S) (?=\S)|(?<![\n|])\n(?![\n|])")


def prefixed(prompt: Sequence[Message], text: str) -> tuple[Message, ...]:
    """`prompt` behind a system turn of `text`, which goes before the words of a system turn that is there already."""
    if prompt[0].role == "system":
        return (Message("system", f"{text}\n\n{prompt[0].content}"), *prompt[1:])
    return (Message("system", text), *prompt)


def with_texts(pairs: Sequence[Pair], texts: Sequence[str]) -> list[Pair]:
    """`pairs` with other responses; texts: chosen and rejected of each, [2N]."""
    return [replace(p, chosen=c, rejected=r) for p, c, r in zip(pairs, texts[::2], texts[1::2], strict=True)]
