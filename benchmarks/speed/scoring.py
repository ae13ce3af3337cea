"""Scoring speed beside the usual way, on the same model, weights and rows, in one process.

    python -m benchmarks.speed.scoring ../shared/data/hh_rlhf/harmless-base [--pairs 400] [--repeats 3]

The usual way: rows in the file's order, every text padded to the limit, chosen and rejected in two passes, the model as
transformers loads it. Ours: each distinct text once, longest first, padded to its neighbours, linear layers packed on a
CPU. Both run in turn, so that the ratio holds when the machine's speed drifts; tokenising is inside both clocks. Prints
the pairs/s of each, the ratio, and the largest difference between any two scores of the same text.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml

from mars.config import build
from mars.preferences.dataset import DatasetConfig, load
from mars.preferences.dialogue import render_plain
from mars.preferences.pair import Pair
from mars.reward.backbone import BackboneConfig
from mars.reward.engine import Engine
from mars.reward.features import pack_linears
from mars.reward.model import RewardModel, text_encoder
from mars.reward.scoring import ModelScorer
from mars.reward.tokens import Tokens

ROOT = Path(__file__).resolve().parents[2]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="a directory of HH-RLHF rows")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16, help="texts in a batch of the usual way")
    parser.add_argument("--token-budget", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    settings = yaml.safe_load((ROOT / "conf" / "backbone" / f"{options.backbone}.yaml").read_text())
    backbone = build(BackboneConfig, settings | {"max_length": options.length}, "backbone")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    engine = Engine(backbone, "full", device, options.token_budget, Path(tempfile.gettempdir()))
    plain = engine.new_model(seed=0)
    assert isinstance(plain, RewardModel)
    packed = plain if device.type == "cuda" else copy.deepcopy(plain)
    if device.type == "cpu":
        pack_linears(packed.model)
    data = load(DatasetConfig("hh_rlhf", path=str(options.rows), size=10, validation=0, test_size=options.pairs))
    pairs = list(data.tests["test"])
    tokenizer = engine.tokenizer
    tokenizer.truncation_side = "left"

    def ours() -> np.ndarray:
        scorer = ModelScorer(
            packed, Tokens(text_encoder(backbone, tokenizer), device), engine.render, options.token_budget
        )
        return scorer((p.prompt, p.side(s)) for p in pairs for s in ("chosen", "rejected")).reshape(-1, 2)

    def clock(run: object) -> tuple[float, np.ndarray]:
        began = time.perf_counter()
        scores = run()  # type: ignore[operator]
        return time.perf_counter() - began, scores

    clock(lambda: usual(plain, tokenizer, pairs[:16], options.length, options.batch))  # warms
    rounds = [
        (clock(ours), clock(lambda: usual(plain, tokenizer, pairs, options.length, options.batch)))
        for _ in range(options.repeats)
    ]
    speed = [statistics.median(len(pairs) / one[i][0] for one in rounds) for i in (0, 1)]
    ratio = statistics.median(slow[0] / fast[0] for fast, slow in rounds)
    difference = max(float(np.abs(fast[1] - slow[1]).max()) for fast, slow in rounds)
    print(f"{device}, {torch.get_num_threads()} threads, {len(pairs)} HH pairs, {options.repeats} repeats")
    print(f"ours {speed[0]:.1f} pairs/s, the usual way {speed[1]:.1f} pairs/s, ratio {ratio:.2f}")
    print(f"largest difference of a score {difference:.1e}")


if __name__ == "__main__":
    main()
