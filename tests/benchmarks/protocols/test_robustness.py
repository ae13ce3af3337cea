"""Robustness under edits: every number by hand, what a scorer ignores cannot flip it, what it reads must."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.edits import prefixed, respaced
from benchmarks.protocols.robustness import Robustness, RobustnessConfig
from mars.assembly import benchmark as assembled
from mars.augment.eda import Eda
from mars.augment.planted import PlantedAugmenter
from mars.augment.rules import Rules
from mars.augment.variant import Variant
from mars.config import ConfigError, UserError, build
from mars.pool.planted_reading import read
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair, Preferences
from mars.reward.backbone import BackboneConfig
from mars.reward.engine import Engine
from mars.reward.texts import RenderingError
from mars.worlds.planted import load_planted
from mars.worlds.planted_latents import gold
from mars.worlds.planted_settings import PlantedConfig

AUGMENTERS = {"paraphrase": {"name": "rules"}, "eda": {"name": "eda"}}
FILLERS = {"paraphrase": Rules().make, "eda": Eda().make}
EDITS = ("paraphrase", "eda", "whitespace", "prefix", "padding")


def benchmark(fillers=FILLERS, **settings) -> Robustness:
    return Robustness(build(RobustnessConfig, {**AUGMENTERS, **settings}, "benchmark"), fillers)


def preferences(pairs) -> Preferences:
    return Preferences("hand", [], [], {"test": pairs, "test_other": []}, {"licence": "mit"})


def planted(size: int) -> Preferences:
    return load_planted(PlantedConfig(size=1, validation=1, test_size=size))


def texts_as_hashes(texts, padded=False):
    """A scorer that reads every character of what it is given, and nothing but that."""
    digests = [blake2b(repr((prompt, response)).encode(), digest_size=4).digest() for prompt, response in texts]
    return np.array([int.from_bytes(d, "big") / 2**32 for d in digests])


def words_as_hashes(texts, padded=False):
    """Sees words and speakers, and no white space."""
    return texts_as_hashes(
        [([(m.role, m.content.split()) for m in prompt], response.split()) for prompt, response in texts]
    )


def dialogue_as_hashes(texts, padded=False):
    """Does not see system turns."""
    return texts_as_hashes([([m for m in prompt if m.role != "system"], response) for prompt, response in texts])


def characters(texts, padded=False):
    return np.array([float(len(response)) for _, response in texts])


def run(bench: Robustness, scorer, data: Preferences):
    return bench.evaluate(bench.score(scorer, data)[0])


# ---- the numbers


def hand_table() -> pd.DataFrame:
    margins = {
        "none": [2.0, 1.0, -1.0, 0.0, 3.0],
        "paraphrase": [1.0, -1.0, 2.0, 1.0, 3.0],
        "eda": [2.0, 1.0, -1.0, 0.0, -3.0],
    }
    longer = {"none": [1, 1, 1, 1, 1], "paraphrase": [-1, 1, 0, 1, 1], "eda": [1, 1, 1, 1, 1]}
    same = {"none": [True] * 5, "paraphrase": [False] * 4 + [True], "eda": [False] * 5}
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "split": "test",
                    "id": [f"p{i}" for i in range(5)],
                    "subset": "",
                    "edit": edit,
                    "unchanged": same[edit],
                    "chosen_score": np.array(margins[edit]) + 7,
                    "rejected_score": 7.0,
                    "chosen_length": np.array(longer[edit]) + 10,
                    "rejected_length": 10,
                }
            )
            for edit in margins
        ],
        ignore_index=True,
    )


def test_every_number_of_an_edit_by_hand():
    metrics = benchmark(edits=["paraphrase", "eda"]).evaluate(hand_table()).metrics["paraphrase"]
    # The first four pairs are changed: kept, turned round, turned round, a tie that becomes an order.
    assert metrics["flip_rate"] == (0 + 1 + 1 + 0.5) / 4
    assert metrics["accuracy_before"] == (1 + 1 + 0 + 0.5) / 4
    assert metrics["accuracy_after"] == (1 + 0 + 1 + 1) / 4
    assert metrics["accuracy_change"] == 0.125
    assert metrics["margin_change"] == (-1 - 2 + 3 + 1) / 4
    assert metrics["margin_change_abs"] == (1 + 2 + 3 + 1) / 4
    sd = np.sqrt((1 + 0 + 4 + 1 + 4) / 5)  # of 2, 1, −1, 0, 3 about their mean 1
    assert metrics["margin_change_relative"] == pytest.approx(0.25 / sd)
    assert metrics["margin_change_abs_relative"] == pytest.approx(1.75 / sd)
    assert (metrics["unchanged"], metrics["n"]) == (pytest.approx(1 / 5), 4)
    assert metrics["flip_rate_lo"] < metrics["flip_rate"] < metrics["flip_rate_hi"]


def test_the_worst_case_by_hand_without_and_with_eda():
    result = benchmark(edits=["paraphrase", "eda"]).evaluate(hand_table())
    overall = result.metrics["overall"]
    assert overall["accuracy"] == pytest.approx((1 + 1 + 0 + 0.5 + 1) / 5)
    assert overall["worst_case_accuracy"] == pytest.approx((1 + 0 + 0 + 0.5 + 1) / 5)  # p1 is lost
    assert overall["worst_case_change"] == pytest.approx(-1 / 5)
    assert overall["worst_case_accuracy_with_eda"] == pytest.approx((1 + 0 + 0 + 0.5 + 0) / 5)  # and p4
    assert overall["n"] == 5
    assert result.protocol["worst_case"] == ["paraphrase"]


def test_baselines_by_hand():
    baselines = benchmark(edits=["paraphrase", "eda"]).evaluate(hand_table()).details["baselines"]
    # Length: +1 everywhere; of the four changed pairs one turns to −1 and one to 0.
    assert baselines["length_only"]["paraphrase"]["flip_rate"] == (1 + 0.5) / 4
    assert baselines["length_only"]["eda"]["flip_rate"] == 0
    assert baselines["length_only"]["overall"]["worst_case_accuracy"] == pytest.approx((0 + 1 + 0.5 + 1 + 1) / 5)
    assert "margin_change_relative" not in baselines["length_only"]["paraphrase"]  # all lengths differ by one: no sd
    # A coin: two tosses where a paraphrase changed the pair, one where not; EDA changed all.
    assert baselines["random"]["paraphrase"]["flip_rate"] == 0.5
    assert baselines["random"]["overall"] == {
        "accuracy": 0.5,
        "worst_case_accuracy": pytest.approx((4 / 4 + 1 / 2) / 5),
        "worst_case_change": pytest.approx((4 / 4 + 1 / 2) / 5 - 0.5),
        "worst_case_accuracy_with_eda": pytest.approx((4 / 8 + 1 / 4) / 5),
    }


def test_the_random_baseline_is_what_scores_without_information_get():
    result = run(benchmark(rows=None, resamples=20), texts_as_hashes, planted(600))
    random = result.details["baselines"]["random"]
    for edit in ("paraphrase", "whitespace", "prefix"):  # both texts are new to the hash, so both scores are drawn anew
        assert result.metrics[edit]["flip_rate"] == pytest.approx(random[edit]["flip_rate"], abs=0.1)
        assert result.metrics[edit]["accuracy_change"] == pytest.approx(0, abs=0.06)


def test_an_interval_covers_both_draws_together():
    rng = np.random.default_rng(0)
    table = hand_table().iloc[:5]
    wide = pd.concat([table] * 80, ignore_index=True).assign(id=[f"p{i}" for i in range(400)])
    before = rng.normal(size=400)
    flipped = rng.random(400) < 0.1
    after = np.where(flipped, -before, before)
    frames = [
        wide.assign(edit=edit, unchanged=False, chosen_score=margins, rejected_score=0.0)
        for edit, margins in (("none", before), ("whitespace", after))
    ]
    result = benchmark(edits=["whitespace"], resamples=3000).evaluate(pd.concat(frames)).metrics["whitespace"]
    change = (np.sign(after) - np.sign(before)) / 2
    half = (result["accuracy_change_hi"] - result["accuracy_change_lo"]) / 2
    assert half == pytest.approx(1.96 * change.std() / 20, rel=0.1)  # unpaired it would be 1.96·√(2·¼/400) = 0.069
    assert half < 0.04


def test_rows_of_the_table_may_stand_in_any_order():
    table = hand_table()
    shuffled = table.sample(frac=1, random_state=0)
    bench = benchmark(edits=["paraphrase", "eda"])
    a, b = bench.evaluate(table).metrics, bench.evaluate(shuffled).metrics
    assert {p: m["flip_rate"] for p, m in a.items() if p != "overall"} == {
        p: m["flip_rate"] for p, m in b.items() if p != "overall"
    }
    assert a["overall"]["worst_case_accuracy"] == b["overall"]["worst_case_accuracy"]


# ---- what a scorer sees


def test_what_a_scorer_ignores_cannot_turn_a_pair_round():
    data = planted(40)
    blind = run(benchmark(), words_as_hashes, data).metrics
    assert (blind["whitespace"]["flip_rate"], blind["whitespace"]["margin_change_abs"]) == (0, 0)
    assert blind["whitespace"]["unchanged"] == 0
    assert blind["prefix"]["flip_rate"] > 0
    deaf = run(benchmark(), dialogue_as_hashes, data).metrics
    assert (deaf["prefix"]["flip_rate"], deaf["prefix"]["margin_change_abs"]) == (0, 0)
    assert deaf["whitespace"]["flip_rate"] > 0
    assert blind["padding"]["flip_rate"] == deaf["padding"]["flip_rate"] == 0


def test_a_scorer_of_length_flips_where_it_must_and_is_the_length_only_baseline():
    pairs = [
        Pair(f"p{i}", (Message("user", "?"),), "one two three four" + "." * i, "five six seven eight..")
        for i in range(6)
    ]
    bench = benchmark(edits=["whitespace", "padding"])
    result = run(bench, characters, preferences(pairs))
    flips = []
    for pair in pairs:
        new = [len(respaced(pair.side(s), f"0/whitespace/{s}/{pair.id}")) for s in ("chosen", "rejected")]
        flips.append(abs(np.sign(new[0] - new[1]) - np.sign(len(pair.chosen) - len(pair.rejected))) / 2)
    assert result.metrics["whitespace"]["flip_rate"] == pytest.approx(np.mean(flips))
    assert result.metrics["whitespace"]["flip_rate"] > 0
    assert result.details["baselines"]["length_only"] == result.metrics


def test_the_planted_truth_is_moved_by_no_edit_but_eda():
    data = planted(80)
    pairs = list({pair.prompt: pair for pair in data.tests["test"]}.values())
    ids = {pair.prompt[-1].content: pair.id for pair in pairs}

    def truth(texts, padded=False):
        return np.array([gold(read(response, ids[prompt[-1].content])) for prompt, response in texts])

    fillers = {"paraphrase": PlantedAugmenter().make, "eda": Eda().make}
    result = run(benchmark(fillers), truth, preferences(pairs)).metrics
    for edit in ("paraphrase", "whitespace", "prefix", "padding"):
        assert result[edit]["margin_change_abs"] == 0
        assert result[edit]["unchanged"] == 0
    assert result["overall"]["worst_case_change"] == 0
    assert result["eda"]["flip_rate"] > 0  # not a fault of this scorer: such a variant says something else
    assert result["overall"]["worst_case_accuracy_with_eda"] < result["overall"]["accuracy"]


@pytest.mark.parametrize("source", ["random:bert", "random:qwen3"])
def test_padding_moves_the_margins_of_a_model_only_where_it_is_not_masked(source, tmp_path):
    engine = Engine(BackboneConfig("tiny", source, max_length=256), "full", torch.device("cpu"), 4096, tmp_path)
    model = engine.new_model(0).eval()
    with torch.no_grad():  # fresh weights are so small that texts hardly differ, let alone padding
        for weights in (p for p in model.parameters() if p.ndim == 2):
            weights.mul_(10)

    @torch.inference_mode()
    def scorer(texts, padded=False, masked=True):
        inputs = engine.inputs.padded() if padded else engine.inputs
        numbers = inputs.add([engine.texts.render(*text) for text in texts])
        batches = [inputs.batch(np.array([number])) for number in numbers]  # alone: no padding but what is asked for
        ones = [torch.ones_like(b["input_ids"]) for b in batches]
        masks = [b["attention_mask"] if masked else one for b, one in zip(batches, ones, strict=True)]
        return np.array([model(b["input_ids"], m).item() for b, m in zip(batches, masks, strict=True)], dtype=float)

    bench, data = benchmark(edits=["padding"]), planted(8)
    sound = run(bench, scorer, data).metrics["padding"]
    assert sound["margin_change_abs"] < 1e-5
    unmasked = run(bench, lambda texts, padded=False: scorer(texts, padded, masked=False), data).metrics["padding"]
    assert unmasked["margin_change_abs"] > 1e-2
    assert sound["unchanged"] == unmasked["unchanged"] == 0


# ---- the edits


texts = st.text(st.sampled_from("ab |`~1\n\t.é"), max_size=60) | st.text(max_size=40)


@given(texts, st.text(max_size=5))
def test_respacing_changes_every_text_and_no_word(text, key):
    other = respaced(text, key)
    assert other != text
    assert other.split() == text.split()
    assert respaced(text, key) == other


def test_respacing_leaves_code_and_tables_alone_and_reaches_the_rest():
    code = "```py\nif a and b:\n    c  =  d e\n```"
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    text = f"Some words here, then `in line` code:\n\n{code}\n\n{table}\n\nand some more\nwords at the end"
    seen = {respaced(text, str(key)) for key in range(50)}
    assert all(code in other and "`in line`" in other for other in seen)
    assert all(other.count("|\n|") == 2 for other in seen)
    assert any("and some more\n\nwords" in other for other in seen)
    assert any("Some  words" in other for other in seen)
    assert {other[-1] for other in seen} == {" ", "\n"}


def test_a_system_turn_is_put_first_or_before_the_words_of_the_one_that_is_there():
    user = Message("user", "hi")
    assert prefixed((user,), "Be kind.") == (Message("system", "Be kind."), user)
    assert prefixed((Message("system", "Rhyme."), user), "Be kind.") == (Message("system", "Be kind.\n\nRhyme."), user)


def test_one_pass_an_edit_every_pair_in_each_and_only_padding_padded():
    passes = []

    def counting(texts, padded=False):
        texts = list(texts)
        passes.append((len(texts), padded))
        return texts_as_hashes(texts)

    data = planted(60)
    table, _ = benchmark({"paraphrase": PlantedAugmenter().make, "eda": Eda().make}).score(counting, data)
    assert passes == [(120, False)] * 5 + [(120, True)]
    assert table.groupby("edit")["id"].nunique().to_dict() == dict.fromkeys(("none", *EDITS), 60)
    assert len(table) == 6 * 60
    assert table[table["edit"] == "none"]["unchanged"].all()
    assert not table[table["edit"] != "none"]["unchanged"].any()


def test_texts_without_a_variant_stay_and_are_counted_and_untouched_pairs_are_not_scored_again():
    pairs = [Pair(f"p{i}", (Message("user", "?"),), f"yes {i}", f"no {i}") for i in range(4)]
    # p0: neither side has a variant; p1: the variant is the source; p2: one side is changed; p3: both are.
    made = {"p0": (None, " "), "p1": ("yes 1", "no 1"), "p2": (None, "nope 2"), "p3": ("yep 3", "nope 3")}

    def filler(requests):
        return [Variant(made[r.pair.id][("chosen", "rejected").index(r.part)], "hand") for r in requests]

    asked = []

    def scorer(texts, padded=False):
        texts = list(texts)
        asked.append([response for _, response in texts])
        return texts_as_hashes(texts)

    table, data = benchmark({"paraphrase": filler}, edits=["paraphrase"]).score(scorer, preferences(pairs))
    assert asked[1] == ["yes 2", "nope 2", "yep 3", "nope 3"]
    rows = table[table["edit"] == "paraphrase"].set_index("id")
    assert rows["unchanged"].to_dict() == {"p0": True, "p1": True, "p2": False, "p3": False}
    assert data["texts_without_variant"] == {"paraphrase": 3}
    before = table[table["edit"] == "none"].set_index("id")
    assert (rows["chosen_score"] == before["chosen_score"]).to_dict() == {"p0": 1, "p1": 1, "p2": 1, "p3": 0}


def test_an_edit_that_changes_nothing_has_no_rates():
    pairs = [Pair("p", (Message("user", "?"),), "1 + 1", "2 + 2")]
    filler = {"paraphrase": lambda requests: [Variant(None, "none")] * len(requests)}
    result = run(benchmark(filler, edits=["paraphrase"]), texts_as_hashes, preferences(pairs))
    part = result.metrics["paraphrase"]
    assert {key: part[key] for key in ("unchanged", "n")} == {"unchanged": 1, "n": 0}
    assert "flip_rate" not in part
    assert "paraphrase" not in result.details["baselines"]["random"]
    assert result.metrics["overall"]["worst_case_change"] == 0


def test_a_template_that_refuses_system_turns_costs_that_edit_alone():
    def scorer(texts, padded=False):
        texts = list(texts)
        if any(message.role == "system" for prompt, _ in texts for message in prompt):
            raise RenderingError("template: no system turns here")
        return texts_as_hashes(texts)

    bench = benchmark()
    table, data = bench.score(scorer, planted(10))
    assert data["refused"] == {"prefix": "template: no system turns here"}
    result = bench.evaluate(table)
    assert list(result.metrics) == ["overall", "paraphrase", "eda", "whitespace", "padding"]
    assert result.details["refused"] == {"prefix": "the model's template refuses it"}
    assert result.protocol["edits"] == ["paraphrase", "eda", "whitespace", "padding"]
    bad = replace(bench, fillers={**FILLERS, "eda": lambda requests: scorer([((Message("system", ""),), "")])})
    with pytest.raises(ConfigError, match="no system turns"):  # what is wrong with another edit is the user's to mend
        bad.score(scorer, planted(10))


# ---- which rows, how often, and what goes wrong


def test_rows_are_drawn_by_seed_fewer_being_part_of_more_and_no_others_generated():
    data = load_planted(PlantedConfig(size=1, validation=1, test_size=160_000))

    def drawn(**settings):
        table, about = benchmark(edits=["whitespace"], **settings).score(characters, data)
        assert (about["rows"], about["available"]) == (settings["rows"], 160_000)
        return table[table["edit"] == "none"]["id"].tolist()

    few, more = drawn(rows=5), drawn(rows=20)
    assert set(few) < set(more)
    assert more == drawn(rows=20) != drawn(rows=20, seed=1)
    assert len(data.tests["test"]._made) <= 40


def test_the_same_numbers_twice_and_again_from_the_file(tmp_path):
    bench = benchmark(resamples=50)
    table, data = bench.score(texts_as_hashes, planted(30))
    table.to_parquet(tmp_path / "scores.parquet")
    result = bench.evaluate(pd.read_parquet(tmp_path / "scores.parquet"))
    assert run(bench, texts_as_hashes, planted(30)).metrics == result.metrics
    assert run(benchmark(resamples=50, seed=1), texts_as_hashes, planted(30)).metrics != result.metrics
    assert result.protocol["prefix"] == "You are a helpful assistant."
    assert result.protocol["augmenters"] == AUGMENTERS
    assert data["split"] == "test"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"edits": ["paraphase"]}, "benchmark.edits[0]: 'paraphase' is not a choice (did you mean \"paraphrase\"?)"),
        ({"edits": []}, "benchmark.edits: name at least one, and each once"),
        ({"edits": ["eda", "eda"]}, "benchmark.edits: name at least one, and each once"),
        ({"prefix": " "}, "benchmark.prefix: is empty (leave the edit out of benchmark.edits instead)"),
        ({"rows": 0}, "benchmark.rows: must be at least 1, or null for all, not 0"),
        ({"resamples": 0}, "benchmark.resamples: must be at least 1, not 0"),
        ({"seed": -1}, "benchmark.seed: must not be negative, not -1"),
        ({"row": 5}, 'benchmark.row: no such setting (did you mean "rows"?)'),
    ],
)
def test_a_wrong_setting_is_one_line(values, message):
    with pytest.raises(ConfigError) as error:
        benchmark(**values)
    assert str(error.value) == message


@pytest.mark.parametrize("nothing", [None, Preferences("empty", [], [], {})])
def test_no_dataset_is_one_line(nothing):
    with pytest.raises(UserError, match=r"robustness: judges on the rows of a dataset, and there is none"):
        benchmark().score(characters, nothing)


def test_an_empty_split_is_one_line():
    with pytest.raises(UserError, match='robustness: the split "test" of hand has no pairs'):
        benchmark().score(characters, preferences([]))


def test_a_table_that_cannot_be_judged_is_one_line():
    bench, table = benchmark(edits=["paraphrase", "eda"]), hand_table()
    for bad, message in (
        (table.drop(columns="unchanged"), "robustness: the score table lacks unchanged"),
        (table.iloc[:0], "robustness: there is nothing to judge"),
        (table.replace({"chosen_score": {9.0: np.nan}}), 'robustness: the chosen score of "p0" is nan'),
        (table[table["edit"] != "eda"], 'needs one row per pair for the edit "eda"'),
        (table[table["edit"] != "none"], 'needs one row per pair for the edit "none"'),
        (table.drop(index=7), 'needs one row per pair for the edit "paraphrase"'),
    ):
        with pytest.raises(UserError, match=message):
            bench.evaluate(bad)


def test_the_config_mounts_augmenters_that_can_be_exchanged(compose, tmp_path):
    config = compose("benchmark=robustness")["benchmark"]
    assert (config["paraphrase"]["name"], config["eda"]["name"], config["edits"]) == ("rules", "eda", list(EDITS))
    config = compose("benchmark=robustness", "augmenter@benchmark.paraphrase=planted", "benchmark.eda.alpha_swap=0.3")
    asked = assembled(config["benchmark"], (Path(config["cache"]), torch.device("cpu")))
    bench = asked.benchmark
    assert (asked.name, type(bench)) == ("robustness", Robustness)
    assert bench.config.eda["alpha_swap"] == 0.3
    result = run(bench, characters, planted(3))
    assert result.protocol["augmenters"]["paraphrase"] == config["benchmark"]["paraphrase"]
    assert config["augmenter"]["name"] == "rules"  # the study's own is another one
