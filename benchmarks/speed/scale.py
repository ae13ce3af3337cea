"""What a corpus of a million pairs costs a run beside its encoder: seconds and peak memory of every stage of a round.

    python -m benchmarks.speed scale                                      (1,000,000 pairs × 384 features)
    python -m benchmarks.speed scale --pairs 100000 --runs ""             (no head runs)
    python -m benchmarks.speed scale --pairs 0 --runs "" --choices 10000000

Everything is the code of a run with `train=head`, in its order: the subset drawn and validation pairs held out, texts
numbered, margins, allocation and selection, the round's rows, one epoch of training, the record, the tables. What is
not measured are words and the encoder. A pair is made when it is read, a text is an address of two words, a variant the
address with a number, and the features are random, with a direction that tells chosen from rejected; they are put where
a run keeps cached ones, and making them is shown as a stage of its own, which no total counts. Real words are on disk
and cost a pair its offset in memory. Curvature is left out, as in a run of more than 87,000 pairs.

`--choices` are corpora of which a round's rows are chosen and nothing more, a tenth as many as there are pairs: evenly,
and by MARS from a head whose margins differ. 10,000,000 pairs write 29 GiB of features into the temporary directory.

A stage's peak is that of the process while the stage ran (Linux), all that is held from earlier stages included;
PyTorch alone is some 300 MiB. `--runs` are whole runs of so many pairs (`backbone=tiny`, planted words, empty cache),
each a process of its own: seconds and memory there include words, features and evaluation.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import yaml

from baselines.uniform import Uniform
from benchmarks.speed.clock import timed
from benchmarks.speed.machine import peak_mebibytes
from benchmarks.speed.report import measure
from mars.augment.variant import Request, Variant
from mars.config import build
from mars.files import write_parquet_parts
from mars.method.checkpoint import Keeper
from mars.method.logger import Logger
from mars.method.loop import Loop
from mars.method.settings import Plan, RoundsConfig, TrainConfig
from mars.method.state import State
from mars.method.strategy import Mars
from mars.method.trainer import Trainer
from mars.pool.pool import Pool
from mars.preferences.columns import Lazy
from mars.preferences.dialogue import Message, Rendered
from mars.preferences.draws import hold_out, shuffled
from mars.preferences.pair import Pair
from mars.record.layout import ALLOCATION, SELECTION
from mars.record.tables import allocations, selections
from mars.reward.backbone import BackboneConfig
from mars.reward.engine import Engine
from mars.reward.features import Features
from mars.reward.texts import Texts, rendering

ROOT = Path(__file__).resolve().parents[2]
VALIDATION = 500  # pairs
_CLEAR_PEAK = "5"  # what Linux takes for it
T = TypeVar("T")


class Numbered:
    """Augmenter: a variant is the source and its number, so that none costs anything to make."""

    name, together, batch, stored = "numbered", 1, 4096, False
    settings: Mapping[str, Any] = {}

    def identity(self, request: Request) -> str:
        return request.source

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        return [Variant(f"{request.source} {request.number}", "numbered") for request in requests]


class Drawn:
    """Encoder: unit vectors at random; those of chosen and rejected addresses lean to opposite sides of a direction.

    The same 65,536 × d numbers serve for every 65,536 texts, each time one feature further on.
    """

    tokenizer = None

    def __init__(self, features: int):
        rng = np.random.default_rng(0)
        self._direction = 0.1 * rng.standard_normal(features, dtype=np.float32)
        self._numbers = rng.standard_normal((1 << 16, features), dtype=np.float32)
        self._calls = 0

    def __call__(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        vectors = np.roll(self._numbers[: len(texts)], self._calls, axis=1)
        self._calls += 1
        lean = np.array([1 if text.response.startswith(" chosen") else -1 for text in texts], dtype=np.float32)
        vectors += lean[:, None] * self._direction
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors, np.zeros(len(texts), dtype=np.uint8)

    def padded(self, texts: Sequence[Rendered]) -> tuple[np.ndarray, np.ndarray]:
        return self(texts)


class Corpus(Lazy):
    """`size` pairs without words, each made when it is read, as planted ones are."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def pair(self, number: int) -> Pair:
        return Pair(f"scale-{number}", (Message("user", f"prompt {number}"),), f"chosen {number}", f"rejected {number}")


def subset(pairs: Sequence[Pair], size: int) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """(base, validation), drawn as `mars.preferences.dataset.load` draws them."""
    validation, rest, _ = hold_out(shuffled(pairs, 0, "train"), VALIDATION)
    return rest[:size], validation


def engine(features: int, cache: Path) -> Engine:
    """A run's engine with `train=head`, its features drawn at random."""
    settings = yaml.safe_load((ROOT / "conf" / "backbone" / "tiny.yaml").read_text())
    made = Engine(build(BackboneConfig, settings, "backbone"), "head", torch.device("cpu"), 2048, cache)
    made.inputs = Features(Drawn(features))
    made.texts = Texts(made.inputs, rendering("plain", None))
    return made


