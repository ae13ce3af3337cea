"""The declared comparisons, and what is said about them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from support.study import make_run, make_study

from analysis import load
from analysis.exhibits.ranking import rank
from analysis.inference.comparisons import COLUMNS, compare
from analysis.report.verdict import OF_ROWS, verdict, warnings


def named(frame: pd.DataFrame) -> list[tuple[str, str]]:
    rows = by(frame, "accuracy")
    return list(zip(rows["arm"], rows["reference"], strict=True))


def by(frame: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    return frame[frame["endpoint"] == endpoint].reset_index(drop=True)


def test_the_arm_in_focus_is_compared_with_every_other_declared_one(tmp_path: Path) -> None:
    study = load(make_study(tmp_path, {"none": 0.4, "uniform": 0.7, "eda": 0.6, "mine": 0.5, "mars": 1.1}))
    frame = compare(study)
    assert list(frame.columns) == COLUMNS
    assert named(frame) == [("mars", "uniform"), ("mars", "eda"), ("mars", "none")]
    for row in frame.to_dict("records"):
        means = {arm: study.values(arm, "test", row["endpoint"]).mean() for arm in study.arms}
        assert row["difference"] == pytest.approx(means["mars"] - means[row["reference"]])
        assert row["difference_lo"] < row["difference"] < row["difference_hi"]
        assert (row["replicates"], row["examples"], row["family"], row["steps"]) == (3, 60, 6, 30)
        assert row["p_adjusted"] == pytest.approx(min(1, 6 * row["p"]))
        assert row["equivalence_p_adjusted"] == pytest.approx(min(1, 6 * row["equivalence_p"]))
    assert by(frame, "information")["mcnemar_p"].isna().all()
    assert by(frame, "accuracy")["mcnemar_p"].notna().all()
    assert named(compare(study.judged(focus="mine")))[0] == ("mine", "uniform")
    assert compare(study.judged(focus="nobody")).empty


def test_a_focus_that_tells_settings_apart_is_compared_with_the_other_settings_too(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.7, "eda": 0.6})
    for score, skill in (("absolute", 1.1), ("signed", 0.9)):
        make_study(tmp_path, {"mars": skill}, settings={"score": score}, config={"focus": "mars score=absolute"})
    plain = load(tmp_path)  # runs that declare no focus are there, so it is the usual one: both are in focus
    assert [len(named(compare(plain))), plain.focus] == [4, "mars"]
    study = plain.judged(focus="mars score=absolute")
    ours = "mars score=absolute"
    assert named(compare(study)) == [(ours, "uniform"), (ours, "eda"), (ours, "mars score=signed")]
    assert set(compare(study)["family"]) == {6}


def test_a_study_is_judged_by_the_focus_that_its_runs_declare(tmp_path: Path) -> None:
    declared = {"focus": "mars score=absolute"}
    make_study(tmp_path, {"uniform": 0.7, "eda": 0.6}, config=declared)
    make_study(tmp_path, {"mars": 0.9}, settings={"score": "absolute"}, config=declared)
    study = load(tmp_path)  # one setting of mars alone, so that its name is short
    assert study.focus == "mars score=absolute"
    assert named(compare(study)) == [("mars", "uniform"), ("mars", "eda")]
    assert compare(study.judged(focus="mars score=signed")).empty


def test_one_family_spans_all_groups(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8})
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, dataset="hh_rlhf")
    frame = compare(load(tmp_path))
    assert list(by(frame, "accuracy")["dataset"]) == ["hh_rlhf", "planted"]
    assert set(frame["family"]) == {4}
    alone = compare(next(group for title, group in load(tmp_path).groups() if title.startswith("planted")))
    ours, theirs = (frame[frame["dataset"] == "planted"].iloc[0] for frame in (frame, alone))
    assert ours["p"] == theirs["p"]
    assert ours["detectable"] > theirs["detectable"]


def test_verdicts_follow_the_adjusted_p(tmp_path: Path) -> None:
    study = load(
        make_study(tmp_path, {"none": -0.8, "uniform": 1.0, "mars": 1.02}, seeds=(0, 1, 2, 3, 4), examples=300)
    )
    frame = by(compare(study), "accuracy").set_index("reference")
    assert frame.loc["none", "verdict"] == "better"
    assert frame.loc["uniform", "verdict"] == "not settled"
    summary, bits, unclear, better = verdict(compare(study))
    assert summary == ("By accuracy, of 2 declared comparisons mars is better in 1 (none); 1 is not settled (uniform).")
    assert bits.startswith("By information, of 2 declared comparisons mars is better in 1 (none)")
    assert better.startswith("mars against none, 5 replicates × 300 pairs: better, +")
    assert unclear.startswith("mars against uniform, 5 replicates × 300 pairs: not settled within ± 1, ")
    assert "adjusted for 4); about" in unclear
    assert "more replicates would settle it" in unclear
    assert " bits of information [" in unclear
    lines = verdict(compare(study.judged(focus="none")))
    assert ["worse, −" in line for line in lines[2:]] == [True, True]


def test_arms_that_hardly_differ_are_equivalent_within_a_margin_and_not_within_a_narrower_one(tmp_path: Path) -> None:
    study = load(make_study(tmp_path, {"uniform": 1.0, "mars": 1.0}, seeds=tuple(range(8)), examples=400))
    wide = by(compare(study.judged(margins={"accuracy": 0.08, "information": 0.2})), "accuracy").iloc[0]
    assert wide["verdict"] == "equivalent"
    assert abs(wide["difference"]) < 0.08
    (sentence,) = verdict(compare(study.judged(margins={"accuracy": 0.08, "information": 0.2})))
    assert "equivalent within ± 8, " in sentence
    assert "; of a difference that large p " in sentence
    narrow = by(compare(study.judged(margins={"accuracy": 0.0001, "information": 0.0001})), "accuracy").iloc[0]
    assert narrow["verdict"] == "not settled"
    assert narrow["equivalence_p"] > 0.4
    assert (narrow["difference"], narrow["p"]) == (wide["difference"], wide["p"])


def test_seeds_of_one_replicate_are_averaged_and_count_once(tmp_path: Path) -> None:
    for method, skill in (("uniform", 0.6), ("mars", 0.9)):
        for replicate in range(4):
            for seed in (0, 1):
                make_run(tmp_path, method, 1000 * replicate + seed, skill, manifest={"replicate": replicate})
    study = load(tmp_path)
    row = by(compare(study), "accuracy").iloc[0]
    assert (row["replicates"], row["examples"]) == (4, 60)
    gained = study.values("mars", "test", "accuracy") - study.values("uniform", "test", "accuracy")
    assert list(gained.index) == [0, 1, 2, 3]
    assert row["difference"] == pytest.approx(gained.mean())
    each = [study.runs.loc[study.runs["arm"] == arm].sort_values("seed")["replicate"].tolist() for arm in study.arms]
    assert each == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2


def test_subsamples_that_overlap_widen_the_interval_and_are_said_to(tmp_path: Path) -> None:
    def of_rows(rows: int) -> pd.Series:
        for method, skill in (("uniform", 0.6), ("mars", 0.9)):
            for seed in range(6):
                subset = {"subset": {"size": 50, "train": rows}}
                make_run(tmp_path / str(rows), method, seed, skill, manifest={"data": subset})
        return by(compare(load(tmp_path / str(rows))), "accuracy").iloc[0]

    few, many = of_rows(100), of_rows(100_000)
    assert few["difference"] == many["difference"]
    assert few["difference_hi"] - few["difference_lo"] > many["difference_hi"] - many["difference_lo"]
    said = "\n".join(load(tmp_path / "100").verdict())
    assert "6 subsamples of 50 of 100 pairs: what is said holds for new draws of 50 pairs" in said


def test_a_swept_arm_meets_its_reference_at_the_same_setting(tmp_path: Path) -> None:
    for budget in (100, 200):
        for method in ("uniform", "mars"):
            for seed in (0, 1):
                make_run(tmp_path, method, seed, 0.5, config={"rounds": {"budget": budget}})
    assert named(compare(load(tmp_path))) == [
        (f"mars rounds.budget={budget}", f"uniform rounds.budget={budget}") for budget in (100, 200)
    ]
    for tau in (1, 2):
        for seed in (0, 1):
            make_run(tmp_path / "tau", "mars", seed, 0.5, settings={"tau": tau})
            make_run(tmp_path / "tau", "uniform", seed, 0.5, settings={"share": tau})
    frame = compare(load(tmp_path / "tau"))
    assert set(frame["not_compared"]) == {"several arms of uniform, none with this arm's settings"}
    summary, _, first, _ = verdict(frame)
    assert summary.endswith("none finds the arm in focus better or worse; 2 could not be tested.")
    assert "were not compared: several arms of uniform" in first


def test_a_sweep_is_compared_with_the_reference_it_names(tmp_path: Path) -> None:
    for tau in (0, 1):
        for score in ("absolute", "signed"):
            for seed in (0, 1):
                make_run(tmp_path, "mars", seed, 0.5, settings={"tau": tau, "score": score})
    assert compare(load(tmp_path)).empty
    assert named(compare(load(tmp_path).judged(reference="mars tau=0"))) == [
        (f"mars score={score} tau=1", f"mars score={score} tau=0") for score in ("absolute", "signed")
    ]


def test_confounded_arms_are_not_compared_unless_allowed(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5})
    make_study(tmp_path, {"mars": 0.9}, manifest={"steps": 80})
    frame = compare(load(tmp_path))
    assert list(frame["not_compared"]) == ["arms differ in optimiser steps"] * 2
    assert frame[["difference", "p", "p_adjusted", "detectable"]].isna().all(axis=None)
    assert verdict(frame) == ("mars and uniform were not compared: arms differ in optimiser steps.",)
    (sentence,) = verdict(compare(load(tmp_path).judged(allow_confounded=True)))
    assert sentence.endswith("Steps differ: 80 against 30.")


def test_one_seed_is_a_difference_without_a_verdict(tmp_path: Path) -> None:
    frame = compare(load(make_study(tmp_path, {"uniform": 0.3, "mars": 0.9}, seeds=(0,))))
    assert frame["verdict"].iloc[0] == ""
    assert np.isnan(frame["p"].iloc[0])
    (sentence,) = verdict(frame)
    assert "one replicate, so no interval (exact McNemar for these two models p" in sentence
    assert "nan" not in sentence


def test_runs_without_scores_cannot_be_paired(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.3, "mars": 0.9})
    for file in tmp_path.glob("mars*/scores/*.parquet"):
        file.unlink()
    frame = compare(load(tmp_path))
    assert list(frame["not_compared"]) == ["no seed and pair with scores in common"] * 2


def test_a_study_of_one_arm_says_that_there_is_no_comparison(tmp_path: Path) -> None:
    frame = compare(load(make_study(tmp_path, {"mars": 0.9})))
    assert frame.empty
    assert verdict(frame)[0].startswith("No comparison was declared")


def test_warnings_tell_what_the_numbers_rest_on(tmp_path: Path) -> None:
    found = {
        "pairs": 60,
        "ngram": 13,
        "prompt": {"count": 2},
        "prompt_response": {"count": 0},
        "any_ngram": {"count": 7},
    }
    files = [{"kept": 60, "kept_despite": {"contradictory": 2}}, {"kept": 40, "kept_despite": {"contradictory": 1}}]
    data = {"contamination": {"test": found}, "sources": {"train": files}}
    make_study(tmp_path, {"uniform": 0.01, "mars": 0.01}, manifest={"data": data})
    for file in tmp_path.glob("mars*/rounds.csv"):
        pd.read_csv(file).assign(steering=[0.0, 1.0, 1.0]).to_csv(file, index=False)
    lines = warnings(load(tmp_path))
    assert "as few as 3 replicates (5 or more are wanted): every arm" in lines
    assert "allocation of mars was flat in 3 of 9 rounds (over all runs)" in "\n".join(lines)
    assert "contamination: pairs that share their prompt with a training pair: 2 of 60 in test" in lines
    assert "contamination: pairs that share a 13-gram with a training pair: 7 of 60 in test" in lines
    assert not any("prompt and response" in line for line in lines)
    assert f"{OF_ROWS['contradictory']}: 3 of 100 in train" in lines
    assert not any(OF_ROWS["turn_marker"] in line for line in lines)

    for file in tmp_path.glob("mars*/rounds.csv"):
        pd.read_csv(file).assign(steering=0.0).to_csv(file, index=False)
    assert any("allocation of mars was flat in every round" in line for line in warnings(load(tmp_path)))


def test_too_few_validation_pairs_and_replicates_that_do_not_match_are_said(tmp_path: Path) -> None:
    study = load(make_study(tmp_path / "few", {"uniform": 0.5, "mars": 0.8}))
    assert any(line.startswith("20 validation pairs, fewer than 50: ") for line in warnings(study))
    for method, replicates in (("uniform", (0, 1, 2)), ("mars", (1, 2, 3))):
        for replicate in replicates:
            make_run(tmp_path / "unlike", method, 1000 * replicate, 0.5, manifest={"replicate": replicate})
    study = load(tmp_path / "unlike")
    assert "arms ran different replicates (0, 1, 2: uniform; 1, 2, 3: mars)" in warnings(study)
    assert set(compare(study)["replicates"]) == {2}


def test_models_that_a_coin_matches_are_named_as_such(tmp_path: Path) -> None:
    weak = load(make_study(tmp_path / "weak", {"uniform": -0.3, "mars": -0.3}, examples=40))
    assert any("no arm can be told from a coin on 40 pairs" in line for line in warnings(weak))
    strong = load(make_study(tmp_path / "strong", {"uniform": 2.0, "mars": -0.3}, examples=40))
    assert not any("coin" in line for line in warnings(strong))


def test_seeds_with_test_pairs_of_their_own_are_compared_seed_by_seed(tmp_path: Path) -> None:
    options = {"seeds": (0, 1, 2, 3), "own_rows": True, "examples": 200}
    study = load(make_study(tmp_path, {"uniform": 0.1, "mars": 0.8}, **options))
    (row,) = by(compare(study), "accuracy").to_dict("records")
    gained = study.values("mars", "test", "accuracy") - study.values("uniform", "test", "accuracy")
    expected = scipy_stats.ttest_1samp(gained, 0)
    assert row["difference"] == pytest.approx(gained.mean())
    assert row["p"] == pytest.approx(expected.pvalue, rel=1e-6)
    interval = tuple(expected.confidence_interval(0.95))
    assert (row["difference_lo"], row["difference_hi"]) == pytest.approx(interval, rel=1e-6)
    assert min(gained) <= row["bootstrap_lo"] < row["bootstrap_hi"] <= max(gained)
    assert (row["replicates"], row["examples"], row["own_rows"]) == (4, 200, True)
    assert row["detectable"] > row["difference"] - row["difference_lo"]
    (sentence,) = verdict(compare(study))
    assert "4 replicates × 200 pairs of their own: " in sentence
    board = rank(study)
    mars = board.table.frame.set_index("arm").loc["mars"]
    assert (mars["difference"], mars["p"], mars["examples"]) == pytest.approx((row["difference"], row["p"], 200))
    assert sum("pairs of its own in test" in note for note in board.notes) == 1
    assert not any("not all measured on the same pairs" in note or "common pairs" in note for note in board.notes)


def test_of_seeds_with_pairs_of_their_own_only_shared_ones_count(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.1}, seeds=(0, 1), own_rows=True)
    make_study(tmp_path, {"mars": 0.8}, seeds=(0, 1, 2), own_rows=True)
    (row,) = by(compare(load(tmp_path)), "accuracy").to_dict("records")
    assert (row["replicates"], row["examples"]) == (2, 60)
    make_study(tmp_path / "unpaired", {"uniform": 0.1}, seeds=(0, 1), own_rows=True)
    make_study(tmp_path / "unpaired", {"mars": 0.8}, seeds=(2, 3), own_rows=True)
    unpaired = load(tmp_path / "unpaired").judged(allow_confounded=True)
    (row,) = by(compare(unpaired), "accuracy").to_dict("records")
    assert row["not_compared"] == "no seed and pair with scores in common"


def test_what_is_said_of_groups_alike_is_said_once_and_names_a_few(tmp_path: Path) -> None:
    for dataset in "abcdefg":
        make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1), dataset=dataset, examples=20)
    study = load(tmp_path)
    few = "as few as 2 replicates (5 or more are wanted): every arm"
    assert [line for line in warnings(study) if "replicates (" in line] == [f"7 of 7 groups: {few}"]
    two = load(*(run for run in tmp_path.iterdir() if run.name.split("-")[1] in "ab"))
    assert [line for line in warnings(two) if "replicates (" in line] == [f"a / minilm, b / minilm: {few}"]
    assert len([line for line in two.verdict() if "2 draws of the base pairs" in line]) == 1


def test_of_very_many_comparisons_there_is_a_summary_alone() -> None:
    row = {"dataset": "d", "backbone": "b", "arm": "mars", "endpoint": "accuracy", "verdict": "not settled"}
    lines = verdict(pd.DataFrame([row | {"reference": f"uniform {i}"} for i in range(61)]))
    assert lines[0].startswith(
        "By accuracy, of 61 declared comparisons none finds mars better or worse; 61 are not settled"
    )
    assert lines[1:] == ("The 61 are in the tables of comparisons, one a row.",)


def test_what_no_number_of_replicates_settles_says_what_would(tmp_path: Path) -> None:
    for method in ("uniform", "mars"):
        for draw in range(4):
            drawn = {"replicate": draw, "data": {"subset": {"size": 90, "train": 100}}}
            make_run(tmp_path, method, 1000 * draw, 0.5, own_rows=True, examples=200, manifest=drawn)
    frame = compare(load(tmp_path))
    row, (sentence,) = frame.iloc[0], verdict(frame)
    assert row["larger_rows"] > 100
    would = r"about [\d,]+ drawn from [\d,]+ rows would"
    assert re.search(f"no number of these replicates would settle it; {would}", sentence)
    (sentence,) = verdict(frame.assign(larger_rows=np.nan, larger_examples=2345.0, larger_replicates=67.0))
    assert "no number of these replicates would settle it; about 67 judged on 2,300 test pairs would" in sentence
