"""Words to latents: what a reworded planted response still says, so that an augmenter's errors can be counted.

A variant inherits the label of its parent; on collected data nobody knows whether it still deserves it. Here it is
known: every wording of every attribute is in the tables of `mars.worlds.planted_world` and `mars.worlds.planted_words`,
so a text is searched for all of them, and its gold reward is that of what it says. What is not found is not said: a
claim beyond recognition answers nothing, one without its ending is on topic but not correct, a garbled tip does not
count, politeness is neutral, no source is named, and an answer that advises no risk is safe.

The reader knows words, not meanings. It makes no error on texts of the world and on their true paraphrases. What the
rules write counts as the same, because their table was checked by hand. A rewording in other words counts as a loss, so
for a free paraphraser the share of preserved pairs is a lower bound. Prompts are not read: an answer is judged by the
question of the base pair.

    preserved(pair, *(augmenter.make([Request(pair, side, 0)])[0].text for side in SIDES))
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import NamedTuple, TypeVar

from mars.augment.rules import apply, rewrites
from mars.preferences.pair import Pair
from mars.worlds.planted import Latent, World
from mars.worlds.planted_latents import Response, gold
from mars.worlds.planted_phrases import Hearing, Match, Phrase, Phrases
from mars.worlds.planted_words import (
    NO_SOURCES,
    RUDE_CLOSINGS,
    RUDE_OPENINGS,
    SOURCES,
    WARM_CLOSINGS,
    WARM_OPENINGS,
)
from mars.worlds.planted_world import TOPICS

V = TypeVar("V")

# Shares of a phrase's weight that have to be found. One word may be lost from a phrase of three or four, half of it may
# not. Less of a claim's beginning is enough, because the ending says what was answered.
PHRASE, ENDING, BEGINNING, BEGINNING_ALONE = 0.6, 0.55, 0.3, 0.75

# Stems that make a sentence about a risk a warning, and stems that do not when they are negated.
_NEGATES = frozenset(("never", "not", "no"))
_DANGERS = frozenset(
    Phrase.of(
        "avoid refrain beware danger dangerous unsafe risky hazard hazardous harm harmful hurt injure injured injury "
        "mistake error unwise wrong"
    ).words
)
_CALMED = _DANGERS | frozenset(Phrase.of("worry mind matter problem").words)
_BEFORE, _AFTER = 8, 5  # words before and after a risk where its warning may be


class Claim(NamedTuple):
    """A fact as it may be said; a wording is the beginning with one of the endings."""

    topic: int
    fact: int
    beginning: Phrase
    wordings: Phrases[bool]  # whether each is right


class Lexicon(NamedTuple):
    """All that the answers of one pair may say, excluding politeness, whose words are the same for every pair."""

    claims: tuple[Claim, ...]  # the one asked for first
    # By topic.
    tips: tuple[Phrases[int], ...]
    risks: tuple[Phrases[int], ...]
    sources: tuple[Phrases[bool], ...]


@lru_cache(maxsize=32768)  # the runs of a sweep draw many of the same variants
def read(text: str, pair_id: str) -> Response:
    """The latents of `text`, an answer to the planted pair's question; `gold` of them is its reward.

    The nuisances are not read and are 0; nor is a source where none was asked for. Raises ConfigError when `pair_id` is
    not the id of a planted pair.
    """
    latent = _latent(pair_id)
    lexicon, heard = _lexicon(_themes(latent), latent.rare), Hearing.of(text)
    claim, correct, where = _claim(heard, lexicon.claims)
    tips, risks = _advice(heard, lexicon, where)
    advised = [risk for risk, match in risks if not _warns(heard, match)]
    return Response(
        on_topic=claim is lexicon.claims[0],
        correct=correct,
        complete=len(tips),
        polite=_loudest(heard, (_tones(),), neither=1),
        safe=not advised,
        sourced=_loudest(heard, lexicon.sources, neither=False),
        length=0,
        style=0,
        topic=claim.topic if claim else latent.topic,
        fact=claim.fact if claim else latent.fact,
        tips=tips,
        risk=next(iter(advised or (risk for risk, _ in risks)), None),
        source_asked=latent.rare,
    )


def gold_margin(base: Pair, chosen: str, rejected: str) -> float:
    """r*(chosen) − r*(rejected) of two rewordings of a planted pair's answers, by what they say. Raises as `read`."""
    return round(gold(read(chosen, base.id)) - gold(read(rejected, base.id)), 6)


def preserved(base: Pair, chosen: str, rejected: str) -> bool:
    """Whether the gold margin of two rewordings has the sign of that of `base`. Raises as `read`.

    So a wrong label is preserved where it is still wrong, and not where the answers have become equally good.
    """
    latent = _latent(base.id)
    return gold_margin(base, chosen, rejected) * (gold(latent.chosen) - gold(latent.rejected)) > 0


# ---- what may be said


@lru_cache(maxsize=16384)
def _latent(pair_id: str) -> Latent:
    return World.of(pair_id).latent(pair_id)


def _themes(latent: Latent) -> tuple[tuple[int, int], ...]:
    """(topic, fact) of the question, then of each answer that drifts from it."""
    sides = ((side.topic, side.fact) for side in (latent.chosen, latent.rejected))
    return tuple(dict.fromkeys(((latent.topic, latent.fact), *sides)))


