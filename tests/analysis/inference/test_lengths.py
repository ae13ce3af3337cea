"""Arms judged at equal steps and at their best lengths, in one study: who is compared with whom, and what is said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from support.study import make_run, make_study

from analysis import Study, load
from analysis.exhibits.comparisons import Comparisons
from analysis.exhibits.runs import Runs
from analysis.exhibits.training import Steps
from analysis.inference.comparability import blocking, confounds
from analysis.inference.comparisons import COLUMNS, compare, counterpart
from analysis.inference.lengths import KEPT
from analysis.report.glance import headline
from analysis.report.verdict import sentences, verdict

BEST = {"config": {"rounds": {"keep": "best"}}}
AT = {"uniform": 12, "mars": 18}  # steps of the kept models, of 30


def kept(method: str, **manifest: Any) -> dict[str, Any]:
    facts = {"kept_round": 1, "kept_step": AT[method], "kept_information": 0.2, **manifest}
    return {**BEST, "manifest": facts}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """uniform and mars, three seeds, each kept last and best."""
    path = tmp_path_factory.mktemp("both")
    make_study(path, {"uniform": 0.7, "mars": 0.9})
    for method, skill in (("uniform", 0.8), ("mars", 1.2)):
        for seed in (0, 1, 2):
            make_run(path, method, seed, skill, **kept(method))
    return load(path)


def test_each_is_compared_with_the_arm_that_was_kept_alike(both: Study) -> None:
    assert both.arms == ["uniform", "uniform rounds.keep=best", "mars", "mars rounds.keep=best"]
    frame = compare(both).query("endpoint == 'accuracy'")
    assert list(zip(frame["arm"], frame["reference"], strict=True)) == [
        ("mars", "uniform"),
        ("mars rounds.keep=best", "uniform rounds.keep=best"),
    ]
    assert [math.isnan(step) for step in frame["kept_step"]] == [True, False]
    assert list(frame.iloc[1][[*KEPT]]) == [18, 12]
    for row in frame.to_dict("records"):
        means = [both.values(row[arm], "test", "accuracy").mean() for arm in ("arm", "reference")]
        assert row["difference"] == pytest.approx(means[0] - means[1])
        assert (row["steps"], row["reference_steps"], row["not_compared"]) == (30, 30, "")


def test_another_setting_of_the_method_is_compared_at_the_same_length_alone(tmp_path: Path) -> None:
    for score, skill in (("absolute", 0.9), ("signed", 0.6)):
        for seed in (0, 1, 2):
            make_run(tmp_path, "mars", seed, skill, settings={"score": score})
            make_run(tmp_path, "mars", seed, skill + 0.2, settings={"score": score}, **kept("mars"))
    study = load(tmp_path).judged(focus="mars score=absolute")
    frame = compare(study).query("endpoint == 'accuracy'")
    assert list(zip(frame["arm"], frame["reference"], strict=True)) == [
        (f"mars score=absolute{best}", f"mars score=signed{best}") for best in ("", " rounds.keep=best")
    ]
    assert set(frame["not_compared"]) == {""}


def test_another_setting_that_ran_at_another_length_alone_is_named(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, "mars", seed, 0.9, settings={"score": "absolute"}, **kept("mars"))
        make_run(tmp_path, "mars", seed, 0.6, settings={"score": "signed"})
    frame = compare(load(tmp_path).judged(focus="mars score=absolute", allow_confounded=True))
    assert frame["not_compared"].str.endswith("judged at other lengths (run both with rounds.keep=last,best)").all()
    assert len(frame) == 2


def test_the_arm_that_names_most_of_the_settings_is_the_counterpart() -> None:
    arms = ["uniform", "uniform rounds.keep=best", "mars tau=2", "mars tau=2 rounds.keep=best"]
    assert counterpart(arms, "mars tau=2", "uniform") == "uniform"
    assert counterpart(arms, "mars tau=2 rounds.keep=best", "uniform") == "uniform rounds.keep=best"


def test_best_lengths_that_differ_are_no_confound_and_are_said_in_words(both: Study) -> None:
    assert confounds(both) == []
    said = headline(both, compare(both))
    assert said.startswith("At equal steps: on this data MARS ")
    assert " Each at its best length: on this data MARS " in said
    assert "keep=" not in said
    lines = verdict(compare(both))
    assert any(line.startswith("mars against uniform, ") and line.endswith(" At equal steps.") for line in lines)
    assert any(line.endswith(" Each at its best length: kept after 18 and 12 of 30 steps.") for line in lines)
    (line,) = (line for line in sentences(both, compare(both)) if "trained 30 steps" in line)
    assert "(steps kept, on average: uniform rounds.keep=best 12, mars rounds.keep=best 18)" in line
    assert line.endswith("; the other arms were judged after all of them.")


def test_a_study_of_best_models_alone_says_so_and_one_of_last_ones_says_nothing_of_it(tmp_path: Path) -> None:
    for method, skill in (("uniform", 0.8), ("mars", 1.2)):
        for seed in (0, 1):
            make_run(tmp_path / "best", method, seed, skill, **kept(method))
    best = load(tmp_path / "best")
    assert best.arms == ["uniform", "mars"]
    assert headline(best, compare(best)).startswith("Each at its best length: on this data MARS ")
    assert any("every arm trained 30 steps" in line for line in sentences(best, compare(best)))
    last = load(make_study(tmp_path / "last", {"uniform": 0.7, "mars": 0.9}))
    assert list(compare(last).columns) == COLUMNS
    assert "length" not in " ".join((headline(last, compare(last)), *sentences(last, compare(last))))
    assert "kept_step" not in Runs().frame(last)


def test_runs_that_trained_unequally_long_are_refused_as_ever(tmp_path: Path) -> None:
    for method, steps in (("uniform", 30), ("mars", 31)):
        for seed in (0, 1):
            make_run(tmp_path, method, seed, 0.5, **kept(method, steps=steps))
    assert blocking(load(tmp_path)) == "optimiser steps"


def test_validation_pairs_that_chose_have_to_be_the_same(tmp_path: Path) -> None:
    for method, pairs in (("uniform", "a"), ("mars", "b")):
        for seed in (0, 1):
            make_run(tmp_path, method, seed, 0.5, **kept(method, validation_sha256=64 * pairs))
    (found,) = confounds(load(tmp_path))
    assert found.blocks
    assert found.text.startswith("arms chose their models on different validation pairs (")


def test_a_best_model_is_not_compared_with_a_last_one(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        make_run(tmp_path, "uniform", seed, 0.5)
        make_run(tmp_path, "mars", seed, 0.9, **kept("mars"))
    study = load(tmp_path)
    (found,) = confounds(study)
    assert found.blocks
    assert "than uniform: mars by the best of each run, uniform by the last, so" in found.text
    assert set(compare(study)["not_compared"]) == {"arms differ in models judged"}
    frame = compare(study.judged(allow_confounded=True))
    assert set(frame["not_compared"]) == {
        "mars and uniform were judged at other lengths (run both with rounds.keep=last,best)"
    }
    assert frame["difference"].isna().all()
    assert "nan" not in " ".join(verdict(frame))


def test_tables_and_the_figure_of_steps_have_the_steps_of_the_model_judged(both: Study) -> None:
    runs = Runs().frame(both)
    assert runs.groupby("arm")["kept_step"].max().dropna().to_dict() == {
        "mars rounds.keep=best": 18,
        "uniform rounds.keep=best": 12,
    }
    table = Comparisons().table(both)
    assert "kept after" in [column.head for column in table.shown]
    assert "their runs trained as long as the others" in table.caption
    steps = Steps().frame(both).query("measure == 'accuracy'")
    assert steps.set_index("arm")["steps"].to_dict() == {
        "uniform": 30, "uniform rounds.keep=best": 12, "mars": 30, "mars rounds.keep=best": 18,
    }  # fmt: skip
