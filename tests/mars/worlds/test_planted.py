"""The planted world: reproducible, lazy, as noisy and as confounded as it says, and paraphrased truly."""

import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.augment.planted import PlantedAugmenter, PlantedAugmenterConfig
from mars.augment.variant import Request
from mars.config import ConfigError, build
from mars.pool.pool import Pool
from mars.pool.rows import PoolConfig
from mars.pool.unchanged import unchanged
from mars.preferences.contamination import prompt_key
from mars.preferences.dialogue import Message
from mars.preferences.pair import SIDES, Pair
from mars.worlds import planted_words as words
from mars.worlds.planted import World, _bucket, load_planted
from mars.worlds.planted_latents import LEAST_MARGIN, SOURCE_WEIGHT, WEIGHTS, gold
from mars.worlds.planted_settings import SPLITS, PlantedConfig
from mars.worlds.planted_world import TOPICS

FIRST_ROWS = "caf9d52a4c783e9471526baaa212e78c6cf9d5fe7ac42f9739d69bd150f1249f"
ROWS = st.tuples(st.sampled_from(list(SPLITS)), st.integers(0, 10**9))


def world(**settings) -> World:
    return World(PlantedConfig(**settings))


def latents(split: str, count: int, **settings):
    of = world(**settings)
    return [of.latent(of.pair(split, row).id) for row in range(count)]


def within(successes: int, trials: int, probability: float, z: float = 4.0) -> bool:
    return abs(successes - trials * probability) <= z * math.sqrt(trials * probability * (1 - probability))


# Rows


def test_the_first_rows_are_the_same_bytes_on_every_platform():
    rows = [dataclasses.asdict(pair) for pair in load_planted(PlantedConfig()).base[:50]]
    assert not any(row.pop("exchanged") for row in rows)
    assert {(row.pop("agreement"), row.pop("strength")) for row in rows} == {(1.0, None)}
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == FIRST_ROWS


def test_seeds_differ_and_a_row_does_not_depend_on_size_or_order():
    small, large = load_planted(PlantedConfig(size=20)), load_planted(PlantedConfig(size=10**7))
    assert large.base[19] == small.base[-1]
    assert list(small.base) == large.base[:20]
    assert load_planted(PlantedConfig(seed=1)).base[0].prompt != small.base[0].prompt
    with pytest.raises(IndexError):
        small.base[20]


def test_a_hundred_thousand_pairs_are_all_distinct():
    of = world()
    pairs = (of.pair("train", row) for row in range(100_000))
    assert len({hash((p.prompt, p.chosen, p.rejected)) for p in pairs}) == 100_000


def test_no_prompt_is_in_two_splits_even_under_another_seed():
    prompts = {name: {prompt_key(world(seed=s).pair(name, r)) for r in range(400) for s in (0, 1)} for name in SPLITS}
    for name, own in prompts.items():
        assert own.isdisjoint(set().union(*(other for n, other in prompts.items() if n != name)))


def test_the_world_is_as_large_as_it_says():
    assert len(TOPICS) >= 20
    assert len(WEIGHTS) + 1 >= 6  # and `sourced`
    slots = {name: forms for name, forms in vars(words).items() if name.isupper() and isinstance(forms, tuple)}
    slots.pop("TOPICS")
    assert len(slots) >= 10
    assert all(len(set(forms)) == len(forms) >= 8 for forms in slots.values())
    for topic in TOPICS:
        for fact in topic.facts:
            assert not set(fact.right) & set(fact.wrong)
            assert len(set(fact.right)) == len(set(fact.wrong)) == 3


@given(ROWS)
def test_every_pair_is_readable_and_has_a_better_side(place):
    pair = world().pair(*place)
    assert pair.gold_margin != 0
    assert pair.chosen != pair.rejected
    for text in (pair.prompt[0].content, pair.chosen, pair.rejected):
        assert text[0].isupper()
        assert text[-1] in ".?!"
        assert "{" not in text
        assert "  " not in text


# Truth


