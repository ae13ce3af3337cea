"""Keeps what the site shows of a study's report, and makes the numbers in its pages.

    python docs/collect.py outputs/settle outputs/quick   # keep these, then make the pages' numbers anew
    python docs/collect.py                                # make the numbers alone
    python docs/collect.py --check                        # fail where a page's number is not that of the study's files

A page shows a table or the verdict by a line `<!-- from: STUDY/FILE -->`, a figure by a link data/STUDY/FIGURE.png and
a number by a mark (docs/marks.py), so none is copied by hand. What pages name of a study is copied into
docs/results/data/STUDY, with what marks are made from (its declared comparisons, its leaderboard, the labels that arms
save, the map of regimes, its curvature by replicate), its results.parquet and how it came about (about.json). A study
of which runs are missing, or that several versions made, is refused.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))  # so that a test, too, finds what is beside it

import marks
import studies

from analysis.study import loading
from analysis.study.looks import FILE as LOOKS
from analysis.study.study import Study
from mars.config import UserError
from mars.record.layout import DONE
from mars.record.run_directory import finished_runs

DOCS = Path(__file__).parent
DATA = DOCS / "results" / "data"
QUOTED = ("leaderboard.md", "verdict.md", "leaderboard.csv")
IF_THERE = ("comparisons.csv", "bit_comparisons.csv", "label_equivalence.csv", "regimes.csv")
RESULTS = "results.parquet"
LARGEST = 1_000_000  # bytes of a results.parquet
_OF_A_RUN = ("accuracy", "gold_accuracy", "information", "auc", "n")  # metrics that stay where all are too many
_NAMED = re.compile(r"(?:<!-- from: |data/)([\w-]+)/([\w.-]+\.\w+)")


def named(study: str) -> set[str]:
    """The files that pages show of a study."""
    pages = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md") if not page.is_relative_to(DATA)]
    return {file for page in pages for name, file in _NAMED.findall(page) if name == study}


def collect(directory: Path, anyway: bool = False) -> None:
    """Keeps of a study what the site shows.

    anyway: although runs are missing or several versions made them, which about.json then says.
    Raises UserError for a study that cannot be kept so, or a report that lacks a file.
    """
    study = loading.load(directory)
    remarks = list(oddities(study, directory))
    if remarks and not anyway:
        raise UserError(f"{directory}: {'; '.join(remarks)} (--anyway keeps it, with this said beside it)")
    newest = max((run.path / DONE).stat().st_mtime for run in finished_runs(directory))
    files = dict(_wanted(directory, newest))
    target = DATA / directory.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, file in files.items():
        shutil.copy(file, target / name)
    _compress(target / RESULTS)
    curvature = by_replicate(study)
    if len(curvature):
        curvature.to_csv(target / marks.CURVATURE, index=False, float_format="%.10g")
    about = _about(study, newest) | {"remarks": remarks}
    (target / marks.ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def oddities(study: Study, directory: Path) -> Iterator[str]:
    """What speaks against keeping the study: runs that are not there, and runs of several versions."""
    if len(study.left_out):
        first = study.left_out.iloc[0]
        yield f"{len(study.left_out)} runs are not counted, such as {first['run']}: {first['reason']}"
    declared = studies.declared().get(directory.name)
    expected = declared.runs(studies.DATA) if declared else 0
    if (directory / LOOKS).exists():  # which runs there are, its rule decides
        expected = 0
    elif missing := list(_missing(study)):
        yield f"{len(missing)} runs are missing, such as {missing[0]}"
    elif len(study.runs) < expected:
        yield f"{len(study.runs)} of the {expected} runs that docs/studies.yaml declares are there"
    for what, values in _versions(study).items():
        if len(values) > 1:
            counted = ", ".join(f"{name} made {count}" for name, count in values.most_common(3))
            yield f"runs differ in {what}: {counted}"


def _missing(study: Study) -> Iterator[str]:
    """`ARM with seed N` of what other arms of its data have."""
    for title, group in study.groups():
        seeds = set(group.runs["seed"])
        for arm, own in group.runs.groupby("arm"):
            yield from (f"{arm} with seed {seed} on {title}" for seed in sorted(seeds - set(own["seed"])))


def _versions(study: Study) -> dict[str, Counter[str]]:
    """{what the runs were made with: how many by each}."""
    manifests = [run.manifest for run in study.members.values()]
    packages: list[dict[str, Any]] = [manifest.get("packages") or {} for manifest in manifests]
    differing = sorted({name for one in packages for name in one if len({p.get(name) for p in packages}) > 1})
    return {
        "commit": Counter(str((m.get("git") or {}).get("commit"))[:10] for m in manifests),
        "schema version": Counter(str(m.get("schema_version")) for m in manifests),
        **{name: Counter(str(p.get(name)) for p in packages) for name in differing},
    }


def by_replicate(study: Study) -> pd.DataFrame:
    """dataset, backbone, arm, replicate and means over rounds of the gains and of the log of H's condition number."""
    keys = ["dataset", "backbone", "arm", "replicate"]
    rounds = study.rounds[[name for name in study.rounds if name in (*keys, "h_gain", "g_gain", "h_mixture_condition")]]
    if "h_gain" not in rounds or rounds["h_gain"].isna().all():
        return pd.DataFrame()
    with np.errstate(divide="ignore"):
        log = np.log(rounds["h_mixture_condition"].astype(float))
    known = rounds.assign(h_log_condition=log.where(np.isfinite(log))).dropna(subset=["h_gain"])
    columns = [name for name in ("h_gain", "g_gain", "h_log_condition") if name in known]
    return known.groupby(keys, as_index=False)[columns].mean()


