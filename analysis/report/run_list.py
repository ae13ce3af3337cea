"""The runs of a study as a page lists them: where each number came from, one click from the number.

Links are relative to the page's directory, so a study that is moved or sent with its report keeps them.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from analysis.exhibits.table import anchor
from analysis.report.page import ListedArm, ListedGroup, ListedRun
from analysis.study.study import BENCHMARK, Run, Study
from mars.record.layout import LOG, MANIFEST, METRICS, record_of

_NAMES = {LOG: "log"}


def list_runs(study: Study, page: Path) -> tuple[ListedGroup, ...]:
    """Every counted run by group and arm. page: the directory that the page will lie in."""
    return tuple(_group(title, group, page) for title, group in study.groups())


def _group(title: str, group: Study, page: Path) -> ListedGroup:
    split = group.splits[0] if group.splits else ""
    dataset, backbone = group.runs[["dataset", "backbone"]].iloc[0]
    arms = []
    for arm in group.arms:
        runs = tuple(_run(run, split, page) for run in group.of(arm))
        arms.append(ListedArm(anchor({"dataset": dataset, "backbone": backbone, "arm": arm}), arm, runs))
    return ListedGroup(title, split, tuple(arms))


def _run(run: Run, split: str, page: Path) -> ListedRun:
    accuracy = run.metrics.get(BENCHMARK, {}).get(split, {}).get("accuracy")
    commit = (run.manifest.get("git") or {}).get("commit") or ""
    steps = run.manifest.get("steps")
    href = _link(run.directory, page) + "/" if run.directory else ""
    return ListedRun(
        anchor=anchor({"run": run.name}),
        name=run.name,
        seed=int(run.manifest["seed"]),
        accuracy=float("nan") if accuracy is None else float(accuracy),
        steps=float("nan") if steps is None else float(steps),
        commit=str(commit)[:8],
        href=href,
        files=tuple((_NAMES.get(name, Path(name).stem), href + quote(name)) for name in _records(run)),
    )


def _records(run: Run) -> list[str]:
    """Where a run says what happened in it, and the files that its numbers are in."""
    evaluations = sorted(record_of(label) for label in run.metrics)
    return [name for name in (LOG, METRICS, MANIFEST, *evaluations) if run.file(name)]


def _link(path: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(path, page)).as_posix())
