"""Easy data augmentation (Wei & Zou 2019) in place: words change, and the text around them stays byte for byte.

The reference implementation lower-cases, drops digits, newlines and turn markers, and depends on the hash seed; on
preference data that damage is larger than the edit. Here a variant is one operation on the editable words
(`mars.augment.words`). It depends on (settings, pair id, side, number) alone; the side is the one under the dataset's
usual labels.

    Eda(EdaConfig(seed=1)).make([Request(pair, "chosen", number) for number in range(5)])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from math import log, log1p
from typing import Any

from mars.augment.synonyms import Lookup, Source, thesaurus, version
from mars.augment.variant import NO_WORD, Request, Variant
from mars.augment.words import lines, match_case, split_words, uniforms
from mars.preferences.pair import Pair, Part

Draw = Callable[[], float]
_VERSION = 2  # of what makes a variant: stored ones of another version are not read


@dataclass(frozen=True)
class EdaConfig:
    """alpha_…: the share of a text's words that an operation changes; 0 leaves the operation out."""

    seed: int = 0
    alpha_replace: float = 0.1
    alpha_insert: float = 0.1
    alpha_swap: float = 0.1
    alpha_delete: float = 0.1
    synonyms: Source = "wordnet"
    same_operations: bool = True  # variant k of both sides: a model learns which side alone is garbled

    def __post_init__(self) -> None:
        alphas = {key: value for key, value in asdict(self).items() if key.startswith("alpha_")}
        for key, alpha in alphas.items():
            if not 0 <= alpha < 1:
                raise ValueError(f"{key}: {alpha} is not in [0, 1)")
        if not any(alphas.values()):
            raise ValueError("alpha_replace: every alpha is 0, nothing is left to do")


