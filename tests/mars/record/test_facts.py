"""rounds.csv is read without pandas where it holds plain numbers; what it says is what pandas would read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mars.config import UserError
from mars.record.facts import rounds_table


@pytest.mark.parametrize(
    "text",
    [
        "round,loss\n0,0.5\n1,0.25\n",
        "round,loss\r\n0,0.5\r\n1,\r\n",
        '"round","loss"\n"0","0.5"\n',
        "round,loss\n0,nan\n1,1e-07\n",
        "\ufeffround,loss\n0,0.5\n",
        "round,flat\n0,True\n1,False\n",
        "round,loss\n0,NA\n",
        "round,loss\n0,0.1234567890123456789\n",
        "round,loss\n0,0.5\n\n1,0.25\n",
    ],
)
def test_rounds_are_as_pandas_reads_them(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rounds.csv"
    file.write_bytes(text.encode())
    expected = pd.read_csv(file)
    pd.testing.assert_frame_equal(rounds_table(file), expected, check_dtype=False)


@pytest.mark.parametrize(
    "text", ["", "round,loss\n", "loss\n0.5\n", "round,loss\n0,1_000\n", "round,loss\n0,٣\n", "round\n0\x0c1\n"]
)
def test_rounds_that_are_no_numbers_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rounds.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        rounds_table(file)
