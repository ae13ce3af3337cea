"""The leaderboard of a study: ranks, differences to uniform, and when there are none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.study import LEFT_OUT, make_run, make_study

from analysis import load
from analysis.exhibits.ranking import Ranking, rank


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """none, uniform, eda, mars × 3 seeds, and one run that did not finish. Read-only."""
    path = make_study(tmp_path_factory.mktemp("outputs") / "quick")
    make_run(path, "mars", 9, 1.0, done=False)
    return path


def arms(board: Ranking) -> pd.DataFrame:
    """The board's table without its baselines."""
    return board.table.frame[board.table.frame["kind"] == "arm"]


def test_accuracy_is_that_of_the_scores(study: Path) -> None:
    loaded = load(study)
    pairs = loaded.pairs("mars", "test")
    assert list(pairs.seeds) == [0, 1, 2]
    assert (pairs.margins > 0).mean(axis=1) == pytest.approx(loaded.values("mars", "test", "accuracy").to_numpy())


def test_leaderboard_ranks_and_compares_to_uniform(study: Path) -> None:
    board = rank(load(study))
    rows = {row["arm"]: row for row in arms(board).to_dict("records")}
    assert list(arms(board)["rank"]) == [1, 2, 3, 4]
    assert arms(board)["accuracy"].is_monotonic_decreasing
    assert board.table.frame["arm"].iloc[0] == "mars"
    for arm in ("none", "eda", "mars"):
        row = rows[arm]
        assert row["difference"] == pytest.approx(row["accuracy"] - rows["uniform"]["accuracy"])
        assert row["difference_lo"] <= row["difference"] <= row["difference_hi"]
    assert np.isnan([rows["uniform"][column] for column in ("difference", "difference_lo", "p")]).all()
    assert {(row["replicates"], row["examples"], row["steps"]) for row in rows.values()} == {(3, 60, 30)}
    assert not [note for note in board.notes if "unfinished" not in note]


def test_length_alone_and_a_coin_stand_below_the_arms(tmp_path: Path) -> None:
    study = load(make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1)))
    board = rank(study)
    length, coin = board.table.frame[board.table.frame["kind"] == "baseline"].to_dict("records")
    assert list(board.table.frame["arm"]) == ["mars", "uniform", "length only", "random"]
    assert study.splits == ["test", "test_reversed_nuisance"]  # validation, among the scores, is no test split

    by_seed = []
    for seed in (0, 1):  # the seeds' test pairs differ in their lengths
        (run,) = study.runs.loc[(study.runs["seed"] == seed) & (study.runs["arm"] == "mars"), "run"]
        scores = pd.read_parquet(tmp_path / run / "scores" / "in_distribution.parquet")
        scores = scores[scores["split"] == "test"]
        difference = scores["chosen_length"] - scores["rejected_length"]
        by_seed.append(((difference > 0) + 0.5 * (difference == 0)).mean())
    assert by_seed[0] != by_seed[1]
    assert length["accuracy"] == pytest.approx(np.mean(by_seed))
    assert length["accuracy_lo"] < length["accuracy"] < length["accuracy_hi"]
    half = 1.959964 / (2 * np.sqrt(60))
    assert [coin[f"accuracy{end}"] for end in ("", "_lo", "_hi")] == pytest.approx([0.5, 0.5 - half, 0.5 + half])
    for row in (length, coin):
        assert (row["length_controlled_accuracy"], row["examples"], row["not_ranked"]) == (0.5, 60, "")
        assert all(pd.isna(row[column]) for column in ("rank", "difference", "p", "auc", "gold_accuracy", "replicates"))
    text = board.to_markdown()
    line = next(line for line in text.splitlines() if "random (baseline)" in line)
    assert "50.0 [37.3, 62.7]" in line
    assert "nan" not in text.lower()


def test_older_runs_without_the_new_metrics_leave_blanks(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1))
    known = {"accuracy", "length_accuracy", "auc", "snr", "n"}
    for file in tmp_path.glob("*/metrics.json"):
        measured = json.loads(file.read_text())["in_distribution"]
        old = {split: {k: v for k, v in values.items() if k in known} for split, values in measured.items()}
        file.write_text(json.dumps({"in_distribution": old}))
    board = rank(load(tmp_path))
    length = board.table.frame.set_index("arm").loc["length only"]
    assert 0 < length["accuracy"] < 1
    assert length[["accuracy_lo", "accuracy_hi"]].isna().all()
    assert board.table.frame["length_controlled_accuracy"].isna().all()
    assert "len.-contr. |" not in board.to_markdown()
    assert "nan" not in board.to_markdown()


