"""A study in memory: what ran, what it measured, what was left out. Everything downstream is a pure function of it.

from analysis import load
study = load("outputs/quick")
study.table("main")        # shows itself in a notebook; .frame is the pandas DataFrame behind it
study.figure("margins")    # a matplotlib Figure
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.study.arm_names import method_of, settings_of
from analysis.study.naming import flat, place, place_of_data, short, text
from mars.config import UserError
from mars.record.layout import MAIN
from mars.record.run_directory import RunDirectory

KEYS = ["run", "arm", "method", "dataset", "backbone", "seed", "replicate"]
BENCHMARK = MAIN
_MEASURED = ["arm", "benchmark", "split", "metric"]
FOCUS, REFERENCE = "mars", "uniform"
# Of equivalence: a point, a hundredth of a bit.
MARGINS: Mapping[str, float] = MappingProxyType({"accuracy": 0.01, "information": 0.01})


class NothingToShow(UserError):
    """A table or figure the study holds nothing for; the text says what would fill it."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run as its source has it.

    name: its id. source: where it was found, for a reader. directory: None where only W&B has it, without scores.
    manifest: excluding the lists of ids. config: settings under dotted keys. metrics: {label: {part: {metric: value}}}.
    rounds: a row a round. records: {label: what its evaluation recorded}. scores: {split: its columns}, test splits and
    `validation`: `id`, an index, and arrays [E] of the known of PAIRS, with `bits` (`Pairs`) where they were taken when
    it was read; empty where the run has none.
    """

    name: str
    source: str
    directory: Path | None
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    rounds: pd.DataFrame
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    def record(self, label: str) -> Mapping[str, Any]:
        """What an evaluation recorded; empty where there is no record, or none that is a JSON object."""
        return self.records.get(label, {})

    def file(self, name: str) -> Path | None:
        """A file of the run's directory, None where it is not there."""
        return RunDirectory(self.directory).file(name) if self.directory else None


class Pairs(NamedTuple):
    """One arm's scores on one split: [S seeds, E examples], NaN where a seed was not judged on an example.

    bits: of `benchmarks.calibration.information`, at each seed's own temperature; NaN where sides are by gold.
    """

    seeds: np.ndarray  # [S] ascending
    replicates: np.ndarray  # [S] of each seed
    ids: pd.Index  # [E]
    chosen: np.ndarray
    rejected: np.ndarray
    bits: np.ndarray

    @property
    def margins(self) -> np.ndarray:
        """[S, E] r(chosen) − r(rejected)."""
        return self.chosen - self.rejected

    @property
    def own_rows(self) -> bool:
        """Whether every replicate was judged on examples of its own, no two replicates on one."""
        judged = ~np.isnan(self.margins)
        known = np.unique(self.replicates)
        by_replicate = judged
        if len(known) < len(judged):
            by_replicate = np.array([judged[self.replicates == replicate].any(axis=0) for replicate in known])
        return len(known) > 1 and bool((by_replicate.sum(axis=0) <= 1).all() and judged.any())

    def on(self, seeds: np.ndarray, ids: pd.Index) -> Pairs:
        """The part of it on some of its seeds and examples, in their order."""
        rows = np.searchsorted(self.seeds, seeds)
        columns = slice(None) if ids.equals(self.ids) else self.ids.get_indexer(ids)
        scores = (side[rows][:, columns] for side in (self.chosen, self.rejected, self.bits))
        return Pairs(self.seeds[rows], self.replicates[rows], self.ids[columns], *scores)


