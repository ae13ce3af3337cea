"""The words of a text that may be edited, and random numbers that depend on a key alone: what EDA and the rules share.

An editable word is alone between white space, with at most quotes, brackets, emphasis or closing punctuation around it.
Everything else (digits, paths, addresses, `foo()`, formulas) is left as it is and need not be recognised. Only code and
turn markers, which look like words, need patterns of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from struct import Struct

_TURN = r"\b(?:Human|Assistant):"
PROTECTED = (
    r"(?s:```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|``[^\n]+?``|`(?:[^`\n]|\n(?!\s*\n))+`)"  # code: fenced, then inline
    rf"|{_TURN}"
)
_marked = re.compile("[`]|~~~|Human:|Assistant:").search  # without one of these, PROTECTED matches nothing

# Letters with inner apostrophes or hyphens. One letter is a word only as English has it, before another word or an
# apostrophe: x, C and the a of a formula are not prose.
_OPENERS = r"\"“‘'(\[*"
WORD = (
    rf"(?<![^\s{_OPENERS}])(?<![^\s{_OPENERS}][{_OPENERS}])"
    r"((?:[^\W\d_]{2,}+|[aAI](?=['’]| [^\W\d_]))(?:['’-][^\W\d_]++)*+)"
    r"(?=[.,;:!?)\]\"”’'*…]*+(?:\s|\Z))"
)
_split = re.compile(WORD).split
_scan = re.compile(f"{PROTECTED}|{WORD}").finditer
_breaks = re.compile(rf"[\n\r\u2028\u2029]|{_TURN}").search


def split_words(text: str) -> list[str]:
    """[gap, word, gap, …, word, gap]: the editable words are at odd places, and `"".join` gives `text` back."""
    if _marked(text) is None:
        return _split(text)
    parts: list[str] = []
    end = 0
    for match in _scan(text):
        if match[1] is not None:
            parts += (text[end : match.start(1)], match[1])
            end = match.end(1)
    return [*parts, text[end:]]


def lines(parts: Sequence[str]) -> list[range]:
    """The places in `parts` (of `split_words`) of the words of each line; a turn marker begins a line as well."""
    starts = [place for place in range(3, len(parts), 2) if parts[place - 1] != " " and _breaks(parts[place - 1])]
    return [range(start, stop, 2) for start, stop in pairwise([1, *starts, len(parts)]) if start < stop]


def match_case(word: str, like: str) -> str:
    """`word` (lower case) in the case of `like`: lower, Title or UPPER; one capital letter alone counts as Title."""
    if not like[0].isupper():
        return word
    return word.upper() if len(like) > 1 and like.isupper() else word[0].upper() + word[1:]


_block = Struct("<16I").unpack


def uniforms(key: str) -> Iterator[float]:
    """Endless floats in [0, 1), a pure function of `key`: BLAKE2b in counter mode.

    To seed a Mersenne Twister for a few numbers costs four times as much as one hash, which gives sixteen. The price is
    a resolution of 2⁻³², which is enough for a choice among words.
    """
    count = 0
    while True:
        for number in _block(blake2b(f"{count}/{key}".encode(errors="surrogatepass")).digest()):
            yield number * 2.0**-32
        count += 1
