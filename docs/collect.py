"""Keeps what the site shows of a study's report: `python docs/collect.py outputs/quick outputs/settle`.

A page shows a table or the verdict by a line `<!-- from: STUDY/FILE -->` and a figure by a link data/STUDY/FIGURE.png,
so no number is copied by hand. What any page names of a study is copied into docs/results/data/STUDY, with how it came
about (about.json), and the leaderboard and verdict that the front pages quote.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mars.record.run_directory import DONE, MANIFEST, finished_runs

DOCS = Path(__file__).parent
DATA = DOCS / "results" / "data"
ABOUT = "about.json"
QUOTED = ("leaderboard.md", "verdict.md")
_NAMED = re.compile(r"(?:<!-- from: |data/)([\w-]+)/([\w.-]+\.\w+)")


def named(study: str) -> set[str]:
    """The files that pages show of a study."""
    pages = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md") if not page.is_relative_to(DATA)]
    return {file for page in pages for name, file in _NAMED.findall(page) if name == study}


def collect(study: Path) -> None:
    """Copies from the study's report what the site shows. Raises FileNotFoundError for what the report lacks."""
    files = dict(_wanted(study))
    target = DATA / study.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, file in files.items():
        shutil.copy(file, target / name)
    runs = finished_runs(study)
    newest = max((run.path / DONE).stat().st_mtime for run in runs)
    manifest = json.loads((runs[0].path / MANIFEST).read_text(encoding="utf-8"))
    about = {
        "date": datetime.fromtimestamp(newest).date().isoformat(),
        "runs": len(runs),
        "commit": manifest["git"]["commit"][:10],
        "seconds": round(sum(json.loads((r.path / MANIFEST).read_text())["wall_seconds"] for r in runs)),
    }
    (target / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _wanted(study: Path) -> Iterator[tuple[str, Path]]:
    """(name, where the report has it) of every file to copy."""
    report = study / "report"
    for name in sorted({*QUOTED, *named(study.name)} - {ABOUT}):
        places = [folder / name for folder in (report, report / "tables", report / "figures")]
        file = next((place for place in places if place.exists()), None)
        if file is None:
            made = f"python -m analysis.report study={study}"
            raise FileNotFoundError(f"{report}: has no {name}, which a page shows ({made})")
        yield name, file


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        collect(Path(argument))
