"""Judge a reward model on any local preference file: accuracy in all (micro), by subset, and their mean (macro).

A benchmark that loses rows silently compares models on different rows, so every defect raises, with file and row, until
its kind is let go by name (`benchmark.on.KIND=drop`); what was let go is counted in the record. The price is a first
run that may stop once or twice. Micro lets a large subset speak for all, macro gives a subset of ten rows the say of
one of ten thousand: both are printed, with the sizes.

    python -m benchmarks.evaluate model=DIR benchmark=files benchmark.path=mine.jsonl
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.pair_metrics import LABEL_TIES, decided, soft_estimates
from benchmarks.protocol import PAIR_KINDS, Benchmark, Measure, Parts, Result, Scorer, finite, pair_table
from mars.config import UserError, renamed
from mars.files import digest
from mars.preferences.bad_rows import Policies, Policy, Ties, Unusable, read_split
from mars.preferences.pair import DataError, Pair, Preferences
from mars.preferences.recognition import open_rows
from mars.preferences.shapes import Columns, Ranked, Reading
from mars.preferences.sources import open_split

_USUAL: dict[str, Any] = {"schema": None, "ranked": "best_worst"}
_READING = (*_USUAL, "columns")  # in a record only where they are said
NO_SUBSET = "(none)"  # rows without a subset in a file where others have one


@dataclass(frozen=True)
class FilePolicies(Policies):
    """Nothing goes unless it is said; conf/benchmark/files.yaml has the kinds that rows of this schema can show."""

    bad_json: Unusable = "raise"
    encoding: Policy = "raise"
    not_text: Unusable = "raise"
    dialogue: Unusable = "raise"
    unlabelled: Unusable = "raise"
    prompts_differ: Policy = "raise"
    empty: Policy = "raise"
    identical: Policy = "raise"
    tie: Ties = "raise"  # half: it has no right answer, and only log_loss_soft reads it
    duplicate: Policy = "keep"  # a benchmark may weigh a row twice on purpose; its ids are then two
    long_prompt: Policy = "keep"


@dataclass(frozen=True)
class PreferenceFiles(Benchmark):
    """path: the file. schema, columns, ranked: how its rows are read, as `mars.preferences.shapes.Reading` has them.

    resamples: of the percentile bootstrap over pairs, drawn from `seed`.
    """

    title: ClassVar = "Pairs of a file"
    kinds: ClassVar = PAIR_KINDS
    measures: ClassVar = (
        Measure("overall", "accuracy", "accuracy"),
        Measure("overall", "macro_accuracy", "macro"),
        Measure("overall", "length_controlled_accuracy", "len.-contr."),
        Measure("overall", "auc", "AUC", share=False),
        Measure("overall", "snr", "SNR", share=False),
        Measure("overall", "log_loss", "log-loss", share=False),
        Measure("overall", "ece", "ECE", share=False),
    )

    path: str | None = None
    schema: str | None = None
    columns: Columns = field(default_factory=Columns)
    ranked: Ranked = "best_worst"
    on: FilePolicies = field(default_factory=FilePolicies)
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path: is required (give it as benchmark.path=FILE)")
        if self.schema is not None:
            self._reading.shape(self.schema)
        metrics.check_bootstrap(self.resamples, self.seed)

    @classmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> PreferenceFiles:
        """The name of the file moves no number, and a board has none."""
        columns = Columns(**protocol.get("columns", {}))
        told = {key: protocol[key] for key in ("schema", "ranked") if key in protocol}
        policies = FilePolicies(**protocol["on"])
        return cls(str(protocol.get("file") or "not named"), columns=columns, on=policies, resamples=resamples, **told)

    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        """A folder is its files."""
        sums = [source["sha256"] for source in self._read()[1]]
        return {"sha256": sums[0] if len(sums) == 1 else digest(sums)}

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """A row per pair of the file (`protocol.PAIR_COLUMNS`), and the file's digest and count of rows and defects.

        Raises DataError for a file or row that cannot be used.
        """
        pairs, report = self._read()
        return pair_table(pairs, scorer), {"sources": report}

    def evaluate(self, table: pd.DataFrame) -> Result:
        """Part `overall`: `metrics.estimates`, length_controlled_accuracy and, with subsets, macro_accuracy.

        Part `subset/NAME`: accuracy. macro_accuracy is the mean of the subsets' accuracies, its interval from resamples
        within each. Scores that tie count ½. Of a file with votes also log_loss_soft, and its ties have no other say
        (`benchmarks.pair_metrics`). Raises UserError for missing columns or scores that are not finite.
        """
        voted, rows = "agreement" in table, table
        finite(rows, ("chosen_score", "rejected_score"), "files")
        table = decided(rows)
        if table.empty:
            raise UserError("files: there is nothing to judge (every pair is a tie)")
        chosen, rejected = finite(table, ("chosen_score", "rejected_score"), "files").T
        if missing := [c for c in ("subset", "chosen_length", "rejected_length") if c not in table]:
            raise UserError(f"files: the score table lacks {', '.join(missing)}")
        parts = self._accuracies(metrics.correctness(chosen - rejected), table["subset"])
        longer = np.sign(table["chosen_length"].to_numpy(float) - table["rejected_length"].to_numpy(float))
        right = metrics.correctness(chosen - rejected)

        def estimate(weights: np.ndarray) -> dict[str, np.ndarray]:
            controlled = {"length_controlled_accuracy": metrics.length_controlled(right, longer, weights)}
            return metrics.estimates(chosen, rejected, weights) | controlled

        every = metrics.with_intervals(estimate, len(table), self.resamples, np.random.default_rng(self.seed))
        if voted:
            rng = np.random.default_rng(self.seed)
            every |= metrics.with_intervals(partial(soft_estimates, rows), len(rows), self.resamples, rng)
        coin = {part: {m: 0.5 for m in values if m.endswith("accuracy")} for part, values in parts.items()}
        length_only = self._accuracies(metrics.correctness(longer), table["subset"])
        if "length_controlled_accuracy" in every:
            for baseline in (coin, length_only):
                baseline["overall"]["length_controlled_accuracy"] = 0.5
        settings = {key: value for key, value in asdict(self).items() if key not in ("path", *_READING)}
        settings |= {key: value for key in ("schema", "ranked") if (value := getattr(self, key)) != _USUAL[key]}
        if self.columns.named:
            settings["columns"] = self.columns.named
        return Result(
            protocol={"name": "files", "file": self._file.name, "ties": "half credit", **settings}
            | (LABEL_TIES if voted else {}),
            metrics=parts | {"overall": parts["overall"] | every},
            details={"baselines": {"length_only": length_only, "random": coin}},
        )

    @property
    def _reading(self) -> Reading:
        return Reading(self.schema, self.columns, self.ranked, key="benchmark")

    @property
    def _file(self) -> Path:
        return Path(self.path or "")

    def _read(self) -> tuple[Sequence[Pair], list[dict[str, Any]]]:
        with renamed("dataset.on", "benchmark.on"):
            try:
                pairs, report = self._rows(self.on)
            except DataError:
                self._rows(Policies())  # where a column is in no row at all, that is what to tell
                raise
        if not pairs:
            raise DataError(f"{self._file.name}: benchmark.on lets every row go, none is left to judge on")
        return pairs, report

    def _rows(self, policies: Policies) -> tuple[Sequence[Pair], list[dict[str, Any]]]:
        name = self._file.name
        schema, sources = open_rows(open_split(self._file, "test"), self._reading)
        return read_split(sources, schema, name, policies)

    def _accuracies(self, correct: np.ndarray, subsets: pd.Series) -> Parts:
        """{part: accuracy with interval, and n}; correct: [N] of 0, ½ and 1."""
        rng = np.random.default_rng(self.seed)
        value, draws = _resampled(correct, self.resamples, rng)
        overall = _with_interval("accuracy", value, draws) | {"n": float(len(correct))}
        names = subsets.to_numpy(object)
        if not any(names):
            return {"overall": overall}
        parts, values, total = {}, [], np.zeros(self.resamples)
        for name in sorted(set(names)):
            rows = correct[names == name]
            value, draws = _resampled(rows, self.resamples, rng)
            parts[f"subset/{name or NO_SUBSET}"] = _with_interval("accuracy", value, draws) | {"n": float(len(rows))}
            values.append(value)
            total += draws
        macro = _with_interval("macro_accuracy", float(np.mean(values)), total / len(values))
        return {"overall": overall | macro, **parts}


BENCHMARK = PreferenceFiles


def _resampled(correct: np.ndarray, resamples: int, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """(mean, [resamples] its bootstrap draws)."""
    n = len(correct)
    return float(correct.mean()), np.concatenate(
        [counts @ correct / n for counts in metrics.resample_counts(n, resamples, rng)]
    )


def _with_interval(name: str, value: float, draws: np.ndarray) -> dict[str, float]:
    low, high = metrics.percentiles(draws)
    return {name: value, f"{name}_lo": low, f"{name}_hi": high}
