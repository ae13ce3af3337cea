"""RewardBench 2: the best of four responses in five subsets, and in the sixth, Ties, many right answers at once.

`benchmarks.group_metrics` says how both are scored. Overall is the mean of the six and is left out unless all are
there. No row is dropped and a file that lacks some is `partial`, as in `benchmarks.protocols.reward_bench`. Intervals
resample prompts, in Ties a question and its reference together.

    python -m benchmarks.evaluate model=DIR benchmark=reward_bench_2 benchmark.path=test.parquet
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from benchmarks.group_metrics import Group, best_of, questions, ties_margins, ties_terms
from benchmarks.hub_rows import (
    HubRows,
    Ties,
    bootstrap,
    bootstrap_named,
    enter,
    interval,
    known_subset,
    open_rows,
    rule_of,
    shortfall,
    stated,
    subset_column,
    warn_if_partial,
    whole_rows,
)
from benchmarks.protocol import Measure, Parts, Result, Scorer, finite
from benchmarks.protocols.reward_bench import FAMILY
from mars.config import UserError
from mars.preferences.dialogue import Message
from mars.preferences.pair import DataError, Preferences
from mars.preferences.sources import Source

NAME = "RewardBench 2"
# Prompts of each subset, 1865 in all.
SUBSETS = {"Factuality": 475, "Focus": 495, "Math": 183, "Precise IF": 160, "Safety": 450, "Ties": 102}
SCORES = ("accuracy", "score")  # of a best-of-four subset, of Ties
TIE_RULES: dict[Ties, str] = {"official": "official: a tie at the top shares the credit", "half": "half credit"}
RANDOM_DRAWS = 1000
_TIES_ID = re.compile("(ref|tied):([0-9]{1,9})")


@dataclass(frozen=True)
class Prompt:
    """A row of the file; its first `correct` responses are the correct ones."""

    id: str  # subset/id
    subset: str
    text: str
    responses: tuple[str, ...]
    correct: int


@dataclass(frozen=True)
class RewardBench2(HubRows):
    """Rows of id, prompt, chosen, rejected, subset, not from .csv. seed: draws the random baseline's scores too."""

    title: ClassVar = NAME
    kinds: ClassVar = {
        "id": "text", "subset": "text", "response": "count", "correct": "flag", "score": "score", "length": "count",
    }  # fmt: skip
    measures: ClassVar = (
        Measure("overall", "score", "score"),
        *(Measure(f"subset/{name}", "accuracy", name, chance=0.25) for name in SUBSETS if name != "Ties"),
        Measure("subset/Ties", "score", "Ties"),
    )
    family: ClassVar = FAMILY

    hub: str = "allenai/reward-bench-2"

    @classmethod
    def from_protocol(cls, protocol: Mapping[str, Any], resamples: int) -> RewardBench2:
        return cls(ties=rule_of(TIE_RULES, protocol), resamples=resamples)

    def score(self, scorer: Scorer, preferences: Preferences | None) -> tuple[pd.DataFrame, dict[str, Any]]:
        """A row per response: id (subset/id), subset, response, correct, score, length. Raises DataError."""
        prompts, source = self._read()
        warn_if_partial(shortfall(Counter(prompt.subset for prompt in prompts), SUBSETS, NAME), source)
        texts = [(prompt, number, text) for prompt in prompts for number, text in enumerate(prompt.responses)]
        table = pd.DataFrame(
            {
                "id": [prompt.id for prompt, _, _ in texts],
                "subset": [prompt.subset for prompt, _, _ in texts],
                "response": [number for _, number, _ in texts],
                "correct": [number < prompt.correct for prompt, number, _ in texts],
                "score": scorer(((Message("user", prompt.text),), text) for prompt, _, text in texts),
                "length": [len(text) for _, _, text in texts],
            }
        )
        return table, {**source, **_told(prompts)}

    def _read(self) -> tuple[list[Prompt], Mapping[str, Any]]:
        if self.path is not None and self.path.endswith(".csv"):
            raise DataError(f"{self.path}: a .csv file cannot hold lists of responses (give a .jsonl or .parquet file)")
        source = open_rows(self.path, self.hub, self.revision, "test")
        return list(_prompts(source)), source.identity

    def evaluate(self, table: pd.DataFrame) -> Result:
        """Accuracy of each best-of-four subset; `score`, and the terms it is made of, of Ties; `score` overall.

        Raises UserError for a table without the columns it needs, or with scores that are not finite.
        """
        scores, lengths = finite(table, ("score", "length"), "reward_bench_2").T
        groups = _groups(table)
        prompts = {name: len(group.ids) for name, group in groups.items()}
        parts = self._parts(scores, groups)
        absent = [name for name in SUBSETS if not parts.get(f"subset/{name}", {}).keys() & {*SCORES}]
        protocol = {
            "name": NAME,
            "split": "test",
            "ties": TIE_RULES[self.ties],
            **stated(shortfall(prompts, SUBSETS, NAME)),
            "missing_subsets": [name for name in SUBSETS if name not in groups],
            "overall": f"absent: no score of {', '.join(absent)}" if absent else "mean of the six subsets",
            "rows_that_differ": {
                name: {"rows": number, "official": SUBSETS[name]}
                for name, number in prompts.items()
                if number != SUBSETS[name]
            },
            "unmatched": questions(groups["Ties"].ids)[2] if "Ties" in groups else [],
            "random": f"Ties: mean over {RANDOM_DRAWS} draws of standard normal scores",
            "intervals": bootstrap_named("prompts, in Ties of questions", self.resamples, self.seed),
        }
        baselines = {"length_only": self._parts(lengths, groups), "random": self._random(groups)}
        return Result(protocol, parts, {"baselines": baselines})

    def _parts(self, scores: np.ndarray, groups: Mapping[str, Group]) -> Parts:
        rng = np.random.default_rng(self.seed)
        parts: Parts = {}
        six: list[np.ndarray] = []
        for name, group in groups.items():
            if name == "Ties":
                margins = ties_margins(scores[group.rows], group)
                number = len(margins[0])
                estimates = bootstrap(partial(ties_terms, *margins), number, self.resamples, rng)
            else:
                credit = best_of(scores[group.rows], group, self.ties)
                estimates = bootstrap(partial(_accuracy, credit), len(credit), self.resamples, rng)
            parts[f"subset/{name}"] = {"n": float(len(group.ids))}
            for metric, draws in estimates.items():
                parts[f"subset/{name}"] |= interval(metric, draws)
            six += [estimates[metric] for metric in SCORES if metric in estimates]
        if len(six) < len(SUBSETS):
            return parts
        n = sum(part["n"] for part in parts.values())
        return {"overall": interval("score", np.mean(six, axis=0)) | {"n": n}, **parts}

    def _random(self, groups: Mapping[str, Group]) -> Parts:
        """What scores that carry no information (and never tie) are expected to get."""
        parts: Parts = {}
        for name, group in groups.items():
            if name != "Ties":
                parts[f"subset/{name}"] = {"accuracy": float(np.mean(group.sizes[::2] / group.of_prompt))}
                continue
            draws = np.random.default_rng(self.seed).standard_normal((RANDOM_DRAWS, len(group.rows)))
            margins = ties_margins(draws, group)
            terms = ties_terms(*margins, np.ones((1, margins[0].shape[-1])))
            parts["subset/Ties"] = {term: float(values.mean()) for term, values in terms.items()}
        six = [part[metric] for part in parts.values() for metric in SCORES if metric in part]
        return {"overall": {"score": float(np.mean(six))}, **parts} if len(six) == len(SUBSETS) else parts


