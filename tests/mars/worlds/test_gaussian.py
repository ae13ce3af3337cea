"""The Gaussian world has the moments, labels and variants it says it has, and runs through the ordinary pipeline."""

import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.study.loading import load as load_study
from benchmarks.judging import judge
from benchmarks.settings import EvaluateConfig
from mars.augment.gaussian import GaussianAugmenter, GaussianAugmenterConfig
from mars.augment.variant import Request
from mars.config import ConfigError, UserError, build
from mars.pool.pool import Pool
from mars.pool.preservation import preservation
from mars.pool.rows import PoolConfig
from mars.preferences.dialogue import Rendered
from mars.preferences.pair import Pair
from mars.run import execute
from mars.worlds.gaussian import (
    COMMON,
    GOLD,
    RARE,
    SCALES,
    GaussianConfig,
    GaussianEncoder,
    gold,
    gold_weights,
    load_gaussian,
)
from mars.worlds.gaussian import vectors as features

MANY = 20_000
GROUPS = ("dataset=gaussian", "backbone=gaussian", "augmenter=gaussian")
TOY = ("dataset.size=40", "dataset.validation=20", "dataset.test_size=150", "rounds.number=2", "rounds.budget=60")
NOISES = [
    {"noise": "bradley_terry"},
    {"noise": "bradley_terry", "temperature": 2.0},
    {"noise": "flip", "flip_rate": 0.1},
    {"noise": "flip", "flip_rate": 0.25},
    {"noise": "none"},
]


def differences(pairs):
    """[N, d] φ(chosen) − φ(rejected)."""
    return features([pair.chosen for pair in pairs]) - features([pair.rejected for pair in pairs])


def wrong(pairs):
    return np.array([pair.gold_margin < 0 for pair in pairs])


def variants(pairs, noise, numbers=(0,)):
    """[N·numbers] texts of both sides, chosen and rejected."""
    augmenter = GaussianAugmenter(GaussianAugmenterConfig(noise))
    return [
        [v.text for v in augmenter.make([Request(pair, side, k) for pair in pairs for k in numbers])]
        for side in ("chosen", "rejected")
    ]


# ---- moments


def test_common_differences_have_the_stated_covariance_and_rare_features_are_untouched():
    pairs = load_gaussian(GaussianConfig(size=MANY, noise="none")).base
    sides = features([f"{pair.id}/a" for pair in pairs]), features([f"{pair.id}/b" for pair in pairs])
    assert np.array_equal(sides[0], -sides[1])
    delta = sides[0] - sides[1]
    assert not delta[:, COMMON:].any()
    scales = SCALES[:COMMON]
    assert (scales[0], scales[-1], len(scales)) == (1.4, 0.4, 64)
    standard = delta[:, :COMMON] / scales
    covariance = standard.T @ standard / MANY
    assert np.abs(covariance - np.eye(COMMON)).max() < 5 * math.sqrt(2 / MANY)
    assert np.abs(standard.mean(axis=0)).max() < 5 / math.sqrt(MANY)


def test_the_gold_margin_is_three_times_the_difference_along_a_unit_vector_of_the_seed():
    for seed in (0, 7):
        weights = gold_weights(seed)
        assert (
            np.linalg.norm(weights[:COMMON]) == pytest.approx(GOLD) == pytest.approx(np.linalg.norm(weights[COMMON:]))
        )
        pairs = load_gaussian(GaussianConfig(size=300, seed=seed, rare_share=0.2)).base
        assert differences(pairs) @ weights == pytest.approx([pair.gold_margin for pair in pairs], abs=1e-5)
        better, worse = gold([pair.chosen for pair in pairs]), gold([pair.rejected for pair in pairs])
        assert better - worse == pytest.approx([pair.gold_margin for pair in pairs], abs=1e-5)
    assert abs(gold_weights(0) @ gold_weights(7)) < 9


# ---- labels


