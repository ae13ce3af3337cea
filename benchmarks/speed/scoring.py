"""Scoring speed beside the usual way, on the same model, weights and rows, in one process.

    python -m benchmarks.speed scoring ../shared/data/hh_rlhf/harmless-base [--pairs 400] [--repeats 3]

The usual way: rows in the file's order, every text padded to the limit, chosen and rejected in two passes, the model as
transformers loads it. Ours: each distinct text once, longest first, padded to its neighbours, linear layers packed on a
CPU. Tokenising is inside both clocks. Prints the pairs/s of each, the ratio, and the largest difference between any two
scores of the same text. batch: texts in a batch of the usual way.
"""

from __future__ import annotations

import copy
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.clock import compare, timed
from benchmarks.speed.shapes import backbone_of
from mars.preferences.dataset import DatasetConfig, load
from mars.preferences.dialogue import render_plain
from mars.preferences.pair import Pair
from mars.reward.engine import Engine
from mars.reward.model import RewardModel
from mars.reward.packed_linear import pack_linears
from mars.reward.scoring import ModelScorer
from mars.reward.texts import Texts
from mars.reward.tokens import Tokens
from mars.reward.weights import text_encoder

TOKENS = 4096  # padded, in one forward pass of ours: what `benchmarks.evaluate` takes


def usual(reward: RewardModel, tokenizer: object, pairs: list[Pair], length: int, batch: int) -> np.ndarray:
    """[N, 2] scores as most evaluation scripts take them; texts cut from the left, so that both ways read the same."""
    columns = []
    for side in ("chosen", "rejected"):
        scores = []
        for start in range(0, len(pairs), batch):
            rendered = [render_plain(pair.prompt, pair.side(side)) for pair in pairs[start : start + batch]]  # type: ignore[arg-type]
            texts = [text.prefix + text.response for text in rendered]
            inputs = tokenizer(  # type: ignore[operator]
                texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            ).to(reward.model.device)
            with torch.inference_mode():
                scores.append(reward(inputs["input_ids"], inputs["attention_mask"]).float().cpu().numpy())
        columns.append(np.concatenate(scores))
    return np.stack(columns, axis=1)


def main(
    rows: str,
    backbone: str = "minilm",
    pairs: int = 400,
    length: int = 512,
    batch: int = 16,
    repeats: int = 3,
) -> None:
    cfg = backbone_of(backbone, max_length=length)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    engine = Engine(cfg, "full", device, TOKENS, Path(tempfile.gettempdir()))
    plain = engine.new_model(seed=0)
    assert isinstance(plain, RewardModel)
    packed = plain if device.type == "cuda" else copy.deepcopy(plain)
    if device.type == "cpu":
        pack_linears(packed.model)
    data = load(DatasetConfig("hh_rlhf", path=rows, size=10, validation=0, test_size=pairs))
    test = list(data.tests["test"])
    tokenizer = engine.tokenizer
    tokenizer.truncation_side = "left"

    def ours() -> np.ndarray:
        texts = Texts(Tokens(text_encoder(cfg, tokenizer), device), engine.texts.render)
        scorer = ModelScorer(packed, texts, TOKENS)
        return scorer((p.prompt, p.side(s)) for p in test for s in ("chosen", "rejected")).reshape(-1, 2)

    theirs = partial(usual, plain, tokenizer, length=length, batch=batch)
    theirs(test[:16])  # warms
    print(f"{device}, {torch.get_num_threads()} threads, {len(test)} HH pairs, {repeats} repeats")
    ways = {"ours": lambda: timed(ours), "the usual way": lambda: timed(partial(theirs, test))}
    compare(ways, len(test), "pairs", repeats)
