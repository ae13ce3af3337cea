"""A study that goes on until it is settled: its rule, its looks, and what a report makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.commands import run_here
from support.study import make_study

from analysis import load
from analysis.inference.comparisons import compare
from analysis.inference.sequential import STUDENT, levels
from analysis.inference.stats import ALPHA
from analysis.planned_sweep import is_of
from analysis.report.build import report
from analysis.settle import choices, look_at
from analysis.study.looks import FILE, FUTILE, Looks, Rule, key_of, read
from mars.config import UserError
from mars.run import main

MARGINS = {"accuracy": 0.01, "information": 0.01}
RULE = Rule(20, 4, MARGINS, "mars", "uniform")
ROW = {"dataset": "d", "backbone": "b", "arm": "mars", "reference": "uniform", "endpoint": "accuracy"}


def row(**changes: Any) -> dict[str, Any]:
    return ROW | {"difference": 0.01, "p": 0.5, "equivalence_p": 0.5, "more_replicates": 10.0} | changes


def settled(look: int, family: int = 2, **changes: Any) -> dict[str, str]:
    return look_at(pd.DataFrame([row(**changes)]), Looks(RULE, family), look)


def test_a_look_s_level_is_that_of_the_spending_function_and_no_other() -> None:
    every = levels(RULE.fractions(5), STUDENT * ALPHA / 2)
    for look, level in enumerate(every, start=1):
        assert settled(look, p=level * 0.99) == {key_of(ROW): "better"}
        assert settled(look, p=level * 1.01).get(key_of(ROW)) in (None, FUTILE)
    assert settled(5, p=0.5 * every[4], difference=-0.01) == {key_of(ROW): "worse"}
    assert settled(5, equivalence_p=1e-6) == {key_of(ROW): "equivalent"}
    assert settled(1, p=1e-4) == {}  # far from settled so early, though a study without looks would be


def test_a_comparison_is_given_up_from_half_of_the_replicates_on() -> None:
    hopeless = {"p": 0.9, "equivalence_p": 0.9}
    assert settled(2, **hopeless) == {}
    assert settled(3, **hopeless) == {key_of(ROW): FUTILE}
    assert settled(3, more_replicates=np.inf) == {key_of(ROW): FUTILE}
    assert settled(5, **hopeless) == {}  # the last look leaves it open
    assert settled(3, p=np.nan, equivalence_p=np.nan) == {}  # nothing varied yet
    assert settled(3, difference=np.nan, **hopeless) == {}  # not compared


def test_what_is_open_is_run_on_under_its_own_choice_of_method() -> None:
    found = choices(["method=uniform,mars,mars_signed", "method.tau=1,2"])
    assert found["mars_signed"] == {"name": "mars", "score": "signed"}  # not τ, which the sweep gives
    still = [name for name, settings in found.items() if is_of("mars score=signed tau=1", settings)]
    assert still == ["mars_signed"]
    assert [name for name, settings in found.items() if is_of("mars", settings)] == ["mars", "mars_signed"]


def test_what_is_settled_stays_settled() -> None:
    found = Looks(RULE, 2, [{key_of(ROW): "equivalent"}])
    assert look_at(pd.DataFrame([row(p=1e-12)]), found, 5) == {}


def test_a_report_goes_by_the_looks_and_not_by_its_own_p(tmp_path: Path) -> None:
    path = make_study(tmp_path / "study", {"uniform": 0.2, "mars": 1.5}, seeds=tuple(range(6)), examples=100)
    assert compare(load(path))["verdict"].tolist() == ["better", "better"]
    keys = [key_of(one) for one in compare(load(path)).to_dict("records")]
    Looks(RULE, 2, [{}, {keys[1]: "better"}]).write(path)
    assert compare(load(path))["verdict"].tolist() == ["not settled", "better"]
    stored = read(path)
    assert stored == Looks(RULE, 2, [{}, {keys[1]: "better"}])
    (path / FILE).write_text("{")
    with pytest.raises(UserError, match=r"looks\.json: cannot be read .* without the rule in it"):
        load(path)


def test_a_settled_study_is_not_run_further(tmp_path: Path) -> None:
    arguments = ["scale=tiny", f"study={tmp_path}/study", f"cache={tmp_path}/cache", "method=uniform,mars"]
    assert run_here(main, "-m", *arguments, "replicate=0,1").returncode == 0
    path = tmp_path / "study"
    rule = Rule(6, 2, MARGINS, "mars", "uniform")
    keys = [key_of(one) for one in compare(load(path)).to_dict("records")]
    Looks(rule, len(keys), [dict.fromkeys(keys, "equivalent")]).write(path)
    runs = sorted(path.iterdir())
    done = run_here(main, *arguments, "until=settled", "max_replicates=6", "look_every=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 look; ")
    assert sorted(path.iterdir()) == runs
    assert any(line.startswith("looked at 1 times while it grew") for line in load(path).remarks)
    with pytest.raises(UserError, match="margin: the rule of this study fixed its margins"):
        report(path, margins={"accuracy": 0.02, "information": 0.01})


def test_a_sweep_goes_on_in_batches_and_from_where_it_stopped(tmp_path: Path) -> None:
    arguments = ["scale=tiny", "dataset.test_size=64", f"study={tmp_path}/study", f"cache={tmp_path}/cache"]
    arguments += ["method=none_matched,uniform,mars", "until=settled", "max_replicates=4", "look_every=2"]
    done = run_here(main, *arguments)
    assert done.returncode == 0, done.stderr
    looks = read(tmp_path / "study")
    assert looks
    assert looks.family == 4  # two comparisons by two endpoints
    assert "look 1 of 2, 2 replicates: " in done.stderr
    arms = load(tmp_path / "study").runs.groupby("arm")["replicate"].apply(sorted).to_dict()
    assert arms["mars"][:2] == [0, 1]
    assert max(map(len, arms.values())) <= 4
    stored = json.loads((tmp_path / "study" / FILE).read_text())
    again = run_here(main, *arguments)
    assert again.returncode == 0
    assert json.loads((tmp_path / "study" / FILE).read_text()) == stored
    other = run_here(main, *[a.replace("max_replicates=4", "max_replicates=8") for a in arguments])
    assert other.returncode == 1
    assert "began with another rule" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["until=tomorrow"], "error: until: settled is the only thing to wait for"),
        (["until=settled", "look_every=many"], "error: look_every: must be a whole number of at least 2, not many"),
        (["until=settled", "max_replicates=10"], "error: look_every: max_replicates=10 is no multiple of 4"),
    ],
)
def test_a_rule_that_is_none_is_one_line(arguments: list[str], line: str, tmp_path: Path) -> None:
    done = run_here(main, "scale=tiny", f"study={tmp_path}/study", *arguments)
    assert (done.returncode, done.stderr.strip()) == (1, line)
    assert not (tmp_path / "study").exists()