@lru_cache(maxsize=8192)
def _lexicon(themes: tuple[tuple[int, int], ...], source_asked: bool) -> Lexicon:
    topics = tuple(dict.fromkeys(topic for topic, _ in themes))
    return Lexicon(
        tuple(_claim_of(*theme) for theme in themes),
        tuple(map(_tips, topics)),
        tuple(map(_risks, topics)),
        tuple(map(_sources, topics if source_asked else ())),
    )


# A phrase takes longer to make than to find, so each is made once.


@cache
def _claim_of(topic: int, fact: int) -> Claim:
    said = TOPICS[topic].facts[fact]
    wordings = (
        (right, phrase)
        for right, endings, rivals in ((True, said.right, said.wrong), (False, said.wrong, said.right))
        for ending in endings
        for phrase in _phrases(
            ending,
            begins=said.begins,
            siblings=" ".join(other for other in endings if other != ending),
            rivals=" ".join(rivals),
        )
    )
    return Claim(topic, fact, Phrase.of(said.begins), Phrases(wordings))


@cache
def _tips(topic: int) -> Phrases[int]:
    return Phrases((i, phrase) for i, tip in enumerate(TOPICS[topic].tips) for phrase in _phrases(tip))


@cache
def _risks(topic: int) -> Phrases[int]:
    return Phrases((i, phrase) for i, risk in enumerate(TOPICS[topic].risks) for phrase in _phrases(risk))


@cache
def _sources(topic: int) -> Phrases[bool]:
    name = TOPICS[topic].name
    frames = [(True, frame) for frame in SOURCES] + [(False, frame) for frame in NO_SOURCES]
    return Phrases((v, phrase) for v, frame in frames for phrase in _phrases(frame.format(topic=name), rivals=name))


@cache
def _tones() -> Phrases[int]:
    tones = [(2, said) for said in WARM_OPENINGS + WARM_CLOSINGS] + [
        (0, said) for said in RUDE_OPENINGS + RUDE_CLOSINGS
    ]
    return Phrases((tone, phrase) for tone, said in tones for phrase in _phrases(said))


def _phrases(text: str, **weighing: str) -> Iterator[Phrase]:
    """The phrases of `text` and of all that the rules (`mars.augment.rules`) make of it."""
    choices = [((), *rewrite.choices) for rewrite in rewrites(text)]
    for edits in itertools.product(*choices):
        yield Phrase.of(apply(text, itertools.chain(*edits)), **weighing)


# ---- what is said


def _claim(heard: Hearing, claims: Sequence[Claim]) -> tuple[Claim | None, bool, Match | None]:
    """(the best matching claim, whether it is said rightly, where); (None, False, None) when no claim matches.

    A beginning without its ending is about the question but does not answer it rightly; nor does a claim whose right
    and wrong endings match equally well.
    """
    best: tuple[Claim, bool, Match] | None = None
    for claim in claims:
        for right, wording in claim.wordings.likely_in(heard, ENDING):
            match = heard.find(wording, max(ENDING, best[2].share if best else 0))
            if match and match.beginning >= BEGINNING and heard.negations(match) == wording.negations:
                if best is None or match.share > best[2].share:
                    best = claim, right, match
                elif claim is best[0] and right != best[1]:
                    best = claim, False, match
    if best is None:
        alone = ((claim, False, heard.find(claim.beginning, BEGINNING_ALONE)) for claim in claims)
        return next((claim for claim in alone if claim[2]), (None, False, None))
    return best


def _advice(heard: Hearing, lexicon: Lexicon, claimed: Match | None) -> tuple[tuple[int, ...], list[tuple[int, Match]]]:
    """(at most two tips given, [(risk mentioned, where)]). A word belongs to the phrase that matches best."""
    risky = _likely(heard, lexicon.risks)
    matches = [(match, False, i) for i, phrase in risky if (match := heard.find(phrase, PHRASE))]
    for i, phrase in _likely(heard, lexicon.tips):
        match = heard.find(phrase, PHRASE)
        if match and heard.negations(match) == phrase.negations:
            matches.append((match, True, i))
    taken = [claimed] if claimed else []
    tips, risks = list[int](), list[tuple[int, Match]]()
    for match, is_tip, i in sorted(matches, key=lambda item: -item[0].share):
        if any(match.start <= other.end and other.start <= match.end for other in taken):
            continue
        taken.append(match)
        if is_tip:
            tips.append(i)
        else:
            risks.append((i, match))
    return tuple(tips[:2]), risks


def _warns(heard: Hearing, match: Match) -> bool:
    """Whether the sentence around a risk advises against it: by a negation, or by a danger that is not negated."""
    for words in heard.around(match, _BEFORE, _AFTER):
        calm = 0  # words before this place are negated
        for at, word in enumerate(words):
            if word in _NEGATES:
                ahead = [place for place in (at + 1, at + 2) if place < len(words) and words[place] in _CALMED]
                if not ahead:
                    return True
                calm = ahead[0] + 1
            elif word in _DANGERS and at >= calm:
                return True
    return False


def _loudest(heard: Hearing, phrases: Iterable[Phrases[V]], neither: V) -> V:
    """The value whose phrase matches best; `neither` when none matches well enough."""
    best, loudest = 0.0, neither
    for value, phrase in _likely(heard, phrases):
        match = heard.find(phrase, max(best, PHRASE))
        if match and match.share > best and heard.negations(match) == phrase.negations:
            best, loudest = match.share, value
    return loudest


def _likely(heard: Hearing, phrases: Iterable[Phrases[V]]) -> Iterator[tuple[V, Phrase]]:
    """Those that may match well enough to count, in their order."""
    return itertools.chain.from_iterable(some.likely_in(heard, PHRASE) for some in phrases)
