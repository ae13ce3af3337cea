"""What an arm trained on: drawn rows with the base pairs they come from, as text to read.

    python -m mars.run show outputs/quick/mars-planted-minilm-s0-… 3
    mars show RUN [COUNT]

A run's directory has no texts. They are read from the store, or made again, under the run's config.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mars import files
from mars.assembly import assemble
from mars.choices import Settings, load
from mars.commands.printing import printing
from mars.config import UserError, build
from mars.preferences.pair import SIDES
from mars.record.layout import CONFIG, SELECTION
from mars.record.run_directory import RunDirectory


def show(directory: Path, count: int) -> Iterator[str]:
    """Lines that show `count` rows which the run in `directory` drew: random rows, the same each time.

    Raises UserError where the directory is not that of a finished run.
    """
    for name in (CONFIG, SELECTION):
        if not (directory / name).is_file():
            raise UserError(f"{directory / name}: is missing (show takes the directory of a finished run)")
    settings = build(Settings, RunDirectory(directory).config(), "")
    pool = assemble(settings, load(settings.dataset)).pool
    drawn = files.read_parquet(directory / SELECTION)
    if drawn.empty:
        yield "this run drew no row"
        return
    drawn = drawn.iloc[np.random.default_rng(0).permutation(len(drawn))[:count]]
    for row, pair in zip(drawn.itertuples(), pool.draw(drawn["row"].to_numpy()), strict=True):
        base = pool.base[int(row.parent)]  # type: ignore[arg-type]
        yield f"── {pair.id}, round {row.round}; its parent got {row.budget} row{'s' if row.budget != 1 else ''}"
        yield f"prompt    {pair.prompt[-1].content}"
        if pair.prompt != base.prompt:
            yield f"  of      {base.prompt[-1].content}"
        for side in SIDES:
            yield f"{side:9s} {pair.side(side)}"
            yield f"  of      {base.side(side)}"


def _asked(arguments: Sequence[str]) -> Iterator[str]:
    """`show RUN [COUNT]`."""
    if len(arguments) not in (1, 2) or (len(arguments) == 2 and not arguments[1].isdecimal()):
        raise UserError("usage: show RUN [COUNT]")
    return show(Path(arguments[0]), int(arguments[1]) if len(arguments) == 2 else 5)


main = printing(_asked, __doc__)