@dataclass(frozen=True, eq=False)  # one study is the same as another only if it is that one
class Study:
    """Finished runs of one or more studies, or of one dataset × backbone group of them.

    `runs` has a row per run: KEYS, source, the manifest's plain values, commit, dirty, and `strategy`, a mapping.
    `metrics` has KEYS, benchmark, split, metric, value; `rounds` has KEYS and the columns of rounds.csv; `pools` has
    KEYS and the manifest's pool record under dotted names, with `writer.usage` of the semantic layer. `arm` is the
    method, with the settings that tell it apart where one method ran with several. `left_out` has run, source, reason
    for each run that is not counted; `remarks` says what is odd about those that are. `members`: each run by name.

    focus: the arm that the verdict compares with the others, as the runs declare it. reference: the arm that the
    leaderboard and the verdict compare with. Both by method and, where that is not enough, settings (`mars tau=0`).
    allow_confounded: compare arms although they differ in more than their strategy. margins: {endpoint: the difference
    within which arms are equivalent}.
    settled: of a study that was looked at while it grew, what the looks settled (`analysis.study.looks`).
    """

    name: str
    runs: pd.DataFrame
    metrics: pd.DataFrame
    rounds: pd.DataFrame
    pools: pd.DataFrame
    left_out: pd.DataFrame
    remarks: tuple[str, ...]
    members: Mapping[str, Run] = field(repr=False)
    focus: str = FOCUS
    reference: str = REFERENCE
    allow_confounded: bool = False
    margins: Mapping[str, float] = field(default_factory=lambda: MARGINS)
    settled: Mapping[str, str] | None = None

    @functools.cached_property
    def arms(self) -> list[str]:
        """Baselines first, MARS last, methods of others in between; one method's settings by their numbers."""
        return sorted(self.runs["arm"].unique(), key=place)

    @functools.cached_property
    def splits(self) -> list[str]:
        """In-distribution test splits, the main one first, in the order most runs have."""
        measured = (self.metrics["benchmark"] == BENCHMARK) & (self.metrics["split"] != "")
        of_runs = self.metrics.loc[measured, ["run", "split"]].drop_duplicates()
        known = list(of_runs["split"].unique())
        stated = {str(run): list(splits) for run, splits in of_runs.groupby("run", sort=False)["split"]}
        orders = [self.members[run].manifest.get("splits") or splits for run, splits in stated.items()]
        if not orders:
            return known
        usual = Counter(map(tuple, orders)).most_common(1)[0][0]
        return sorted(known, key=lambda split: usual.index(split) if split in usual else len(usual))

    def judged(self, **way: Any) -> Study:
        """The same runs, judged in another way: focus, reference, allow_confounded, margins."""
        return replace(self, **way)

    def groups(self) -> Iterator[tuple[str, Study]]:
        """(`dataset / backbone`, that part of the study): only within one are arms comparable.

        A dataset in several settings is several, as `gaussian noise=flip`; the manifests hold its plain name.
        """
        yield from self._groups

    @functools.cached_property
    def _groups(self) -> list[tuple[str, Study]]:
        return list(self._parts())

    def _parts(self) -> Iterator[tuple[str, Study]]:
        frames = {name: getattr(self, name) for name in ("runs", "metrics", "rounds", "pools")}
        rows = {name: frame.groupby(["dataset", "backbone"]).indices for name, frame in frames.items()}
        of_runs = set(zip(self.runs["dataset"], self.runs["backbone"], strict=True))
        for group in sorted(of_runs, key=lambda of: (place_of_data(of[0]), of[1])):
            parts = {name: frame.iloc[rows[name].get(group, [])] for name, frame in frames.items()}
            yield " / ".join(group), replace(self, **parts)

    def in_focus(self, arm: str) -> bool:
        """Whether `focus` means this arm: its method, and each setting it names, be that in the arm's name or not."""
        if method_of(arm) != method_of(self.focus):
            return False
        known = {f"{short(key)}={text(value)}" for run in self.of(arm)[:1] for key, value in run.config.items()}
        return set(self.focus.split()) <= known | set(arm.split())

    def of(self, arm: str) -> list[Run]:
        """The arm's runs by seed; of one group there is one a seed."""
        return self._by_arm.get(arm, [])

    @functools.cached_property
    def _by_arm(self) -> dict[str, list[Run]]:
        runs = self.runs.sort_values("seed", kind="stable").groupby("arm", sort=False)["run"]
        return {str(arm): [self.members[name] for name in names] for arm, names in runs}

    @functools.cached_property
    def replicate_of(self) -> dict[str, int]:
        """The replicate of each run by name."""
        return dict(zip(self.runs["run"], self.runs["replicate"], strict=True))

    def values(self, arm: str, split: str, metric: str, benchmark: str = BENCHMARK) -> pd.Series:
        """[R] a metric by replicate, mean over its seeds; empty where it was not measured."""
        by_replicate, places = self._by_replicate
        place = places.get((arm, benchmark, split, metric))
        return pd.Series(dtype=float) if place is None else by_replicate.iloc[place]

    @functools.cached_property
    def _by_replicate(self) -> tuple[pd.Series, dict[tuple[str, ...], slice]]:
        """`values` of all there is, one after the other, and where each are: exhibits ask for thousands."""
        keys = self.means.droplevel("replicate").index
        firsts = np.flatnonzero(~keys.duplicated())  # the index is sorted
        places = map(slice, firsts, [*firsts[1:], len(keys)])
        return self.means.reset_index(_MEASURED)["value"], dict(zip(keys[firsts], places, strict=True))

    @functools.cached_property
    def means(self) -> pd.Series:
        """Every metric by arm, benchmark, split, metric and replicate, its index: mean over the replicate's seeds."""
        return self.metrics.dropna(subset=["value"]).groupby([*_MEASURED, "replicate"], sort=True)["value"].mean()

    def settings(self, arm: str) -> dict[str, str]:
        """What the arm's strategy was set to, as text, less what its name says already."""
        recorded = self.runs.loc[self.runs["arm"] == arm, "strategy"].iloc[0]
        said = settings_of(arm)
        return {k: text(v) for key, v in flat(recorded).items() if (k := short(key)) not in said}

    def pairs(self, arm: str, split: str, gold: bool = False) -> Pairs:
        """The arm's scores on a split, of the runs that have any. Raises UserError for a file that cannot be used.

        gold: `chosen` is the response that is truly better, whatever the label says; NaN where none is known to be.
        """
        return _pairs(self, arm, split, gold)


