"""Arms in whole runs: the released step counts, equal steps, one start, what is scored, what a repeat makes."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from support import BRIEFLY

from baselines import ARMS
from mars import files
from mars.assembly import assemble, build
from mars.choices import Settings as RunSettings
from mars.choices import load, shaping
from mars.commands import show
from mars.config import ConfigError, UserError
from mars.method.clock import COLUMNS as SECONDS
from mars.method.row_inputs import RowInputs
from mars.pool.store import Store
from mars.record.manifest import total
from mars.run import execute

TIMES = ["seconds", "pairs_per_second", *SECONDS]
FILES = ["scale=tiny", "rounds.number=2", "rounds.budget=40"]
LOOP = [*FILES, *BRIEFLY]


def manifest(directory):
    return json.loads((directory / "manifest.json").read_text())


def rounds_of(directory):
    return pd.read_csv(directory / "rounds.csv")


@pytest.mark.parametrize(
    ("experiment", "method", "steps"),
    [
        ("paper_v1_code", "none", 80),
        ("paper_v1_code", "mars_v1_code", 235),
        ("paper_v2_code", "none", 80),
        ("paper_v2_code", "uniform", 470),
    ],
)
def test_the_released_presets_take_the_released_steps(experiment, method, steps, compose):
    """On 1000 planted pairs and the head of a tiny model; what counts is rows, epochs and rounds."""
    small = [
        "dataset=planted",
        "dataset.test_size=4",
        "dataset.validation=4",
        "backbone=tiny",
        "backbone.max_length=16",
    ]
    quick = ["augmenter=planted", "pool.prompts=false", "train=head", *BRIEFLY]
    directory = execute(compose(f"experiment={experiment}", f"method={method}", *small, *quick))
    assert manifest(directory)["steps"] == rounds_of(directory)["steps"].sum() == steps


def test_the_faithful_presets_cut_from_the_right_and_lose_the_prompts_they_lost(compose):
    for experiment in ("paper_v1_code", "paper_v2_code"):
        config = compose(f"experiment={experiment}", "method=won_released")
        assert (config["backbone"]["truncation"], config["backbone"]["max_length"]) == ("right", 512)
        assert (config["train"]["lr"], config["train"]["weight_decay"], config["train"]["max_grad_norm"]) == (
            2e-5,
            0,
            1,
        )
        assert config["pool"]["prompts"]
        assert config["method"]["drop_prompt"]
    assert compose("experiment=paper_v1_code", "method=mars_v1_code")["method"]["drop_prompt"]
    assert "drop_prompt" not in compose("experiment=paper_v2_code", "method=mars_v2_code")["method"]
    assert compose("experiment=matched")["backbone"]["truncation"] == "left"


def test_matched_arms_take_equal_steps_from_one_start_per_seed(compose):
    found = {
        name: manifest(execute(compose("experiment=matched", "scale=tiny", *BRIEFLY, f"method={name}")))
        for name, *_ in ARMS
    }
    assert {m["steps"] for m in found.values()} == {12}
    assert len({m["start"] for m in found.values()}) == 1
    assert found["none"]["pool"]["looked_at"] == 0


def test_a_warm_start_is_trained_once_and_shared_by_arms_and_seeds(compose, tmp_path):
    arms = [("mars", 0), ("uniform", 0), ("mars", 1)]
    shared = ["experiment=shared_start", "scale=tiny", *BRIEFLY]
    starts = {manifest(execute(compose(*shared, f"method={m}", f"seed={s}")))["start"] for m, s in arms}
    assert len(starts) == 1
    assert len(list((tmp_path / "cache" / "starts").iterdir())) == 1
    cold = {manifest(execute(compose(*shared, "rounds.warmup=0", f"seed={s}")))["start"] for s in (0, 1)}
    assert len(cold) == 2
    other = manifest(execute(compose(*shared, "rounds.warmup_seed=1")))["start"]
    assert other not in starts | cold


def test_a_fixed_number_of_steps_holds_for_few_and_for_many_rows(compose):
    for budget in (0, 500):
        table = rounds_of(execute(compose("scale=tiny", *BRIEFLY, "rounds.steps=7", f"rounds.budget={budget}")))
        assert table["steps"].tolist() == [7, 7]


@pytest.mark.parametrize("method", ["adaboost", "self_training", "won", "representation", "mars"])
def test_an_interrupted_arm_resumes_and_ends_in_the_same_bits(method, compose, tmp_path, interrupt_at):
    """Weights carried over rounds, noise, draws a gate refused: all of it comes back."""
    settings = [*LOOP, "rounds.number=3", f"method={method}", "pool.gates.identical=true", "augmenter=eda"]
    whole = execute(compose(*settings, f"out={tmp_path}/whole"))
    interrupt_at(3)
    with pytest.raises(KeyboardInterrupt):
        execute(compose(*settings, f"out={tmp_path}/resumed"))
    resumed = execute(compose(*settings, f"out={tmp_path}/resumed"))
    ours, theirs = (rounds_of(d).drop(columns=TIMES) for d in (whole, resumed))
    pd.testing.assert_frame_equal(ours, theirs)
    for name in ("selection.parquet", "variants.parquet", "scores/in_distribution.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(whole / name), pd.read_parquet(resumed / name))


def test_adaboost_carries_its_weights_from_round_to_round(compose):
    table = rounds_of(execute(compose("scale=tiny", *BRIEFLY, "method=adaboost", "rounds.number=4", "train.lr=0.5")))
    assert table["effective_weights"].iloc[-1] < table["effective_weights"].iloc[0] <= 32
    assert table["weighted_error"].between(0, 0.5).all()


def test_a_repeated_study_makes_no_variant(compose, tmp_path):
    config = compose(*LOOP)
    first = manifest(execute(config))["pool"]
    again = manifest(execute({**config, "force": True}))["pool"]
    assert first["made"] == first["looked_at"] == again["looked_at"] <= 4 * 40
    assert again["made"] == 0
    other = manifest(execute({**config, "seed": 1}))["pool"]
    assert other["made"] < other["looked_at"]  # what seed 0 drew is there already


def test_a_budget_makes_at_most_the_variants_it_draws(compose):
    pool = manifest(
        execute(compose("scale=tiny", *BRIEFLY, "dataset.size=100", "rounds.number=1", "rounds.budget=20"))
    )["pool"]
    assert pool["looked_at"] <= 2 * 20 < pool["possible"] == 1000


@pytest.mark.parametrize("mode", ["head", "full"])
def test_scoring_a_whole_pool_costs_twelve_texts_a_pair_and_gives_every_rows_margin(mode, compose):
    exact = ["backbone.dtype=float32"]  # on a GPU as well
    config = compose("scale=tiny", f"train={mode}", "augmenter=planted", "dataset.size=200", *exact)
    settings = build(RunSettings, config, "")
    pieces = assemble(settings, load(settings.dataset))
    pool, engine = pieces.pool, pieces.engine
    inputs = RowInputs(pool, engine.texts)
    rows = np.concatenate([pool.copies, pool.inherited()])
    numbers = inputs.numbers(rows)
    model = engine.new_model(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    together = engine.scorer(model).scores(inputs.numbers(rows))
    assert engine.texts.scored <= 12 * 200
    some = np.random.default_rng(0).choice(len(rows), 50, replace=False)
    alone = [engine.scorer(model).scores(engine.texts.add_pairs(pool.draw(rows[i : i + 1]))) for i in some]
    np.testing.assert_allclose(together[some], np.concatenate(alone), atol=1e-5)
    assert len(np.unique(numbers)) <= 12 * 200


def test_won_says_in_the_records_what_it_scored(compose):
    table = rounds_of(execute(compose("scale=tiny", *BRIEFLY, "method=won", "augmenter=planted")))
    assert (table["texts_scored"] <= 10 * 32).all()
    assert (table["texts_scored"] > 9 * 32).all()  # two wordings may coincide


def test_noise_is_on_the_drawn_rows_in_training_alone(compose):
    """With α = 0 the arm is none_matched to the bit; with noise it is not, and it scores without any."""
    for train in ("head", "full"):
        start = ["scale=tiny", *BRIEFLY, f"train={train}"]
        plain = execute(compose(*start, "method=none_matched"))
        silent = execute(compose(*start, "method=representation", "method.alpha=0", "method.feature_alpha=0"))
        noisy = execute(compose(*start, "method=representation", "method.alpha=50", "method.feature_alpha=5"))
        scores = [
            pd.read_parquet(d / "scores" / "in_distribution.parquet")["chosen_score"] for d in (plain, silent, noisy)
        ]
        np.testing.assert_array_equal(scores[0], scores[1])
        assert not np.allclose(scores[0], scores[2])


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_the_noise_has_neftunes_size_and_leaves_padding_scores_alone(kind, compose):
    from mars.reward.model import _noisy_embeddings

    settings = build(RunSettings, compose("scale=tiny", "train=full", f"backbone.source=random:{kind}"), "")
    engine = assemble(settings, load(settings.dataset)).engine
    numbers = engine.texts.add_pairs(load(settings.dataset).base[:4])
    batch, model = engine.inputs.batch(numbers[:, 0]), engine.new_model(0)
    layer = model.model.get_input_embeddings()
    clean = layer(batch["input_ids"])
    alpha = torch.tensor([0.0, 1.0, 5.0, 5.0], device=engine.device)
    with _noisy_embeddings(layer, alpha, batch["attention_mask"], None):
        noise = layer(batch["input_ids"]) - clean
    bound = alpha / (batch["attention_mask"].sum(1) * clean.shape[-1]).sqrt()
    largest = noise.abs().amax(dim=(1, 2))
    assert (largest <= bound * 1.0001).all()
    assert (largest >= bound * 0.95).all()
    assert torch.equal(layer(batch["input_ids"]), clean)


def test_runs_that_differ_in_an_augmenter_they_do_not_use_are_one_run(compose):
    for method in ("none", "none_matched", "adaboost", "representation"):
        names = {execute(compose(*LOOP, f"method={method}", f"augmenter={a}")).name for a in ("rules", "eda")}
        assert len(names) == 1
    assert len({execute(compose(*LOOP, f"augmenter={a}")).name for a in ("rules", "eda")}) == 2


def test_where_and_how_patiently_an_endpoint_is_asked_names_no_other_run(compose):
    def name(*overrides):
        config = shaping(compose("augmenter=instruct", *overrides))
        return files.config_hash(config, {"base_sha256": "x"})

    elsewhere = ("augmenter.base_url=http://other:1/v1", "augmenter.concurrency=2", "augmenter.price_prompt=1")
    assert name() == name(*elsewhere) != name("augmenter.model=other")
    layer = ("semantic=paper", "backbone@semantic.encoder=tiny")
    assert name(*layer) == name(*layer, "semantic.writer.timeout=3") != name(*layer, "semantic.writer.seed=3")


def test_gates_are_counted_and_nothing_they_refuse_is_trained_on(compose):
    directory = execute(compose(*LOOP, "augmenter=eda", "pool.gates.shortest=0.97", "pool.gates.longest=1.03"))
    pool, table = manifest(directory)["pool"], pd.read_parquet(directory / "variants.parquet")
    assert pool["refused"] == table.loc[table["refused"] != "", "refused"].value_counts().to_dict()
    assert set(pool["refused"]) == {"short", "long"}
    assert rounds_of(directory)["rows_refused"].sum() > 0
    assert (rounds_of(directory)["drawn"] == 40).all()


def test_a_run_on_texts_that_eda_cannot_edit_says_so(compose, tmp_path, caplog):
    for split in ("train", "test"):
        rows = [{"prompt": f"{split}{i}问", "chosen": f"好主意{i}。", "rejected": f"不是{i}。"} for i in range(40)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [f"dataset.{split}={tmp_path / split}.jsonl" for split in ("train", "test")]
    directory = execute(compose(*FILES, "dataset=files", *files, "augmenter=eda"))
    pool, table = manifest(directory)["pool"], pd.read_parquet(directory / "variants.parquet")
    assert pool["unchanged_by"] == table["unchanged"].value_counts().to_dict() == {"no word to edit": len(table)}
    assert pool["repeats"] == pool["rows"] > 0
    assert "100% of the variants of eda equal their source" in caplog.text


def test_the_similarity_gate_runs_on_an_encoder_of_its_own(compose):
    encoder = "backbone@pool.gates.encoder=tiny"
    pool = manifest(execute(compose(*LOOP, "augmenter=eda", encoder, "pool.gates.similarity=0.999999")))["pool"]
    assert pool["refused"]["dissimilar"] > 0
    assert (
        manifest(execute(compose(*LOOP, "augmenter=eda", encoder, "pool.gates.similarity=-1")))["pool"]["refused"] == {}
    )


def test_on_planted_rows_the_true_preservation_rate_is_in_the_record(compose):
    paraphrase, eda = (
        manifest(
            execute(compose("scale=tiny", *BRIEFLY, "dataset.size=150", "rounds.budget=600", f"augmenter={a}", *x))
        )["pool"]
        for a, x in (("planted", []), ("eda", ["augmenter.alpha_swap=0.5", "augmenter.alpha_delete=0.5"]))
    )
    assert paraphrase["preservation"]["kept"] == 1.0
    assert 0.5 < eda["preservation"]["kept"] < 0.97
    none = manifest(execute(compose(*LOOP, "method=none")))["pool"]
    assert none["preservation"] is None


OFFLINE = ["backbone@semantic.encoder=tiny", "augmenter@semantic.writer=planted"]


@pytest.mark.parametrize("which", ["all", "selected"])
def test_the_semantic_layer_rewrites_before_variants_are_made(which, compose):
    settings = [*LOOP, "semantic=paper", *OFFLINE, f"semantic.which={which}", "rounds.budget=5", "rounds.number=1"]
    directory = execute(compose(*settings))
    record, summary = pd.read_parquet(directory / "semantic.parquet"), manifest(directory)["semantic"]
    assert len(record) == 32 if which == "all" else len(record) <= 5
    assert summary["looked_at"] == len(record)
    assert summary["refined_rejected"] + summary["refined_chosen"] == (record["refined"] != "").sum() > 0
    again = execute({**compose(*settings), "force": True})
    pd.testing.assert_frame_equal(record, pd.read_parquet(again / "semantic.parquet"))


def test_a_strict_layer_needs_a_trained_start(compose):
    strict = [*LOOP, "semantic=strict", *OFFLINE]
    with pytest.raises(ConfigError, match=r"semantic\.accept: strict needs a trained start"):
        execute(compose(*strict))
    record = pd.read_parquet(execute(compose(*strict, "rounds.warmup=1", "semantic.at=0.9")) / "semantic.parquet")
    assert (record.loc[record["refined"] != "", "gain"] >= 0.05).all()


def test_a_dry_run_counts_and_makes_nothing(compose, tmp_path, capsys):
    config = compose(*LOOP)
    directory = execute({**config, "dry_run": True})
    assert (
        "rules, at most 320 of 320 variants to make, the others are stored; 2 rounds of 40 rows"
        in capsys.readouterr().out
    )
    assert not directory.exists()
    assert not (tmp_path / "cache" / "variants").exists()
    made = manifest(execute(config))["pool"]["made"]
    execute({**config, "dry_run": True, "seed": 1})
    assert f"at most {320 - made} of 320 variants" in capsys.readouterr().out
    execute({**config, "dry_run": True, "method": {"name": "none"}})
    assert "draws no variant" in capsys.readouterr().out
    execute({**compose(*LOOP, "semantic=paper", *OFFLINE), "dry_run": True})
    assert "semantic layer, " in capsys.readouterr().out


def test_accumulating_adds_every_copy_and_no_row_twice(compose):
    copies = rounds_of(execute(compose(*LOOP, "method=none_matched", "rounds.history=accumulate")))
    assert copies["synthetic_pairs"].tolist() == [40, 80]
    adaboost = rounds_of(execute(compose(*LOOP, "method=adaboost", "rounds.history=accumulate")))
    assert adaboost["synthetic_pairs"].tolist() == [0, 0]


def test_the_store_is_named_by_what_shapes_a_variant(compose, tmp_path):
    execute(compose(*LOOP))
    (file,) = (tmp_path / "cache" / "variants").glob("rules-*.sqlite")
    pieces = assemble(build(RunSettings, compose(*LOOP), ""), load(compose(*LOOP)["dataset"]))
    assert file == Store(tmp_path / "cache" / "variants").path(pieces.pool.augmenter)
    assert file.stem.split("-")[1] == files.digest(pieces.pool.augmenter.settings)[:16]


def test_the_rows_a_run_drew_can_be_read(compose, tmp_path):
    directory = execute(compose(*LOOP, "augmenter=planted", "pool.prompts=true"))
    lines = list(show.show(directory, 3))
    assert sum(line.startswith("──") for line in lines) == 3
    base = {p.chosen for p in load(compose(*LOOP)["dataset"]).base}
    parents = [line.removeprefix("  of      ") for before, line in pairwise(lines) if before.startswith("chosen")]
    assert set(parents) <= base
    assert list(show.show(directory, 3)) == lines
    assert list(show.show(execute(compose(*LOOP, "method=none")), 3)) == ["this run drew no row"]
    with pytest.raises(UserError, match=r"config\.yaml: is missing"):
        list(show.show(tmp_path, 1))


def test_what_an_interrupted_run_paid_is_counted_to_the_end(compose, tmp_path, interrupt_at):
    settings = [*LOOP, "rounds.number=3", "semantic=paper", *OFFLINE, "semantic.which=selected"]
    whole = manifest(execute(compose(*settings, f"out={tmp_path}/whole", f"cache={tmp_path}/one")))
    interrupt_at(3)
    with pytest.raises(KeyboardInterrupt):
        execute(compose(*settings, f"out={tmp_path}/resumed", f"cache={tmp_path}/two"))
    resumed = manifest(execute(compose(*settings, f"out={tmp_path}/resumed", f"cache={tmp_path}/two")))
    assert resumed["pool"]["made"] == whole["pool"]["made"] == whole["pool"]["looked_at"]
    assert resumed["semantic"]["writer"]["made"] == whole["semantic"]["writer"]["made"] > 0


def test_countings_are_added_up_and_what_is_not_known_is_left_out():
    before = {"made": 2, "usage": {"calls": 5, "cost": None}}
    now = {"made": 1, "usage": {"calls": 1, "cost": None, "retries": 2}}
    assert total(before, now) == {"made": 3, "usage": {"calls": 6, "cost": None, "retries": 2}}
    assert total(before, {}) == before
