"""Gold gain prompt by prompt, and the family of its comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.downstream import add_picks, add_training
from support.study import make_study

from analysis import Study, load
from analysis.inference.comparisons import compare
from analysis.inference.downstream import MARGIN, compare_gains, gains
from analysis.inference.verdicts import BETTER, EQUIVALENT, OPEN
from mars.record.layout import scores_of

RISE = {"uniform": 0.1, "eda": 0.31, "mars": 0.3}


def made(path: Path, rise: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2)) -> Study:
    make_study(path, dict.fromkeys(rise, 0.5), seeds=seeds, examples=20, rounds=1)
    for run in path.iterdir():
        method, seed = run.name.split("-")[0], int(run.name.split("-s")[1][0])
        add_training(run, rise[method], seed)
        if method in ("uniform", "mars"):
            add_picks(run, 2.0 if method == "mars" else 0.5, seed)
    return load(path)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return made(tmp_path_factory.mktemp("downstream"), RISE)


@pytest.mark.parametrize("label", ["trained_policy", "best_of_n"])
def test_the_mean_over_prompts_is_the_gold_gain_of_the_record(study: Study, label: str) -> None:
    (_, group), *_ = study.groups()
    found = gains(group, "mars", label)
    assert found.seeds.tolist() == [0, 1, 2]
    stated = group.values("mars", "overall", "gold_gain", label)
    assert found.margins.mean(axis=1) == pytest.approx(stated.to_numpy())


def test_before_training_is_the_same_for_all_arms_of_a_replicate(study: Study) -> None:
    (_, group), *_ = study.groups()
    ours, theirs = (gains(group, arm, "trained_policy") for arm in ("mars", "eda"))
    assert np.array_equal(ours.rejected, theirs.rejected)
    assert ours.ids.tolist() == [f"p{i:02}" for i in range(30)]


def test_the_declared_pairs_are_compared_in_a_family_of_their_own(study: Study) -> None:
    table = compare_gains(study)
    assert table.groupby("label", sort=False)["reference"].agg(list).to_dict() == {
        "best_of_n": ["uniform"],  # the others were not judged by it
        "trained_policy": ["uniform", "eda"],
    }
    assert set(table["family"]) == {3}
    assert set(table["margin"]) == {MARGIN}
    assert table["p_adjusted"].to_numpy() == pytest.approx(np.minimum(3 * table["p"], 1))
    trained = table[table["label"] == "trained_policy"].set_index("reference")
    assert trained["verdict"].to_dict() == {"uniform": BETTER, "eda": EQUIVALENT}
    assert set(compare(study)["family"]) == {4}  # the declared comparisons are not told of these


def test_a_study_that_was_looked_at_is_judged_by_p_alone_downstream(study: Study) -> None:
    assert compare_gains(study.judged(settled={}))["verdict"].tolist() == compare_gains(study)["verdict"].tolist()
    assert set(compare(study.judged(settled={}))["verdict"]) == {OPEN}


def test_a_damaged_table_is_left_out_and_one_without_gold_has_no_gains(tmp_path: Path) -> None:
    made(tmp_path, {"uniform": 0.1, "mars": 0.3}, (0, 1))
    run = next(tmp_path.glob("mars-*-s0-*"))
    pd.DataFrame({"id": ["p"]}).to_parquet(run / scores_of("trained_policy"))
    add_training(next(tmp_path.glob("mars-*-s1-*")), 0.3, 1, gold=False)
    (_, group), *_ = load(tmp_path).groups()
    assert len(gains(group, "mars", "trained_policy").seeds) == 0
    assert set(compare_gains(load(tmp_path))["label"]) == {"best_of_n"}
