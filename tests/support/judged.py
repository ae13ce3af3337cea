"""Policies' replies in a run's directory, judged by their length, so that win rates are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.judges.generations import Generation, write_model_outputs
from benchmarks.judges.record import carry_out
from benchmarks.judges.settings import JudgementConfig
from mars.preferences.dialogue import Message
from mars.record.layout import judgements_of, replies_of


def add_replies(run: Path, policy: str, wins: np.ndarray, first: int = 0) -> None:
    """`policy` and `base`, which it beats by length where wins is 1, ties at ½, loses to at 0. first: prompt number."""
    prompts = [(Message("user", f"Question {first + i}?"),) for i in range(len(wins))]
    ours = [Generation(prompt, "word " * int(10 + 4 * (win - 0.5))) for prompt, win in zip(prompts, wins, strict=True)]
    write_model_outputs(run / replies_of(policy), policy, ours)
    write_model_outputs(run / replies_of("base"), "base", [Generation(prompt, "text " * 10) for prompt in prompts])


def judge(run: Path, policy: str, name: str = "length", cache: Path = Path("unused"), label: str | None = None) -> None:
    """A judgement of `policy` against `base`, where a study's command would put it."""
    ours, theirs = (str(run / replies_of(one)) for one in (policy, "base"))
    asked = {"name": name}
    out = str(run / judgements_of(policy, "base"))
    carry_out(
        JudgementConfig(
            asked, ours, theirs, None, "raise", 5, out, label, False, "full", "cpu", None, str(cache), True, False
        )
    )