def test_each_kind_of_noise_errs_as_often_as_it_says():
    def erring(**noise):
        pairs = load_gaussian(GaussianConfig(size=MANY, **noise)).base
        return wrong(pairs), np.abs([pair.gold_margin for pair in pairs])

    assert not erring(noise="none")[0].any()
    found, margins = erring(noise="flip", flip_rate=0.25)
    assert found.mean() == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / MANY))
    assert found[margins > np.median(margins)].mean() == pytest.approx(0.25, abs=0.02)
    for temperature in (1.0, 2.0):
        found, margins = erring(noise="bradley_terry", temperature=temperature)
        expected = 1 / (1 + np.exp(margins / temperature))
        for low, high in ((0, 1), (1, 2.5), (2.5, 20)):
            near = (margins >= low) & (margins < high)
            assert found[near].mean() == pytest.approx(expected[near].mean(), abs=4 * 0.5 / math.sqrt(near.sum()))


def test_more_noise_keeps_the_wrong_labels_of_less():
    few, many = (wrong(load_gaussian(GaussianConfig(noise="flip", flip_rate=rate)).base) for rate in (0.1, 0.25))
    assert few.any()
    assert (few <= many).all()
    assert few.sum() < many.sum()


@pytest.mark.parametrize("noise", NOISES)
def test_noise_exchanges_sides_and_changes_no_vector_and_no_variant(noise):
    usual, other = (load_gaussian(GaussianConfig(size=60, rare_share=0.2, **given)) for given in ({}, noise))
    for split in ("base", "validation"):
        ours, theirs = getattr(usual, split), getattr(other, split)
        assert [(p.id, p.content, p.subset) for p in ours] == [(p.id, p.content, p.subset) for p in theirs]
        assert [abs(p.gold_margin) for p in ours] == [abs(p.gold_margin) for p in theirs]
        ones, others = (variants(pairs, 0.3) for pairs in (ours, theirs))
        assert {frozenset(texts) for texts in zip(*ones, strict=True)} == {
            frozenset(t) for t in zip(*others, strict=True)
        }


def test_train_validation_and_test_are_labelled_alike_and_the_rare_test_by_gold():
    made = load_gaussian(GaussianConfig(noise="flip", flip_rate=0.25, rare_share=0.1))
    assert list(made.tests) == ["test", "test_rare"]
    for pairs in (made.base, made.validation, made.tests["test"]):
        assert wrong(pairs).mean() == pytest.approx(0.25, abs=0.1)
    assert not wrong(made.tests["test_rare"]).any()
    assert made.report["mislabelled"]["train"] == wrong(made.base).sum()
    assert list(load_gaussian(GaussianConfig(rare_share=0.0)).tests) == ["test"]


# ---- rows


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 2500), st.integers(1, 2500), st.sampled_from([0.0, 0.3]))
def test_a_row_does_not_depend_on_the_size_of_its_split(few, many, rare):
    small, large = (load_gaussian(GaussianConfig(size=n, test_size=n, rare_share=rare)) for n in sorted((few, many)))
    assert large.base[: len(small.base)] == small.base
    for name, pairs in small.tests.items():
        assert large.tests[name][: len(pairs)] == pairs


def test_vectors_do_not_depend_on_order_or_company():
    pairs = load_gaussian(GaussianConfig(size=1500, rare_share=0.3)).base[1000:]
    texts = [text for side in variants(pairs, 0.3, (0, 1, 7)) for text in side] + [pair.chosen for pair in pairs]
    random.Random(0).shuffle(texts)
    whole, encoder = features(texts), GaussianEncoder()
    assert np.array_equal(whole[::-1], features(texts[::-1]))
    assert np.array_equal(np.concatenate([features(texts[:7]), features(texts[7:])]), whole)
    for part in (texts[:50], texts, texts[:50]):  # made, then remembered
        found, cuts = encoder([Rendered("Human: anything\n\nAssistant:", f" {text}") for text in part])
        assert np.array_equal(found, features(part).astype(np.float32))
        assert not cuts.any()


def test_splits_and_seeds_share_no_vector():
    one, two = (load_gaussian(GaussianConfig(size=200, validation=200, test_size=200, seed=s)) for s in (0, 1))
    rows = [
        features([f"{p.id}/a" for p in pairs]) for d in (one, two) for pairs in (d.base, d.validation, d.tests["test"])
    ]
    assert len(np.unique(np.concatenate(rows), axis=0)) == 1200


