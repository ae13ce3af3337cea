"""Finds a known phrase in a text that may have damaged it: words lost, inserted, exchanged or inflected.

Phrase and text are compared as sequences of stems. A match is the heaviest chain of the phrase's words that the text
has in the phrase's order, within one sentence and with few words in between: "from dark to light" is no match for "from
light to dark", and a word that strayed into another sentence is lost. Words that say little (the, of, and what a wrong
answer shares with a right one) have little weight.

Chains rather than difflib or a full alignment: most phrases share no word with a text and the others a few, so a search
takes microseconds in plain Python. Where a text is searched for many phrases, `Phrases` passes over those that share
too few words with it. Synonyms are not known.

    Hearing.of("Dust a basket with the flour.").find(Phrase.of("dust the basket with flour"), 0.6).share
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")

_ROUNDING = 1e-9  # of sums of weights
_LIGHT_WEIGHT = 0.3
_NEGATIONS = frozenset(("not", "no", "never", "nobody", "without", "none", "nothing"))
_DENIED = frozenset(("forget", "fail", "hesitat"))  # "do not forget to" is no negation
_NEGATION_REACH = 3  # words before a phrase where a negation still turns it
_SLACK = 2  # foreign words that may be between two words of a phrase

_SHORT = {"m": "am", "re": "are", "s": "is", "ll": "will", "ve": "have", "d": "would"}
_tokens = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[.!?\n]+").findall
_STOP = "."  # the stem of any mark that ends a sentence


class Match(NamedTuple):
    """Where a phrase is in a text: words `start` to `end` (inclusive), and the share of its weight that is there."""

    start: int
    end: int
    share: float
    beginning: float  # the share that is there of what precedes the phrase (`Phrase.of(begins=…)`), else 0


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words to search for; `weights` sum to 1 over the first `lead` words, the introduction, and to 1 over the rest."""

    words: tuple[str, ...]
    weights: tuple[float, ...]
    lead: int
    line: str
    weighted: tuple[tuple[str, float], ...]  # (word, weight) of each word after the lead
    negations: int

    @staticmethod
    def of(text: str, begins: str = "", siblings: str = "", rivals: str = "") -> Phrase:
        """The phrase `text`, introduced by `begins`.

        A word weighs more the more often it is in `siblings`, phrases of the same meaning. It weighs as little as a
        function word when it is in `rivals`, phrases of another meaning.
        """
        words, lead = [word for word in _stems(text) if word != _STOP], _stems(begins)
        rivalled, shared = set(_stems(rivals)), Counter(_stems(siblings))
        own = _shares([0.0 if word in rivalled else 1.0 + shared[word] for word in words], words)
        whole, weights = tuple(lead + words), (*_shares([1.0] * len(lead), lead), *own)
        line, weighted = f" {' '.join(whole)} ", tuple(zip(words, own, strict=True))
        return Phrase(whole, weights, len(lead), line, weighted, sum(word in _NEGATIONS for word in whole))


def _shares(weights: list[float], words: list[str]) -> list[float]:
    """The weights as shares of their sum; 0 and the weight of a light word count as `_LIGHT_WEIGHT`."""
    own = [_LIGHT_WEIGHT if word in _LIGHT or not w else w for w, word in zip(weights, words, strict=True)]
    return [weight / sum(own) for weight in own]


