"""Studies of many people on one board, with nothing on it that their scores do not bear out.

    python -m analysis.leaderboard studies=[outputs/quick,submissions/team_x] out=outputs/board
    python -m analysis.leaderboard studies=[outputs/hh,outputs/evaluations]     # trained arms beside any other model

A source is a study, a run, what `benchmarks.evaluate` left of a model, or a folder that `analysis.submission` packed
(docs/submitting.md). Every number is recomputed from the scores of each example; what does not add up is refused and
listed with the reason. Written are leaderboard.csv and .md, runs.csv, refused.csv and index.html, the same bytes for
the same sources in any order.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.boards.board import Board, make
from analysis.boards.entries import Entry, Refused, read
from analysis.exhibits.table import Column, Table, csv_text
from analysis.report.page import Left, Page, render
from mars.config import UserError, build
from mars.files import aside

log = logging.getLogger("analysis.leaderboard")  # also when it runs as __main__


@dataclass(frozen=True)
class LeaderboardConfig:
    """conf/leaderboard.yaml, checked."""

    studies: str | list[str]
    out: str
    debug: bool = False

    def __post_init__(self) -> None:
        if not self.sources or not all(source.strip() for source in self.sources):
            raise ValueError("studies: must name directories, as in studies=[outputs/quick,submissions/team_x]")
        if not self.out.strip():
            raise ValueError("out: must name a directory")

    @property
    def sources(self) -> list[str]:
        return [self.studies] if isinstance(self.studies, str) else self.studies


@dataclass(frozen=True)
class Leaderboard:
    """What is on the boards, what is not and why, and what to know of all of it."""

    boards: Sequence[Board]
    refused: Sequence[Refused]
    remarks: Sequence[str]

    @property
    def runs(self) -> pd.DataFrame:
        """A row for each run behind an entry of a board."""
        frames = [board.runs for board in self.boards]
        columns = ["board", "entry", "run", "by", "seed", "value", "commit"]
        return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)

    def to_csv(self) -> str:
        """Every board below the other, unrounded; a column that a board does not have is empty."""
        frames = [board.table.frame for board in self.boards]
        frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["board"])
        return csv_text(frame[["board", *(name for name in frame if name != "board")]])

    def to_markdown(self) -> str:
        parts = ["# Leaderboard\n"]
        for board in self.boards:
            parts += [board.table.to_markdown(2), *([_bullets(board.notes)] if board.notes else [])]
        if self.remarks:
            parts.append("## Remarks\n\n" + _bullets(self.remarks))
        if self.refused:
            lines = [f"{_place(refused)}: {refused.reason}" for refused in self.refused]
            parts.append("## Refused\n\n" + _bullets(lines))
        return "\n".join(parts)

    def to_html(self) -> str:
        """A board alone stands on top of the page; several are each a table of their own."""
        tables = [board.table for board in self.boards]
        alone = tables[0] if len(tables) == 1 else None
        count = len(self.runs.drop_duplicates(["by", "run"]))
        counts = {"boards": len(tables), "runs and models": count, "refused": len(self.refused)}
        facts = [("board", alone.title)] if alone else []
        named = [(board.table.title, note) for board in self.boards for note in board.notes]
        return render(
            Page(
                title="Leaderboard",
                facts=[*facts, *((name, str(number)) for name, number in counts.items())],
                leaderboard=alone,
                notes=[*(note if alone else f"{title}: {note}" for title, note in named), *self.remarks],
                tables=[*([] if alone else tables), *([_runs_table(self)] if tables else [])],
                left_out=[Left(_place(refused), refused.reason) for refused in self.refused],
            )
        )


def leaderboard(sources: Sequence[str | Path]) -> Leaderboard:
    """The boards of everything in `sources`. Raises UserError where one is no directory or holds nothing to read."""
    entries: list[Entry] = []
    refused: list[Refused] = []
    for _, source in sorted({os.path.realpath(source): Path(source) for source in sources}.items()):
        found, out = read(source)
        entries += found
        refused += out
    boards, apart, remarks = make(entries)
    return Leaderboard(boards, sorted({*refused, *apart}), remarks)


def write(board: Leaderboard, out: Path) -> None:
    """All files of a leaderboard, made before the first is written. Raises UserError where `out` holds other files."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "refused.csv").exists())):
        raise UserError(f"out: {out} exists and is no leaderboard (give one that is new, empty or a leaderboard)")
    refused = pd.DataFrame(board.refused, columns=list(Refused._fields))
    made = {
        "leaderboard.csv": board.to_csv(),
        "leaderboard.md": board.to_markdown(),
        "runs.csv": csv_text(board.runs),
        "refused.csv": csv_text(refused),
        "index.html": board.to_html(),
    }
    with ExitStack() as whole:  # all of them or none
        for name, content in made.items():
            whole.enter_context(aside(out / name)).write_text(content, encoding="utf-8")


def _runs_table(board: Leaderboard) -> Table:
    titles = {b.table.name: b.table.title for b in board.boards}
    columns = (
        Column("entry", "entry"),
        Column("run_id", "run"),
        Column("by", "by"),
        Column("seed", "seed", "d"),
        Column("value", "headline, %", ".1f", 100),
        Column("commit", "commit"),
    )
    frame = board.runs.assign(board=board.runs["board"].map(titles)).rename(columns={"run": "run_id"})
    caption = "The runs behind each entry, and each run's own number on that board."
    return Table("board_runs", "Runs behind the entries", caption, frame, columns, by=("board",))


def _place(refused: Refused) -> str:
    return "/".join(filter(None, (refused.by, refused.run)))


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) + "\n"


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/leaderboard.yaml, resolved. Raises UserError where nothing could be ranked."""
    settings = build(LeaderboardConfig, cfg, "")
    board = leaderboard(settings.sources)
    write(board, Path(settings.out))
    for refused in board.refused:
        log.warning("refused: %s: %s", _place(refused), refused.reason)
    print(board.to_markdown())
    print(settings.out)
    if not any(one.ranked for one in board.boards):
        why = f"; {len(board.refused)} refused, see {settings.out}/refused.csv" if board.refused else ""
        raise UserError(f"studies: nothing could be ranked{why}")


def main() -> None:
    from mars.cli import command

    command("leaderboard", run)()


if __name__ == "__main__":
    main()
