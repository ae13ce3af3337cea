"""Does a reward model's order survive edits that should not matter: other words, white space, a system turn, padding?

Every pair is scored as it is and once under each edit, both sides edited alike. Rates are over the pairs an edit
changed, because those it left alone can only dilute them; their share stands beside, and a rate over all pairs is
(1 − unchanged) times it. Intervals are of a bootstrap over pairs, before and after drawn together; a rate of 0 has the
interval [0, 0], and may in truth be as high as 3/n.

    paraphrase  variant 0 of both responses by an augmenter: `rules` keep the meaning by a closed list, `planted` by
                construction (planted rows only), a paraphrase model only as far as it can be trusted
    eda         variant 0 by EDA, which is *not* always label-preserving: on planted rows 95.5 % of the pairs keep their
                gold preference at α = 0.1. Its flips bound the model's fault from above; `worst_case_accuracy` leaves
                it out and `worst_case_accuracy_with_eda` does not
    whitespace  between words and lines of both responses, and at their ends (`respaced`); code is left alone
    prefix      a neutral system turn before the prompt
    padding     the same texts padded to the model's full length: anything but 0 is a fault of masking, or rounding

Unchanged means the same text. Whether the model sees a change is another matter: WordPiece drops white space, and
truncation may drop the system turn; `unseen` is the share of edited pairs of which no score moved. Under `padding` it
should be near 1. A worst case over more edits is lower by construction: compare equal lists only.

    python -m benchmarks.evaluate model=DIR benchmark=robustness dataset=planted augmenter@benchmark.paraphrase=planted
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.edit_metrics import coin, edit_metrics, overall_metrics
from benchmarks.edits import prefixed, respaced, with_texts
from benchmarks.protocol import Benchmark, Filling, Kind, Measure, Parts, Result, Scorer, finite, pair_table
from mars.augment.variant import Request, Variant
from mars.config import UserError, build
from mars.preferences.pair import SIDES, Pair, Preferences, pairs_digest

log = logging.getLogger(__name__)

Edit = Literal["paraphrase", "eda", "whitespace", "prefix", "padding"]
Fill = Callable[[Sequence[Request]], list[Variant]]
NONE = "none"  # the edit of the rows as they are
COLUMNS: Mapping[str, Kind] = {
    "split": "text", "id": "text", "subset": "text", "edit": "text", "unchanged": "flag",
    "chosen_score": "score", "rejected_score": "score", "chosen_length": "count", "rejected_length": "count",
}  # fmt: skip
SCORES = ("chosen_score", "rejected_score")
LENGTHS = ("chosen_length", "rejected_length")


@dataclass(frozen=True)
class RobustnessConfig:
    """conf/benchmark/robustness.yaml.

    paraphrase, eda: an augmenter's settings, its name among them. prefix: text of the system turn. rows: how many of
    the split, None for all. resamples: of the percentile bootstrap. seed: of rows, white space and bootstrap.
    """

    paraphrase: dict[str, Any]
    eda: dict[str, Any]
    edits: tuple[Edit, ...] = ("paraphrase", "eda", "whitespace", "prefix", "padding")
    prefix: str = "You are a helpful assistant."
    rows: int | None = 500
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.edits or len(set(self.edits)) < len(self.edits):
            raise ValueError("edits: name at least one, and each once")
        if not self.prefix.strip():
            raise ValueError("prefix: is empty (leave the edit out of benchmark.edits instead)")
        if self.rows is not None and self.rows < 1:
            raise ValueError(f"rows: must be at least 1, or null for all, not {self.rows}")
        metrics.check_bootstrap(self.resamples, self.seed)


@dataclass(frozen=True)
class Robustness(Benchmark):
    """The benchmark: its settings, and what makes the variants of `paraphrase` and of `eda`."""

    title: ClassVar = "Robustness"
    kinds: ClassVar = COLUMNS
    measures: ClassVar = (
        Measure("overall", "worst_case_accuracy", "worst case", optional=True),  # no edit but EDA may be asked for
        Measure("overall", "accuracy", "unedited"),
        Measure("overall", "worst_case_change", "change"),
        Measure("overall", "worst_case_accuracy_with_eda", "with EDA"),
    )
    needs_dataset: ClassVar = True

    config: RobustnessConfig
    fillers: Mapping[str, Fill]

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], fill: Filling) -> Robustness:
        config = build(RobustnessConfig, settings, "benchmark")
        return cls(config, {edit: fill(settings[edit], f"benchmark.{edit}") for edit in ("paraphrase", "eda")})

    @classmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> Robustness:
        augmenters = {"paraphrase": {}, "eda": {}, **protocol["augmenters"]}
        edits, prefix, rows = tuple(protocol["edits"]), protocol["prefix"], protocol["rows"]
        return cls(RobustnessConfig(**augmenters, edits=edits, prefix=prefix, rows=rows, resamples=resamples), {})

    def check(self, preferences: Preferences | None) -> Mapping[str, Any]:
        self._drawn(preferences)
        return {}

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, Mapping[str, Any]]:
        """A row per pair and edit (COLUMNS), one pass of the scorer per edit; the data's name, rows and digest.

        A template that refuses system turns costs the edit `prefix`, which is recorded, and nothing else. Raises
        UserError for an empty split, and whatever scorer and augmenters raise.
        """
        from mars.reward.texts import RenderingError  # with it comes torch, which measuring does without

        split, pairs, available = self._drawn(preferences)
        assert preferences is not None
        originals = pair_table(pairs, scorer, split)
        tables = [originals.assign(edit=NONE, unchanged=True)]
        refused: dict[str, str] = {}
        missing: dict[str, int] = {}
        for edit in self.config.edits:
            edited, missing[edit] = self._edited(edit, pairs)
            try:
                tables.append(_rescored(originals, pairs, edited, edit, scorer))
            except RenderingError as error:
                if edit != "prefix":  # the one edit a model's template may have a reason to refuse
                    raise
                refused[edit] = str(error)
                log.info("robustness: no prefix edit: %s", error)
        data = {
            "name": preferences.name,
            "licence": preferences.report.get("licence"),
            "split": split,
            "rows": len(pairs),
            "available": available,
            "pairs_sha256": pairs_digest(pairs),
            "texts_without_variant": {edit: count for edit, count in missing.items() if edit in self.fillers},
            "refused": refused,
        }
        return pd.concat(tables, ignore_index=True)[list(COLUMNS)], data

    def evaluate(self, table: pd.DataFrame) -> Result:
        """A part per edit (`edit_metrics`) and `overall` (`overall_metrics`).

        Raises UserError for missing columns or rows, or scores that are not finite.
        """
        finite(table, SCORES, "robustness")
        if missing := [column for column in COLUMNS if column not in table]:
            raise UserError(f"robustness: the score table lacks {', '.join(missing)}")
        before, after = self._aligned(table)
        refused = [edit for edit in self.config.edits if edit not in after]
        measured = self._measured(before, after, SCORES)
        settings = asdict(self.config)
        protocol = {
            "name": "robustness",
            "split": before["split"].iloc[0],
            "ties": "half credit; a tie that becomes an order, or an order a tie, is half a flip",
            "rates": "over the pairs whose text an edit changed",
            "intervals": "95 %, percentile bootstrap over pairs",
            **{key: settings.pop(key) for key in ("prefix", "rows", "resamples", "seed")},
            "edits": list(after),
            "worst_case": [edit for edit in after if edit != "eda"],
            "augmenters": {edit: settings[edit] for edit in ("paraphrase", "eda") if edit in after},
        }
        details = {
            "baselines": {"length_only": self._measured(before, after, LENGTHS), "random": coin(_changed(after))},
            "refused": dict.fromkeys(refused, "the model's template refuses it"),
        }
        return Result(protocol, measured, details)

    def _drawn(self, preferences: Preferences | None) -> tuple[str, list[Pair], int]:
        """(main test split, its pairs or those drawn from it, in order, how many it has)."""
        if preferences is None or not preferences.tests:
            raise UserError("robustness: judges on the rows of a dataset, and there is none (name one with dataset=…)")
        split, pairs = next(iter(preferences.tests.items()))
        order = np.random.default_rng(self.config.seed).permutation(len(pairs)).tolist()
        decided = (number for number in order if not pairs[number].tied)  # of a tie no order is right
        drawn = sorted(itertools.islice(decided, self.config.rows))
        if not drawn:
            what = "nothing but ties" if len(pairs) else "no pairs"
            raise UserError(f'robustness: the split "{split}" of {preferences.name} has {what}')
        return split, [pairs[number] for number in drawn], len(pairs)

    def _edited(self, edit: Edit, pairs: Sequence[Pair]) -> tuple[list[Pair], int]:
        """The pairs under `edit`, and how many texts its augmenter had no variant of and which stay as they are."""
        if edit == "prefix":
            return [replace(pair, prompt=prefixed(pair.prompt, self.config.prefix)) for pair in pairs], 0
        if edit == "padding":
            return list(pairs), 0
        if edit == "whitespace":
            key = f"{self.config.seed}/whitespace"
            return with_texts(pairs, [respaced(p.side(s), f"{key}/{s}/{p.id}") for p in pairs for s in SIDES]), 0
        requests = [Request(pair, side, 0) for pair in pairs for side in SIDES]
        made = [variant.text for variant in self.fillers[edit](requests)]
        lost = [text is None or not text.strip() for text in made]
        texts = [r.source if gone else str(text) for r, text, gone in zip(requests, made, lost, strict=True)]
        return with_texts(pairs, texts), sum(lost)

    def _aligned(self, table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
        """The rows as they are, and those under each edit in the same order; a refused edit has none."""
        before = table[table["edit"] == NONE].set_index("id")
        after: dict[str, pd.DataFrame] = {}
        if before.empty or not before.index.is_unique:
            raise UserError(f'robustness: the score table needs one row per pair for the edit "{NONE}"')
        for edit in self.config.edits:
            rows = table[table["edit"] == edit].set_index("id")
            if rows.empty and edit == "prefix":
                continue
            if sorted(rows.index) != sorted(before.index):
                raise UserError(f'robustness: the score table needs one row per pair for the edit "{edit}"')
            after[edit] = rows.loc[before.index]
        return before, after

    def _measured(self, before: pd.DataFrame, after: Mapping[str, pd.DataFrame], columns: tuple[str, str]) -> Parts:
        """All parts, with `columns` as the scores of chosen and rejected."""
        unedited = _margins(before, columns)
        edited = {edit: np.where(rows["unchanged"], unedited, _margins(rows, columns)) for edit, rows in after.items()}
        changed = _changed(after)
        unseen = {edit: _unmoved(before, rows, columns) & changed[edit] for edit, rows in after.items()}
        estimators = {
            edit: partial(edit_metrics, unedited, edited[edit], changed[edit], unseen[edit]) for edit in after
        }
        parts = {}
        for part, estimator in {"overall": partial(overall_metrics, unedited, edited), **estimators}.items():
            rng = np.random.default_rng(self.config.seed)
            found = metrics.with_intervals(estimator, len(unedited), self.config.resamples, rng)
            parts[part] = found | {"n": float(changed[part].sum() if part in changed else len(unedited))}
        return parts


BENCHMARK = Robustness


def _rescored(
    originals: pd.DataFrame, pairs: Sequence[Pair], edited: Sequence[Pair], edit: Edit, scorer: Scorer
) -> pd.DataFrame:
    """The table under `edit`: changed pairs scored in one pass, the others as they were."""
    padded = edit == "padding"
    changed = [i for i, pair in enumerate(pairs) if padded or edited[i] != pair]
    rows = originals
    if changed:
        scored = pair_table([edited[i] for i in changed], partial(scorer, padded=padded)).set_axis(changed)
        rows = pd.concat([scored, originals.drop(index=changed)]).sort_index()
    return rows.assign(split=originals["split"], edit=edit, unchanged=~rows.index.isin(changed))


def _unmoved(before: pd.DataFrame, rows: pd.DataFrame, columns: tuple[str, str]) -> np.ndarray:
    """[N] whether both scores are, but for rounding, what they were."""
    was, now = (frame[list(columns)].to_numpy(float) for frame in (before, rows))
    return (np.abs(now - was) <= 1e-6 * np.maximum(1.0, np.abs(was))).all(axis=1)


def _margins(rows: pd.DataFrame, columns: tuple[str, str]) -> np.ndarray:
    chosen, rejected = rows[list(columns)].to_numpy(float).T
    return chosen - rejected


def _changed(after: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """{edit: [N] bool, the pairs whose text it changed}."""
    return {edit: ~rows["unchanged"].to_numpy(bool) for edit, rows in after.items()}