@given(ROWS, st.sampled_from(["bradley_terry", "flip", "none"]), st.floats(0.3, 1), st.integers(-5, 5))
def test_an_id_leads_back_to_its_pair_and_latents_under_any_settings(place, noise, nuisance, seed):
    config = PlantedConfig(noise=noise, nuisance=nuisance, seed=seed, temperature=2, small_margin=0.5)
    pair = World(config).pair(*place)
    found = World.of(pair.id)
    assert found.find(pair.id) == pair
    margin = found.gold(pair.id, "chosen") - found.gold(pair.id, "rejected")
    assert pair.gold_margin == pytest.approx(margin)


def test_ids_are_short_at_the_defaults_and_name_what_differs():
    assert world().pair("train", 17).id == "planted-0-train-17"
    assert world(noise="flip").pair("train", 17).id == "planted-0~noise=flip-train-17"


@pytest.mark.parametrize(
    "pair_id",
    [
        "hh-train-3",
        "planted-0-train-x",
        "planted-0-training-3",
        "planted-0~noise=flap-train-3",
        "planted-0-train-3/rules1",
    ],
)
def test_an_id_of_something_else_is_one_clear_line(pair_id):
    with pytest.raises(ConfigError, match=f'"{pair_id}" is no planted pair'):
        World.of(pair_id)


def test_a_world_refuses_the_pairs_of_another():
    with pytest.raises(ConfigError, match="another world"):
        world(seed=1).latent("planted-0-train-3")


@given(ROWS, st.integers(0, 2), st.integers(0, 1))
def test_length_and_style_carry_no_reward_and_each_causal_attribute_its_weight(place, length, style):
    of = world()
    response = of.latent(of.pair(*place).id).chosen
    assert gold(dataclasses.replace(response, length=length, style=style)) == gold(response)
    for name, weight in WEIGHTS.items():
        raised = dataclasses.replace(response, **{name: getattr(response, name) + 1})
        assert gold(raised) - gold(response) == pytest.approx(weight)
    unsourced = dataclasses.replace(response, sourced=False)
    worth = gold(dataclasses.replace(response, sourced=True)) - gold(unsourced)
    assert worth == pytest.approx(SOURCE_WEIGHT if response.source_asked else 0)


# Labels


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_bradley_terry_mislabels_as_often_as_the_margin_says(split, temperature):
    of = world(temperature=temperature)
    margins = np.array([of.pair(split, row).gold_margin for row in range(3000)])
    for low, high in [(0, 1), (1, 3), (3, np.inf)]:
        of_bin = margins[(abs(margins) > low) & (abs(margins) <= high)]
        wrong = 1 / (1 + np.exp(abs(of_bin) / temperature))
        z = ((of_bin < 0).sum() - wrong.sum()) / math.sqrt((wrong * (1 - wrong)).sum())
        assert abs(z) < 4


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_flips_have_their_rate_whatever_the_margin(rate):
    of = world(noise="flip", flip_rate=rate)
    margins = np.array([of.pair("train", row).gold_margin for row in range(3000)])
    for of_bin in (margins[abs(margins) <= 2], margins[abs(margins) > 2]):
        assert within((of_bin < 0).sum(), len(of_bin), rate)


def test_the_shifted_tests_hold_gold_labels_and_without_noise_all_splits_do():
    for noise in ("bradley_terry", "flip", "none"):
        of = world(noise=noise, temperature=10)
        right = {name for name in SPLITS if all(of.pair(name, row).gold_margin > 0 for row in range(100))}
        assert right == ({name for name in SPLITS if not SPLITS[name].noisy} if noise != "none" else set(SPLITS))


def test_another_noise_exchanges_sides_and_changes_no_text():
    for row in range(100):
        one, other = world().pair("train", row), world(noise="flip", flip_rate=0.4).pair("train", row)
        assert (one.prompt, {one.chosen, one.rejected}) == (other.prompt, {other.chosen, other.rejected})


# Splits


@pytest.mark.parametrize(("split", "expected"), [("train", 0.7), ("test", 0.7), ("test_reversed_nuisance", 0.3)])
def test_nuisances_go_along_with_quality_to_the_stated_degree_and_against_it_when_reversed(split, expected):
    for name in ("length", "style"):
        differences = []
        for latent in latents(split, 3000):
            better, worse = sorted((latent.chosen, latent.rejected), key=gold, reverse=True)
            differences.append(getattr(better, name) - getattr(worse, name))
        differing = [d for d in differences if d]
        assert len(differing) > 1000
        assert within(sum(d > 0 for d in differing), len(differing), expected)


