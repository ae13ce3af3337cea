"""What a benchmark is: texts to a table of scores, and that table to numbers.

The two halves are kept apart on purpose. `score` needs a model and leaves one row per example; `evaluate` is a pure
function of that table, so every number of a result can be recomputed from the parquet file beside it, by anybody.
`judge` runs both and writes what they made; where a metric cannot be taken it keeps the scores under another name.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from mars import files
from mars.config import UserError
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair, Preferences
from mars.record.manifest import environment, peak_memory_bytes
from mars.reward.scoring import ModelScorer

SCHEMA_VERSION = 1


class Scorer(Protocol):
    """A reward model ready to score."""

    def __call__(self, texts: Iterable[tuple[Sequence[Message], str]], padded: bool = False) -> np.ndarray:
        """[T] float64 scores of (prompt, response), in order; each distinct text is scored once, longest first.

        padded: every text padded to the model's full length, where the model has tokens to pad.
        """
        ...


@dataclass(frozen=True)
class Result:
    """What a benchmark says of one model.

    protocol: every choice that shaped the numbers, by name (split, tie handling, weights' date, …); JSON.
    metrics: {part: {metric: value}}; a part is a split, a section or a subset, `overall` where there is one number for
    all. An interval of `m` is `m_lo`, `m_hi`, and `n` the examples it rests on.
    details: JSON that is too long for a table of metrics: breakdowns, reliability bins, baselines.
    """

    protocol: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float]]
    details: Mapping[str, Any] = field(default_factory=dict)


class Benchmark(Protocol):
    """One evaluation protocol: a frozen dataclass of its settings (conf/benchmark/*.yaml)."""

    needs_dataset: ClassVar[bool]  # whether it judges on the rows of a `Preferences` or brings its own

    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        """What names the rows it brings itself: digests, revisions; JSON. Nothing where they are a dataset's.

        To be called before a model is trained or loaded: raises UserError for rows that `score` would refuse.
        """
        ...

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """(a row per example, where the examples came from: files or hub and revision, counts, digests; JSON).

        Raises UserError for a file or row that cannot be used.
        """
        ...

    def evaluate(self, table: pd.DataFrame) -> Result:
        """A pure function of what `score` returned. Raises UserError for missing columns or scores not finite."""
        ...


@dataclass(frozen=True)
class Asked:
    """A benchmark as it was asked for: its name, its settings (conf/benchmark/*.yaml), and the result's label."""

    name: str
    settings: Mapping[str, Any]
    benchmark: Benchmark
    label: str

    def brings(self, preferences: Preferences | None) -> Mapping[str, Any]:
        """What names the rows it brings itself. Raises UserError for rows that cannot be judged on."""
        return self.benchmark.check(preferences)

    def judge(
        self,
        scorer: ModelScorer,
        preferences: Preferences | None,
        directory: Path,
        question: Mapping[str, str],
        model: Mapping[str, Any],
    ) -> dict[str, Any]:
        """`judge` of this benchmark."""
        return judge(self, scorer, preferences, directory, question, model)


PAIR_COLUMNS = (
    "split", "id", "subset", "chosen_score", "rejected_score", "chosen_length", "rejected_length", "turns",
    "gold_margin",
)  # fmt: skip


def pair_table(pairs: Iterable[Pair], scorer: Scorer, split: str = "") -> pd.DataFrame:
    """PAIR_COLUMNS, a row per pair, in one pass over `pairs`, which may be generated as it goes.

    Lengths are characters of the two responses, turns the user's turns in the prompt, gold_margin NaN where unknown.
    """
    facts: list[tuple[str, str, int, int, int, float]] = []

    def texts() -> Iterator[tuple[Sequence[Message], str]]:
        for pair in pairs:
            turns = sum(message.role == "user" for message in pair.prompt)
            gold = float("nan") if pair.gold_margin is None else pair.gold_margin
            facts.append((pair.id, pair.subset, len(pair.chosen), len(pair.rejected), turns, gold))
            yield pair.prompt, pair.chosen
            yield pair.prompt, pair.rejected

    scores = scorer(texts()).reshape(-1, 2)
    names = ("id", "subset", "chosen_length", "rejected_length", "turns", "gold_margin")
    columns = dict(zip(names, zip(*facts, strict=True) if facts else [()] * len(names), strict=True))
    table = pd.DataFrame({**columns, "split": split, "chosen_score": scores[:, 0], "rejected_score": scores[:, 1]})
    return table[list(PAIR_COLUMNS)]


def finite(table: pd.DataFrame, columns: Sequence[str], benchmark: str) -> np.ndarray:
    """[N, len(columns)] float64 scores of `table`. Raises UserError where one is missing or not finite."""
    missing = [column for column in ("id", *columns) if column not in table]
    if missing:
        raise UserError(f"{benchmark}: the score table lacks {', '.join(missing)}")
    if table.empty:
        raise UserError(f"{benchmark}: there is nothing to judge (no examples)")
    scores = table[list(columns)].to_numpy(float)
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        row, column = bad[0]
        what = columns[column].replace("_", " ")
        raise UserError(
            f'{benchmark}: the {what} of "{table["id"].iloc[row]}" is {scores[row, column]} '
            f"({len(bad)} such scores): training diverged or overflowed, lower the learning rate or use bf16 or fp32"
        )
    return scores


def judge(
    asked: Asked,
    scorer: ModelScorer,
    preferences: Preferences | None,
    directory: Path,
    question: Mapping[str, str],
    model: Mapping[str, Any],
) -> dict[str, Any]:
    """Score, evaluate and write under `directory`; returns the record.

    scores/LABEL.parquet the table, evaluations/LABEL.json the record, metrics.json {label: metrics} beside what other
    benchmarks left there. question: what was asked, as digests. model: JSON, how text reached it among the rest.
    """
    scores = directory / "scores" / f"{asked.label}.parquet"
    try:
        scores.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out: {directory} cannot be written to: {error.strerror}") from None
    _known_metrics(directory)
    began = time.perf_counter()
    table, data = asked.benchmark.score(scorer, preferences)
    try:
        result = asked.benchmark.evaluate(table)
    except UserError as error:
        aside = scores.with_suffix(".failed.parquet")
        files.write_parquet(aside, table)
        raise UserError(f"{error}; the scores are in {aside}") from error
    parts = {part: {k: int(v) if k == "n" else v for k, v in values.items()} for part, values in result.metrics.items()}
    record = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": asked.name,
        "label": asked.label,
        "protocol": result.protocol,
        "metrics": parts,
        "details": result.details,
        "data": data,
        "question": question,
        "model": model,
        "truncated": scorer.truncated(),
        "speed": {"seconds": time.perf_counter() - began, "texts": scorer.texts, "tokens": scorer.tokens or None},
        "peak_memory_bytes": peak_memory_bytes(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
    }
    files.write_parquet(scores, table)
    files.write_json(directory / "evaluations" / f"{asked.label}.json", record)
    with _alone(directory):  # another evaluation of the same run may end at the same moment
        files.write_json(directory / "metrics.json", _known_metrics(directory) | {asked.label: parts})
    return record


def _known_metrics(directory: Path) -> dict[str, Any]:
    path = directory / "metrics.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); move it away, evaluations/ has the numbers") from None


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Inside, no other process is inside for the same directory."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