# ---- variants


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_the_difference_of_two_variants_is_off_by_the_stated_noise(noise):
    pairs = load_gaussian(GaussianConfig(size=MANY, noise="none")).base
    chosen, rejected = variants(pairs, noise)
    off = features(chosen) - features(rejected) - differences(pairs)
    ratio = off[:, :COMMON].std(axis=0) / SCALES[:COMMON]
    assert ratio == pytest.approx(noise, rel=5 / math.sqrt(2 * MANY))
    assert not off[:, COMMON:].any()
    kept = ((gold(chosen) - gold(rejected)) * [pair.gold_margin for pair in pairs] > 0).mean()
    assert kept == pytest.approx(1 - math.atan(noise) / math.pi, abs=0.015)


def test_variants_of_a_side_are_independent_and_noise_only_scales_them():
    pairs = load_gaussian(GaussianConfig(size=4000)).base
    first, second = (features(variants(pairs, 0.5, (k,))[0]) - features([p.chosen for p in pairs]) for k in (0, 3))
    assert np.corrcoef(first[:, 0], second[:, 0])[0, 1] == pytest.approx(0, abs=0.07)
    double = features(variants(pairs, 1.0)[0]) - features([p.chosen for p in pairs])
    assert double == pytest.approx(2 * first)
    copies = features(variants(pairs, 0.0)[0])
    assert np.array_equal(copies, features([p.chosen for p in pairs]))


def test_rare_pairs_and_their_variants_differ_in_the_further_features_alone():
    pairs = load_gaussian(GaussianConfig(size=4000, rare_share=0.1)).base
    rare = np.array([pair.subset == "rare" for pair in pairs])
    assert rare.mean() == pytest.approx(0.1, abs=0.02)
    chosen, rejected = variants(pairs, 0.3)
    for delta in (differences(pairs), features(chosen) - features(rejected)):
        assert not delta[rare, :COMMON].any()
        assert not delta[~rare, COMMON:].any()
        assert (delta[rare, COMMON:] != 0).all()
        assert delta.shape[1] == COMMON + RARE
    more = load_gaussian(GaussianConfig(size=4000, rare_share=0.3)).base
    assert all(other.subset == "rare" for other, pair in zip(more, pairs, strict=True) if pair.subset == "rare")
    common = [pair for pair in pairs if pair.subset == "common"]
    assert {p.id for p in more if p.subset == "common"} < {p.id for p in common}


def test_what_drawn_rows_are_worth_is_read_from_their_vectors():
    pairs = load_gaussian(GaussianConfig(noise="flip", flip_rate=0.25)).base
    kept = {}
    for noise in (0.0, 1.0):
        augmenter = GaussianAugmenter(GaussianAugmenterConfig(noise))
        pool = Pool(pairs, augmenter, PoolConfig(width=2))
        rows = pool.inherited()
        assert pool.admits(rows).all()
        kept[noise] = preservation(pool, np.concatenate([rows, pool.copies]))
    right = 1 - wrong(pairs).mean()
    assert kept[0.0] == {"rows": 4000, "true": pytest.approx(right), "kept": 1.0}
    assert kept[1.0]["kept"] == pytest.approx(0.75, abs=0.03)
    assert kept[1.0]["true"] == pytest.approx(0.75 * right + 0.25 * (1 - right), abs=0.03)


# ---- mistakes


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size": 0}, "dataset.size: must be at least 1, not 0"),
        ({"seed": -1}, "dataset.seed: must be from 0"),
        ({"temperature": 0.0}, "dataset.temperature: must be positive"),
        ({"flip_rate": 0.5}, r"dataset.flip_rate: must be in \[0, 0.5\)"),
        ({"rare_share": 1.5}, r"dataset.rare_share: must be in \[0, 1\]"),
    ],
)
def test_settings_that_cannot_be_used_are_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        build(GaussianConfig, setting, "dataset")