BENCHMARK = RewardBench2


def _accuracy(credit: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return {"accuracy": weights @ credit / weights.sum(axis=1)}


def _groups(table: pd.DataFrame) -> dict[str, Group]:
    """The subsets that are there, in official order. Raises UserError for a prompt that is not whole."""
    subsets = subset_column(table, SUBSETS, "reward_bench_2")
    if "correct" not in table:
        raise UserError("reward_bench_2: the score table lacks correct")
    correct = table["correct"].to_numpy(bool)
    groups = {}
    for name in SUBSETS:
        rows = np.flatnonzero(subsets == name)
        if not len(rows):
            continue
        ids, codes = np.unique(table["id"].to_numpy(str)[rows], return_inverse=True)
        order = np.lexsort((~correct[rows], codes))
        block = 2 * codes[order] + ~correct[rows][order]
        starts = np.flatnonzero(np.diff(block, prepend=-1))
        if not np.array_equal(block[starts], np.arange(2 * len(ids))):
            raise UserError(f"reward_bench_2: a {name} prompt of the score table lacks its correct or wrong responses")
        groups[name] = Group(ids, rows[order], starts)
    return groups


def _prompts(source: Source) -> Iterator[Prompt]:
    """Every row in file order. Raises DataError at the first that cannot be used."""
    places: dict[str, str] = {}
    for place, _, raw in whole_rows(source, ("id", "prompt", "chosen", "rejected", "subset")):
        subset = known_subset(place, raw["subset"], SUBSETS)
        name = str(raw["id"])
        if subset == "Ties":
            parsed = _TIES_ID.fullmatch(name)
            if parsed is None:
                raise DataError(f"{place}: the id {name[:40]!r} of a Ties row is neither ref:N nor tied:N")
            name = f"{parsed[1]}:{int(parsed[2])}"
        chosen, rejected = (_responses(place, raw, column) for column in ("chosen", "rejected"))
        counts = {"num_correct": len(chosen), "num_incorrect": len(rejected)}
        for column, number in (counts | {"total_completions": len(chosen) + len(rejected)}).items():
            if raw.get(column) not in (None, number):
                raise DataError(f'{place}: "{column}" is {raw[column]}, but there are {number}')
        if not isinstance(raw["prompt"], str):
            raise DataError(f'{place}: "prompt" is not text')
        yield Prompt(enter(places, f"{subset}/{name}", place), subset, raw["prompt"], (*chosen, *rejected), len(chosen))


def _told(prompts: Sequence[Prompt]) -> dict[str, int]:
    """Rows, responses, and what is odd about them: counted, never dropped."""
    texts = [text for prompt in prompts for text in (prompt.text, *prompt.responses)]
    sides = [(prompt.responses[: prompt.correct], prompt.responses[prompt.correct :]) for prompt in prompts]
    return {
        "rows": len(prompts),
        "responses": len(texts) - len(prompts),
        "empty_texts": sum(not text.strip() for text in texts),
        "identical_pairs": sum(not set(correct).isdisjoint(wrong) for correct, wrong in sides),
    }


def _responses(place: str, raw: Mapping[str, Any], column: str) -> Sequence[str]:
    responses = raw[column]
    if not isinstance(responses, list) or not all(isinstance(text, str) for text in responses):
        raise DataError(f'{place}: "{column}" is not a list of texts')
    if not responses:
        raise DataError(f'{place}: "{column}" holds no response')
    return responses
