"""Tables as CSV: numbers as they are, and no text that a spreadsheet would compute."""

import numpy as np
import pandas as pd
import pytest

from analysis.exhibits.table import csv_text


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_begins_a_formula_gets_an_apostrophe(cell):
    _, _, written = csv_text(pd.DataFrame({"arm": [cell]})).partition("\n")
    assert written.lstrip('"').startswith(f"'{cell}")


def test_numbers_and_plain_text_stay_as_they_are():
    frame = pd.DataFrame({"arm": ["mars τ=1", None], "difference": [-1 / 3, np.nan], "n": pd.array([1, None], "Int64")})
    assert csv_text(frame) == "arm,difference,n\nmars τ=1,-0.3333333333,1\n,,\n"
