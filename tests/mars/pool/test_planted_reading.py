"""Planted text read back: exact on what the world says, sensitive to damage, tolerant of what means the same."""

import dataclasses
import random
import re
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mars.augment.eda import Eda, EdaConfig
from mars.augment.planted import PlantedAugmenter, PlantedAugmenterConfig
from mars.augment.rules import Rules
from mars.augment.variant import Augmenter, Request
from mars.config import ConfigError
from mars.pool.planted_reading import gold_margin, preserved, read
from mars.preferences.pair import SIDES, Pair
from mars.worlds import planted_words as words
from mars.worlds.planted import World, load_planted
from mars.worlds.planted_latents import Response, gold
from mars.worlds.planted_phrases import Hearing, Phrase, Phrases
from mars.worlds.planted_settings import SPLITS, PlantedConfig
from mars.worlds.planted_words import answer
from mars.worlds.planted_world import TOPICS

CAUSAL = ("on_topic", "correct", "complete", "polite", "safe", "sourced")
WORLD = World(PlantedConfig())
PAIRS = load_planted(PlantedConfig(size=200)).base


def causal(response: Response) -> dict[str, object]:
    """What a reader has to find; a source matters only where one was asked for."""
    found = {name: getattr(response, name) for name in CAUSAL}
    return found | {"sourced": response.sourced and response.source_asked}


def variants(augmenter: Augmenter, pairs: list[Pair], numbers: int) -> list[tuple[Pair, str, str]]:
    """(pair, chosen variant k, rejected variant k) for each pair and k."""
    places = [(pair, number) for pair in pairs for number in range(numbers)]
    made = augmenter.make([Request(pair, side, number) for side in SIDES for pair, number in places])
    texts = [variant.text or "" for variant in made]
    return [(pair, *both) for (pair, _), *both in zip(places, texts[: len(places)], texts[len(places) :], strict=True)]


def rate(augmenter: Augmenter) -> float:
    """Share of the synthetic pairs whose truth is that of their parent."""
    kept = [preserved(*row) for row in variants(augmenter, PAIRS, 2)]
    return sum(kept) / len(kept)


def eda(alpha: float) -> Eda:
    return Eda(EdaConfig(**{f"alpha_{operation}": alpha for operation in ("replace", "insert", "swap", "delete")}))


@cache
def id_about(topic: int, fact: int, rare: bool) -> str:
    """A pair whose question is `fact` of `topic`, and none of whose answers drifts."""
    split = "test_rare" if rare else "train"
    for row in range(100_000):
        found = WORLD.latent(f"planted-0-{split}-{row}")
        if (found.topic, found.fact) == (topic, fact) and found.chosen.on_topic and found.rejected.on_topic:
            return f"planted-0-{split}-{row}"
    raise AssertionError("the world has no such pair")


# Exact


@pytest.mark.parametrize("split", SPLITS)
def test_every_text_of_the_world_reads_as_what_it_is(split):
    for row in range(150):
        pair = WORLD.pair(split, row)
        for side in SIDES:
            assert causal(read(pair.side(side), pair.id)) == causal(WORLD.latent(pair.id).side(side)), pair.side(side)
        assert gold_margin(pair, pair.chosen, pair.rejected) == pair.gold_margin


@given(st.integers(0, 10**6), st.sampled_from(["train", "test_rare"]), st.randoms(use_true_random=False), st.data())
@settings(max_examples=150)
def test_so_does_any_response_an_author_might_have_given(row, split, rng, data):
    pair_id = WORLD.pair(split, row).id
    response = WORLD.latent(pair_id).chosen
    topic, safe = TOPICS[response.topic], data.draw(st.booleans())
    tips = data.draw(st.lists(st.integers(0, len(topic.tips) - 1), unique=True, max_size=2))
    risks = st.integers(0, len(topic.risks) - 1)
    response = dataclasses.replace(
        response,
        correct=data.draw(st.booleans()),
        complete=len(tips),
        tips=tuple(tips),
        polite=data.draw(st.integers(0, 2)),
        safe=safe,
        risk=data.draw(st.none() | risks if safe else risks),
        sourced=data.draw(st.booleans()),
        length=data.draw(st.integers(0, 2)),
        style=data.draw(st.integers(0, 1)),
    )
    text = answer(response, random.Random(rng.random()))
    assert causal(read(text, pair_id)) == causal(response), text


@pytest.mark.parametrize("keep_nuisance", [True, False])
def test_true_paraphrases_keep_their_gold_reward_to_the_last(keep_nuisance):
    augmenter = PlantedAugmenter(PlantedAugmenterConfig(keep_nuisance=keep_nuisance))
    for pair, chosen, rejected in variants(augmenter, PAIRS, 3):
        assert gold_margin(pair, chosen, rejected) == pair.gold_margin
        assert preserved(pair, chosen, rejected)


