"""The map of where margin steering helps: its signs through the whole pipeline, its noise axes, the order of its runs.

The table is that of an independent simulation (docs/results/archive_regimes.md): at 25 % flips absolute margins gain 3
points of gold accuracy over uniform and signed ones lose 7; under noisy Bradley–Terry labels they lose 1 and 12.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from mars.augment.eda import Eda
from mars.augment.planted import PlantedAugmenter
from mars.augment.rules import Rules
from mars.augment.variant import Request
from mars.cli import composed
from mars.composition import composition
from mars.config import ConfigError, build
from mars.preferences.dataset import DatasetConfig, load, summary
from mars.run import execute
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

SEEDS = range(2)
ARMS = ("uniform", "mars", "mars_signed")


@pytest.fixture(scope="module")
def leads(tmp_path_factory):
    """{(labels, arm): [seeds] gold accuracy less uniform's}: runs of experiment=regimes in two worlds."""
    place = tmp_path_factory.mktemp("regimes")
    found = {}
    for labels, seed, arm in itertools.product(("bt_noisy", "flip25"), SEEDS, ARMS):  # a world is made once
        overrides = [
            f"labels={labels}",
            f"method={arm}",
            f"seed={seed}",
            f"study={place}/study",
            f"cache={place}/cache",
            "benchmark.resamples=1",  # intervals are not looked at
        ]
        config = composed("config", ["experiment=regimes", *overrides])
        metrics = json.loads((execute(config) / "metrics.json").read_text())
        found[labels, arm, seed] = metrics["in_distribution"]["test"]["gold_accuracy"]
    return {
        (labels, arm): np.array([found[labels, arm, s] - found[labels, "uniform", s] for s in SEEDS])
        for labels, arm, _ in found
    }


def test_under_flips_absolute_margins_gain_and_signed_ones_lose(leads):
    absolute, signed = leads["flip25", "mars"], leads["flip25", "mars_signed"]
    assert absolute.mean() > 0.02
    assert signed.mean() < -0.04
    assert (signed < 0).all()


def test_under_bradley_terry_noise_signed_margins_lose_much_and_absolute_ones_gain_nothing(leads):
    absolute, signed = leads["bt_noisy", "mars"], leads["bt_noisy", "mars_signed"]
    assert absolute.mean() < 0.01
    assert signed.mean() < -0.08
    assert (signed < 0).all()
    assert signed.mean() < absolute.mean() - 0.06


# ---- the sweeps


@pytest.mark.parametrize("experiment", ["regimes", "regimes_planted", "regimes_flips"])
def test_runs_of_one_dataset_follow_each_other(experiment):
    """As the presets list them, so that a study that was stopped has whole worlds."""
    config = composition("config", [f"experiment={experiment}"], with_hydra=True)
    params = {key: str(values).split(",") for key, values in config.hydra.sweeper.params.items()}
    of_data = [key == "labels" or key.startswith("dataset.") for key in params]
    if "${" in str(OmegaConf.to_container(config.dataset, resolve=False)["seed"]):
        of_data[list(params).index("seed")] = True
    jobs = itertools.product(*params.values())
    seen = [tuple(itertools.compress(job, of_data)) for job in jobs]
    assert len([1 for _ in itertools.groupby(seen)]) == len(set(seen)) > 1


def test_the_labels_group_is_for_generated_worlds(compose):
    for dataset in ("gaussian", "planted"):
        assert compose(f"dataset={dataset}", "labels=flip25")["dataset"]["flip_rate"] == 0.25
        assert compose(f"dataset={dataset}", "labels=bt_noisy")["dataset"]["temperature"] == 2.0
        assert compose(f"dataset={dataset}")["dataset"]["noise"] == "bradley_terry"
    with pytest.raises(ConfigError, match=r"dataset.noise: no such setting"):
        execute(compose("dataset=hh_rlhf", "labels=clean"))


# ---- flips of real rows


@pytest.fixture
def rows(tmp_path):
    """A file of 300 pairs, each text of its own."""
    words = ["harbour", "meadow", "violin", "lantern", "glacier", "orchard", "compass", "thicket"]
    pairs = [
        {
            "prompt": f"What about number {i}?",
            "chosen": f"It's a big {words[i % 8]}, and you can not miss it: however, number {i} helps a lot.",
            "rejected": f"I don't think so; a small {words[(i + 3) % 8]} is enough, for example number {i}.",
        }
        for i in range(300)
    ]
    for name, part in (("train", pairs[:240]), ("test", pairs[240:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in part))
    return lambda **own: load(
        DatasetConfig("files", train=f"{tmp_path}/train.jsonl", test=f"{tmp_path}/test.jsonl", validation=40, **own)
    )


def test_flips_turn_base_and_validation_round_and_leave_the_test(rows):
    plain, noisy = rows(), rows(flip_rate=0.25)
    for ours, theirs in ((plain.base, noisy.base), (plain.validation, noisy.validation)):
        assert [(p.id, p.content) for p in ours] == [(p.id, p.content) for p in theirs]
        assert [p.chosen != q.chosen for p, q in zip(ours, theirs, strict=True)] == [q.exchanged for q in theirs]
    assert plain.tests == noisy.tests
    assert "flips" not in plain.report
    counts = {
        name: sum(p.exchanged for p in pairs)
        for name, pairs in (("base", noisy.base), ("validation", noisy.validation))
    }
    assert noisy.report["flips"] == {"rate": 0.25, **counts}
    assert 30 < counts["base"] < 70
    assert counts["validation"] > 3
    said = f"labels of {counts['base']} base and {counts['validation']} validation pairs turned round"
    assert any(line.startswith(said) for line in summary(noisy.report))


def test_a_rate_of_half_is_refused():
    with pytest.raises(ConfigError, match=r"dataset.flip_rate: must be in \[0, 0.5\), not 0.5"):
        build(DatasetConfig, {"name": "files", "flip_rate": 0.5}, "dataset")


def made(augmenter, pairs):
    """{(pair, text, number): (what the store knows it by, variant)}."""
    requests = [Request(pair, side, k) for pair in pairs for side in ("chosen", "rejected") for k in range(4)]
    variants = augmenter.make(requests)
    return {(r.source, r.number): (augmenter.identity(r), v.text) for r, v in zip(requests, variants, strict=True)}


@pytest.mark.parametrize("augmenter", [Eda(), Rules()])
def test_a_flipped_pair_has_the_variants_it_had(augmenter, rows):
    plain, noisy = rows(), rows(flip_rate=0.25)
    before = made(augmenter, plain.base)
    assert made(augmenter, noisy.base) == before
    assert any(text != source for (source, _), (_, text) in before.items())


@pytest.mark.parametrize("noise", [{"noise": "none"}, {"noise": "flip", "flip_rate": 0.25}, {"temperature": 2.0}])
def test_planted_pairs_have_the_same_variants_under_any_noise(noise):
    usual, other = (load_planted(PlantedConfig(size=60, **given)).base for given in ({}, noise))
    assert any(pair.exchanged for pair in other)
    assert not any(pair.exchanged for pair in usual)
    assert [pair.exchanged for pair in other] == [p.chosen != q.chosen for p, q in zip(usual, other, strict=True)]
    assert made(PlantedAugmenter(), other) == made(PlantedAugmenter(), usual)
    prompts = [
        [v.text for v in PlantedAugmenter().make([Request(p, "prompt", 0) for p in pairs])] for pairs in (usual, other)
    ]
    assert prompts[0] == prompts[1]


def test_a_run_on_flipped_rows_stores_nothing_twice_and_says_what_it_trained_on(compose, tmp_path, rows):
    rows()
    files = ["dataset=files", f"dataset.train={tmp_path}/train.jsonl", f"dataset.test={tmp_path}/test.jsonl"]
    toy = ["scale=full", "backbone=tiny", "backbone@pool.gates.encoder=tiny", "rounds.number=2", "rounds.budget=600"]
    # The whole pool, so that both runs look at the same variants.
    sizes = ["dataset.size=60", "dataset.validation=20", "pool.width=2", "method=stratified"]
    runs = [execute(compose(*files, *toy, *sizes, f"dataset.flip_rate={rate}")) for rate in (0, 0.25)]
    plain, noisy = (json.loads((run / "manifest.json").read_text()) for run in runs)
    assert plain["pool"]["made"] > 0
    assert noisy["pool"]["made"] == 0
    assert noisy["data"]["flips"]["base"] > 5
    assert noisy["base_ids"] == plain["base_ids"]
    assert noisy["base_sha256"] != plain["base_sha256"]
    assert noisy["test_sha256"] == plain["test_sha256"]
    tables = [pd.read_parquet(run / "scores" / "in_distribution.parquet") for run in runs]
    test = [table[table["split"] == "test"]["id"].tolist() for table in tables]
    assert test[0] == test[1]
    card = (Path(runs[1]) / "model" / "README.md").read_text(encoding="utf-8")
    assert "A share of 0.25 of those trained on was turned round on purpose" in card
