"""The tiny writer: made once, whatever its process; its replies are the world's; it is an ordinary model directory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.models import tiny_writer as module
from benchmarks.models.policy import Policy, PolicyConfig
from benchmarks.models.tiny_writer import WriterConfig, named_writer, tiny_writer, train
from benchmarks.speed.writer import parsed, replies_measured
from mars.cache import Cache
from mars.claims import TABLE, Claims, free, key_of
from mars.config import ConfigError
from mars.preferences.pair import Pair
from mars.worlds.planted import load_planted
from mars.worlds.planted_candidates import candidates
from mars.worlds.planted_settings import PlantedConfig

SMALL = WriterConfig(width=64, heads=2, layers=2, phrases=300, dialogues=1500, batch_size=8, lr=8e-3, sharpness=1.6)
NONE = WriterConfig(width=16, heads=1, layers=1, phrases=10, dialogues=8, batch_size=8)  # one step


@pytest.fixture(scope="module")
def prompts() -> list[Pair]:
    return list(load_planted(PlantedConfig(size=1, validation=1, test_size=12)).tests["test"])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a writer that was trained for seconds."""
    return tiny_writer(tmp_path_factory.mktemp("cache"), SMALL)


def replies(directory: Path, cache: Path, prompts: list[Pair]) -> dict[str, list[str]]:
    policy = Policy(PolicyConfig(str(directory), max_new_tokens=64), cache, torch.device("cpu"))
    return {pair.id: policy.write(pair.prompt, 16).texts for pair in prompts}


def runs_of_three(texts: Iterable[str]) -> list[tuple[str, ...]]:
    return [run for text in texts for words in [text.split()] for run in zip(words, words[1:], words[2:], strict=False)]


def test_a_writer_trained_for_seconds_writes_as_the_author_does_and_an_untrained_one_does_not(
    small: Path, tmp_path: Path, prompts: list[Pair]
) -> None:
    """The full size takes minutes; `python -m benchmarks.speed writer` measures how much of it the world can read."""
    author = set(runs_of_three(text for pair in prompts for text, _ in candidates(pair.id, 200)))

    def familiar(directory: Path) -> float:
        written = runs_of_three(text for texts in replies(directory, tmp_path, prompts).values() for text in texts)
        return sum(run in author for run in written) / len(written)

    assert familiar(small) > 0.25
    assert familiar(tiny_writer(tmp_path, NONE)) < 0.05


def test_replies_of_the_author_are_parsed_and_other_texts_are_not(prompts: list[Pair]) -> None:
    own = {pair.id: [text for text, _ in candidates(pair.id, 16)] for pair in prompts}
    found = replies_measured(own)
    assert found["parsed"] == 1
    assert found["best"] > found["gold"] + 1
    asked, text = next((pair_id, texts[0]) for pair_id, texts in own.items())
    assert not parsed(f"{text} This sentence is new.", asked)
    assert not parsed("This comes up often.", asked)  # and answers nothing
    assert not parsed("", asked)


def test_it_is_made_once_and_another_setting_is_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(module, "train", lambda config: made.append(config) or train(config))
    first = tiny_writer(tmp_path, NONE)
    assert tiny_writer(tmp_path, NONE) == first
    assert made == [NONE]
    assert tiny_writer(tmp_path, WriterConfig(**{**vars(NONE), "seed": 1})) != first
    assert len(made) == 2
    assert not [path.name for path in first.parent.iterdir() if path.name.startswith(".")]


def test_what_another_process_is_making_is_waited_for_and_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tiny_writer(tmp_path / "other", NONE)
    home = tmp_path / "cache" / "writers"
    file = Cache(home / "claims.sqlite", "claims", "owner", TABLE, "")
    file.create()
    monkeypatch.setattr(module, "train", lambda config: pytest.fail("made twice"))
    with Claims(file).claim(free([key_of(done.name)])):
        found: list[Path] = []
        waiting = threading.Thread(target=lambda: found.append(tiny_writer(tmp_path / "cache", NONE, look=0.01)))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        os.replace(done, home / done.name)
        waiting.join(10)
    assert found == [home / done.name]


def test_another_source_is_left_alone_and_a_number_has_to_be_one(tmp_path: Path) -> None:
    assert named_writer("Qwen/Qwen3-0.6B", tmp_path) == "Qwen/Qwen3-0.6B"
    for wrong in ("tiny_writer:0", "tiny_writer:few"):
        with pytest.raises(ConfigError, match=r"benchmark\.policy: .* a number of dialogues"):
            named_writer(wrong, tmp_path)


def test_an_interrupted_making_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(config: WriterConfig) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", stopped)
        with pytest.raises(KeyboardInterrupt):
            tiny_writer(tmp_path, NONE)
    assert (tiny_writer(tmp_path, NONE) / "model.safetensors").exists()  # nor does its claim stand in the way


def test_the_same_settings_give_the_same_weights_and_leave_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, other = (train(NONE)[0].state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_is_a_directory_of_transformers_with_a_chat_template_and_an_end(small: Path, prompts: list[Pair]) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(small), AutoTokenizer.from_pretrained(small)
    turns = [{"role": "user", "content": prompts[0].prompt[0].content}]
    reply = candidates(prompts[0].id, 1)[0][0]
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": reply}], tokenize=False)
    assert whole == f"{asked}{reply}{tokenizer.eos_token}"
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == whole
    assert tokenizer.decode(tokenizer("Süß, 3 × 4?")["input_ids"]) == "Süß, 3 × 4?"
    assert ids[-1] == tokenizer.eos_token_id == model.generation_config.eos_token_id
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert not [name for name in model.state_dict() if not np.isfinite(model.state_dict()[name].numpy()).all()]


def test_a_policy_takes_it_by_its_name(tmp_path: Path) -> None:
    made = tiny_writer(tmp_path, WriterConfig(dialogues=8))
    named = Policy(PolicyConfig("tiny_writer:8"), tmp_path, torch.device("cpu"))
    assert named.settings == Policy(PolicyConfig(str(made)), tmp_path, torch.device("cpu")).settings
