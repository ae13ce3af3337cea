"""A small writer trained by TRL on a reward that counts a word: it rises, goes on where it stopped, and is kept."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.align.replies import divergence, repetition
from benchmarks.models.policy import Policy, PolicyConfig
from benchmarks.models.tiny_writer import WriterConfig, tiny_writer
from benchmarks.protocols.trained_policy import TrainedPolicy, TrainedPolicyConfig
from mars.config import ConfigError, UserError, build
from mars.preferences.dialogue import Message
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("trl"), reason="the extra align")
CPU = torch.device("cpu")
SMALL = WriterConfig(width=32, layers=1, heads=2, phrases=100, dialogues=64)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_writer(tmp_path_factory.mktemp("writers"), SMALL))


@pytest.fixture(scope="module")
def preferences():
    return load_planted(PlantedConfig(size=20, validation=1, test_size=20))


LONG = {"steps": 12, "batch_size": 32, "lr": 5e-2}


def of(writer: str, cache: Path, **training) -> TrainedPolicy:
    settings = {
        "policy": writer, "prompts": 4, "samples": 2, "every": 2, "max_new_tokens": 12, "resamples": 20,
        "training": {"steps": 4, "batch_size": 8, "replies": 4, "lr": 5e-2, "beta": 0.01, **training},
    }  # fmt: skip
    return TrainedPolicy(build(TrainedPolicyConfig, settings, "benchmark")).at(cache, CPU)


def likes(letter: str, until: int | None = None):
    """A reward model that counts a letter; it is interrupted when it is asked the `until`-th time."""
    asked = 0

    def scorer(texts, padded: bool = False) -> np.ndarray:
        nonlocal asked
        asked += 1
        if asked == until:
            raise KeyboardInterrupt
        return np.array([float(text.count(letter)) for _, text in texts])

    return scorer


def proxies(table: pd.DataFrame) -> list[float]:
    return table.groupby("step")["score"].mean().tolist()


@pytest.fixture(scope="module")
def undisturbed(writer: str, preferences, tmp_path_factory: pytest.TempPathFactory):
    cache = tmp_path_factory.mktemp("undisturbed")
    return cache, *of(writer, cache, **LONG).score(likes("e"), preferences)


def test_the_proxy_rises_and_the_policy_moves_away(undisturbed):
    _, table, data = undisturbed
    assert sorted(set(table["step"])) == [0, 2, 4, 6, 8, 10, 12]
    assert proxies(table)[-1] > 2 * proxies(table)[0]
    assert (table.loc[table["step"] == 0, "kl"] == 0).all()
    assert (table.loc[table["step"] == 12, "kl"] > 0).all()
    assert table["gold"].notna().all()
    assert [line["step"] for line in data["training"]] == list(range(1, 13))
    assert {"proxy", "gold", "kl", "entropy", "tokens", "repetition", "grad_norm"} <= data["training"][0].keys()


def test_the_trained_policy_is_an_ordinary_directory(undisturbed):
    cache, _, data = undisturbed
    kept = cache / "policies" / data["trained_as"] / "policy"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(kept), AutoTokenizer.from_pretrained(kept)
    assert tokenizer.chat_template
    assert not list(cache.glob("policies/*/checkpoints"))
    again = Policy(PolicyConfig(str(kept), max_new_tokens=12), cache, CPU)
    with again.drawing(0):
        ids, _ = again.prompt_ids((Message("user", "Is tea hot?"),))
        texts = [again.text(reply) for reply in again.sample([ids] * 16)]
    assert np.mean([text.count("e") for text in texts]) > proxies(undisturbed[1])[0]
    assert model.config.model_type == "qwen3"


def test_what_was_interrupted_goes_on_to_the_same_end(undisturbed, writer, preferences, tmp_path):
    benchmark = of(writer, tmp_path, **LONG)
    with pytest.raises(KeyboardInterrupt):
        benchmark.score(likes("e", until=8), preferences)  # within the sixth step: after the checkpoint of the fourth
    (home,) = (tmp_path / "policies").iterdir()
    assert {"checkpoint-2", "checkpoint-4"} & {path.name for path in (home / "checkpoints").iterdir()}
    table, data = benchmark.score(likes("e"), preferences)
    pd.testing.assert_frame_equal(table, undisturbed[1])
    numbers = [{k: v for k, v in line.items() if k != "seconds"} for line in data["training"]]
    assert numbers == [{k: v for k, v in line.items() if k != "seconds"} for line in undisturbed[2]["training"]]


def test_a_checkpoint_that_is_not_whole_is_not_gone_on_from(undisturbed, writer, preferences, tmp_path):
    benchmark = of(writer, tmp_path, **LONG)
    with pytest.raises(KeyboardInterrupt):
        benchmark.score(likes("e", until=9), preferences)
    (last,) = sorted((tmp_path / "policies").glob("*/checkpoints/checkpoint-4"))
    (last / "whole").unlink()
    (last / "model.safetensors").write_bytes(b"torn")
    table, _ = benchmark.score(likes("e"), preferences)
    pd.testing.assert_frame_equal(table, undisturbed[1])


def test_a_finished_training_is_not_done_again(undisturbed, writer, preferences):
    cache, table, _ = undisturbed
    again, _ = of(writer, cache, **LONG).score(likes("e", until=2), preferences)  # asked once, for the start
    pd.testing.assert_frame_equal(again, table)


def test_another_reward_model_trains_another_policy(undisturbed, writer, preferences):
    cache, _, data = undisturbed
    _, other = of(writer, cache, **LONG).score(likes("a"), preferences)
    assert other["trained_as"] != data["trained_as"]


@pytest.mark.parametrize("training", [{"algorithm": "grpo"}, {"lora_rank": 4}, {"whiten": True, "clip": 1.0}])
def test_other_ways_to_train_run_to_the_end(training, writer, preferences, tmp_path):
    if "lora_rank" in training:
        pytest.importorskip("peft")
    table, data = of(writer, tmp_path, **training).score(likes("e"), preferences)
    last = table[table["step"] == 4]
    assert (last["kl"] > 0).all()
    kept = AutoModelForCausalLM.from_pretrained(tmp_path / "policies" / data["trained_as"] / "policy")
    assert not any("lora" in name for name in kept.state_dict())


def test_a_reward_that_does_not_choose_changes_nothing(writer, preferences, tmp_path):
    table, _ = of(writer, tmp_path, beta=0.0).score(likes("no such word"), preferences)
    assert (table["kl"] == 0).all()


def test_a_reward_model_that_gives_no_number_is_one_line(writer, preferences, tmp_path):
    def broken(texts, padded: bool = False) -> np.ndarray:
        return np.array([float(len(text)) if len(list(prompt)) > 1 else math.nan for prompt, text in texts])

    with pytest.raises(UserError, match=r"trained_policy: .*nan"):
        of(writer, tmp_path).score(broken, preferences)


def test_random_weights_are_refused_before_anything_is_trained(preferences, tmp_path):
    with pytest.raises(ConfigError, match=r"benchmark\.policy: random weights"):
        of("random:qwen3", tmp_path).check(preferences)


def test_divergence_is_the_sum_over_the_vocabulary(writer, tmp_path):
    policy = Policy(PolicyConfig(writer, temperature=0.7), tmp_path, CPU)
    other = AutoModelForCausalLM.from_pretrained(writer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(2.0)

    class Held:
        def __enter__(self):
            return other

        def __exit__(self, *_):
            pass

    prompts, replies = [[5, 6, 7], [8]], [[9, 10], [11, 12, 13]]
    kl, entropy = divergence(policy, Held, prompts, replies)
    wanted = np.zeros(2)
    for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        for k in range(len(reply)):
            read = torch.tensor([prompt + reply[:k]])
            with torch.no_grad():
                p, q = ((model(read).logits[0, -1] / 0.7).softmax(-1) for model in (policy.writer.model, other))
            wanted[row] += (p * (p.log() - q.log())).sum().item()
    assert kl == pytest.approx(wanted, rel=1e-2)
    assert (entropy > 0).all()
    assert divergence(policy, None, prompts, replies)[0].tolist() == [0, 0]


def test_repetition_counts_runs_of_three_words():
    assert repetition("a b c d") == 0
    assert repetition("a b c a b c") == pytest.approx(1 / 4)
    assert repetition("a b") == 0
