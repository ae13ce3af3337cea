"""Best-of-n: the estimator against all subsets, curves of a known course, candidates from file, world and policy."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import order_statistics
from benchmarks.candidates import COLUMNS, Prompts
from benchmarks.models.policy import Policy, PolicyConfig
from benchmarks.protocols.best_of_n import BestOfN, BestOfNConfig
from mars.config import ConfigError, UserError, build
from mars.preferences.dialogue import Message
from mars.preferences.pair import DataError
from mars.reward import tiny
from mars.worlds.planted import load_planted
from mars.worlds.planted_candidates import candidates
from mars.worlds.planted_settings import PlantedConfig

PROMPT = (Message("user", "Is tea hot?"),)
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


def of(**settings) -> BestOfN:
    return BestOfN(build(BestOfNConfig, {"resamples": 200, **settings}, "benchmark"))


def gold_of(table: pd.DataFrame) -> np.ndarray:
    return table["gold"].to_numpy()


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    """The score table of forty planted prompts, of a scorer that sees nothing."""
    preferences = load_planted(PlantedConfig(size=1, validation=1, test_size=60))
    rng = np.random.default_rng(0)
    return of(prompts=40, n=8, candidates=16).score(lambda texts: rng.normal(size=len(list(texts))), preferences)[0]


# ---- the estimator


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_estimate_is_the_mean_over_all_subsets_ties_shared(n):
    rng = np.random.default_rng(n)
    scores = np.array([rng.normal(size=6), rng.integers(0, 3, 6), np.zeros(6)])
    values = rng.normal(size=(3, 6))

    def best(row: int, subset: tuple[int, ...]) -> float:
        own = scores[row, list(subset)]
        return values[row, list(subset)][own == own.max()].mean()

    subsets = list(itertools.combinations(range(6), n))
    # Within a subset ties are shared by those in it; over all subsets that is the same share for every tied candidate.
    wanted = [np.mean([best(row, subset) for subset in subsets]) for row in range(3)]
    assert order_statistics.expected_best(scores, values, n) == pytest.approx(wanted)


def test_weights_are_those_of_the_order_statistics():
    weights = order_statistics.best_weights(np.array([[0.3, -1.0, 2.0, 0.7]]), 2)
    # By rank 1 to 4: C(i − 1, 1) / C(4, 2) = 0, 1/6, 2/6, 3/6.
    assert weights == pytest.approx(np.array([[1 / 6, 0, 3 / 6, 2 / 6]]))


def test_kl_and_sizes_by_hand():
    assert order_statistics.sizes(12) == (1, 2, 4, 8, 12)
    assert order_statistics.sizes(16) == (1, 2, 4, 8, 16)
    assert order_statistics.kl(1) == 0
    assert order_statistics.kl(4) == pytest.approx(math.log(4) - 0.75)


# ---- curves of a known course


def test_a_perfect_scorer_rises_to_no_regret_and_a_flat_one_stays(planted):
    benchmark = of(n=8, candidates=8)
    whole = benchmark.evaluate(planted[planted["response"] < 8].assign(score=gold_of))
    gold = [whole.metrics[f"best_of/{n}"]["gold"] for n in (1, 2, 4, 8)]
    assert gold == sorted(gold)
    assert whole.metrics["overall"]["gold_gain"] > 1
    assert whole.metrics["overall"]["gold_regret"] == pytest.approx(0)
    assert whole.metrics["overall"]["proxy_gain"] == pytest.approx(whole.metrics["overall"]["gold_gain"])
    nothing = of(n=8).evaluate(planted).metrics["overall"]
    assert nothing["gold_gain_lo"] < 0 < nothing["gold_gain_hi"]
    assert nothing["proxy_gain"] > 1  # the proxy rises all the same
    assert nothing["gold_regret"] > 1
    constant = of(n=8).evaluate(planted.assign(score=0.1)).metrics["overall"]
    assert constant["gold_gain"] == pytest.approx(0)
    assert "proxy_gain" not in constant


def test_gains_do_not_depend_on_the_unit_of_the_scores(planted):
    one, other = (of(n=8).evaluate(planted.assign(score=a * planted["score"] - 3)).metrics for a in (1, 100))
    assert one["best_of/4"]["proxy_gain"] == pytest.approx(other["best_of/4"]["proxy_gain"])
    assert one["best_of/4"]["gold_gain"] == other["best_of/4"]["gold_gain"]


def test_the_golden_record(planted):
    result = of(n=4, candidates=4).evaluate(planted.assign(score=planted["length"].astype(float)))
    assert list(result.metrics) == ["overall", "best_of/1", "best_of/2", "best_of/4"]
    assert result.metrics["overall"] == result.metrics["best_of/4"]
    assert result.metrics["best_of/1"]["kl"] == 0
    assert {k: result.protocol[k] for k in ("name", "n", "candidates_from", "gold")} == {
        "name": "best_of_n", "n": [1, 2, 4], "candidates_from": "world", "gold": "the planted world's own",
    }  # fmt: skip
    assert result.details["baselines"]["length_only"] == result.metrics
    assert result.details["baselines"]["random"]["overall"] == {"proxy_gain": 0, "kl": 0, "gold_gain": 0}
    golden = {name: round(result.metrics["overall"][name], 4) for name in GOLDEN}
    assert golden == GOLDEN
    assert set(planted) == set(COLUMNS)


# Of sixteen planted candidates each, by a scorer that likes long ones: worse than a random pick.
GOLDEN = {"gold": 8.067, "gold_gain": -0.0801, "gold_regret": 1.3631, "proxy": 172.6624}


# ---- from the world


def test_planted_candidates_are_seeded_and_never_among_training_pairs():
    preferences = load_planted(PlantedConfig(size=300, validation=1, test_size=40))
    prompts = Prompts.of(preferences, 10, 0)
    drawn = candidates(prompts.pairs[0].id, 6)
    assert drawn == candidates(prompts.pairs[0].id, 9)[:6]
    assert drawn != candidates(prompts.pairs[0].id, 6, seed=1)
    assert len({gold for _, gold in drawn}) > 1
    trained = {(pair.prompt, pair.side(side)) for pair in preferences.base for side in ("chosen", "rejected")}
    assert not trained & {(pair.prompt, text) for pair in prompts.pairs for text, _ in candidates(pair.id, 6)}
    assert not {prompt for prompt, _ in trained} & {pair.prompt for pair in prompts.pairs}


def test_prompts_are_distinct_and_fewer_are_part_of_more():
    preferences = load_planted(PlantedConfig(size=1, validation=1, test_size=80))
    few, many = (Prompts.of(preferences, number, 3) for number in (5, 20))
    assert len({pair.prompt for pair in many.pairs}) == 20
    assert {pair.id for pair in few.pairs} <= {pair.id for pair in many.pairs}


def test_prompts_of_another_dataset_need_a_source():
    preferences = load_planted(PlantedConfig(size=1, validation=1, test_size=5))
    other = type(preferences)("hh_rlhf", preferences.base, preferences.validation, preferences.tests)
    with pytest.raises(ConfigError, match=r"benchmark\.path: the candidates to the prompts of hh_rlhf"):
        of(n=2, candidates=2).check(other)


# ---- from a file


ROWS = [
    {"prompt": p, "candidate": f"{p} {'x' * k}", "gold": float(k)} for p in ("a", "b") for k in range(4)
]  # fmt: skip


def write(path: Path, rows: list[dict]) -> str:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return str(path)


def lengths(texts) -> np.ndarray:
    return np.array([float(len(text)) for _, text in texts])


def judged(path: str, scorer=lengths, **settings):
    benchmark = of(path=path, **{"n": 4, **settings})
    benchmark.check(None)
    table, data = benchmark.score(scorer, None)
    return benchmark.evaluate(table), data


LISTED = [{"prompt": p, "candidates": [f"{p} {'x' * k}" for k in range(4)], "reward": [0.0, 1, 2, 3]} for p in "ab"]


@pytest.mark.parametrize(
    ("name", "rows"), [("c.jsonl", ROWS), ("c.csv", ROWS), ("c.parquet", ROWS), ("l.jsonl", LISTED)]
)
def test_a_file_of_any_format_is_judged_without_a_dataset(name, rows, tmp_path):
    path = write(tmp_path / name, rows)
    assert not of(path=path, n=4).asks_dataset
    result, data = judged(path)
    # Length ranks as gold does. Of four: 3 is the best of any four; of two: (1 · 1 + 2 · 2 + 3 · 3) / 6.
    assert result.metrics["best_of/4"]["gold"] == 3
    assert result.metrics["best_of/2"]["gold"] == pytest.approx(14 / 6)
    assert result.metrics["best_of/1"]["gold"] == 1.5
    assert result.metrics["best_of/2"]["gold_gain"] == pytest.approx((14 / 6 - 1.5) / np.std(range(4), ddof=1))
    assert data["sources"][0]["prompts"] == 2


def test_without_gold_the_proxy_alone_is_given_and_said_to_be_no_measure(tmp_path):
    bare = [{key: value for key, value in row.items() if key != "gold"} for row in ROWS]
    result, _ = judged(write(tmp_path / "c.jsonl", bare))
    metrics = {name for values in result.metrics.values() for name in values if not name.endswith(("_lo", "_hi"))}
    assert metrics == {"proxy", "proxy_gain", "kl", "n"}
    assert "no measure" in result.protocol["gold"]


def test_prompts_may_have_unlike_numbers_of_candidates(tmp_path):
    extra = [{"prompt": "b", "candidate": "b longest of all", "gold": 9.0}]
    result, _ = judged(write(tmp_path / "c.jsonl", ROWS + extra))
    # b has five: the best of four leaves out the best of five in one subset of five.
    assert result.metrics["best_of/4"]["gold"] == pytest.approx((3 + (4 * 9 + 3) / 5) / 2)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([], "the file is empty"),
        (ROWS[:7], r"c\.jsonl:5: its prompt has 3 of the 4 candidates that benchmark\.n asks for; so few have 1 of 2"),
        ([*ROWS, ROWS[2]], r"c\.jsonl:9: repeats the candidate at c\.jsonl:3 \(benchmark\.repeated=keep"),
        ([*ROWS, {"prompt": "a", "candidate": "q", "gold": math.nan}], r'c\.jsonl:9: "gold" is nan, not a finite'),
        ([*ROWS, {"prompt": "a", "candidate": "q", "gold": "high"}], r"c\.jsonl:9: \"gold\" is 'high', not a number"),
        ([*ROWS, {"prompt": "a", "candidate": "q"}], r"c\.jsonl:9: has no gold reward, earlier rows have one"),
        ([{"prompt": "a", "candidate": None}], r'c\.jsonl:1: "candidate" is null, not text'),
        ([{"prompt": "a", "answer": "q"}], r'c\.jsonl:1: "candidate" is missing, not text'),
        ([{"prompt": "a", "candidates": []}], r'c\.jsonl:1: "candidates" is \[\], not a list of texts'),
        ([{"promt": "a", "candidate": "q"}], r'c\.jsonl:1: "prompt" is missing \(did you mean "promt"\?\)'),
        ([{"prompt": "a", "candidates": ["x", "y"], "gold": [1]}], r'"gold" is \[1\], not a list of 2 numbers'),
        ([{"id": 1, "prompt": p, "candidate": "x"} for p in "ab"], r'c\.jsonl:2: the id "1" names another prompt at c'),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(rows, line, tmp_path):
    with pytest.raises(DataError, match=line) as error:
        judged(write(tmp_path / "c.jsonl", rows))
    assert "\n" not in str(error.value)


def test_equal_samples_may_count_each(tmp_path):
    result, data = judged(write(tmp_path / "c.jsonl", [*ROWS, ROWS[2]]), repeated="keep")
    assert data["sources"][0]["repeated"] == 1
    assert result.metrics["overall"]["n"] == 2


def test_a_reward_model_that_gives_nan_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r'the score of "prompt-0" is nan \(8 such scores\)'):
        judged(write(tmp_path / "c.jsonl", ROWS), lambda texts: np.full(len(list(texts)), np.nan))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"n": 1}, r"benchmark\.n: must be at least 2"),
        ({"candidates": 8}, r"benchmark\.candidates: 8 are fewer than benchmark\.n=16"),
        ({"path": "f", "policy": "p"}, r"benchmark\.policy: the candidates come from the file"),
        ({"prompts": 0}, r"benchmark\.prompts: must be at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(settings, line):
    with pytest.raises(ConfigError, match=line):
        build(BestOfNConfig, settings, "benchmark")


# ---- from a policy


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small random causal model with a chat template."""
    path = tmp_path_factory.mktemp("policy")
    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat_template = CHAT
    tiny.random_writer("qwen3", tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_policy_writes_the_same_candidates_whatever_was_written_before_and_each_once(model, tmp_path):
    config = PolicyConfig(str(model), max_new_tokens=12)
    first = Policy(config, tmp_path, torch.device("cpu"))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    written = first.write(PROMPT, 4)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(written.texts)) > 1
    again = Policy(config, tmp_path, torch.device("cpu"))
    assert again.write(PROMPT, 4) == written
    assert "_model" not in vars(again)  # it read them from disk
    elsewhere = Policy(config, tmp_path / "other", torch.device("cpu"))
    elsewhere.write((Message("user", "Other?"),), 4)
    assert elsewhere.write(PROMPT, 4) == written
    assert Policy(PolicyConfig(str(model), max_new_tokens=12, seed=1), tmp_path, torch.device("cpu")).write(
        PROMPT, 4
    ) != (written)