def _wanted(directory: Path, newest: float) -> Iterator[tuple[str, Path]]:
    """(name, where the report has it) of every file to copy. newest: when the last run ended."""
    report = directory / "report"
    command = f"python -m analysis.report study={directory}"
    for name in sorted({RESULTS, *QUOTED, *IF_THERE, *named(directory.name)} - {marks.ABOUT, marks.CURVATURE}):
        places = [folder / name for folder in (report, report / "tables", report / "figures")]
        file = next((place for place in places if place.exists()), None)
        if file and file.stat().st_mtime < newest:
            raise UserError(f"{file}: is older than the study's last run ({command})")
        if file:
            yield name, file
        elif name not in IF_THERE:
            raise UserError(f"{report}: has no {name}, which is to be kept ({command})")


def _compress(file: Path) -> None:
    """Every number of the study, compressed; where that is too large, those that a run is judged by."""
    table = pq.read_table(file)
    pq.write_table(table, file, compression="zstd", compression_level=19)
    if file.stat().st_size > LARGEST:
        kept = table.filter([metric in _OF_A_RUN for metric in table["metric"].to_pylist()])
        pq.write_table(kept, file, compression="zstd", compression_level=19)
        print(f"{file}: all metrics would take over 1 MB, so it holds {', '.join(_OF_A_RUN)} alone")


def _about(study: Study, newest: float) -> dict[str, Any]:
    """How the study came about."""
    manifests = [run.manifest for run in study.members.values()]
    return {
        "date": datetime.fromtimestamp(newest).date().isoformat(),
        "runs": len(manifests),
        "commit": str((manifests[0].get("git") or {}).get("commit"))[:10],
        "seconds": round(sum(manifest.get("wall_seconds") or 0 for manifest in manifests)),
    }


def check() -> list[str]:
    """A line for each number in the pages that is not that of a study's files, and for what they show and lack."""
    return [line for page in marks.PAGES for line in (*marks.stale(page), *_not_kept(page))]


def _not_kept(page: Path) -> Iterator[str]:
    """Files of studies that were kept before the page showed these files."""
    for study, file in _NAMED.findall(page.read_text(encoding="utf-8")):
        if (DATA / study).is_dir() and not (DATA / study / file).exists():
            yield f"{page.name}: shows {study}/{file}, which is not kept (python docs/collect.py outputs/{study})"


def make_numbers() -> None:
    """What is between the marks of all pages, made anew."""
    for page in marks.PAGES:
        text = page.read_text(encoding="utf-8")
        try:
            now = marks.rewritten(text)
        except UserError as error:
            raise UserError(f"{page.relative_to(marks.ROOT)}: {error}") from None
        if now != text:
            page.write_text(now, encoding="utf-8")
            print(f"{page.relative_to(marks.ROOT)}: numbers made anew")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 where a page is stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("studies", nargs="*", type=Path, help="directories of studies to keep, such as outputs/settle")
    parser.add_argument("--anyway", action="store_true", help="keep one of which runs are missing or versions differ")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page's number is stale")
    asked = parser.parse_args(arguments)
    if asked.check:
        lines = check()
        print("\n".join(lines) or "all numbers are those of the studies")
        return int(bool(lines))
    for directory in asked.studies:
        collect(directory, asked.anyway)
    make_numbers()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
