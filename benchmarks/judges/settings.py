"""Settings of a judgement (conf/judge.yaml), read without loading torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from benchmarks.judges.generations import Missing


@dataclass(frozen=True)
class JudgementConfig:
    """conf/judge.yaml, checked; the judge is built by its owner."""

    judge: dict[str, Any]
    ours: str | list[str]
    theirs: str | list[str]
    missing: Missing
    same_twice: int
    out: str | None
    label: str | None
    dry_run: bool
    device: str
    threads: int | None
    cache: str
    force: bool
    debug: bool

    def __post_init__(self) -> None:
        if self.same_twice < 0:
            raise ValueError(f"same_twice: must not be negative, not {self.same_twice}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads: must be at least 1, not {self.threads}")
        if self.label is not None and not re.fullmatch(r"[\w-][\w. -]{0,99}", self.label):
            raise ValueError(f'label: "{self.label}" cannot name a directory')
        one, other = self.pairs()
        if not one or not other:
            raise ValueError("ours: names no file" if not one else "theirs: names no file")
        if len(other) not in (1, len(one)):
            raise ValueError(f"theirs: {len(other)} files, but ours are {len(one)} (as many, or one for all)")

    def pairs(self) -> tuple[list[str], list[str]]:
        """(files of ours, files of theirs) as they are given."""
        one, other = ([value] if isinstance(value, str) else value for value in (self.ours, self.theirs))
        return one, other
