"""Keeps what a study's report says for the site: `python docs/collect.py outputs/quick outputs/matched`.

Into docs/results/data/STUDY go the report's tables and verdict as markdown, its figures as PNG, and how they came about
(about.json). A page takes them from there with a line `<!-- from: STUDY/FILE -->`, so no number is copied by hand.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime
from pathlib import Path

from mars.record.run_directory import DONE, MANIFEST, finished_runs

KEPT = ("leaderboard.md", "verdict.md", "tables/comparisons.md")
FIGURES = ("accuracy", "margins", "comparisons", "tau_sweep")
DATA = Path(__file__).parent / "results" / "data"


def collect(study: Path) -> None:
    """Copies from the study's report what the site shows. Raises FileNotFoundError where there is no report."""
    target = DATA / study.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in KEPT:
        shutil.copy(study / "report" / name, target / Path(name).name)
    for name in FIGURES:
        if (file := study / "report" / "figures" / f"{name}.png").exists():
            shutil.copy(file, target / file.name)
    runs = finished_runs(study)
    newest = max((run.path / DONE).stat().st_mtime for run in runs)
    manifest = json.loads((runs[0].path / MANIFEST).read_text(encoding="utf-8"))
    about = {
        "date": datetime.fromtimestamp(newest).date().isoformat(),
        "runs": len(runs),
        "commit": manifest["git"]["commit"][:10],
        "seconds": round(sum(json.loads((r.path / MANIFEST).read_text())["wall_seconds"] for r in runs)),
    }
    (target / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        collect(Path(argument))
