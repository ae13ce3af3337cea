"""What a report says of reward models downstream, word by word, for studies of known course."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from support.downstream import add_training
from support.study import make_study, score_test

from analysis import Study, load
from analysis.report.downstream import foretold, on_downstream


def made(path: Path, rise: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2)) -> Study:
    """The more an arm's policy gains, the more of its test pairs are right by gold."""
    make_study(path, dict.fromkeys(rise, 0.5), seeds=seeds, rounds=1, examples=60)
    for run in path.iterdir():
        method, seed = run.name.split("-")[0], int(run.name.split("-s")[1][0])
        add_training(run, rise[method], seed)
        score_test(run, round(25 + 10 * rise[method] + seed % 2))
    return load(path)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    rise = {"none": -0.4, "uniform": 0.1, "mars": 0.5}
    return on_downstream(made(tmp_path_factory.mktemp("said"), rise))


def test_the_family_is_said_to_be_a_second_one(said: tuple[str, ...]) -> None:
    assert said[0] == (
        "Downstream, in gold gain, arms are compared in a second family, apart from the declared endpoints, adjusted "
        "within itself: of 2 comparisons the arm in focus is better in 2."
    )


def test_a_comparison_has_its_verdict_interval_and_adjusted_p(said: tuple[str, ...]) -> None:
    assert said[1].startswith("trained_policy, mars against uniform, 3 replicates × 30 prompts: better, +0.")
    assert "sd of gold gain [+" in said[1]
    assert "adjusted for 2)" in said[1]


def test_gold_is_said_to_follow_the_proxy_or_not(said: tuple[str, ...]) -> None:
    assert said[3].startswith("trained_policy: the proxy rose, its 95 % interval above 0, in 3 of 3 arms; there gold ")
    rose, fell = said[3].split("; there gold ")[1].split("; fell in ")
    assert [arm in rose for arm in ("uniform", "mars", "none")] == [True, True, False]
    assert fell.startswith("none −")


def test_gold_accuracy_that_rises_with_gold_gain_is_said_to_foretell_it(said: tuple[str, ...]) -> None:
    assert said[4].startswith("Of ")
    assert "gold accuracy with trained_policy gold gain +0.9" in said[4]
    assert len(said) == 5


def test_correlations_that_are_not_clear_are_counted_and_none_is_named() -> None:
    row = {"label": "best_of_n", "outcome": "gold_gain", "predictor": "snr", "p_adjusted": 0.06, "within": 0.9}
    assert list(foretold(pd.DataFrame([row]))) == [
        "Of 1 rank correlations of test scores with gold reward downstream, within replicates, none can be told from 0 "
        "after adjustment."
    ]


def test_what_foretells_gold_reward_is_named_with_its_correlation() -> None:
    row = {"label": "trained_policy", "outcome": "gold_gain", "predictor": "gold_accuracy", "p_adjusted": 0.01}
    row |= {"within": 0.9, "within_lo": 0.7, "within_hi": 0.97}
    table = pd.DataFrame([row, row | {"predictor": "accuracy", "p_adjusted": 0.2}, row | {"p_adjusted": math.nan}])
    assert list(foretold(table)) == [
        "Of 2 rank correlations of test scores with gold reward downstream, within replicates, 1 can be told from 0 "
        "after adjustment: gold accuracy with trained_policy gold gain +0.90 [+0.70, +0.97]."
    ]
    assert "3 replicates" in next(foretold(table[2:]))


def test_a_study_that_stopped_by_its_endpoints_says_so(tmp_path: Path) -> None:
    study = made(tmp_path, {"uniform": 0.1, "mars": 0.1}, seeds=(0, 1))
    assert on_downstream(study.judged(settled={}))[0].endswith(
        "The study stopped by its endpoints, for which these p make no allowance."
    )


def test_one_replicate_tells_nothing_and_no_downstream_says_nothing(tmp_path: Path) -> None:
    said = on_downstream(made(tmp_path / "one", {"uniform": 0.1, "mars": 0.3}, seeds=(0,)))
    assert said[0].endswith("; 1 could not be tested.")
    assert "1 replicate × 30 prompts: +0." in said[1]
    assert said[1].endswith("(one replicate, so no interval).")
    assert said[2] == "trained_policy: one replicate, so no telling whether gold followed the proxy."
    assert on_downstream(load(make_study(tmp_path / "none", {"uniform": 0.5, "mars": 0.5}))) == ()
