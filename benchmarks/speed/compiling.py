"""Whether `torch.compile` repays: training steps with and without it, side by side on one device.

    python -m benchmarks.speed compiling DIR [--shape minilm] [--pairs 16] [--steps 4] [--repeats 3]

DIR holds HH-RLHF's rows. Compiled is the feed-forward, with BERT the norms beside it: they work token by token.
Attention over packed texts sees other spans in every batch, and would be compiled for each. Nothing compiled before is
used. Prints what compiling takes, the median seconds of a step either way, after how many steps it has paid for itself,
and how far the losses differ.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.speed import shapes
from benchmarks.speed.machine import synchronise
from mars.method.passes import Passes, TrainingSet
from mars.method.settings import TrainConfig
from mars.preferences.dataset import DatasetConfig, load
from mars.reward.engine import Engine

_TOKEN_BY_TOKEN = ("intermediate", "output", "mlp")  # of a layer, by transformers' names


class Way:
    """One model and what it takes for steps of `batch` pairs."""

    def __init__(self, engine: Engine, numbers: np.ndarray, batch: int, compiled: bool):
        model = engine.new_model(seed=0)
        if compiled:
            compile_parts(model)
        data = TrainingSet(numbers, None, [""] * len(numbers))
        self._passes = Passes(engine, model, data, TrainConfig())
        rows = np.arange(len(numbers)).reshape(-1, batch)
        self._steps = [self._passes.cut(of_step, engine.token_budget) for of_step in rows]
        self._device = engine.device

    def steps(self) -> tuple[float, list[float]]:
        """(seconds of a step, the loss of each); no weight moves, so that every call has the same."""
        synchronise(self._device)
        began = time.perf_counter()
        losses = [reading.values()[0] for reading in self._passes.gradients(list(self._steps))]
        return (time.perf_counter() - began) / len(losses), losses


def compile_parts(model: nn.Module) -> None:
    """What of `model` works token by token is compiled at its first use, for batches of any size."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _TOKEN_BY_TOKEN:
            module.compile(dynamic=True)


def main(rows: str, shape: str = "minilm", pairs: int = 16, steps: int = 4, repeats: int = 3) -> None:
    torch.compiler.config.force_disable_caches = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = load(DatasetConfig("hh_rlhf", path=rows, size=pairs * steps, validation=0.0, test_size=8)).base
    with tempfile.TemporaryDirectory() as folder:
        backbone = shapes.write(shape, Path(folder)).backbone
        engine = Engine(backbone, "full", device, 4096 if device.type == "cpu" else 65536, Path(folder))
        numbers = engine.texts.add_pairs(data)
        plain, compiled = (Way(engine, numbers, pairs, way) for way in (False, True))
        plain.steps()
        began = time.perf_counter()
        compiled.steps()
        first = time.perf_counter() - began
        turns = [(plain.steps(), compiled.steps()) for _ in range(repeats)]
    usual, quick = (statistics.median(turn[i][0] for turn in turns) for i in (0, 1))
    once = max(0.0, first - steps * quick)
    paid = f"after {once / (usual - quick):,.0f} steps" if quick < usual else "never"
    difference = max(abs(a - b) for a, b in zip(turns[0][0][1], turns[0][1][1], strict=True))
    print(f"{shape}, {pairs} pairs, {device.type}: a step {usual:.3f} s, compiled {quick:.3f} s")
    print(f"compiling {once:.0f} s, repaid {paid}; losses differ by {difference:.1e} at most")
