"""Arms on the in-distribution test splits, in tables: the main one, every split, and all groups at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.measures import OVER_REPLICATES, arm_rows, over_replicates, whole
from analysis.exhibits.reference import Published, citation, load_published, published_value
from analysis.exhibits.table import Column, records
from analysis.inference import stats
from analysis.inference.comparability import why_not_comparable
from analysis.inference.comparisons import counterpart
from analysis.inference.pairing import ACCURACY, INFORMATION, Paired, difference_of
from analysis.study.naming import place
from analysis.study.study import NothingToShow, Study

_METRICS = ("accuracy", "information", "auc", "snr", "margin_mean")


class Main(Exhibit):
    """Arms on the main test split, as v1 has them, with what was published: the first table of a results section.

    reference: what is published, paper_reference.yaml unless told.
    """

    name, title = "main", "Reward models on held-out pairs"
    by = ("dataset", "backbone", "split")
    columns = (
        Column("arm", "arm"),
        Column("accuracy", "accuracy %", ".1f", 100, interval=True),
        Column("information", "information, bits", ".3f", interval=True),
        Column("auc", "AUC", ".3f", interval=True),
        Column("snr", "SNR", ".2f", interval=True),
        Column("margin_mean", "mean margin", ".3f", interval=True),
        Column("published", "published", always=True),
        Column("replicates", "replicates", "d"),
        Column("examples", "pairs", ",d"),
    )

    def __init__(self, reference: Iterable[Published] | None = None) -> None:
        known = load_published() if reference is None else reference
        self.known = [entry for entry in known if entry.table == self.name]

    def frame(self, study: Study) -> pd.DataFrame:
        if not study.splits:
            raise NothingToShow(
                "no run has in_distribution metrics (python -m benchmarks.evaluate study=DIR benchmark=in_distribution)"
            )
        rows = [row for _, group in study.groups() if group.splits for row in self._rows(group)]
        return whole(pd.DataFrame(rows), "replicates", "examples")

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            f"On the main test split; {OVER_REPLICATES}. Accuracy: a tie counts ½. Information: bits that a "
            "model tells of a label, at the temperature of held-out pairs. AUC of all scores, chosen against "
            "rejected; SNR: mean over population sd of the margins; margins in units of the score, which differ "
            f"between models. {citation(self.known, records(frame))}"
        )

    def _rows(self, group: Study) -> list[dict[str, object]]:
        split, rows = group.splits[0], []
        for _, arm, row in arm_rows(group):
            row["split"] = split
            for metric in _METRICS:
                row |= over_replicates(metric, group.values(arm, split, metric))
                row[f"{metric}_published"] = published_value(self.known, row, metric)
            known = {metric: row[f"{metric}_published"] for metric in _METRICS if row[f"{metric}_published"]}
            row["published"] = "; ".join(f"{metric} {value}" for metric, value in known.items())
            row["replicates"] = len(group.values(arm, split, "accuracy"))
            rows.append(row | {"examples": group.values(arm, split, "n").mean()})
        return rows


class Splits(Exhibit):
    """Accuracy on every test split: where an arm gains, and where it pays for it."""

    name, title = "splits", "Every test split"
    by = ("dataset", "backbone", "split")

    def frame(self, study: Study) -> pd.DataFrame:
        frame = pd.DataFrame(
            [row for _, group in study.groups() for split in group.splits for row in self._rows(group, split)]
        )
        if len(study.splits) < 2 and (frame.empty or frame["gold_accuracy"].isna().all()):
            raise NothingToShow("there is one test split and no true reward (dataset=planted has several, with gold)")
        return frame

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            f"Accuracy in %, a tie counts ½, and information in bits, {OVER_REPLICATES}. Differences to "
            f"{study.reference} on the same replicates and pairs, with a 95 % interval for new ones: exploratory, "
            "one interval at a time and not adjusted for their number; the declared comparisons are on the main split "
            "alone. Gold: agreement with the true reward instead of the labels, where it is known and they differ."
        )

    def table_columns(self, study: Study, frame: pd.DataFrame) -> tuple[Column, ...]:
        return (
            Column("arm", "arm"),
            Column("accuracy", "accuracy %", ".1f", 100, interval=True),
            Column("difference", f"− {study.reference}", "+.1f", 100, interval=True),
            Column("information", "information, bits", ".3f", interval=True),
            Column("bits_difference", f"− {study.reference}, bits", "+.3f", interval=True),
            Column("gold_accuracy", "gold %", ".1f", 100, interval=True),
        )

    def _rows(self, group: Study, split: str) -> list[dict[str, Any]]:
        rows, unfit = [], bool(why_not_comparable(group))
        for _, arm, row in arm_rows(group):
            row["split"] = split
            row |= over_replicates("accuracy", group.values(arm, split, "accuracy"))
            row |= over_replicates("information", group.values(arm, split, "information"))
            gold = over_replicates("gold_accuracy", group.values(arm, split, "gold_accuracy"))
            row |= gold if abs(gold["gold_accuracy"] - row["accuracy"]) > 1e-12 else dict.fromkeys(gold, math.nan)
            reference = counterpart(group.arms, arm, group.reference)
            if reference not in (None, arm) and not unfit:
                for name, endpoint in (("difference", ACCURACY), ("bits_difference", INFORMATION)):
                    row |= self._difference(name, difference_of(group, arm, str(reference), split, endpoint))
            rows.append(row)
        return rows

    @staticmethod
    def _difference(name: str, found: Paired) -> dict[str, float]:
        result = found.result
        known = not math.isnan(result.difference)
        return {name: result.difference, f"{name}_lo": result.lo, f"{name}_hi": result.hi} if known else {}


class Aggregate(Exhibit):
    """How often a run of an arm beats one of the reference, over all groups (Agarwal et al. 2021, arXiv 2108.13264).

    Arms that ran in different groups have different tasks: compare those with as many groups only.
    """

    name, title, by = "aggregate", "Over all groups", ()

    def frame(self, study: Study) -> pd.DataFrame:
        scores: dict[str, dict[str, np.ndarray]] = {}  # arm: group: accuracies
        against: dict[str, dict[str, str]] = {}  # arm: group: what it may be compared with
        for title, group in study.groups():
            arms, confounded = group.arms, why_not_comparable(group)
            for arm in arms if group.splits else []:
                accuracy = group.values(arm, group.splits[0], "accuracy").to_numpy(float)
                if accuracy.size:
                    scores.setdefault(arm, {})[title] = accuracy
                    reference = counterpart(arms, arm, study.reference)
                    if reference not in (None, arm) and not confounded:
                        against.setdefault(arm, {})[title] = str(reference)
        if not scores:
            raise NothingToShow("no run has an accuracy on its main test split")
        rows = [self._row(arm, scores, against.get(arm, {})) for arm in sorted(scores, key=place)]
        return pd.DataFrame(rows).astype({"compared": "Int64"})

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "Over all runs of an arm in all dataset × backbone groups where it ran, on their main test splits. "
            f"P: how often a run of the arm beats one of {study.reference} in the same group, a tie counting ½, mean "
            "over the groups where both ran and may be compared; 50 is no improvement. Intervals are 95 %, from "
            "resampling replicates within groups: too narrow for few, and none where a group has a single one. Arms "
            "over different groups do not compare. No value is tested."
        )

    def table_columns(self, study: Study, frame: pd.DataFrame) -> tuple[Column, ...]:
        return (
            Column("arm", "arm"),
            Column("groups", "groups", "d"),
            Column("runs", "runs", ",d"),
            Column("improvement", f"P(better than {study.reference}) %", ".0f", 100, interval=True),
            Column("compared", "groups compared", "d"),
        )

    def _row(self, arm: str, scores: dict[str, dict[str, np.ndarray]], against: dict[str, str]) -> dict[str, object]:
        ours = scores[arm]
        both = [title for title in ours if title in scores.get(against.get(title, ""), {})]
        better = stats.Interval(math.nan, math.nan, math.nan)
        if both:
            theirs = [scores[against[title]][title] for title in both]
            better = stats.probability_of_improvement([ours[title] for title in both], theirs)
        return {
            "arm": arm,
            "groups": len(ours),
            "runs": sum(map(len, ours.values())),
            **{f"improvement{end}": value for end, value in zip(("", "_lo", "_hi"), better, strict=True)},
            "compared": len(both) or None,
        }