@dataclass(frozen=True, slots=True)
class Hearing:
    """A text ready to be searched."""

    words: list[str]
    sentence: list[int]  # of each word
    places: dict[str, list[int]]
    line: str

    @staticmethod
    def of(text: str) -> Hearing:
        """`text` as stems, with the sentence and the places of each."""
        words = _stems(text)
        sentence, count = [], 0
        places: dict[str, list[int]] = {}
        for at, word in enumerate(words):
            if word == _STOP:
                count += 1
            else:
                places.setdefault(word, []).append(at)
            sentence.append(count)
        return Hearing(words, sentence, places, f" {' '.join(words)} ")

    def find(self, phrase: Phrase, least: float) -> Match | None:
        """The best match of `phrase`; None where its share is below `least`."""
        offset = self.line.find(phrase.line)
        if offset >= 0:
            start = self.line.count(" ", 0, offset)
            return Match(start, start + len(phrase.words) - 1, 1.0, float(phrase.lead > 0))
        places, least = self.places, least - _ROUNDING
        if sum(weight for word, weight in phrase.weighted if word in places) < least:
            return None
        match = self._chain(phrase)
        return match if match.share >= least else None

    def _chain(self, phrase: Phrase) -> Match:
        """The match of the heaviest chain of the phrase's words."""
        points = sorted((at, i) for i, word in enumerate(phrase.words) for at in self.places.get(word, ()))
        reach = len(phrase.words) + _SLACK
        chains: list[tuple[float, float, int]] = []  # ending at each point: weight, of it the lead's, first word
        for number, (at, i) in enumerate(points):
            weight = phrase.weights[i]
            best = (0.0, 0.0, at)
            for before in range(number - 1, -1, -1):
                at_before, i_before = points[before]
                if at - at_before > reach or self.sentence[at_before] != self.sentence[at]:
                    break
                if at - at_before <= i - i_before + _SLACK and i_before < i and at_before < at:
                    best = max(best, chains[before])
            chains.append((best[0] + weight, best[1] + weight * (i < phrase.lead), best[2]))
        weight, lead, start, end = max((*chain, at) for chain, (at, _) in zip(chains, points, strict=True))
        return Match(start, end, weight - lead, lead)

    def negations(self, match: Match) -> int:
        """The number of negations that apply to the match."""
        start = match.start
        while start > 0 and match.start - start < _NEGATION_REACH and self.words[start - 1] != _STOP:
            start -= 1
        bearing = self.words[start : match.end + 1]
        denied = (word in _DENIED for word in bearing[1:])
        return sum(word in _NEGATIONS and not next(denied, False) for word in bearing)

    def around(self, match: Match, before: int, after: int) -> tuple[list[str], list[str]]:
        """(at most `before` words before the match, at most `after` words after it), within its sentence."""
        left = self.words[max(0, match.start - before) : match.start]
        right = self.words[match.end + 1 : match.end + 1 + after]
        left = left[len(left) - left[::-1].index(_STOP) :] if _STOP in left else left
        return left, right[: right.index(_STOP)] if _STOP in right else right


class Phrases(Generic[V]):
    """Phrases and what each stands for, by the words that are in them."""

    def __init__(self, phrases: Iterable[tuple[V, Phrase]]):
        self._all = tuple(phrases)
        self._weights: dict[str, list[tuple[int, float]]] = defaultdict(list)  # word: (number of a phrase, weight)
        for number, (_, phrase) in enumerate(self._all):
            for word, weight in phrase.weighted:
                self._weights[word].append((number, weight))

    def likely_in(self, text: Hearing, least: float) -> Iterator[tuple[V, Phrase]]:
        """Those of which `text` has words of so much weight, in their order: what `text.find` may find, and more."""
        found: dict[int, float] = defaultdict(float)
        for word in self._weights.keys() & text.places.keys():
            for number, weight in self._weights[word]:
                found[number] += weight
        return (self._all[number] for number in sorted(found) if found[number] >= least - 2 * _ROUNDING)


def _stems(text: str) -> list[str]:
    return [stem for token in _tokens(text.lower().replace("\u2019", "'")) for stem in _stem(token)]


@lru_cache(maxsize=65536)
def _stem(token: str) -> tuple[str, ...]:
    """The stems of a token: a word without its inflection, "." for the end of a sentence, a contraction as two words.

    It cuts more than a linguist would, and makes some words equal (rats, rate); phrase and text are cut alike.
    """
    if not token[0].isalnum():
        return (_STOP,)
    word, _, short = token.partition("'")
    if short == "t" and word.endswith("n"):
        word = {"can": "can", "won": "will", "shan": "shall"}.get(word, word[:-1])
        return (_cut(word), "not")
    if word == "cannot":
        return ("can", "not")
    return (_cut(word), _SHORT[short]) if short in _SHORT else (_cut(word),)


def _cut(word: str) -> str:
    for ending in ("ing", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith(("ss", "us", "is")):
            word = word.removesuffix(ending)
            break
    if len(word) > 3:
        word = word.removesuffix("e")
        word = word[:-1] + "i" if word.endswith("y") else word
        word = word[:-1] if word[-1] == word[-2] else word
    return word


_LIGHT = frozenset(
    _stems(
        "a an the is are be am was were to of and it its that this there i you your me my we they them their in on for "
        "with by at as so do does will would or"
    )
)
