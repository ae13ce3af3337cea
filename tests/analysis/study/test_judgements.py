"""Judgements in a study's runs: found where a judge left them, and left out, with a reason, when they no longer fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import judged
from support.study import make_run

from analysis import load
from analysis.study.judgements import Contest, contests, judgement, of_run

CONTEST = Contest("rloo-1.1B", "base", "length")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose policy wins on six of ten prompts."""
    run = make_run(tmp_path, "mars", 0, 0.5, examples=10, rounds=1)
    judged.add_replies(run, "rloo-1.1B", np.array([1, 1, 1, 0, 0, 1, 1, 0.5, 0, 1]))
    judged.judge(run, "rloo-1.1B")
    return run


def test_a_judgement_is_of_the_run_it_lies_in(run: Path) -> None:
    study = load(run)
    assert contests(study) == [CONTEST]
    found = judgement(study.members[run.name], CONTEST)
    assert found is not None
    assert found.table["verdict"].value_counts().to_dict() == {"ours": 12, "theirs": 6, "tie": 2}
    assert [len(one.ours) > len(one.theirs) for one in found.comparisons].count(True) == 6


def test_a_run_without_judgements_has_none(tmp_path: Path) -> None:
    study = load(make_run(tmp_path, "mars", 0, 0.5, examples=10, rounds=1))
    assert contests(study) == []
    assert of_run(next(iter(study.members.values()))).problems == ()


def test_a_judgement_of_replies_that_changed_or_that_is_damaged_is_not_counted(run: Path) -> None:
    replies = run / "replies" / "rloo-1.1B.json"
    folder = run / "judgements" / "rloo-1.1B-vs-base"
    ours = folder / "ours.json"
    for file, change, reason in (
        (replies, replies.read_text().replace("Question 0", "Question Z"), "replies/rloo-1.1B.json has changed since"),
        (ours, ours.read_text().replace("word ", "w ", 1), "judged other replies than"),
        (folder / "length" / "judgement.json", "{", "is not counted: "),
        (folder / "length" / "judgement.json", "[]", "is not counted: "),
        (folder / "length" / "verdicts.parquet", "no table", "is not counted: "),
    ):
        kept = file.read_bytes()
        file.write_text(change)
        study = load(run)
        assert contests(study) == []
        (line,) = of_run(study.members[run.name]).problems
        assert line.startswith(f"{run.name}: judgement rloo-1.1B-vs-base/length is not counted: ")
        assert reason in line
        assert "\n" not in line
        file.write_bytes(kept)
    assert contests(load(run)) == [CONTEST]