@pytest.mark.parametrize("bound", [LEAST_MARGIN, 0.5, 1.0])
def test_small_margins_are_small(bound):
    of = world(small_margin=bound)
    margins = [of.pair("test_small_margin", row).gold_margin for row in range(100)]
    assert min(margins) > 0
    assert max(margins) <= bound
    assert np.mean([abs(of.pair("test", row).gold_margin) for row in range(300)]) > 2


def test_rare_pairs_have_their_share_and_a_source_decides_them():
    train, rare = latents("train", 4000, rare_share=0.05), latents("test_rare", 300)
    assert within(sum(latent.rare for latent in train), 4000, 0.05)
    assert all(latent.rare and latent.chosen.sourced and not latent.rejected.sourced for latent in rare)
    assert not any(latent.rare for latent in latents("test_small_margin", 300))
    common = [latent for latent in train if not latent.rare and latent.chosen.sourced != latent.rejected.sourced]
    assert within(sum(latent.chosen.sourced for latent in common), len(common), 0.5)


def test_the_dataset_has_its_splits_in_order_and_says_how_they_were_made():
    made = load_planted(PlantedConfig(size=30, validation=20, test_size=10))
    assert (made.name, len(made.base), len(made.validation)) == ("planted", 30, 20)
    assert list(made.tests) == ["test", "test_reversed_nuisance", "test_small_margin", "test_rare"]
    assert {len(split) for split in made.tests.values()} == {10}
    assert json.loads(json.dumps(made.report))["labels"]["test_rare"] == "gold"


@pytest.mark.parametrize("size", [0, 3])
def test_test_pairs_unlike_the_training_pairs_can_be_fewer_or_none(size):
    made = load_planted(PlantedConfig(size=5, validation=4, test_size=10, shifted_size=size))
    assert {name: len(pairs) for name, pairs in made.tests.items() if name != "test"} == (
        dict.fromkeys(["test_reversed_nuisance", "test_small_margin", "test_rare"], size) if size else {}
    )
    assert made.tests["test"][:] == load_planted(PlantedConfig(test_size=10)).tests["test"][:]


# Paraphrases


def texts(augmenter: PlantedAugmenter, requests: list[Request]) -> list[str]:
    return [variant.text or "" for variant in augmenter.make(requests)]


def requests(pair: Pair, count: int = 5) -> list[Request]:
    return [Request(pair, side, number) for side in SIDES for number in range(count)]


@settings(deadline=None)
@given(ROWS)
def test_variants_are_new_distinct_and_independent_of_what_else_is_asked(place):
    pair = world().pair(*place)
    augmenter = PlantedAugmenter()
    asked = requests(pair)
    variants = texts(augmenter, asked)
    for side, made in zip(SIDES, (variants[:5], variants[5:]), strict=True):
        assert len({*made, pair.side(side)}) == 6
    assert [texts(augmenter, [request])[0] for request in reversed(asked)] == variants[::-1]
    assert texts(PlantedAugmenter(PlantedAugmenterConfig(seed=1)), asked) != variants


def said(forms: tuple[str, ...], text: str, **words: str) -> int:
    """How many of the surface forms `text` holds."""
    return sum(form.format(**words) in text for form in forms)


@settings(deadline=None)
@given(ROWS)
def test_a_variant_says_every_latent_of_its_source(place):
    pair = world().pair(*place)
    latent = world().latent(pair.id)
    for (_, side, _), text in zip(requests(pair), texts(PlantedAugmenter(), requests(pair)), strict=True):
        response = latent.side(side)
        topic = TOPICS[response.topic]
        fact = topic.facts[response.fact]
        claims = [f"{fact.begins} {ending}" for ending in (fact.right if response.correct else fact.wrong)]
        assert any(claim.lower() in text.lower() for claim in claims)
        drifts = any(said(words.DRIFTS, text, topic=topic.name, claim=claim) for claim in claims)
        assert drifts != response.on_topic
        assert all(topic.tips[i] in text for i in response.tips)
        assert said(words.WARM_OPENINGS + words.WARM_CLOSINGS, text) == (response.polite == 2)
        assert said(words.RUDE_OPENINGS + words.RUDE_CLOSINGS, text) == (response.polite == 0)
        if response.risk is not None:
            assert (said(words.RISKS, text, risk=topic.risks[response.risk]) == 0) == response.safe
            assert (said(words.WARNINGS, text, risk=topic.risks[response.risk]) > 0) == response.safe
        assert said(words.SOURCES, text, topic=topic.name) == response.sourced
        assert said(words.FILLERS, text) == response.length
        assert text.startswith(words.CHATTY) == response.style