def test_groups_are_ranked_apart(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.8}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.8}, seeds=(0, 1), dataset="hh_rlhf", examples=40)
    board = rank(load(tmp_path))
    assert list(arms(board)["dataset"]) == ["hh_rlhf", "planted", "planted"]
    assert list(board.table.frame["kind"]) == ["arm", "baseline", "baseline", "arm", "arm", "baseline", "baseline"]
    assert board.table.frame.loc[board.table.frame["dataset"] == "hh_rlhf", "difference"].isna().all()
    assert any(note.startswith("hh_rlhf / minilm: no finished run of uniform") for note in board.notes)


CONFOUNDS = [  # what mars records unlike uniform; how the refusal names it; how a note words it
    (
        {"start": "f" * 64},
        "starting weights",
        "from different weights for seed 0, 1 (seed 0: {start}: uniform; ffffffff: mars)",
    ),
    ({"weights": "sha256:" + "e" * 64}, "backbone weights", "sha256:eeeeeeee: mars)"),
    ({"template": "hh"}, "template", "in different templates (plain: uniform; hh: mars)"),
    ({"max_length": 512}, "maximum length", "at different lengths (256: uniform; 512: mars)"),
    ({"truncation": "right"}, "truncation", "at different ends (left: uniform; right: mars)"),
    ({"base_sha256": "f" * 64}, "base pairs", "trained on different base pairs for seed 0, 1"),
    ({"test_sha256": "f" * 64}, "test pairs", "judged on different test pairs ({test}: uniform; ffffffff: mars)"),
    ({"steps": 80}, "optimiser steps", "different numbers of optimiser steps (30: uniform; 80: mars)"),
    ({"steps": LEFT_OUT}, "optimiser steps", "optimiser steps (30: uniform; not recorded: mars)"),
]


@pytest.mark.parametrize(("manifest", "noun", "words"), CONFOUNDS)
def test_confounded_arms_are_not_ranked_unless_allowed(
    tmp_path: Path, manifest: dict[str, object], noun: str, words: str
) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(0, 1), manifest=manifest)
    study = load(tmp_path)
    board = rank(study)
    why = f"not ranked: arms differ in {noun}; allow_confounded=true ranks them anyway"
    assert board.refusals == [f"planted / minilm: {why}"]
    assert list(arms(board)["arm"]) == ["uniform", "mars"]  # in the study's order: mars is ahead
    assert set(board.table.frame["not_ranked"]) == {why}
    assert board.table.frame[["rank", "difference", "difference_lo", "difference_hi", "p"]].isna().all(axis=None)
    assert board.table.frame["accuracy"].notna().all()
    shown = {
        name: hashlib.sha256(text.encode()).hexdigest()[:8] for name, text in (("start", "start 0"), ("test", "test"))
    }
    refusal, note = board.notes
    assert refusal == f"planted / minilm: {why}"
    assert words.format(**shown) in note
    assert "ffffffffff" not in note

    allowed = rank(study.judged(allow_confounded=True))
    assert allowed.refusals == []
    assert list(arms(allowed)["arm"]) == ["mars", "uniform"]
    assert list(arms(allowed)["rank"]) == [1, 2]
    assert allowed.table.frame["difference"].iloc[0] > 0
    assert allowed.notes == (f"planted / minilm: ranked although arms differ in {noun} (allow_confounded=true)", note)


def test_steps_may_differ_where_every_run_says_so_and_nothing_else_may(tmp_path: Path) -> None:
    make_study(tmp_path / "meant", {"uniform": 0.5}, seeds=(0, 1), manifest={"steps_may_differ": True})
    make_study(tmp_path / "meant", {"none": 0.3}, seeds=(0, 1), manifest={"steps_may_differ": True, "steps": 10})
    board = rank(load(tmp_path / "meant"))
    assert list(arms(board)["rank"]) == [1, 2]
    assert any(
        "optimiser steps (10: none; 30: uniform)" in note and "as this study means to" in note for note in board.notes
    )

    make_study(tmp_path / "meant", {"mars": 0.9}, seeds=(0, 1), manifest={"steps_may_differ": LEFT_OUT})
    assert "differ in optimiser steps;" in rank(load(tmp_path / "meant")).refusals[0]

    for method in ("uniform", "mars"):
        manifest = {"steps_may_differ": True, "steps": len(method), "template": method}
        make_study(tmp_path / "other", {method: 0.5}, seeds=(0, 1), manifest=manifest)
    assert "differ in template;" in rank(load(tmp_path / "other")).refusals[0]


