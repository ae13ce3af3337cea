"""Training and scoring beside TRL's `RewardTrainer` and beside a plain loop in two passes, in one run on one device.

    python -m benchmarks.speed training ../shared/data/hh_rlhf/harmless-base [--shapes minilm] [--pairs 8,16,64]

Rows are HH-RLHF's, texts of at most 512 tokens. Every way has the same token ids and weights (`benchmarks.speed.ways`).
Ours runs as a run does by default, and on a GPU once more without deterministic operations. The plain loop pads every
text to 512 tokens and passes chosen and rejected one after the other. Three kinds of work: training steps; scoring a
test set; scoring 5 x 5 pools of EDA variants, where ours reads each distinct text once and the others each row on its
own. The ways take turns, in an order that turns round.

pairs: a step; a test set is scored in batches of 16, a pool in batches of its 25 rows. steps: timed, after one that
warms. repeats: of every number, which is their median. Share of the peak: operations in matrix products (6 a parameter
and token in training, 2 in scoring; attention and embeddings left out) over what square matrices reach in the same
precision and the same run. Memory: on a GPU what PyTorch allocated; on a CPU by how much the process grew. Losses: of
the first steps, over the same pairs in the same order. shapes: of minilm, bert-base, deberta-v3-base, modernbert-base,
qwen3-0.6b, qwen3-tiny. out: a name without its ending, for a .json and a .md.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers

from benchmarks.speed import machine
from benchmarks.speed.shapes import write
from benchmarks.speed.training_table import markdown
from benchmarks.speed.trl_trainer import TRL, trl_is_missing
from benchmarks.speed.ways import OURS, TWO_PASSES, UNORDERED, WARM, Done, Job, Way, steps_in_order
from mars import files
from mars.augment.eda import Eda
from mars.config import UserError
from mars.pool.pool import Pool
from mars.pool.rows import PoolConfig
from mars.preferences.dataset import DatasetConfig, load
from mars.preferences.pair import Pair
from mars.reward import determinism
from mars.reward.model import autocast_dtype

WIDTH = 5  # variants of each side in a pool
SCORED = 16  # pairs in a batch of the ways that batch by pairs; of a pool the rows of one pair
CHECKED = 3  # steps whose losses are told
_AMOUNTS = {"cpu": (32, 2), "cuda": (512, 16)}  # pairs of the test set; base pairs that have a pool
_WORK = {"training": 6, "scoring": 2, "scoring a pool": 2}  # operations a parameter and token
_FAILURES = (UserError, RuntimeError, ValueError, ImportError)  # of one way, out of memory included


@dataclass
class Timed:
    """The repeats of one way at one work. failed: why there are none."""

    way: str
    done: list[Done] = field(default_factory=list)
    memory: list[int | None] = field(default_factory=list)
    failed: str = ""


@dataclass(frozen=True)
class Bench:
    """What one run measures with, and on."""

    device: torch.device
    ways: Sequence[Way]
    rows: Sequence[Pair]
    repeats: int

    def timed(self, what: Literal["train", "score"], job: Job) -> list[Timed]:
        """Each way's repeats of `job`, in an order that turns round; one that fails is left alone from then on."""
        ways = [way for way in self.ways if getattr(way, what)]
        found = {way.name: Timed(way.name) for way in ways}
        for repeat in range(self.repeats):
            for way in ways if repeat % 2 == 0 else reversed(ways):
                mine = found[way.name]
                if mine.failed:
                    continue
                try:
                    done, memory = machine.with_peak_memory(partial(getattr(way, what), job), self.device)
                except _FAILURES as error:
                    mine.failed = _reason(error)
                    continue
                mine.done.append(done)
                mine.memory.append(memory)
        return list(found.values())


