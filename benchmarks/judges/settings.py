"""Settings of a judgement (conf/judge.yaml), read without loading torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.judges.generations import Missing, stem
from mars.config import UserError
from mars.record.layout import judgements_of, replies_of
from mars.record.run_directory import RunDirectory, finished_runs


@dataclass(frozen=True)
class JudgementConfig:
    """conf/judge.yaml, checked; the judge is built by its owner.

    study: then `ours` and `theirs` name replies of its runs. dataset: where the ids of planted prompts are looked up.
    """

    judge: dict[str, Any]
    ours: str | list[str]
    theirs: str | list[str]
    study: str | None
    missing: Missing
    same_twice: int
    out: str | None
    label: str | None
    dry_run: bool
    scale: str
    device: str
    threads: int | None
    cache: str
    force: bool
    debug: bool
    dataset: dict[str, Any] | None = None

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
        if self.study is not None:
            if self.out is not None:
                raise ValueError("out: judgements of study=DIR go into its runs (leave out=DIR away)")
            if len(one) > 1 or len(other) > 1 or stem(one[0]) != one[0]:
                raise ValueError("ours: with study=DIR, names RUN/replies/NAME.json of its runs (ours=best_of_n-16)")

    def of_runs(self) -> dict[str, JudgementConfig]:
        """{run: its judgement} of each finished run of the study. Raises UserError where there is none."""
        runs = finished_runs(Path(str(self.study)))
        if not runs:
            raise UserError(f"study: {self.study} holds no finished run")
        return {run.path.name: self._of(run) for run in runs}

    def _of(self, run: RunDirectory) -> JudgementConfig:
        ours, theirs = (str(name) for (name,) in self.pairs())
        out = run.path / judgements_of(ours, stem(theirs))
        return replace(
            self,
            ours=str(run.path / replies_of(ours)),
            theirs=theirs if stem(theirs) != theirs else str(run.path / replies_of(theirs)),
            dataset=self.dataset or run.config().get("dataset"),
            out=str(out),
            study=None,
        )

    def pairs(self) -> tuple[list[str], list[str]]:
        """(files of ours, files of theirs) as they are given."""
        one, other = ([value] if isinstance(value, str) else value for value in (self.ours, self.theirs))
        return one, other
