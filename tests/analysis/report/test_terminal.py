"""What a report leaves on the terminal: a picture that says what the numbers say, and few sentences."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.study import make_run, make_study

from analysis.exhibits.ranking import rank
from analysis.inference.comparisons import compare
from analysis.report.bars import Axis, Bar, Screen, draw
from analysis.report.terminal import shown
from analysis.report.verdict import warnings
from analysis.study.loading import load

MARS = Bar("mars", "78.2", 0.5, -1.0, 2.0, "+0.5 [−1.0, +2.0]", "not settled")
UNIFORM = Bar("uniform", "77.7", said="reference")
ESCAPE = re.compile(r"\x1b\[[\d;]*m")


def of(study: Path, screen: Screen | None = None) -> str:
    """What the terminal shows of the report."""
    known = load(study)
    return shown(
        known, rank(known), compare(known), warnings(known), study / "report" / "index.html", screen or Screen()
    )


def test_a_bar_begins_ends_and_has_its_point_where_its_numbers_are() -> None:
    axis = Axis(low=-2.0, high=2.0, band=1.0, columns=41)  # a tenth of a point a column
    assert axis.row(MARS) == " " * 10 + "├" + "─" * 9 + "┼" + "─" * 4 + "●" + "─" * 14 + "┤"
    assert axis.row(UNIFORM) == " " * 10 + "░" * 10 + "│" + "░" * 10 + " " * 10
    assert axis.row(Bar("one", "50.0", 1.0)) == " " * 10 + "░" * 10 + "│" + "░" * 9 + "●" + " " * 10
    ticks = axis.ticks()
    assert [ticks[place - 1 : place + 1].strip() for place in (10, 20, 30)] == ["−1", "0", "+1"]


@given(st.lists(st.tuples(*[st.floats(-300, 300)] * 3), min_size=1, max_size=4), st.sampled_from([0.0, 0.01, 1.0]))
def test_any_interval_fits_its_axis(ends: list[tuple[float, float, float]], band: float) -> None:
    bars = [Bar("arm", "50.0", middle, lo, hi) for lo, middle, hi in map(sorted, ends)]
    axis = Axis.around(bars, band, 30)
    for bar in bars:
        line = axis.row(bar)
        assert (len(line), line.count("●")) == (30, 1)
        assert axis.column(bar.lo) <= line.index("●") <= axis.column(bar.hi)
    assert len(axis.ticks()) == 30


@pytest.mark.parametrize("width", [70, 80, 110])
def test_no_line_is_wider_than_the_terminal(width: int, tmp_path: Path) -> None:
    arms = {"none_matched": 0.4, "uniform": 0.7, "self_training": 0.6, "mars_validated": 1.1, "mars": 1.0}
    text = of(make_study(tmp_path / "study", arms), Screen(width))
    body, _, page = text.rpartition("\n")
    assert page == str(tmp_path / "study" / "report" / "index.html")
    assert max(map(len, body.splitlines())) <= width
    assert ("[" in body.partition("Accuracy")[0]) == (width == 110)  # where there is room for both


def test_the_picture_is_the_leaderboard_best_first(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=(0, 1, 2, 3, 4), examples=400)
    title, ticks, *lines = of(study).splitlines()
    frame = rank(load(study)).table.frame
    arms = frame[frame["kind"] == "arm"]
    assert title == "planted / minilm / test: 5 replicates × 400 pairs"
    assert " 0 " in ticks
    for line, (_, arm) in zip(lines, arms.iterrows(), strict=False):
        assert line.split()[:2] == [arm["arm"], f"{100 * arm['accuracy']:.1f}"]
    by_arm = dict(zip(arms["arm"], lines, strict=False))
    assert by_arm["mars"].endswith("better")
    assert by_arm["none"].endswith("worse")
    assert by_arm["uniform"].endswith("reference")
    zero = by_arm["uniform"].index("│")
    assert by_arm["mars"].index("●") > zero > by_arm["none"].index("●")


def test_the_verdict_is_a_plain_sentence_and_the_page_comes_last(tmp_path: Path) -> None:
    _, verdict, against, page = of(make_study(tmp_path, seeds=(0, 1, 2, 3, 4), examples=400)).split("\n\n")
    said = " ".join(verdict.split())
    assert said.startswith("On this data MARS is better than uniform augmentation, by ")
    assert "MARS is better than eda, none." in said
    assert against.startswith("! 20 validation pairs")
    assert page.endswith("index.html")


def test_what_is_not_settled_not_tested_or_not_ranked_is_said(tmp_path: Path) -> None:
    few = of(make_study(tmp_path / "few", {"uniform": 0.7, "mars": 0.75}, seeds=(0, 1)))
    assert "MARS and uniform augmentation cannot be told apart with these 2 replicates" in " ".join(few.split())
    assert "of these replicates would settle it; about" in " ".join(few.split())
    one = of(make_study(tmp_path / "one", {"uniform": 0.7, "mars": 0.9}, seeds=(0,)))
    assert "cannot be said: it is " in " ".join(one.split())
    make_study(tmp_path / "unlike", {"uniform": 0.5}, seeds=(0, 1))
    unlike = of(make_study(tmp_path / "unlike", {"mars": 0.9}, seeds=(0, 1), manifest={"steps": 80}))
    assert "not ranked: arms differ in optimiser steps" in " ".join(unlike.split())
    assert "difference to" not in unlike.partition("\n\n")[0]
    assert "├" in unlike  # of the accuracies


def test_many_groups_and_runs_left_out_are_counted(tmp_path: Path) -> None:
    for number in range(7):
        make_study(tmp_path, {"uniform": 0.5, "mars": 0.6}, seeds=(0, 1), dataset=f"data{number}", examples=20)
    make_run(tmp_path, "mars", 5, 0.5, done=False)
    text = of(tmp_path)
    assert "The first 2 of 7 groups; the page has them all." in text
    assert "In all 7 comparisons" in text
    assert len(re.findall("^data. / minilm / test:", text, re.MULTILINE)) == 2


def test_colours_say_nothing_that_is_not_written(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=(0, 1, 2, 3, 4), examples=400)
    coloured = of(study, Screen(colours=True))
    assert ESCAPE.search(coloured)
    assert ESCAPE.sub("", coloured).split() == of(study).split()
    better = next(line for line in coloured.splitlines() if line.startswith("mars "))
    assert better.count("\x1b[32m") == 3


def test_a_terminal_without_unicode_gets_the_same_picture_in_ascii() -> None:
    lines = "\n".join(draw([("study", [MARS, UNIFORM])], 1.0, Screen()))
    plain = Screen(unicode=False).written(lines)
    assert plain.isascii()
    assert list(map(len, plain.splitlines())) == list(map(len, lines.splitlines()))
    assert "o" in plain.splitlines()[2]
    assert Screen(unicode=False).written("within ± 1 of é") == "within +/- 1 of ?"


class Terminal(io.StringIO):
    """A stream that says it is a terminal of that encoding."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_the_screen_is_what_the_stream_and_the_environment_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Screen.of(io.StringIO()) == Screen(80, colours=False, unicode=True)
    assert Screen.of(Terminal()) == Screen(72, colours=True, unicode=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Screen.of(Terminal()).colours
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not Screen.of(Terminal()).colours
    old = Terminal()
    old.encoding = "ascii"
    assert not Screen.of(old).unicode


def test_a_name_cannot_steer_the_terminal() -> None:
    text = "\n".join(draw([("a\x1b[2J / b", [Bar("evil\x1b]0;x\x07", "50.0", 1.0)])], 1.0, Screen()))
    assert "\x1b" not in text
    assert "\x07" not in text
