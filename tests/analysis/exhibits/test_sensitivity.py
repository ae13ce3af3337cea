"""The comparison at several rates and lengths, and the rate that held-out pairs choose."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.study import make_run, make_study

from analysis import NothingToShow, Study, load
from analysis.exhibits.sensitivity import Rates, Sensitivity, dependence
from analysis.inference.sensitivity import cells, change, hangs_on
from analysis.study.arm_names import value_of, without

RATES, LENGTHS = (0.01, 0.1), (23, 47, 94)


def setting(rate: float, length: int, **manifest: Any) -> dict[str, Any]:
    facts = {"steps": 5 * length, "steps_may_differ": True, **manifest}
    return {"config": {"train": {"lr": rate}, "rounds": {"steps": length}}, "manifest": facts}


def gridded(path: Path, gain: dict[tuple[float, int], float]) -> Study:
    """uniform at a skill of 0.3 and mars at so much more, in every cell, five seeds."""
    for (rate, length), seed in itertools.product(gain, range(5)):
        for method, more in (("uniform", 0.0), ("mars", gain[rate, length])):
            make_run(path, method, seed, 0.3 + more, examples=120, rounds=1, **setting(rate, length))
    return load(path)


@pytest.fixture(scope="module")
def steep(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """mars is far better at the larger rate and level with uniform at the smaller, at every length."""
    gain = {(rate, length): 3.0 * (rate == 0.1) for rate, length in itertools.product(RATES, LENGTHS)}
    return gridded(tmp_path_factory.mktemp("steep"), gain)


def test_names_give_their_numbers_and_their_rest() -> None:
    arm = "mars rounds.steps=47 tau=2 train.lr=2e-05"
    assert (value_of(arm, "train.lr"), value_of(arm, "rounds.steps")) == (2e-5, 47)
    assert without(arm, "train.lr", "rounds.steps") == "mars tau=2"
    assert pd.isna(value_of("mars", "train.lr"))


def test_a_cell_is_the_comparison_of_two_arms_trained_alike(steep: Study) -> None:
    frame = cells(steep)
    assert list(zip(frame["rate"], frame["length"], strict=True)) == [(r, n) for n in LENGTHS for r in RATES]
    for row in frame.to_dict("records"):
        named = f"rounds.steps={row['length']:.0f} train.lr={row['rate']}"
        assert (row["arm"], row["reference"]) == (f"mars {named}", f"uniform {named}")
        ours, theirs = (steep.values(row[arm], "test", "accuracy") for arm in ("arm", "reference"))
        assert row["difference"] == pytest.approx((ours - theirs).mean())
    assert set(frame["verdict"]) == set(frame["bits_verdict"]) | {"not settled"} == {"better", "not settled"}


def test_a_verdict_that_hangs_on_the_rate_is_said_to_and_by_how_much(steep: Study) -> None:
    frame = cells(steep)
    assert hangs_on(frame, "rate") == list(LENGTHS)
    assert hangs_on(frame, "length") == []
    moved = change(steep, frame, "rate")
    by_rate = frame.groupby("rate")["difference"].mean()
    assert moved.mean == pytest.approx(by_rate[0.1] - by_rate[0.01])
    assert 0 < moved.lo < moved.mean < moved.hi
    still = change(steep, frame, "length")
    assert still.mean == pytest.approx(0)
    assert pd.isna(still.lo)  # alike in every replicate
    verdict, size = dependence(steep, frame)
    assert (
        "not settled in 3, better in 3 of 6 cells, so the verdict depends on the rate (at length 23, 47, 94)."
        in verdict
    )
    assert size.startswith("From the least to the largest the difference changes with the rate by +")
    table = Sensitivity().table(steep)
    assert table.caption.endswith(size)
    assert all("nan" not in text.lower() for _, text in table.forms())
    assert table.to_latex().isascii()


def test_a_verdict_that_is_the_same_everywhere_hangs_on_nothing(tmp_path: Path) -> None:
    study = gridded(tmp_path, dict.fromkeys(itertools.product(RATES, LENGTHS[:2]), 0.0))
    (verdict, _) = dependence(study, cells(study))
    assert verdict.endswith(
        "not settled in 4 of 4 cells, so the verdict depends neither on the rate nor on the length."
    )


def test_the_figure_has_a_place_for_each_rate_and_fills_what_is_different(steep: Study) -> None:
    figure = Sensitivity().figure(steep)
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.01", "0.1"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"{n} steps a round" for n in LENGTHS]
    points = [line for line in axes.lines if line.get_marker() not in ("None", "o")]
    assert len(points) == 6
    filled = [line for line in points if line.get_markerfacecolor() != "white"]
    assert len(filled) == 3
    assert all(line.get_xdata()[0] > 0.5 for line in filled)  # at the larger rate


def test_without_such_runs_there_is_nothing_and_it_says_what_to_run(tmp_path: Path) -> None:
    study = load(make_study(tmp_path, seeds=(0,), examples=20))
    with pytest.raises(NothingToShow, match="experiment=sensitivity"):
        Sensitivity().frame(study)
    with pytest.raises(NothingToShow, match="experiment=rates"):
        Rates().frame(study)


def rated(path: Path, bits: dict[float, tuple[float, ...]], **manifest: Any) -> pd.DataFrame:
    """The table of rates of a study whose runs tell so many held-out bits after their last round, by rate and seed."""
    for rate, of_seeds in bits.items():
        for seed, told in enumerate(of_seeds):
            run = make_run(path, "uniform", seed, 0.5, examples=20, **setting(rate, 47, **manifest))
            rounds = pd.read_csv(run / "rounds.csv")
            rounds.assign(validation_information=[0.9, 0.9, told]).to_csv(run / "rounds.csv", index=False)
            make_run(path, "mars", seed, 0.5, examples=20, **setting(rate, 47, **manifest))
    return Rates().frame(load(path)).set_index("rate")


def test_the_rate_of_the_best_mean_is_chosen_and_of_equal_ones_the_smaller(tmp_path: Path) -> None:
    frame = rated(tmp_path, {0.01: (0.1, 0.2), 0.1: (0.25, 0.5), 0.02: (0.5, 0.25), 1.0: (0.1, 0.1)})
    assert list(frame.index) == [0.01, 0.02, 0.1, 1.0]
    assert set(frame["arm"]) == {"uniform"}
    assert frame["choice"].dropna().to_dict() == {0.02: "chosen"}
    assert frame.loc[0.02, "information"] == pytest.approx(0.375)
    half = 12.7062 * 0.125  # t of one degree of freedom, standard error of two
    assert frame.loc[0.02, "information_lo"] == pytest.approx(0.375 - half, abs=1e-4)
    assert list(frame["replicates"]) == [2, 2, 2, 2]
    assert "| uniform | 0.02 | 0.3750 [" in Rates().table(load(tmp_path)).to_markdown()


def test_a_choice_at_the_edge_says_so_and_kept_models_count_with_what_they_told(tmp_path: Path) -> None:
    frame = rated(tmp_path, {0.01: (0.1, 0.2), 0.1: (0.3, 0.4)}, kept_step=17, kept_information=0.6, kept_round=0)
    assert list(frame["information"]) == [0.6, 0.6]
    assert list(frame["kept_step"]) == [17, 17]
    assert frame["choice"].dropna().to_dict() == {0.01: "chosen, at the edge of the grid: try rates beyond it"}
