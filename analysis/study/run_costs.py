"""What a run of a study took, in seconds and bytes, and so what another number of runs or pairs would take.

The first run of a replicate encodes its texts, the later ones find most of them in the cache: they are told apart. What
the first takes beside the arm that takes least grows with all pairs that it reads, and what a later run takes beside it
with the base pairs, whose variants it encodes. The table of scores grows with the test pairs. Seconds are those of the
machine that the study ran on; the cache of features is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.study.study import Study
from mars.config import UserError
from mars.record.layout import MAIN, scores_of


class Costs(NamedTuple):
    """Means over a study's runs, with the pairs that one read: base and validation, and of each of its test splits.

    least_seconds: of the arm that takes least when it is not the first. read is 0 where a run takes all rows there are.
    A replicate's: made, variants; calls of a model behind an endpoint; paid for them, None where no price is known.
    gpu: the card's name, "" without one. busy: the share of the cores at its disposal that a run kept at work; 1 where
    no run says so.
    """

    first_seconds: float
    later_seconds: float
    least_seconds: float
    run_bytes: float
    score_bytes: float
    read: int
    splits: int
    test_pairs: float
    made: float = 0.0
    calls: float = 0.0
    paid: float | None = None
    gpu: str = ""
    busy: float = 1.0

    def at(self, read: int, test_pairs: int) -> Costs:
        """The same of runs that read other numbers of pairs, taken as linear; `read` 0 is as many as these."""
        read = read if self.read else 0
        now, then = self.read + self.splits * self.test_pairs, (read or self.read) + self.splits * test_pairs
        encoding, variants = (max(0.0, s - self.least_seconds) for s in (self.first_seconds, self.later_seconds))
        scores = self.score_bytes * test_pairs / self.test_pairs
        return self._replace(
            first_seconds=self.least_seconds + encoding * then / now,
            later_seconds=self.least_seconds + variants * (read / self.read if read else 1),
            run_bytes=self.run_bytes - self.score_bytes + scores,
            score_bytes=scores,
            read=read or self.read,
            test_pairs=test_pairs,
        )

    def total(self, replicates: float, runs: int, groups: int = 1) -> tuple[float, float]:
        """(seconds, bytes) of replicates of so many runs, one after another; each group of them has its own texts."""
        seconds = groups * self.first_seconds + (runs - groups) * self.later_seconds
        return replicates * seconds, replicates * runs * self.run_bytes


def costs(study: Study) -> Costs:
    """What the study's runs took. Raises UserError where none has recorded its seconds or lies in a directory."""
    rows = [row for run in study.runs.to_dict("records") if (row := _of_run(study, run))]
    if not rows:
        raise UserError(f"pilot: {study.name}: no run in it says how long it took (wall_seconds)")
    table = pd.DataFrame(rows).sort_values("finished", kind="stable")
    first = ~table.duplicated(["dataset", "backbone", "replicate"])
    later = table[~first] if (~first).any() else table
    mean = table.mean(numeric_only=True)
    return Costs(
        first_seconds=float(table["seconds"][first].mean()),
        later_seconds=float(later["seconds"].mean()),
        least_seconds=float(later.groupby("method")["seconds"].mean().min()),
        run_bytes=float(mean["bytes"]),
        score_bytes=float(mean["score_bytes"]),
        read=round(mean["read"]),
        splits=max(1, len(study.splits)),
        test_pairs=max(1.0, float(mean["tested"]) / max(1, len(study.splits))),
        busy=_busy(table),
        **_supplied(study, int(first.sum())),
    )


def _busy(runs: pd.DataFrame) -> float:
    known = runs.dropna(subset=["busy"])
    return min(1.0, float(np.average(known["busy"], weights=known["seconds"]))) if len(known) else 1.0


def _supplied(study: Study, replicates: int) -> dict[str, Any]:
    """What the runs of a replicate had made and paid together, and what they ran on."""
    manifests = [run.manifest for run in study.members.values()]
    supplies = [supply for m in manifests for supply in (m.get("pool"), (m.get("semantic") or {}).get("writer"))]
    counted = [supply.get("usage") or {} for supply in supplies if supply]
    paid = [usage["cost"] for usage in counted if usage.get("cost") is not None]
    cards = {(m.get("hardware") or {}).get("gpu") for m in manifests} - {None}
    return {
        "made": sum(supply.get("made") or 0 for supply in supplies if supply) / replicates,
        "calls": sum(usage.get("calls") or 0 for usage in counted) / replicates,
        "paid": sum(paid) / replicates if paid else None,
        "gpu": " or ".join(sorted(map(str, cards))),
    }


def _of_run(study: Study, run: Mapping[Any, Any]) -> dict[str, Any] | None:
    member = study.members[run["run"]]
    seconds = member.manifest.get("wall_seconds")
    if member.directory is None or not isinstance(seconds, int | float):
        return None
    files = [file for file in member.directory.rglob("*") if file.is_file()]
    cores = (member.manifest.get("hardware") or {}).get("cores")
    scores = member.file(scores_of(MAIN))
    return {
        **{key: run[key] for key in ("dataset", "backbone", "replicate", "method")},
        "finished": max(file.stat().st_mtime for file in files),
        "seconds": float(seconds),
        "busy": (member.manifest.get("busy_cores") or math.nan) / (cores or math.nan),
        "bytes": sum(file.stat().st_size for file in files),
        "score_bytes": scores.stat().st_size if scores and scores.is_file() else 0,
        "tested": sum(len(columns["id"]) for split, columns in member.scores.items() if split in study.splits),
        "read": read_pairs(member.config),
    }


def read_pairs(config: Mapping[str, Any]) -> int:
    """Base and validation pairs of a run, from its dotted settings; 0 where it takes all there are."""
    return sum(int(config.get(f"dataset.{key}") or 0) for key in ("size", "validation"))