def _reason(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"


def measure(bench: Bench, shape: str, batches: Sequence[int], steps: int) -> Iterator[dict[str, Any]]:
    """A record for each work and way of one shape, as they are known."""
    with tempfile.TemporaryDirectory() as folder:
        weights = write(shape, Path(folder))
        dtype = autocast_dtype(weights.backbone, bench.device) or torch.float32
        peak = machine.matmul_peak(bench.device, dtype)
        tests, pooled = _AMOUNTS[bench.device.type]

        def job(pairs: Sequence[Pair], batch: int) -> Job:
            return Job(weights.backbone, bench.device, pairs, batch)

        def records(work: str, batch: int | None, pairs: int, timed: list[Timed], **more: Any) -> list[dict[str, Any]]:
            about: dict[str, Any] = {"shape": shape, "work": work, "pairs_a_step": batch, "pairs": pairs}
            about |= {"peak_flops": peak, "dtype": str(dtype).removeprefix("torch.")}
            rate = _WORK[work] * weights.products / peak
            return [about | _numbers(one, timed[0], pairs, rate) | more.get(one.way, {}) for one in timed]

        for batch in batches:
            losses = _losses(bench, job(bench.rows[: CHECKED * batch], batch))
            timed = bench.timed("train", job(bench.rows[: (WARM + steps) * batch], batch))
            yield from records("training", batch, steps * batch, timed, **losses)
        for work, pairs, batch in (
            ("scoring", bench.rows[:tests], SCORED),
            ("scoring a pool", pool(bench.rows[:pooled]), WIDTH**2),
        ):
            timed = bench.timed("score", job(pairs, batch))
            yield from records(work, None, len(pairs), timed, **_differences(timed))


def pool(base: Sequence[Pair]) -> list[Pair]:
    """The rows of the base pairs' 5 x 5 pools, less pairs of which the gates refuse any."""
    whole = Pool(base, Eda(), PoolConfig(width=WIDTH))
    rows = whole.of_pairs(np.arange(len(base)))
    passed = whole.admits(rows.ravel()).reshape(rows.shape).all(axis=1)
    return whole.draw(rows[passed].ravel())


def _losses(bench: Bench, job: Job) -> dict[str, dict[str, Any]]:
    """Of each way that can be run, the losses of the same steps over the same pairs in the same order."""
    order = steps_in_order(len(job.pairs), job.batch)
    given = Job(job.backbone, job.device, [job.pairs[i] for i in order], job.batch)
    found: dict[str, dict[str, Any]] = {}
    for way in bench.ways:
        try:
            found[way.name] = {"losses": way.check(job if way in (OURS, UNORDERED) else given).found.tolist()}
        except _FAILURES as error:
            found[way.name] = {"losses": None, "losses_failed": _reason(error)}
    return found


def _differences(timed: list[Timed]) -> dict[str, dict[str, Any]]:
    """Of each way how far its margins are from ours, at most."""
    ours = timed[0].done[0].found if timed[0].done else None
    return {
        one.way: {"largest_difference": float(np.abs(one.done[0].found - ours).max())}
        for one in timed
        if one.done and ours is not None
    }


def _numbers(one: Timed, ours: Timed, pairs: int, rate: float) -> dict[str, Any]:
    """A way's numbers. rate: seconds of the peak that a token takes."""
    if not one.done:
        return {"way": one.way, "failed": one.failed}
    speeds = [pairs / done.seconds for done in one.done]
    tokens = statistics.median(done.tokens / done.seconds for done in one.done)
    known = [bytes_ for bytes_ in one.memory if bytes_ is not None]
    ratios = [theirs.seconds / mine.seconds for mine, theirs in zip(ours.done, one.done, strict=False)]
    return {
        "way": one.way,
        "packed": one.done[0].packed,
        "pairs_per_second": statistics.median(speeds),
        "pairs_per_second_min": min(speeds),
        "pairs_per_second_max": max(speeds),
        "ours_is_faster_by": statistics.median(ratios) if ratios else None,
        "tokens_per_second": tokens,
        "share_of_peak": rate * tokens,
        "peak_memory_bytes": max(known) if known else None,
        "seconds": [done.seconds for done in one.done],
    }


def _rows(path: str, count: int) -> list[Pair]:
    data = load(DatasetConfig("hh_rlhf", path=path, size=count, validation=0, test_size=1))
    pairs = list(data.base)
    if len(pairs) < count:
        raise UserError(f"rows: {path} has {len(pairs)} pairs, and {count} are needed (fewer steps or pairs)")
    return pairs


def _whole(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option}: {text} is no list of whole numbers, such as 8,16,64") from None


def main(
    rows: str, shapes: str = "minilm", pairs: str = "8,16,64", steps: int = 10, repeats: int = 3, out: str = ""
) -> None:
    transformers.logging.set_verbosity_error()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batches, missing = _whole(pairs, "pairs"), trl_is_missing()
    ways = [OURS, *([UNORDERED] if device.type == "cuda" else []), *([] if missing else [TRL]), TWO_PASSES]
    determinism.prepare()
    needed = max(max(WARM + steps, CHECKED) * max(batches), *_AMOUNTS[device.type])
    bench = Bench(device, ways, _rows(rows, needed), repeats)
    about = {
        "device": device.type,
        "machine": machine.name(device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "rows": rows,
        "steps": steps,
        "repeats": repeats,
        "without_trl": missing,
    }
    found: list[dict[str, Any]] = []
    for shape in shapes.split(","):
        for record in measure(bench, shape, batches, steps):
            found.append(record)
            speed = record.get("pairs_per_second")
            said = record.get("failed") if speed is None else f"{speed:,.2f} pairs/s"
            print(f"{shape}, {record['work']} {record['pairs_a_step'] or ''}, {record['way']}: {said}", flush=True)
            if out:  # after each, so that a run that is cut short has left what it found
                files.write_text(Path(f"{out}.json"), json.dumps(about | {"records": found}, indent=1))
    table = markdown(about, found)
    if out:
        files.write_text(Path(f"{out}.md"), table)
    print(f"\n{table}")
