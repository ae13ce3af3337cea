"""Frozen-encoder speed on a CPU: linear layers packed for oneDNN against PyTorch's own path, side by side.

    python -m benchmarks.speed encoder [--texts 400] [--repeats 5]

Planted texts through the minilm backbone. Prints the median tokens/s of each, their ratio, and the largest difference
of any feature.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from benchmarks.speed.clock import Seconds, compare, timed
from benchmarks.speed.shapes import backbone_of
from mars.preferences.dialogue import render_plain
from mars.reward import encoder as encoding
from mars.reward.encoder import FrozenEncoder
from mars.reward.weights import load_tokenizer, text_encoder
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig


def main(texts: int = 400, repeats: int = 5) -> None:
    backbone = backbone_of("minilm")
    pairs = load_planted(PlantedConfig(size=texts)).base
    rendered = [render_plain(pair.prompt, pair.chosen) for pair in pairs]

    def encode(packed: bool) -> tuple[np.ndarray, Seconds]:
        with tempfile.TemporaryDirectory() as cache:
            encoder = FrozenEncoder(backbone, Path(cache), torch.device("cpu"), token_budget=2048)
            with mock.patch.object(encoding, "pack_linears", encoding.pack_linears if packed else lambda m: m):
                encoder(rendered[:8])  # loads and warms
            return timed(lambda: encoder(rendered[8:])[0])

    tokens = sum(len(ids) for ids in text_encoder(backbone, load_tokenizer(backbone))(rendered[8:])[0])
    print(f"{torch.get_num_threads()} threads, {len(rendered) - 8} texts, {tokens} tokens, {repeats} repeats")
    compare({"packed": partial(encode, True), "plain": partial(encode, False)}, tokens, "tokens", repeats)
