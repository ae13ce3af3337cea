"""Frozen-encoder speed on a CPU: linear layers packed for oneDNN against PyTorch's own path, side by side.

    python -m benchmarks.speed.encoder [--texts 400] [--repeats 5]

Planted texts through the minilm backbone, both encoders in turn in one process, so that the ratio holds when the
machine's speed drifts. Prints the median tokens/s of each, their ratio, and the largest difference of any feature.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import yaml

from mars.config import build
from mars.preferences.dialogue import render_plain
from mars.reward import features
from mars.reward.backbone import BackboneConfig
from mars.reward.features import FrozenEncoder
from mars.reward.model import load_tokenizer, text_encoder
from mars.worlds.planted import PlantedConfig, load_planted


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--texts", type=int, default=400)
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()

    conf = Path(__file__).resolve().parents[2] / "conf" / "backbone" / "minilm.yaml"
    backbone = build(BackboneConfig, yaml.safe_load(conf.read_text()), "backbone")
    pairs = load_planted(PlantedConfig(size=options.texts)).base
    texts = [render_plain(pair.prompt, pair.chosen) for pair in pairs]

    def encode(packed: bool) -> tuple[float, np.ndarray]:
        with tempfile.TemporaryDirectory() as cache:
            encoder = FrozenEncoder(backbone, Path(cache), torch.device("cpu"), token_budget=2048)
            with mock.patch.object(features, "pack_linears", features.pack_linears if packed else lambda m: m):
                encoder(texts[:8])  # loads and warms
            began = time.perf_counter()
            vectors, _ = encoder(texts[8:])
            return time.perf_counter() - began, vectors

    tokens = sum(len(ids) for ids in encode_ids(backbone, texts[8:]))
    runs = [(encode(True), encode(False)) for _ in range(options.repeats)]
    packed, plain = (statistics.median(tokens / run[i][0] for run in runs) for i in (0, 1))
    ratio = statistics.median(slow[0] / fast[0] for fast, slow in runs)
    difference = max(float(np.abs(fast[1] - slow[1]).max()) for fast, slow in runs)
    print(f"{torch.get_num_threads()} threads, {len(texts) - 8} texts, {tokens} tokens, {options.repeats} repeats")
    print(f"packed {packed:,.0f} tokens/s, plain {plain:,.0f} tokens/s, ratio {ratio:.2f}")
    print(f"largest difference of a feature {difference:.1e}")


def encode_ids(backbone: BackboneConfig, texts: list) -> list[list[int]]:
    return text_encoder(backbone, load_tokenizer(backbone))(texts)[0]


if __name__ == "__main__":
    main()