class Eda:
    """Augmenter: each variant is one of synonym replacement, random insertion, random swap and random deletion."""

    name = "eda"
    together, batch = 1, 4096

    def __init__(self, config: EdaConfig | None = None):
        self.config = config = config or EdaConfig()
        self.settings: Mapping[str, Any] = asdict(config) | {
            "table": version(config.synonyms),
            "version": _VERSION,
        }
        self._lookup = thesaurus(config.synonyms)
        alphas = {operation: getattr(config, f"alpha_{operation}") for operation in OPERATIONS}
        self._alphas = {operation: alpha for operation, alpha in alphas.items() if alpha > 0}
        self._cycle = tuple(self._alphas)

    def operation(self, pair: Pair, part: Part, number: int) -> str:
        """The name of the operation behind variant `number`; they take turns, from a start that depends on the pair.

        So they are spread evenly over the pairs, whatever the width of the pool.
        """
        key = pair.id if self.config.same_operations else f"{pair.origin(part)}/{pair.id}"
        start = blake2b(f"{self.config.seed}/{key}".encode(errors="surrogatepass"), digest_size=4).digest()[0]
        return self._cycle[(start + number) % len(self._cycle)]

    def identity(self, request: Request) -> str:
        """The side, pair id and text: variants depend on the pair, and not on the text alone."""
        return f"{request.pair.origin(request.part)}/{request.pair.id}\0{request.source}"

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order; a text without a word to edit comes back unchanged."""
        variants = []
        source, parts = "", [""]
        for pair, part, number in requests:
            text = pair.part(part)
            if text is not source:  # requests of one text usually come together: split it once
                source, parts = text, split_words(text)
            operation = self.operation(pair, part, number)
            if len(parts) > 1:
                draw = uniforms(f"{self.config.seed}/{number}/{pair.origin(part)}/{pair.id}").__next__
                edited = parts.copy()
                OPERATIONS[operation](edited, self._alphas[operation], draw, self._lookup)
                text = "".join(edited)
            variants.append(Variant(text, operation, {"alpha": self._alphas[operation]}))
        return variants

    def unchanged(self, request: Request) -> str:
        """Why a variant equals its source: what the text lacks for the operation, or that chance spared every word."""
        parts = split_words(request.source)
        words, operation = parts[1::2], self.operation(*request)
        if not words:
            return NO_WORD
        if operation in ("replace", "insert"):
            return "by chance" if any(self._lookup(word.lower()) for word in words) else "no word with a synonym"
        if len(words) == 1:
            return "a single word"
        alone = operation == "swap" and all(len(line) == 1 for line in lines(parts))
        return "no two words in a line" if alone else "by chance"


def _count(parts: list[str], alpha: float) -> int:
    return max(1, int(alpha * (len(parts) // 2)))


def _take(places: list[int], draw: Draw) -> int:
    """A random one of `places`, which is removed from them; their order is lost."""
    at = int(draw() * len(places))
    place, places[at] = places[at], places[-1]
    places.pop()
    return place


# Each operation edits `parts` (of `split_words`) in place, so that it reads drawn words alone.


def _replace(parts: list[str], alpha: float, draw: Draw, lookup: Lookup) -> None:
    """max(1, ⌊α·words⌋) random words that have a synonym, or all of these, become one of their synonyms."""
    left, places = _count(parts, alpha), list(range(1, len(parts), 2))
    while left and places:
        place = _take(places, draw)
        if found := lookup(parts[place].lower()):
            parts[place] = match_case(found[int(draw() * len(found))], parts[place])
            left -= 1


def _insert(parts: list[str], alpha: float, draw: Draw, lookup: Lookup) -> None:
    """Synonyms of max(1, ⌊α·words⌋) random words that have one, or of all these, each put behind a random word."""
    left, places, words = _count(parts, alpha), list(range(1, len(parts), 2)), len(parts) // 2
    inserted = []
    while left and places:
        if found := lookup(parts[_take(places, draw)].lower()):
            inserted.append((2 * int(draw() * words) + 1, found[int(draw() * len(found))]))
            left -= 1
    for place, word in inserted:
        parts[place] += f" {word}"


def _swap(parts: list[str], alpha: float, draw: Draw, lookup: Lookup) -> None:
    """max(1, ⌊α·words⌋) times, two random words of a line change places; what is between words stays.

    Within a line, because a word that moves to another item, paragraph or turn says something of other things there.
    """
    own = [(line, at) for line in lines(parts) if len(line) > 1 for at in range(len(line))]  # each word's line, place
    for _ in range(_count(parts, alpha) if own else 0):
        line, first = own[int(draw() * len(own))]
        second = int(draw() * (len(line) - 1))
        second += second >= first
        a, b = line[first], line[second]
        parts[a], parts[b] = parts[b], parts[a]


def _delete(parts: list[str], alpha: float, draw: Draw, lookup: Lookup) -> None:
    """Each word goes with probability α; when all would, a random one stays.

    The number of words kept before the next one that goes is geometric, so one draw serves some 1/α words.
    """
    places, log_keep = [], log1p(-alpha)
    place = 1 + 2 * int(log(1 - draw()) / log_keep)
    while place < len(parts):
        places.append(place)
        place += 2 + 2 * int(log(1 - draw()) / log_keep)
    if len(places) == len(parts) // 2:
        places.pop(int(draw() * len(places)))
    for place in reversed(places):  # from the end: a closed gap may be closed again from its left
        parts[place - 1] = _close(parts[place - 1], parts[place + 1])
        parts[place] = parts[place + 1] = ""


def _close(before: str, after: str) -> str:
    """The gaps around a deleted word as one gap, without the word's blank but with the indentation of its line."""
    if after.startswith(" "):
        return before + after[1:]
    kept = before.rstrip(" ")
    return (before if kept.endswith("\n") else kept) + after


OPERATIONS: dict[str, Callable[[list[str], float, Draw, Lookup], None]] = {
    "replace": _replace,
    "insert": _insert,
    "swap": _swap,
    "delete": _delete,
}


AUGMENTER = (EdaConfig, lambda config, cache, device: Eda(config))
