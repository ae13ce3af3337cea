"""How long `tiny_writer` takes to make, and whether it writes what the planted world reads, to prompts it never saw.

The model is made afresh and sampled as best-of-n samples it. A reply is parsed if the world's author could have written
it: every sentence is the world's, all are about one topic, and if that is the topic asked about, the reader hears an
answer to the question (`mars.pool.planted_reading`). The author himself, whom the model imitates, is measured beside
it; he strays from the question in one of nine replies, so no more than the rest can answer.

    python -m benchmarks.speed writer [--prompts 100] [--number 32] [--dialogues 2000]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.models.policy import Policy, PolicyConfig
from benchmarks.models.tiny_writer import WriterConfig, tiny_writer
from benchmarks.order_statistics import expected_best
from mars.pool.planted_reading import read
from mars.preferences.pair import Pair
from mars.worlds.planted import World, load_planted
from mars.worlds.planted_candidates import candidates
from mars.worlds.planted_latents import gold
from mars.worlds.planted_settings import PlantedConfig
from mars.worlds.planted_words import topics_of

BEST = 16


def parsed(text: str, pair_id: str) -> bool:
    """Whether the world's author could have replied `text` to the pair's question. Raises as `read`."""
    topics = topics_of(text)
    return bool(topics) and (World.of(pair_id).latent(pair_id).topic not in topics or read(text, pair_id).on_topic)


def replies_measured(replies: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """What is in `replies`, equally many for each pair id: shares, and gold reward as it is read.

    gold_sd: within a prompt, pooled. best: gold of the best of BEST by gold. distinct: of a prompt's replies.
    """
    heard = {pair_id: [read(text, pair_id) for text in texts] for pair_id, texts in replies.items()}
    rewards = np.array([[gold(one) for one in of_prompt] for of_prompt in heard.values()])
    return {
        "parsed": float(np.mean([parsed(text, pair_id) for pair_id, texts in replies.items() for text in texts])),
        "answers": float(np.mean([one.on_topic for of_prompt in heard.values() for one in of_prompt])),
        "gold": float(rewards.mean()),
        "gold_sd": float(np.sqrt(rewards.var(axis=1, ddof=1).mean())),
        "best": float(expected_best(rewards, rewards, min(BEST, rewards.shape[1])).mean()),
        "distinct": float(np.mean([len(set(texts)) / len(texts) for texts in replies.values()])),
    }


def _prompts(number: int) -> list[Pair]:
    """Test pairs with distinct prompts."""
    pairs = load_planted(PlantedConfig(size=1, validation=1, test_size=2 * number)).tests["test"]
    return list({pair.prompt: pair for pair in pairs}.values())[:number]


def main(prompts: int = 100, number: int = 32, dialogues: int = WriterConfig.dialogues) -> None:
    config = replace(WriterConfig(), dialogues=dialogues)
    with tempfile.TemporaryDirectory() as folder:
        clock, cpu = time.perf_counter(), time.process_time()
        directory = tiny_writer(Path(folder), config)
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
        print(f"made in {clock:.0f} s with {torch.get_num_threads()} threads ({cpu:.0f} s of CPU)")
        policy = Policy(PolicyConfig(str(directory)), Path(folder), torch.device("cpu"))
        pairs, clock = _prompts(prompts), time.perf_counter()
        written = {pair.id: policy.write(pair.prompt, number).texts for pair in pairs}
        print(f"{prompts * number} replies to {prompts} test prompts in {time.perf_counter() - clock:.0f} s")
    author = {pair.id: [text for text, _ in candidates(pair.id, number)] for pair in pairs}
    for name, replies in (("tiny_writer", written), ("its author", author)):
        print(f"{name:12s}", ", ".join(f"{key} {value:.3f}" for key, value in replies_measured(replies).items()))