def test_nuisances_are_redrawn_when_they_need_not_be_kept():
    free = PlantedAugmenter(PlantedAugmenterConfig(keep_nuisance=False))
    chatty = []
    for row in range(300):
        pair = world().pair("train", row)
        if world().latent(pair.id).chosen.style:
            chatty += [text.startswith(words.CHATTY) for text in texts(free, requests(pair))[:5]]
    assert within(sum(chatty), len(chatty), 0.5)


def test_a_relabelled_pair_is_paraphrased_text_by_text():
    pair = world().pair("train", 3)
    swapped = dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen)
    assert PlantedAugmenter().make(requests(swapped)) == [
        *PlantedAugmenter().make(requests(pair))[5:],
        *PlantedAugmenter().make(requests(pair))[:5],
    ]


def test_only_planted_texts_can_be_paraphrased():
    other = Pair("hh-train-0", (Message("user", "Hi?"),), "Hello.", "No.")
    with pytest.raises(ConfigError, match='"hh-train-0" is no planted pair'):
        PlantedAugmenter().make([Request(other, "chosen", 0)])
    edited = dataclasses.replace(world().pair("train", 0), chosen="Something else.")
    with pytest.raises(ConfigError, match='the chosen text of "planted-0-train-0" is not the planted one'):
        PlantedAugmenter().make([Request(edited, "chosen", 0)])


def test_a_wide_pool_repeats_wordings_rather_than_hanging():
    bare = min(load_planted(PlantedConfig()).base[:200], key=lambda pair: len(pair.chosen))
    variants = texts(PlantedAugmenter(), [Request(bare, "chosen", number) for number in range(100)])
    assert bare.chosen not in variants
    assert len(set(variants)) > 30


def test_a_pool_of_paraphrases_draws_without_an_unchanged_variant():
    pool = Pool(load_planted(PlantedConfig(size=20)).base, PlantedAugmenter(), PoolConfig(width=3, prompts=True))
    assert len(pool.draw(pool.inherited())) == 180
    assert (len(pool.looked_at), unchanged(pool)) == (180, {})


def test_a_reworded_prompt_asks_the_same_and_stays_in_its_split():
    for split in ("train", "test"):
        pair = world().pair(split, 0)
        made = texts(PlantedAugmenter(), [Request(pair, "prompt", number) for number in range(20)])
        assert len({*made, pair.prompt[-1].content}) == 21
        latent = world().latent(pair.id)
        assert all(TOPICS[latent.topic].facts[latent.fact].asks in text for text in made)
        assert all(_bucket(text) in SPLITS[split].buckets for text in made)


# Settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise": "gaussian"}, "dataset.noise: 'gaussian' is not a choice"),
        ({"sise": 3}, 'dataset.sise: no such setting (did you mean "size"?)'),
        ({"size": 0}, "dataset.size: must be at least 1"),
        ({"shifted_size": -1}, "dataset.shifted_size: must be at least 0"),
        ({"temperature": 0}, "dataset.temperature: must be positive"),
        ({"flip_rate": 0.5}, "dataset.flip_rate: must be in [0, 0.5)"),
        ({"rare_share": 1.5}, "dataset.rare_share: must be in [0, 1]"),
        ({"nuisance": -0.1}, "dataset.nuisance: must be in [0, 1]"),
        ({"small_margin": 0.01}, f"dataset.small_margin: must be at least {LEAST_MARGIN}"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(values, message):
    with pytest.raises(ConfigError) as error:
        build(PlantedConfig, values, "dataset")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("file", "config"), [("dataset", PlantedConfig()), ("augmenter", PlantedAugmenterConfig())])
def test_the_config_files_hold_the_defaults(file, config, compose):
    values = compose(f"{file}=planted")[file]
    assert values.pop("name") == "planted"
    assert {"name": "planted", **values} == {"name": "planted", **dataclasses.asdict(config)}
