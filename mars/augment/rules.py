"""Surface paraphrase without a model: contractions, openers, spelling, near-perfect synonyms, list and quote marks.

A paraphraser may change what a response says, and then the inherited label may be wrong. These rewrites are a closed
list (rules.tsv) that a reader can check line by line: they keep polarity, quantity and order, and leave code,
quotations, digits and addresses alone. The price is variety: a short text may offer one rewrite or none.

    Rules(RulesConfig(seed=1)).make([Request(pair, "chosen", number) for number in range(5)])
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from mars.augment.rules_table import Condition, Rule, rules, table_text
from mars.augment.variant import NO_WORD, Request, Variant
from mars.augment.words import PROTECTED, WORD, split_words, uniforms

_VERSION = 1  # of what makes a variant, beside the table: stored ones of another version are not read
Edits = tuple[tuple[int, int, str], ...]  # (start, end, replacement), in order, without overlap


class Rewrite(NamedTuple):
    """One change that a text allows, in one of several ways."""

    choices: tuple[Edits, ...]


@dataclass(frozen=True)
class RulesConfig:
    """rate: the share of the possible rewrites that a variant applies; it always applies at least one."""

    seed: int = 0
    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate: {self.rate} is not in [0, 1]")


class Rules:
    """Augmenter: each variant is a random subset of the possible rewrites, another one while there are others."""

    name = "rules"
    together, batch = 1, 4096

    def __init__(self, config: RulesConfig | None = None):
        self.config = config or RulesConfig()
        digest = hashlib.sha256(table_text().encode()).hexdigest()[:12]
        self.settings: Mapping[str, Any] = asdict(self.config) | {"table": digest, "version": _VERSION}

    def identity(self, request: Request) -> str:
        """The side, pair id and text: variants depend on the pair, and not on the text alone."""
        return f"{request.pair.origin(request.part)}/{request.pair.id}\0{request.source}"

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        """One variant per request, in order; a text without a possible rewrite comes back unchanged."""
        variants = []
        source, possible = "", list[Rewrite]()
        for pair, part, number in requests:
            text = pair.part(part)
            if text is not source:  # requests of one text usually come together: search it once
                source, possible = text, rewrites(text)
            edits = self._choose(possible, f"{pair.origin(part)}/{pair.id}", number)
            variants.append(Variant(apply(text, edits) if edits else text, "rules", {"edits": len(edits)}))
        return variants

    def unchanged(self, request: Request) -> str:
        """Why a variant equals its source: a variant applies at least one rewrite where there is any."""
        return "no rewrite fits" if len(split_words(request.source)) > 1 else NO_WORD

    def _choose(self, possible: Sequence[Rewrite], key: str, number: int) -> list[tuple[int, int, str]]:
        """The edits of variant `number`.

        Up to three rewrites are chosen by the bits of a non-zero number that differs between variants, so that a text
        with few rewrites has distinct variants. Each other rewrite has probability `rate`.
        """
        if not possible:
            return []
        draw = uniforms(f"{self.config.seed}/{key}")  # shared by the variants of a text
        first, masks = int(next(draw) * len(possible)), 2 ** min(3, len(possible)) - 1
        mask = (int(next(draw) * masks) + number) % masks + 1
        turn = int(next(draw) * 60) + number  # 60: a multiple of every number of choices up to six
        draw = uniforms(f"{self.config.seed}/{number}/{key}")
        edits: list[tuple[int, int, str]] = []
        for place, rewrite in enumerate(possible):
            lead = (place - first) % len(possible)
            if mask >> lead & 1 if lead < 3 else next(draw) < self.config.rate:
                edits += rewrite.choices[(turn + place) % len(rewrite.choices)]
        return edits


def apply(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """`text` with each (start, end) of `edits` replaced."""
    parts: list[str] = []
    end = 0
    for start, stop, replacement in sorted(edits):
        parts += (text[end:start], replacement)
        end = stop
    return "".join([*parts, text[end:]])


def rewrites(text: str) -> list[Rewrite]:
    """Every change that `text` allows, independent of the others: words first, in order, then the layout."""
    words = [_Word(*m.span(1), _plain(m[1])) for m in _words(text) if m[1] is not None]
    found, spelling = [], list[tuple[str, tuple[int, int, str]]]()
    at = 0
    while at < len(words):
        match = _match(text, words, at)
        if match is None:
            at += 1
            continue
        place, span, targets = match
        if place.startswith("spelling"):
            spelling.append((place, (*span, targets[0])))
        else:
            found.append(Rewrite(tuple(((*span, target),) for target in targets)))
        at += sum(word.start < span[1] for word in words[at : at + _LONGEST])

    if spelling and " the " in text.lower():  # English, where color is a spelling and not another word
        # The spelling that the text has more of becomes the other one throughout, so that no text gets more mixed.
        common = Counter(place for place, _ in spelling).most_common(1)[0][0]
        found.append(Rewrite((tuple(edit for place, edit in spelling if place == common),)))
    found += (Rewrite(choices) for layout in (_bullets, _numbers, _quotes, _serial_comma) if (choices := layout(text)))
    return found


# ---- words and phrases


class _Word(NamedTuple):
    start: int
    end: int
    text: str  # straight apostrophes


_QUOTED = r"\"[^\"\n]{1,300}\"|“[^”\n]{1,300}”"  # somebody's words, a title, a word talked about: not ours to change
_words = re.compile(f"{PROTECTED}|{_QUOTED}|{WORD}").finditer
_LONGEST = 10  # words, more than any form has
_ends_sentence = re.compile(r"(?:[.!?…:][\"”’')\]*]*\s|\n)[^\w`]*\Z").search


def _plain(text: str) -> str:
    return text.replace("’", "'")


def _match(text: str, words: Sequence[_Word], at: int) -> tuple[str, tuple[int, int], tuple[str, ...]] | None:
    """(place, span, targets) of the longest form that begins at word `at` and whose conditions hold."""
    word = words[at]
    for rule in rules().get(word.text.lower(), ()):
        last, end = at + rule.words - 1, word.start + len(rule.form)
        mark = not rule.form[-1].isalpha()  # the form ends in one, and then white space has to follow
        if last >= len(words) or words[last].end != end - mark or (mark and text[end : end + 1].strip()):
            continue
        targets = _in_case(text, words, at, last, rule, _plain(text[word.start : end]))
        before, after = _neighbour(text, words, at, -1), _neighbour(text, words, last, 1)
        if targets and all(_holds(condition, before, after) for condition in rule.conditions):
            targets = tuple(target for target in targets if _keeps_article(text, words, at, target))
            if targets:
                curly = "’" in text and "'" not in text
                return rule.place, (word.start, end), tuple(t.replace("'", "’") if curly else t for t in targets)
    return None


def _in_case(text: str, words: Sequence[_Word], at: int, last: int, rule: Rule, source: str) -> tuple[str, ...]:
    """The targets in the case of `source`; () where that is not the form, or is where the rule does not apply.

    A capital inside a sentence belongs to a name (Big Ben), and so may one before another capital (Big Ben is tall).
    """
    form = rule.form
    if source[1:] != form[1:] or source[0].lower() != form[0].lower():
        return ()
    gap = text[words[at - 1].end if at else 0 : words[at].start]
    opens = _ends_sentence(gap if at else f"\n{gap}") is not None
    if rule.place in ("start", "inside") and opens != (rule.place == "start"):
        return ()
    if source[0] == form[0]:
        return rule.targets
    follower = _neighbour(text, words, last, 1)
    if not opens or source[0].islower() or (follower[:1].isupper() and follower.partition("'")[0] != "I"):
        return ()
    return tuple(target[0].upper() + target[1:] for target in rule.targets)


def _neighbour(text: str, words: Sequence[_Word], at: int, step: int) -> str:
    """The word next to word `at`; "-" where there is none, or more than blanks in between."""
    other = at + step
    if not 0 <= other < len(words):
        return "-"
    left, right = (words[other], words[at]) if step < 0 else (words[at], words[other])
    return words[other].text if not text[left.end : right.start].strip(" ") else "-"


def _holds(condition: Condition, before: str, after: str) -> bool:
    """Whether the word before a form, or the one after it, is what the condition asks for."""
    which, wanted, among = condition
    neighbour = before if which == "prev" else after
    return (neighbour.lower() in among or (neighbour != "-" and "*" in among)) == wanted


def _keeps_article(text: str, words: Sequence[_Word], at: int, target: str) -> bool:
    """Whether an "a" or "an" before word `at` is still right before `target`."""
    article = _neighbour(text, words, at, -1).lower()
    if article not in ("a", "an"):
        return True
    vowel = target[0].lower() in "aeiou" and not target.lower().startswith(("us", "uni", "one", "eu"))
    return vowel == (article == "an")


# ---- marks


_BULLET = re.compile(rf"{PROTECTED}|(?m:^[ \t]*([-*•]) (?=\S))")
_NUMBER = re.compile(rf"{PROTECTED}|(?m:^[ \t]*\d{{1,2}}([.)]) (?=\S))")
_QUOTE = re.compile(rf"{PROTECTED}|(?<!\S)(?:\"([^\"\n“”]{{1,300}})\"|“([^\"\n“”]{{1,300}})”)(?=[.,;:!?)]*(?:\s|\Z))")
_SERIAL = re.compile(rf"{PROTECTED}|(?<= )[a-z]+, [a-z]+(,) (?:and|or) [a-z]+(?=[\s.])")


def _spans(pattern: re.Pattern[str], text: str, group: int = 1) -> list[tuple[int, int]]:
    return [m.span(group) for m in pattern.finditer(text) if m[group] is not None]


def _bullets(text: str) -> tuple[Edits, ...]:
    """The first bullet's mark becomes another one throughout, which the text does not use."""
    spans = _spans(_BULLET, text)
    used = {text[start] for start, _ in spans}
    if not spans:
        return ()
    first = text[spans[0][0]]
    return tuple(tuple((a, b, mark) for a, b in spans if text[a] == first) for mark in "-*•" if mark not in used)


def _numbers(text: str) -> tuple[Edits, ...]:
    """`1.` ↔ `1)` at the start of lines; none where a text uses both, because the difference may mean something."""
    spans = _spans(_NUMBER, text)
    used = {text[start] for start, _ in spans}
    return (tuple((a, b, ")" if used == {"."} else ".") for a, b in spans),) if len(used) == 1 else ()


def _quotes(text: str) -> tuple[Edits, ...]:
    """Straight ↔ typographic double quotes; none where = or { are signs of data or code."""
    if "=" in text or "{" in text:
        return ()
    straight, curly = _spans(_QUOTE, text, 1), _spans(_QUOTE, text, 2)
    marks, spans = ("“”", straight) if straight else ('""', curly)
    return (tuple(e for a, b in spans for e in ((a - 1, a, marks[0]), (b, b + 1, marks[1]))),) if spans else ()


def _serial_comma(text: str) -> tuple[Edits, ...]:
    """`red, green, and blue` loses its last comma; adding one could make `in Rome, Ann and Bo` a list."""
    spans = _spans(_SERIAL, text)
    return (tuple((a, b, "") for a, b in spans),) if spans else ()


AUGMENTER = (RulesConfig, lambda config, cache, device: Rules(config))
