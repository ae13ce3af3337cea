"""The tables of a study, made of its runs.

A row of any of them begins with the keys of its run, so that a table is read without another beside it.

    assemble("quick", runs, left_out=[], remarks=[]).metrics
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.study import naming
from analysis.study.study import FOCUS, KEYS, Run, Study


def assemble(name: str, members: list[Run], left_out: list[dict[str, str]], remarks: list[str]) -> Study:
    """The tables of a study from its runs, of which no two have one name."""
    plain = [{k: v for k, v in r.manifest.items() if isinstance(v, str | int | float)} for r in members]
    code = [{k: v for k, v in (r.manifest.get("git") or {}).items() if k in ("commit", "dirty")} for r in members]
    runs = pd.DataFrame([p | c for p, c in zip(plain, code, strict=True)]).assign(
        run=[r.name for r in members],
        source=[r.source for r in members],
        strategy=pd.Series([r.manifest.get("strategy") or {} for r in members]),
        dataset=naming.datasets([r.manifest["dataset"] for r in members], [r.config for r in members]),
    )
    runs["arm"] = naming.arms(runs, [dict(r.config) for r in members])
    runs["replicate"] = naming.replicates(runs)
    runs = runs[KEYS + [c for c in runs.columns if c not in KEYS]]
    keys = runs[KEYS]
    return Study(
        name,
        runs,
        _metrics(keys, members),
        _rounds(keys, members),
        keys.join(pd.DataFrame([_pool(r.manifest) for r in members])),
        pd.DataFrame(left_out, columns=["run", "source", "reason"]),
        tuple(remarks),
        {r.name: r for r in members},
        focus=_declared_focus(members),
    )


def _declared_focus(members: Sequence[Run]) -> str:
    """The arm that all runs declare, FOCUS where they declare several."""
    declared = {str(run.config.get("focus", FOCUS)) for run in members}
    return declared.pop() if len(declared) == 1 else FOCUS


def numbers(run: Run) -> Iterator[tuple[str, str, str, float]]:
    """(label, part, metric, value) of each of the run's metrics; NaN for what is not a number."""
    for label, parts in run.metrics.items():
        for part, values in parts.items():
            for metric, value in values.items():
                known = isinstance(value, int | float) and not isinstance(value, bool)
                yield label, part, metric, float(value) if known else math.nan


def _pool(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The pool record under dotted names, of the augmenter's settings its version alone; `variants_made` is `made`.

    With it `writer.usage`, what the semantic layer's writer used.
    """
    writer = (manifest.get("semantic") or {}).get("writer") or {}
    record = naming.flat({**(manifest.get("pool") or {}), "writer": {"usage": writer.get("usage") or {}}})
    kept = {k: v for k, v in record.items() if not k.startswith("settings.") or k == "settings.version"}
    return {k.removeprefix("variants_"): v for k, v in kept.items()}


def _metrics(keys: pd.DataFrame, members: Sequence[Run]) -> pd.DataFrame:
    """A row for each metric, behind the keys of its run."""
    rows = [(i, *found) for i, run in enumerate(members) for found in numbers(run)]
    frame = pd.DataFrame(rows, columns=["i", "benchmark", "split", "metric", "value"]).astype({"value": np.float64})
    return _behind(keys, frame.pop("i").to_numpy(int), frame)


def _rounds(keys: pd.DataFrame, members: Sequence[Run]) -> pd.DataFrame:
    """The rows of every rounds.csv, behind the keys of their run."""
    at = np.repeat(np.arange(len(members)), [len(run.rounds) for run in members])
    return _behind(keys, at, pd.concat([run.rounds for run in members], ignore_index=True))


def _behind(keys: pd.DataFrame, at: np.ndarray, frame: pd.DataFrame) -> pd.DataFrame:
    """`frame`, each of its rows behind that of `keys` whose place `at` gives."""
    return pd.concat([keys.iloc[at].reset_index(drop=True), frame], axis=1)
