"""The font of a PDF is cut, and a reader sees no difference."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from typing import Any

import pytest
from PIL import Image

from analysis.exhibits.sheet import Sheet, house_style


def sheet(words: str, **looks: Any) -> Sheet:
    figure = Sheet(figsize=(4, 1))
    figure.text(0.1, 0.5, words, **looks)
    return figure


@pytest.mark.parametrize("inches", [4.0, 11.12, 7.37, 8.05])
def test_pixels_are_those_that_matplotlib_writes(inches: float) -> None:
    """Of a width, too, that its product with the resolution is just below: 11.12 inches are 1668 pixels."""
    figure, whole = Sheet(figsize=(inches, 1.01)), io.BytesIO()
    figure.text(0.1, 0.5, "A figure whose rows of pixels must not slip")
    with house_style():
        figure.savefig(whole, format="png", dpi=150)
    with Image.open(io.BytesIO(figure.pixels().png)) as ours, Image.open(whole) as theirs:
        assert ours.size == theirs.size
        assert ours.tobytes() == theirs.convert("RGB").tobytes()


def drawing(document: bytes) -> bytes:
    """What a PDF's page draws: which glyphs, where."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", document, re.DOTALL)
    drawn = (zlib.decompressobj().decompress(stream) for stream in streams)  # also of one that ends in a line break
    return next(part for part in drawn if b"\nBT\n" in part)


@pytest.mark.parametrize("words", ["AVATAR, To [−1.2, +3.4] ½ ≤ τ", "an efficient, fluffy file", "Å é ß → ░\nbelow"])
def test_a_page_is_drawn_as_with_the_whole_font(words: str) -> None:
    figure, whole = sheet(words), io.BytesIO()
    with house_style():
        figure.savefig(whole, format="pdf")
    cut = figure.pdf()
    assert drawing(cut) == drawing(whole.getvalue())
    assert b"+DejaVuSans\n" in cut  # by its own name


def test_what_the_cut_font_lacks_is_drawn_with_the_whole_one() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a character that no font has
        assert b"DejaVuSans" in sheet("слово").pdf()
        assert b"DejaVuSans-Bold" in sheet("bold", fontweight="bold").pdf()
        assert b"DejaVuSans-Oblique" in sheet("slanted", fontstyle="italic").pdf()