# Damage

GOOD = (
    "Thank you for asking. In short, the dough should rest overnight. Remember to weigh the flour and score the loaf."
)
RISKY = "The dough should rest overnight. {}grab the hot pot with bare hands."
SOURCED = "The dough should rest overnight. {}"
PLAIN = {"on_topic": True, "correct": True, "complete": 0, "polite": 1, "safe": True, "sourced": False}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, {"complete": 2, "polite": 2}),
        (GOOD.replace("overnight", "for one minute"), {"correct": False, "complete": 2, "polite": 2}),
        (GOOD.replace("should rest", "should not rest"), {"correct": False, "complete": 2, "polite": 2}),
        (GOOD.replace(" overnight", ""), {"correct": False, "complete": 2, "polite": 2}),
        (
            GOOD.replace("the dough should rest overnight", "that is it"),
            {"on_topic": False, "correct": False, "complete": 2, "polite": 2},
        ),
        (GOOD.replace("weigh the flour and ", ""), {"complete": 1, "polite": 2}),
        (GOOD.replace("weigh the flour", "weigh the cat"), {"complete": 1, "polite": 2}),
        (GOOD.replace("Remember to", "Never"), {"complete": 1, "polite": 2}),
        (GOOD.replace("Remember to", "Do not forget to"), {"complete": 2, "polite": 2}),
        (GOOD.removeprefix("Thank you for asking. "), {"complete": 2}),
        (GOOD.replace("Thank you for asking.", "You should know this, fool."), {"complete": 2, "polite": 0}),
        (f"{GOOD} Feed the starter daily.", {"complete": 2, "polite": 2}),
        ("The dough should rest overnight.", {}),
        ("The dough should rest overnight. You annoy me.", {"polite": 0}),
        ("The dough should rest overnight. I hope this helps you.", {"polite": 2}),
        (RISKY.format("Never "), {}),
        (RISKY.format("It is dangerous to "), {}),
        (RISKY.format("Don't "), {}),
        (RISKY.format("Please "), {"safe": False}),
        (RISKY.format("It is not dangerous to "), {"safe": False}),
        (RISKY.format("Don’t worry, just "), {"safe": False}),
        (RISKY.format("There is no harm if you "), {"safe": False}),
        ("Never rest. Overnight. Grab the hot pot with hands.", {"on_topic": False, "correct": False, "safe": False}),
        ("The dough should rest overnight. Resting keeps it well: open near.", {}),
        ("", {"on_topic": False, "correct": False}),
        (". !\n", {"on_topic": False, "correct": False}),
    ],
)
def test_damage_changes_what_it_damages_and_nothing_else(text, expected):
    assert causal(read(text, id_about(0, 0, rare=False))) == PLAIN | expected


@pytest.mark.parametrize(
    ("source", "sourced"),
    [
        ("The standard handbook on sourdough bread says so.", True),
        ("The usual handbook about sourdough bread says so.", True),
        ("There is no handbook on sourdough bread I could quote.", False),
        ("There is a handbook on sourdough bread I could quote.", False),
        ("You can not cite the usual guide to sourdough bread.", False),
        ("", False),
    ],
)
def test_a_source_is_named_counts_only_where_asked_for_and_is_lost_when_it_is_dropped(source, sourced):
    text = SOURCED.format(source)
    asked, unasked = (read(text, id_about(0, 0, rare)) for rare in (True, False))
    assert causal(asked) == PLAIN | {"sourced": sourced}
    assert gold(asked) - gold(unasked) == pytest.approx(4.0 * sourced)


def test_order_tells_an_answer_from_its_opposite():
    topic = next(i for i, topic in enumerate(TOPICS) if topic.name == "watercolour painting")
    pair_id = id_about(topic, 0, rare=False)
    assert read("As a rule, the colours go on from light to dark.", pair_id).correct
    assert not read("As a rule, the colours go on from dark to light.", pair_id).correct
    assert not read("As a rule, the colours go on from and dark light to.", pair_id).correct


def test_an_answer_that_drifts_is_read_as_one_and_a_mended_one_too():
    found = (WORLD.pair("train", row) for row in range(1000))
    pair = next(p for p in found if not WORLD.latent(p.id).rejected.on_topic and WORLD.latent(p.id).chosen.on_topic)
    assert not read(pair.rejected, pair.id).on_topic
    assert causal(read(pair.chosen, pair.id)) == causal(WORLD.latent(pair.id).chosen)
    mended = answer(WORLD.latent(pair.id).chosen, random.Random(0))
    assert gold_margin(pair, pair.chosen, mended) == 0


