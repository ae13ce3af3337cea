"""The font of a PDF, cut once to the characters that figures have, with its kerning and ligatures.

matplotlib embeds in every PDF the characters it uses, and for that takes the whole font apart each time: two thirds of
what a PDF costs. A font of a fifth of the characters looks the same and is taken apart in no time. It is kept where
matplotlib keeps its own cache. A figure with another character, or in bold, has the whole font.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import matplotlib
from fontTools import subset
from matplotlib import font_manager
from matplotlib.text import Text

from mars import files

_WHOLE = "DejaVu Sans"  # matplotlib's own
_CUT = "DejaVu Sans cut by MARS"
_BLOCKS = (  # of Unicode: Latin, Greek, punctuation, super- and subscripts, letters, arrows, operators, blocks, shapes
    (0x20, 0x7F), (0xA0, 0x180), (0x370, 0x400), (0x2010, 0x2070), (0x2070, 0x20A0), (0x2100, 0x2300), (0x2580, 0x2600),
)  # fmt: skip
_FAMILY = (1, 16)  # places of a font's name among its texts


def has(text: Text) -> bool:
    """Whether the cut font has all that a figure's text needs."""
    return text.get_fontweight() == text.get_fontstyle() == "normal" and all(
        char == "\n" or any(first <= ord(char) < end for first, end in _BLOCKS) for char in set(text.get_text())
    )


@functools.cache
def cut() -> str:
    """The name of the cut font's family, once matplotlib knows it."""
    whole = font_manager.findfont(_WHOLE)
    named = hashlib.sha256(repr((Path(whole).stat().st_size, _CUT, _BLOCKS)).encode()).hexdigest()[:16]
    path = Path(matplotlib.get_cachedir()) / f"mars-{named}.ttf"
    if not path.is_file():
        _cut(whole, path)
    font_manager.fontManager.addfont(path)
    return _CUT


def _cut(whole: str, path: Path) -> None:
    options = subset.Options(name_IDs=["*"], glyph_names=True, notdef_outline=True)
    options.drop_tables += ["MATH", "FFTM"]
    font = subset.load_font(whole, options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[code for first, end in _BLOCKS for code in range(first, end)])
    subsetter.subset(font)
    for record in font["name"].names:
        if record.nameID in _FAMILY:
            record.string = _CUT
    with files.aside(path) as aside:
        font.save(aside)
