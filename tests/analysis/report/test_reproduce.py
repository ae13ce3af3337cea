"""The commands that make a study again: every run once, nothing else, and safe to paste into a shell."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.study import make_run

from analysis import load
from analysis.report.reproduce import commands, reproduction, sweeps

COMMIT, OTHER = "a" * 40, "b" * 40


def _run(method: str, seed: int, *more: str) -> list[str]:
    return [f"method={method}", f"seed={seed}", *more]


def test_a_product_of_choices_is_one_sweep():
    runs = [_run(method, seed, "experiment=quick") for method in ("uniform", "mars") for seed in (0, 1, 10)]
    assert commands(runs) == ("python -m mars.run -m method=uniform,mars seed=0,1,10 experiment=quick",)


def test_one_run_is_no_sweep():
    assert commands([_run("mars", 3)]) == ("python -m mars.run method=mars seed=3",)


def test_what_is_no_product_takes_more_lines_and_never_a_run_more():
    runs = [_run("uniform", 0), _run("uniform", 1), _run("mars", 0)]
    assert commands(runs) == (
        "python -m mars.run -m method=uniform,mars seed=0",
        "python -m mars.run method=uniform seed=1",
    )


def test_a_setting_of_one_arm_keeps_to_that_arm():
    runs = [_run("uniform", 0), _run("uniform", 1)]
    runs += [_run("mars", seed, f"method.tau={tau}") for tau in (0.5, 2) for seed in (0, 1)]
    assert commands(runs) == (
        "python -m mars.run -m method=uniform seed=0,1",
        "python -m mars.run -m method=mars seed=0,1 method.tau=0.5,2",
    )


def test_a_run_that_was_made_again_is_started_once():
    assert commands([_run("mars", 0), _run("mars", 0)]) == ("python -m mars.run method=mars seed=0",)


def test_a_shell_gives_back_what_was_typed():
    words = ["dataset.path=/data/my files", "rounds.sizes=[1,2]", "name='it''s'", "~pool", "+x={a:$HOME}", "y=a=b"]
    (line,) = commands([words])
    assert shlex.split(line) == ["python", "-m", "mars.run", *words]


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["0", "1", "[2,3]"]), min_size=1),
        max_size=12,
    )
)
def test_sweeps_are_the_runs_each_once(runs: list[dict[str, str]]):
    words = [[f"{key}={value}" for key, value in sorted(run.items())] for run in runs]
    made = [
        frozenset(zip(choices, values, strict=True))
        for choices in sweeps(words)
        for values in itertools.product(*choices.values())
    ]
    asked = {frozenset((f"{key}=", value) for key, value in run.items()) for run in runs}
    assert sorted(map(sorted, made)) == sorted(map(sorted, asked))


def _make(study: Path, method: str, seed: int, commit: str | None = COMMIT, dirty: bool = False) -> None:
    overrides = _run(method, seed, "study=outputs/mine")
    facts = {"overrides": overrides, "git": {"commit": commit, "dirty": dirty}}
    make_run(study, method, seed, 1.0, config={"study": "outputs/mine"}, manifest=facts)


def test_a_study_names_its_commit_and_its_report(tmp_path: Path):
    for method in ("mars", "uniform"):
        for seed in (1, 0):
            _make(tmp_path, method, seed)
    found = reproduction(load(tmp_path))
    assert found.commands == (
        f"git checkout {COMMIT}",
        "python -m mars.run -m method=uniform,mars seed=0,1 study=outputs/mine",
        "python -m analysis.report study=outputs/mine",
    )
    assert found.remarks == ()


def test_runs_of_several_commits_and_of_code_that_was_never_committed_are_told(tmp_path: Path):
    _make(tmp_path, "uniform", 0)
    _make(tmp_path, "mars", 0, OTHER, dirty=True)
    found = reproduction(load(tmp_path))
    assert [(step.commit, step.commands) for step in found.steps] == [
        (COMMIT, ("python -m mars.run method=uniform seed=0 study=outputs/mine",)),
        (OTHER, ("python -m mars.run method=mars seed=0 study=outputs/mine",)),
    ]
    several, uncommitted = found.remarks
    assert "2 commits" in several
    assert "1 run ran on code with changes" in uncommitted
    assert "mars-planted-minilm-s0" in uncommitted


def test_runs_without_commit_or_command_are_told(tmp_path: Path):
    _make(tmp_path, "uniform", 0, commit=None)
    make_run(tmp_path, "mars", 0, 1.0)
    found = reproduction(load(tmp_path))
    assert [step.commit for step in found.steps] == [""]
    assert not any(line.startswith("git") for line in found.commands)
    silent, nameless = found.remarks
    assert "1 run recorded no command: mars-planted-minilm-s0" in silent
    assert "1 run recorded no commit: uniform-planted-minilm-s0" in nameless
