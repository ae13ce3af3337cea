"""A `Sheet`: a figure in the house's style, whatever matplotlib is told elsewhere, and what it is as a file.

No file has a date: the same study gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from analysis.exhibits import fonts

TEXT, SMALL = 9.5, 8.5  # points
_RC = {
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "text.parse_math": False,  # a name may hold a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # publishers refuse matplotlib's own type 3
}
_DPI, _CSS_DPI = 150, 96
_PALETTE = 256
_WHITE = 254  # the most that an octree's colours have: a page shows it as a grey box on white
_QUICK = 3  # of 9: without an alpha channel a file is as small as with it at the usual 6, and written in half the time


@contextmanager
def house_style() -> Iterator[None]:
    """Whatever the reader's own matplotlibrc says: the same study is the same picture."""
    with matplotlib.style.context(["default", _RC]):
        yield


class Pixels(NamedTuple):
    """A figure in pixels. png: in every colour. small: in few, a third of the bytes, for a page that holds many.

    size: width and height on a page, in CSS pixels.
    """

    png: bytes
    small: bytes
    size: tuple[int, int]


class Sheet(Figure):
    """A figure that belongs to no window, and that a notebook shows as it is."""

    def _repr_png_(self) -> bytes:
        return self.pixels().png

    def pixels(self) -> Pixels:
        """Both files are of one drawing, which takes longer than writing them."""
        usual, self.dpi = self.dpi, _DPI
        try:
            width, height = self.canvas.get_width_height(physical=True)  # our own product may be a pixel less
        finally:
            self.dpi = usual
        drawn = Image.frombytes("RGBA", (width, height), self._file("rgba", dpi=_DPI)).convert("RGB")
        few = drawn.quantize(_PALETTE, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)  # all that a figure needs
        few.putpalette([255 if level == _WHITE else level for level in few.getpalette() or []])
        size = (round(width * _CSS_DPI / _DPI), round(height * _CSS_DPI / _DPI))
        return Pixels(_png(drawn, compress_level=_QUICK), _png(few), size)

    def pdf(self) -> bytes:
        """With a font of the letters that figures have, where it has no others."""
        usual = all(map(fonts.has, self.findobj(Text)))
        return self._file("pdf", fonts.cut() if usual else "", metadata={"CreationDate": None})

    def _file(self, form: str, family: str = "", **options: Any) -> bytes:
        file = io.BytesIO()
        with house_style(), matplotlib.rc_context({"font.sans-serif": family} if family else {}):
            self.savefig(file, format=form, **options)
        return file.getvalue()


def _png(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "png", dpi=(_DPI, _DPI), **options)
    return file.getvalue()
