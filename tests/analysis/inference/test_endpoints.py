"""Which endpoint tells arms apart sooner, on a study whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.study import make_study

from analysis import load
from analysis.inference.comparisons import compare
from analysis.inference.endpoints import TOLD_APART, endpoints


def test_the_ratio_is_that_of_the_squared_differences_in_standard_errors(tmp_path: Path) -> None:
    study = load(make_study(tmp_path, {"none": -0.5, "uniform": 0.5, "mars": 2.0}, seeds=range(6), examples=200))
    frame = endpoints(study).set_index(["arm", "reference"])
    assert len(frame) == 3
    declared = compare(study).set_index(["reference", "endpoint"])
    found = frame.loc[("uniform", "mars")]
    for endpoint in ("accuracy", "information"):
        assert np.sign(found[endpoint]) == -np.sign(declared.loc[("uniform", endpoint), "difference"])
        assert abs(found[endpoint]) > TOLD_APART
    assert found["ratio"] == pytest.approx((found["accuracy"] / found["information"]) ** 2)


def test_arms_that_are_not_told_apart_have_no_ratio(tmp_path: Path) -> None:
    study = load(make_study(tmp_path, {"uniform": 0.5, "mars": 0.5}, seeds=range(4)))
    (row,) = endpoints(study).to_dict("records")
    assert min(abs(row["accuracy"]), abs(row["information"])) < TOLD_APART
    assert np.isnan(row["ratio"])