# The truth of a pair


def test_the_truth_is_kept_by_the_texts_themselves_and_lost_when_they_change_sides_or_become_alike():
    noisy = load_planted(PlantedConfig(size=60, noise="flip", flip_rate=0.4)).base
    assert {pair.gold_margin > 0 for pair in noisy} == {True, False}
    for pair in noisy:
        assert preserved(pair, pair.chosen, pair.rejected)
        assert not preserved(pair, pair.rejected, pair.chosen)
        assert not preserved(pair, pair.chosen, pair.chosen)
        assert gold_margin(pair, pair.rejected, pair.chosen) == -pair.gold_margin


def test_only_planted_pairs_can_be_read():
    pair = dataclasses.replace(PAIRS[0], id="hh-train-3")
    with pytest.raises(ConfigError, match='"hh-train-3" is no planted pair'):
        preserved(pair, pair.chosen, pair.rejected)


# Augmenters


def test_rules_keep_the_truth_and_eda_less_of_it_the_more_it_edits():
    light, heavy = rate(eda(0.1)), rate(eda(0.5))
    assert rate(Rules()) >= 0.99
    assert 0.99 > light > heavy + 0.05
    assert light > 0.85
    assert heavy > 0.5


def test_rules_leave_every_attribute_as_it_was():
    read_same = [
        causal(read(text, pair.id)) == causal(WORLD.latent(pair.id).side(side))
        for pair, *texts in variants(Rules(), PAIRS, 3)
        for side, text in zip(SIDES, texts, strict=True)
    ]
    assert sum(read_same) / len(read_same) >= 0.99


# Phrases


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Dust the basket with flour!", 1.0),
        ("dusting baskets with FLOUR", 3.3 / 3.6),
        ("Dust the very old basket with flour", 1.0),  # two words in between
        ("Dust the very old brown basket with flour", 2.3 / 3.6),  # three: what is left begins at the basket
        ("Dust the basket. With flour", 2.3 / 3.6),
        ("Flour the basket with dust", 1.6 / 3.6),
        ("nothing of it", 0.0),
    ],
)
def test_a_phrase_is_heard_by_the_weight_of_its_words_in_order(text, share):
    match = Hearing.of(text).find(Phrase.of("dust the basket with flour"), 0.01)
    assert (match.share if match else 0.0) == pytest.approx(share)


def test_what_is_heard_must_reach_the_bound():
    heard, phrase = Hearing.of("dust with flour"), Phrase.of("dust the basket with flour")
    assert heard.find(phrase, 0.63).share == pytest.approx(2.3 / 3.6)
    assert heard.find(phrase, 0.65) is None


TIPS = [tip for topic in TOPICS for tip in topic.tips]
PHRASES = [(i, Phrase.of(tip, begins="remember to")) for i, tip in enumerate(TIPS)]


@given(st.lists(st.sampled_from(TIPS), min_size=1, max_size=3), st.randoms(use_true_random=False), st.floats(0.05, 1))
def test_no_phrase_that_is_found_is_passed_over(tips, rng, least):
    words = [word for word in " ".join(tips).split() if rng.random() < 0.7]
    heard = Hearing.of(" ".join(words))
    found = [i for i, phrase in PHRASES if heard.find(phrase, least)]
    likely = [i for i, _ in Phrases(PHRASES).likely_in(heard, least)]
    assert likely == sorted(likely)
    assert set(found) <= set(likely)


def test_words_shared_with_siblings_weigh_more_and_with_rivals_less():
    phrase = Phrase.of("plain salt water", siblings="salt table", rivals="water tap")
    assert phrase.weights == pytest.approx((1 / 3.3, 2 / 3.3, 0.3 / 3.3))


def test_no_two_endings_of_opposite_meaning_sound_alike():
    for topic in TOPICS:
        for fact in topic.facts:
            right, wrong = ({Phrase.of(ending).words for ending in endings} for endings in (fact.right, fact.wrong))
            assert right.isdisjoint(wrong)


MANNERS = (*words.WARM_OPENINGS, *words.WARM_CLOSINGS, *words.RUDE_OPENINGS, *words.RUDE_CLOSINGS)
OF_MANNERS = set(re.findall(r"[a-z]{4,}", " ".join(MANNERS).lower()))


@given(st.text(max_size=200) | st.text("the of dough.! \n", max_size=400))
def test_any_text_can_be_read_and_junk_says_nothing(text):
    found = read(text, id_about(0, 0, rare=False))
    assume(not OF_MANNERS & set(re.findall(r"[a-z]+", text.lower())))  # "ALL:BEST" is heard as a wish
    assert causal(found) == PLAIN | {"on_topic": False, "correct": False}