def test_every_confound_is_named_in_one_refusal(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(0, 1), manifest={"steps": 80, "template": "hh", "truncation": "right"})
    assert "arms differ in template, truncation, optimiser steps; allow" in rank(load(tmp_path)).refusals[0]


def test_seeds_that_are_not_shared_are_left_out_of_the_difference(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1, 2))
    make_study(tmp_path, {"mars": 0.8}, seeds=(1, 2, 3))
    loaded = load(tmp_path)
    board = rank(loaded)
    assert not board.refusals
    both = [loaded.values(arm, "test", "accuracy").loc[[1, 2]].mean() for arm in ("mars", "uniform")]
    assert board.table.frame.set_index("arm").loc["mars", "difference"] == pytest.approx(both[0] - both[1])
    assert any("over 2 common replicates and 60 common pairs" in note for note in board.notes)
    assert any("ran different seeds (0, 1, 2: uniform; 1, 2, 3: mars)" in note for note in board.notes)


def test_one_arm_and_one_seed_work_and_say_what_is_missing(tmp_path: Path) -> None:
    make_study(tmp_path, {"mars": 0.8}, seeds=(0,), rounds=1)
    text = rank(load(tmp_path)).to_markdown()
    assert "no finished run of uniform" in text
    assert "one replicate, so no interval: mars" in text
    assert "nan" not in text


def test_a_note_says_what_each_arm_was_set_to_beyond_its_name(tmp_path: Path) -> None:
    first = {"tau": 0.1, "score": "absolute", "drop_prompt": True}
    signed = {"tau": 2, "score": "signed", "drop_prompt": False}
    make_run(tmp_path, "uniform", 0, 0.5, manifest={"strategy": {}})
    make_run(tmp_path, "self_training", 0, 0.5, manifest={"strategy": {"confidence": 0.7}})
    told = []
    for recorded, settings in (
        (first, {"tau": 0.1}),
        (first | {"tau": 2}, {"tau": 2}),
        (signed, {"tau": 2, "score": "signed"}),
    ):
        make_run(tmp_path, "mars", 0, 0.6, settings=settings, manifest={"strategy": recorded})
        told += [note for note in rank(load(tmp_path)).notes if "settings: " in note]
    others = "planted / minilm: settings: self_training confidence=0.7; "
    assert told == [
        f"{others}mars tau=0.1 score=absolute drop_prompt=true",
        f"{others}mars score=absolute drop_prompt=true",  # both of them
        f"{others}mars score=signed tau=2 drop_prompt=false; mars tau=0.1 score=absolute drop_prompt=true; "
        "mars tau=2 score=absolute drop_prompt=true",
    ]


def test_any_arm_can_be_the_reference_and_is_matched_by_the_settings_it_does_not_name(tmp_path: Path) -> None:
    for seed in range(3):
        for score in ("absolute", "signed"):
            for tau in (0, 2):
                make_run(tmp_path, "mars", seed, 0.5 + tau / 4, settings={"tau": tau, "score": score})
    board = rank(load(tmp_path).judged(reference="mars tau=0"))
    differences = arms(board).set_index("arm")["difference"]
    assert differences.index[differences.isna()].tolist() == ["mars score=absolute tau=0", "mars score=signed tau=0"]
    assert (differences.dropna() > 0).all()
    assert "− mars tau=0" in board.to_markdown()
    assert "no finished run of uniform to compare with" in rank(load(tmp_path)).to_markdown()


def test_what_is_so_of_several_arms_is_a_note_for_all_of_them(tmp_path):
    for seed in (0, 1):
        make_study(tmp_path, {"none": 0.4, "uniform": 0.7, "mars": 1.1}, seeds=(seed,), examples=60 + seed)
    notes = rank(load(tmp_path)).notes
    several = "planted / minilm: none, uniform, mars: their replicates were not all measured on the same pairs of test"
    assert [note for note in notes if "not all measured" in note] == [several]
    common = "planted / minilm: each of none, mars − uniform is over 2 common replicates and 60 common pairs"
    assert [note for note in notes if "common pairs" in note] == [common]
