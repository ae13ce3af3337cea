"""Where the seconds of a round go: parts exclude one another, add up, and cover what a round takes."""

import time

import numpy as np
import pandas as pd
import pytest

from mars.method import clock as clocks
from mars.method.clock import COLUMNS, Clock
from mars.run import execute

FINE_TUNE = ["scale=tiny", "train=full", "rounds.steps=2", "dataset.size=8", "backbone.max_length=24"]
FINE_TUNE += ["rounds.budget=4"]


@pytest.fixture
def ticking(monkeypatch):
    """A clock whose seconds are the calls that read it."""
    now = iter(range(1000))
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: float(next(now)))
    return Clock()


def test_a_part_inside_another_stops_the_outer_one(ticking):
    with ticking("selection"):  # 0
        with ticking("scoring"), ticking("tokenising"):  # at 1 and 2: a second each of selection and of scoring
            pass  # at 3 and 4: one of tokenising, another of scoring
        with ticking("scoring"):  # at 5: another of selection
            pass  # at 6: a third of scoring
        # at 7: a third of selection
    spent = {name.removeprefix("seconds_"): seconds for name, seconds in ticking.columns().items() if seconds}
    assert spent == {"selection": 3.0, "scoring": 3.0, "tokenising": 1.0}


def test_a_part_that_fails_is_charged_and_given_back(ticking):
    with pytest.raises(ValueError, match="no"), ticking("pool"):
        raise ValueError("no")
    with ticking("training"):
        pass
    assert ticking.columns()["seconds_pool"] == ticking.columns()["seconds_training"] == 1.0
    ticking.restart()
    assert set(ticking.columns().values()) == {0.0}


def test_the_parts_cover_the_rounds_and_no_more(compose):
    began = time.perf_counter()
    table = pd.read_csv(execute(compose(*FINE_TUNE, "dataset.validation=8", "curvature=true")) / "rounds.csv")
    assert (table[list(COLUMNS)] > 0).all(axis=None)  # also the recording of the last round
    assert (table["seconds_training"] >= table["seconds"]).all()
    assert table[list(COLUMNS)].to_numpy().sum() < time.perf_counter() - began
    rest = table["seconds_training"] - table["seconds"]
    assert np.all(rest < 0.5 * table["seconds_training"] + 1.0)


def test_an_arm_that_does_not_ask_pays_for_no_scores(compose):
    asked, silent = (
        pd.read_csv(execute(compose("scale=tiny", f"method={method}")) / "rounds.csv") for method in ("mars", "uniform")
    )
    assert (asked["seconds_scoring"] > 0).all()
    assert (silent["seconds_scoring"] == 0).all()


def test_curvature_of_the_whole_model_is_told_before_it_is_paid(compose, caplog):
    with caplog.at_level("INFO"):
        execute(compose(*FINE_TUNE, "curvature=true"))
    lines = [record.getMessage() for record in caplog.records]
    told = [line for line in lines if line.startswith("curvature of the whole model: 26 Hessian-vector products")]
    assert len(told) == 1
    assert "over 8 pairs" in told[0]
    assert lines.index(told[0]) < next(i for i, line in enumerate(lines) if line.startswith("round 0:"))
    caplog.clear()
    with caplog.at_level("INFO"):
        execute(compose(*FINE_TUNE, "curvature=false"))
        execute(compose("scale=tiny", "curvature=true"))  # a linear head
    assert not any("Hessian-vector" in record.getMessage() for record in caplog.records)