def test_a_text_that_is_no_address_and_a_variant_of_a_variant_are_refused_in_one_line():
    stranger = Pair("x", (), "It is so.", "gaussian 0/train/1/a~0~0.3")
    for text in ("It is so.", "gaussian 0/train/1/c", "gaussian 0/dev/1/a", "gaussian 0/train/1/a~0", ""):
        with pytest.raises(ConfigError, match=r"backbone: .* is no address of the Gaussian world"):
            features([text])
    augmenter = GaussianAugmenter()
    with pytest.raises(ConfigError, match="is no address of the Gaussian world"):
        augmenter.make([Request(stranger, "chosen", 0)])
    with pytest.raises(ConfigError, match="is a variant already"):
        augmenter.make([Request(stranger, "rejected", 0)])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["train=full"],
            r"train.mode: the backbone gaussian has features and nothing to fine-tune \(set train=head\)",
        ),
        (["train=lora"], "train.mode: the backbone gaussian has features"),
        (["backbone.template=chat"], "backbone.template: this tokenizer has no chat template"),
        (["backbone=tiny"], "backbone: dataset=gaussian and backbone=gaussian go together"),
        (["dataset=planted"], "backbone: dataset=gaussian and backbone=gaussian go together"),
        (["augmenter=planted"], "augmenter: dataset=gaussian has no words to rewrite"),
        (["method=eda"], "augmenter: dataset=gaussian has no words to rewrite"),
        (["pool.prompts=true"], "pool.prompts: the Gaussian world has no prompts"),
        (["augmenter.noise=-1"], "augmenter.noise: must be 0 or more"),
    ],
)
def test_what_the_world_has_not_got_is_one_clear_line(overrides, message, compose):
    own = {override.split("=")[0] for override in overrides}
    config = compose(*(group for group in GROUPS if group.split("=")[0] not in own), *overrides)
    with pytest.raises(UserError, match=message) as caught:
        execute(config)
    assert "\n" not in str(caught.value)
    assert not list(Path(config["study"]).glob("*/DONE"))


# ---- the pipeline


def test_a_run_leaves_what_every_run_leaves_and_stores_no_variant(compose):
    config = compose(*GROUPS, *TOY, "labels=flip25", "dataset.rare_share=0.2", "augmenter.noise=1.0")
    directory = execute(config)
    metrics = json.loads((directory / "metrics.json").read_text())["in_distribution"]
    assert set(metrics) == {"test", "test_rare"}
    assert "gold_accuracy" in metrics["test"]
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["weights"].startswith("features:gaussian")
    assert manifest["pool"]["made"] > 0
    assert 0.6 < manifest["pool"]["preservation"]["kept"] < 0.9
    assert manifest["data"]["labels"] == dict.fromkeys(("train", "validation", "test"), "flip") | {"test_rare": "gold"}
    assert not list(Path(config["cache"]).rglob("*.sqlite"))
    assert not pd.read_parquet(directory / "variants.parquet").empty
    assert len(load_study(config["study"]).runs) == 1
    card = (directory / "model" / "README.md").read_text(encoding="utf-8")
    assert "gaussian: generated" in card
    assert "features without a model" in card


def test_the_saved_model_is_judged_again_with_the_same_scores(compose):
    config = compose(*GROUPS, *TOY)
    directory = execute(config)
    before = pd.read_parquet(directory / "scores" / "in_distribution.parquet")
    shutil.rmtree(directory / "scores"), shutil.rmtree(directory / "evaluations")
    asked = dict.fromkeys(EvaluateConfig.__dataclass_fields__) | {
        "benchmark": config["benchmark"], "model": str(directory), "trust_remote_code": False, "dtype": "auto",
        "attention": "auto", "token_budget": 64, "device": "cpu", "cache": config["cache"], "scale": "full",
        "force": True, "debug": False, "logger": "terminal", "engine": {},
    }  # fmt: skip
    judge(build(EvaluateConfig, asked, ""), str(directory))
    after = pd.read_parquet(directory / "scores" / "in_distribution.parquet")
    pd.testing.assert_frame_equal(before, after)