def once_a_study(table: Callable[[Study], pd.DataFrame]) -> Callable[[Study], pd.DataFrame]:
    """`table` made once of a study, of which each caller has a copy: tables, figures and the page ask for the same."""
    made = functools.lru_cache(maxsize=64)(table)
    return functools.wraps(table)(lambda study: made(study).copy())


@functools.lru_cache(maxsize=512)
def _pairs(study: Study, arm: str, split: str, gold: bool) -> Pairs:
    """Of one arm and split: tables and figures ask for it again, a group at a time."""
    judged = {run.manifest["seed"]: run for run in study.of(arm) if split in run.scores}
    found = [run.scores[split] for run in judged.values()]
    ids, places = _places([scores["id"] for scores in found] or [pd.Index([])])
    sides = np.full((3, len(found), len(ids)), np.nan)
    for row, (scores, at) in enumerate(zip(found, places, strict=False)):
        sides[:2, row, at] = _sides(scores, gold)
        if not gold and "bits" in scores:
            sides[2, row, at] = scores["bits"]
    seeds, replicates = list(judged), [study.replicate_of[run.name] for run in judged.values()]
    return Pairs(np.array(seeds, int), np.array(replicates, int), ids, *sides)


def _places(orders: Sequence[pd.Index]) -> tuple[pd.Index, Sequence[slice | np.ndarray]]:
    """All examples of `orders`, and where among them those of each order are."""
    if all(order.equals(orders[0]) for order in orders):
        return orders[0], [slice(None)] * len(orders)
    joined = orders[0].append(list(orders[1:]))
    if joined.is_unique:  # every order has examples of its own
        ends = np.cumsum([0, *map(len, orders)])
        return joined, [slice(first, end) for first, end in itertools.pairwise(ends)]
    joined = functools.reduce(pd.Index.union, orders)
    return joined, [joined.get_indexer(order) for order in orders]


def _sides(scores: Mapping[str, Any], gold: bool) -> tuple[np.ndarray, np.ndarray]:
    """[E] scores of the chosen and of the rejected responses, or of the truly better and the worse ones."""
    chosen, rejected = np.asarray(scores["chosen_score"], float), np.asarray(scores["rejected_score"], float)
    if not gold:
        return chosen, rejected
    truth = np.sign(np.asarray(scores.get("gold_margin", np.full(len(chosen), np.nan)), float))
    known = np.where(np.isnan(truth) | (truth == 0), np.nan, 0.0)
    return np.where(truth < 0, rejected, chosen) + known, np.where(truth < 0, chosen, rejected) + known