def test_a_policy_without_a_chat_template_says_so_and_may_be_asked_in_plain_turns(tmp_path):
    bare = Policy(PolicyConfig("random:qwen3", max_new_tokens=4), tmp_path, torch.device("cpu"))
    with pytest.raises(ConfigError, match=r'benchmark\.policy: "random:qwen3" has no chat template') as error:
        bare.write(PROMPT, 2)
    assert "policy_template=plain" in str(error.value)
    plain = Policy(PolicyConfig("random:qwen3", template="plain", max_new_tokens=4), tmp_path, torch.device("cpu"))
    assert len(plain.write(PROMPT, 2).texts) == 2


def test_a_prompt_longer_than_the_context_loses_its_beginning_and_is_counted(tmp_path):
    policy = Policy(PolicyConfig("random:qwen3", template="plain", max_new_tokens=4), tmp_path, torch.device("cpu"))
    written = policy.write((Message("user", "x" * 5000),), 2)
    assert (written.prompt_cut, len(written.texts)) == (True, 2)


def test_a_policy_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r'benchmark\.policy: "\./none" cannot be loaded as a causal model'):
        Policy(PolicyConfig("./none"), tmp_path, torch.device("cpu"))


def test_best_of_n_of_a_policy_reads_the_gold_of_planted_replies(model, tmp_path):
    preferences = load_planted(PlantedConfig(size=1, validation=1, test_size=8))
    settings = {"policy": str(model), "prompts": 3, "n": 2, "candidates": 4, "max_new_tokens": 6}
    benchmark = of(**settings).at(tmp_path, torch.device("cpu"))
    brought = benchmark.check(preferences)
    assert brought["policy"]["weights"].startswith("sha256:")
    table, data = benchmark.score(lengths, preferences)
    assert len(table) == 12
    assert data["policy"]["template"] == "chat"
    result = benchmark.evaluate(table)
    assert str(model) not in json.dumps(result.protocol)
    assert "reads in the text" in result.protocol["gold"]
    assert result.metrics["overall"]["n"] == 3
