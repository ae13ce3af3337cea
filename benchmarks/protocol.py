"""What a benchmark is: texts to a table of scores, and that table to numbers.

The two halves are kept apart on purpose. `score` needs a model and leaves one row per example; `evaluate` is a pure
function of that table, so every number of a result can be recomputed from the parquet file beside it, by anybody.
`judge` runs both and writes what they made; where a metric cannot be taken it keeps the scores under another name.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np
import pandas as pd

from mars.config import UserError, build
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair, Preferences
from mars.record.facts import SCHEMA_VERSION, Parts, is_interval
from mars.record.run_directory import RunDirectory

if TYPE_CHECKING:  # with a model comes torch, which nobody needs who measures a score table
    import torch

    from mars.reward.scoring import ModelScorer

Kind = Literal["text", "score", "count", "flag"]  # of a column: short names, floating point, integers, true or false
Filling = Callable[[Mapping[str, Any], str], Callable[..., Any]]  # an augmenter's settings and their config key


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


class Measure(NamedTuple):
    """One headline of a benchmark.

    part: of `Result.metrics`, empty for the main test split. head: over its column. share: shown in %. chance: what a
    scorer without any information is expected to get, where that is known. optional: left out where it was not taken.
    """

    part: str
    metric: str
    head: str
    share: bool = True
    chance: float | None = None
    optional: bool = False


class Benchmark(ABC):
    """One evaluation protocol: a frozen dataclass of its settings (conf/benchmark/*.yaml), and all that is known of it.

    title: of its board. kinds: of the columns of the table that `score` returns; a model's scores are called `score` or
    `…_score`, and an example is named by `id`, with `split`, `edit` and `response` where there are any. measures: what
    a board shows, ranked by the first; those of a subset are on a model card as well. family: benchmarks of one family
    share a table and a figure. needs_dataset: whether it judges on the rows of a `Preferences` or brings its own.
    """

    title: ClassVar[str]
    kinds: ClassVar[Mapping[str, Kind]]
    measures: ClassVar[tuple[Measure, ...]]
    family: ClassVar[str] = ""
    needs_dataset: ClassVar[bool] = False

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], fill: Filling) -> Self:
        """The benchmark of conf/benchmark/*.yaml. fill: what makes the variants of an augmenter. Raises ConfigError."""
        return build(cls, settings, "benchmark")

    @classmethod
    @abstractmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> Self:
        """The benchmark as a recorded protocol says it was set: all that its numbers depend on, less its intervals.

        Raises KeyError, TypeError, ValueError or AttributeError where the protocol is not one of this benchmark.
        """

    def at(self, cache: Path, device: torch.device) -> Self:
        """The benchmark where its models run and keep what they write; itself unless it has models of its own."""
        return self

    @property
    def asks_dataset(self) -> bool:
        """Whether, set as it is, it judges on a dataset's rows."""
        return self.needs_dataset

    @abstractmethod
    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        """What names the rows it brings itself: digests, revisions; JSON. Nothing where they are a dataset's.

        To be called before a model is trained or loaded: raises UserError for rows that `score` would refuse.
        """

    @abstractmethod
    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """(a row per example, where the examples came from: files or hub and revision, counts, digests; JSON).

        Raises UserError for a file or row that cannot be used.
        """

    @abstractmethod
    def evaluate(self, table: pd.DataFrame) -> Result:
        """A pure function of what `score` returned. Raises UserError for missing columns or scores not finite."""

    def remade(self, table: pd.DataFrame) -> tuple[dict[str, Any], Parts]:
        """(`essential_protocol`, point estimates) as the score table bears them out. Raises UserError as `evaluate`."""
        result = self.evaluate(table)
        return essential_protocol(result.protocol), {
            part: estimates_of(values) for part, values in result.metrics.items()
        }

    def interval(self, table: pd.DataFrame, part: str, metric: str) -> tuple[float, float]:
        """The ends of one number's 95 % interval over the examples; NaN where there is none."""
        found = self.evaluate(table).metrics.get(part, {})
        return found.get(f"{metric}_lo", math.nan), found.get(f"{metric}_hi", math.nan)


def essential_protocol(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """What of a protocol a number depends on: not how its interval was drawn, nor what the file of rows was called."""
    return {key: value for key, value in protocol.items() if key not in ("resamples", "seed", "intervals", "file")}


def estimates_of(values: Mapping[str, float]) -> dict[str, float]:
    """`values` excluding the ends and half-widths of intervals."""
    return {name: value for name, value in values.items() if not is_interval(name, values)}


@dataclass(frozen=True)
class Asked:
    """A benchmark as it was asked for: its name, its settings (conf/benchmark/*.yaml), and the result's label."""

    name: str
    settings: Mapping[str, Any]
    benchmark: Benchmark
    label: str

    def at(self, cache: Path, device: torch.device) -> Asked:
        """`Benchmark.at` of this benchmark."""
        return replace(self, benchmark=self.benchmark.at(cache, device))

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


PAIR_KINDS: Mapping[str, Kind] = {
    "split": "text", "id": "text", "subset": "text", "chosen_score": "score", "rejected_score": "score",
    "chosen_length": "count", "rejected_length": "count", "turns": "count", "gold_margin": "score",
    "agreement": "score",
}  # fmt: skip
PAIR_COLUMNS = tuple(PAIR_KINDS)[:-1]  # a table has agreement only where some pair's is not 1


def pair_table(pairs: Iterable[Pair], scorer: Scorer, split: str = "") -> pd.DataFrame:
    """PAIR_COLUMNS, a row per pair, in one pass over `pairs`, which may be generated as it goes.

    Lengths are characters of the two responses, turns the user's turns in the prompt, gold_margin NaN where unknown.
    Where not all annotators agree on every pair also agreement, `Pair.agreement`.
    """
    facts: list[tuple[str, str, int, int, int, float, float]] = []

    def texts() -> Iterator[tuple[Sequence[Message], str]]:
        for pair in pairs:
            turns = sum(message.role == "user" for message in pair.prompt)
            gold = float("nan") if pair.gold_margin is None else pair.gold_margin
            lengths = len(pair.chosen), len(pair.rejected)
            facts.append((pair.id, pair.subset, *lengths, turns, gold, pair.agreement))
            yield pair.prompt, pair.chosen
            yield pair.prompt, pair.rejected

    scores = scorer(texts()).reshape(-1, 2)
    names = ("id", "subset", "chosen_length", "rejected_length", "turns", "gold_margin", "agreement")
    columns = dict(zip(names, zip(*facts, strict=True) if facts else [()] * len(names), strict=True))
    table = pd.DataFrame({**columns, "split": split, "chosen_score": scores[:, 0], "rejected_score": scores[:, 1]})
    return table[list(PAIR_COLUMNS if (table["agreement"] == 1).all() else PAIR_KINDS)]


def finite(table: pd.DataFrame, columns: Sequence[str], benchmark: str) -> np.ndarray:
    """[N, len(columns)] float64 scores of `table`. Raises UserError where one is missing or not finite."""
    missing = [column for column in ("id", *columns) if column not in table]
    if missing:
        raise UserError(f"{benchmark}: the score table lacks {', '.join(missing)}")
    if table.empty:
        raise UserError(f"{benchmark}: there is nothing to judge (no examples)")
    scores = np.column_stack([table[column].to_numpy(float) for column in columns])
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
    """Score, evaluate and write under `directory` (`RunDirectory.write_evaluation`); returns the record.

    question: what was asked, as digests. model: JSON, how text reached it among the rest.
    """
    place = RunDirectory(directory)
    place.check_writable()
    began = time.perf_counter()
    table, data, result = _measured(asked, scorer, preferences, place)
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
        **_machine(),
    }
    place.write_evaluation(asked.label, table, record)
    return record


def _measured(
    asked: Asked, scorer: Scorer, preferences: Preferences | None, place: RunDirectory
) -> tuple[pd.DataFrame, Mapping[str, Any], Result]:
    """(table, where its examples came from, what it says); a table that cannot be measured is kept in `place`."""
    table, data = asked.benchmark.score(scorer, preferences)
    try:
        return table, data, asked.benchmark.evaluate(table)
    except UserError as error:
        raise UserError(f"{error}; the scores are in {place.keep_failed(asked.label, table)}") from error


def _machine() -> dict[str, Any]:
    from mars.record.manifest import environment, peak_memory_bytes  # which import torch

    return {
        "peak_memory_bytes": peak_memory_bytes(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
    }