def stage(name: str, work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns and the seconds it takes; prints them with the peak memory."""
    try:
        Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
    except OSError:
        name += " (peak since the start)"
    result, seconds = timed(work)
    print(f"{name}: {seconds}, peak {peak_mebibytes():.0f} MiB", flush=True)
    return result, seconds.clock


def begin(pairs: int, features: int, budget: int, folder: Path) -> tuple[Loop, float]:
    """(the loop of a run of one round, the seconds its subset took); prints what comes before the round."""
    plan = Plan(RoundsConfig(number=1, budget=budget), TrainConfig(mode="head", lr=0.05), batch_size=64, seed=0)
    whole = Corpus(pairs + pairs // 20 + VALIDATION)
    (base, validation), drawing = stage("subset", lambda: subset(whole, pairs))
    made, pool = engine(features, folder), Pool(base, Numbered())
    trainer, _ = stage(
        "texts numbered, features drawn (not counted)",
        lambda: Trainer(made, pool, validation, plan, lambda: made.new_model(0)),
    )
    return Loop(trainer, State(), Logger()), drawing


def measure_choice(pairs: int, features: int, folder: Path) -> None:
    """Prints what it takes to choose a round's rows, a tenth as many as there are pairs, evenly and by MARS."""
    budget = pairs // 10
    loop, drawing = begin(pairs, features, budget, folder)
    view = loop.view(loop.state)

    def uniform() -> int:
        untouched = replace(view, pool=Pool(view.pairs, Numbered()))
        return len(Uniform().select(untouched).rows)

    _, evenly = stage("uniform selection", uniform)
    for theta in loop.learner.model.parameters():
        theta.data *= 50  # margins of a head that was trained, some ±1.4: at first they are all near 0
    _, scoring = stage("margins", lambda: view.margins)
    chosen, choosing = stage("allocation and selection", lambda: loop.select(Mars(), view, loop.state))
    told = ", ".join(f"{name} {value:.4g}" for name, value in chosen.diagnostics.items())
    on_disk = f"{8 * pairs * features / 2**30:.1f} GiB on disk"
    print(f"{pairs} pairs × {features} features, {on_disk}, {budget} rows drawn ({told})")
    print(f"uniform: subset and selection {drawing + evenly:.1f} s")
    print(f"MARS: subset, margins, allocation and selection {drawing + scoring + choosing:.1f} s", flush=True)


def measure_round(pairs: int, features: int, budget: int, folder: Path) -> None:
    """Prints every stage of a run of one round."""
    loop, drawing = begin(pairs, features, budget, folder)
    pool, view = loop.pool, loop.view(loop.state)
    _, scoring = stage("margins", lambda: view.margins)
    selection, choosing = stage("allocation and selection", lambda: loop.select(Mars(), view, loop.state))
    data, _ = stage("rows, and features of the drawn ones (not counted)", lambda: loop.rows(loop.state, selection))
    state = loop.state.begin(view, selection, {}, {})
    stats, training = stage("training", lambda: loop.train(state, data, Keeper(lambda state: None)))
    record, judging = stage("record", lambda: loop.validate(state, view, selection, data, stats))
    state = state.after(record, loop.snapshot(loop.learner))
    _, saving = stage("state saved", lambda: state.save(folder / "checkpoint"))

    def write() -> None:
        write_parquet_parts(folder / SELECTION, selections(state.drawn, pool))
        write_parquet_parts(folder / ALLOCATION, allocations(state.drawn, state.margins, pool))

    _, writing = stage("tables", write)
    print(f"{pairs} pairs × {features} features, {budget} rows drawn, {stats.steps} steps")
    print(f"subset, margins, allocation and selection: {drawing + scoring + choosing:.1f} s")
    print(f"with the round: {drawing + scoring + choosing + training + judging + saving + writing:.1f} s")


def measure_run(pairs: int, folder: Path) -> None:
    """Prints what a whole run of `pairs` planted pairs takes, features included."""
    place = folder / str(pairs)
    overrides = [f"study={place}/study", f"cache={place}/cache", f"dataset.size={pairs}", "backbone=tiny"]
    seconds, memory = measure("mars.run", *overrides)
    each = f"{1000 * seconds.clock / pairs:.2f} ms and {1024 * memory / pairs:.1f} KiB a pair"
    print(f"a run of {pairs} pairs: {seconds.clock:.1f} s, peak {memory:.0f} MiB, {each}", flush=True)


def main(
    pairs: int = 1_000_000,
    features: int = 384,
    budget: int = 100_000,
    runs: str = "5000,20000,80000",
    choices: str = "",
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if pairs:
            measure_round(pairs, features, budget, Path(folder))
        for size in filter(None, choices.split(",")):
            measure_choice(int(size), features, Path(folder))
        for size in filter(None, runs.split(",")):
            measure_run(int(size), Path(folder))
