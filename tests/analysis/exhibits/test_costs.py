"""The figure of a round's seconds: shares by hand, and nothing where the parts were not timed."""

import pandas as pd
import pytest
from support.study import make_run

from analysis import NothingToShow, load
from analysis.exhibits.costs import Costs
from mars.method.clock import COLUMNS, PARTS


def spend(run, **seconds):
    """rounds.csv with these seconds of each part, a list by round or one for all; None without such columns."""
    table = pd.read_csv(run / "rounds.csv").drop(columns=list(COLUMNS))
    named = {f"seconds_{part}": seconds.get(part, 0.0) for part in PARTS} if seconds else {}
    table.assign(**named).to_csv(run / "rounds.csv", index=False)


def test_shares_are_of_all_rounds_and_seconds_of_one(tmp_path):
    spend(make_run(tmp_path, "mars", 0, 0.5, rounds=2), training=[6.0, 2.0], scoring=[1.0, 1.0])
    spend(make_run(tmp_path, "mars", 1, 0.5, rounds=2), training=8.0, validation=[None, 2.0], recording=[0.0, None])
    spend(make_run(tmp_path, "uniform", 0, 0.5, rounds=2))  # of another version
    study = load(tmp_path)
    frame = Costs().frame(study)
    assert set(frame["arm"]) == {"mars"}
    assert set(frame["runs"]) == {2}
    by_part = frame.set_index("part")
    assert by_part["seconds"].to_dict() == pytest.approx(
        dict.fromkeys(PARTS, 0.0) | {"training": 24 / 4, "scoring": 2 / 4, "validation": 2 / 4}
    )
    assert by_part["share"].sum() == pytest.approx(1)
    assert by_part.loc["training", "share"] == pytest.approx(24 / 28)
    figure = study.figure("costs")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["7.00 s, 14 %"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "scoring", "validation"]


def test_runs_of_before_have_no_such_figure_and_all_others(tmp_path):
    for seed in (0, 1):
        spend(make_run(tmp_path, "mars", seed, 0.5))
    study = load(tmp_path)
    with pytest.raises(NothingToShow, match="no run recorded the seconds"):
        study.figure("costs")
    assert study.figure("rounds").axes
