"""A study's directory to everything a reader wants, under DIR/report/.

    python -m analysis.report study=outputs/quick
    python -m analysis.report study=outputs/mine allow_confounded=true   # rank arms that differ in more than strategy

Reads, never trains, and writes nothing outside report/; the same study gives the same leaderboard bytes, so a report
can be checked in and compared.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import figures, pools
from analysis.leaderboard import REFERENCE, leaderboard
from analysis.results import load
from mars.config import build

log = logging.getLogger("analysis.report")  # also when it runs as __main__


@dataclass(frozen=True)
class ReportConfig:
    """conf/report.yaml, checked."""

    study: str
    allow_confounded: bool = False
    reference: str = REFERENCE
    debug: bool = False

    def __post_init__(self) -> None:
        if not self.study.strip():
            raise ValueError("study: must name a directory")
        if not self.reference.split():
            raise ValueError("reference: must name an arm")


def report(study: Path, allow_confounded: bool = False, reference: str = REFERENCE) -> Path:
    """Write leaderboard.csv|md, results.parquet (a row per run × split × metric), tables/, figures/; print the board.

    Returns the report's directory. Raises UserError when the study is missing or holds no finished run.
    """
    loaded = load(study)
    board = leaderboard(loaded, allow_confounded, reference)
    directory = study / "report"
    directory.mkdir(exist_ok=True)
    board.write(directory)
    loaded.metrics.to_parquet(directory / "results.parquet", index=False)
    pools.write(pools.pool_table(loaded), directory / "tables")
    figures.draw(loaded, directory / "figures")
    for refusal in board.refusals:
        log.warning("%s", refusal)
    print(board.to_text())
    print(f"\n{directory}")
    return directory


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/report.yaml, resolved."""
    settings = build(ReportConfig, cfg, "")
    report(Path(settings.study), settings.allow_confounded, settings.reference)


def main() -> None:
    from mars.cli import command

    command("report", run)()


if __name__ == "__main__":
    main()
