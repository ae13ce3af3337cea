"""What a file of preferences holds, and the command that trains on it.

    mars look pairs.csv                                                         (or: python -m mars.run look pairs.csv)
    mars look FOLDER                    (of shards, of splits as on the hub, or what `datasets` saved with save_to_disk)

Prints how the file is read, its columns, the shape that was recognised, three pairs with the prompt apart from the
replies, lengths, what the labels say, and defects with their first places and what is wrong there. Nothing is written
or trained.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mars.commands.printing import printing
from mars.commands.suggestion import WIDTH, Found, Place, suggestion
from mars.config import UserError
from mars.preferences.bad_rows import Policies, explain_split
from mars.preferences.dataset import length_baseline
from mars.preferences.dialogue import render_plain
from mars.preferences.inventory import Columns
from mars.preferences.pair import SIDES, DataError, Pair
from mars.preferences.recognition import open_rows
from mars.preferences.shapes import PLAIN, Reading
from mars.preferences.sources import Source, is_one_split, open_directory, open_split

_LABEL = 11  # characters before what is said
_PROMPT_LINES, _REPLY_LINES = 10, 6  # of a text that is shown
_LONGEST_SHOWN = 2000  # characters
_COLUMNS_SHOWN = 30
_USAGE = "usage: look FILE_OR_FOLDER"


def look(path: Path) -> Iterator[str]:
    """Lines that say what is in a file or folder.

    Raises DataError where it cannot be read, and behind its columns where no shape is recognised.
    """
    place = _place(path)
    columns = Columns()
    yield from _containers(place)
    try:
        schema, sources = open_rows(place.sources, Reading())
    except DataError:
        for source in _place(path).sources:
            for _ in columns.noting(source.rows):
                pass
        yield _said("rows", str(columns.rows))
        yield from _columns(columns)
        raise
    counted = [replace(source, rows=columns.noting(source.rows)) for source in sources]
    found = Found(*explain_split(counted, schema, "files-train", Policies()))
    yield _said("rows", f"{columns.rows}, which give {len(found.pairs)} pairs to train on")
    rule = schema.rule if ":" in schema.rule else f"{PLAIN}: {schema.rule}"
    yield from _wrapped("shape", rule)
    yield from _columns(columns)
    if found.pairs:
        yield from _shown_pairs(found.pairs)
        yield from _lengths(found.pairs)
    yield from _labels(found)
    yield from _defects(found)
    yield from _headed("train on it")
    yield from suggestion(path, place, found)


def _place(path: Path) -> Place:
    """Raises DataError where there is nothing to read."""
    if not path.is_dir():
        beside = path.with_name(path.name.replace("train", "test"))
        if beside == path or not beside.is_file():
            return Place(open_split(path, "train"), {"dataset.train": str(path)})
        return Place(open_split(path, "train"), {"dataset.train": str(path), "dataset.test": str(beside)}, beside.name)
    try:
        sources = open_directory(path, "train")
    except DataError:
        if not is_one_split(path):
            raise
        return Place(open_split(path, "train"), {"dataset.train": str(path)})
    try:
        test = _names(open_directory(path, "test"))
    except DataError:
        test = ""
    return Place(sources, {"dataset.path": str(path)}, test)


def _names(sources: Sequence[Source]) -> str:
    first, last = sources[0].label, sources[-1].label
    return first if len(sources) == 1 else f"{len(sources)} files, {first} to {last}"


def _containers(place: Place) -> Iterator[str]:
    yield from _wrapped("file" if len(place.sources) == 1 else "files", _names(place.sources))
    if place.test:
        yield from _wrapped("test", f"{place.test} (not looked at here)")
    form = place.sources[0].form
    if form is None:
        return
    told = [form.container, form.encoding, f"{form.delimiter}s between fields" if form.delimiter else ""]
    yield from _wrapped("container", ", ".join(filter(None, told)))
    if more := [what for what in form.unusual if what not in (form.encoding, f"{form.delimiter}-separated")]:
        yield from _wrapped("found", ", ".join(more))


def _columns(columns: Columns) -> Iterator[str]:
    names = list(columns.found)[:_COLUMNS_SHOWN]
    width = max([len(_cut(name, 32)) for name in names], default=0)
    yield from _headed("columns")
    yield f"  {'':{width}}  {'type':24}  missing"
    for name in names:
        column = columns.found[name]
        kinds = " or ".join(kind for kind, _ in column.kinds.most_common(3)) or "nothing"
        missing = columns.rows - column.present
        share = f" ({missing / columns.rows:.1%})" if missing else ""
        yield f"  {_cut(name, 32):{width}}  {kinds:24}  {missing}{share}"
    if more := len(columns.found) - len(names):
        yield f"  and {more} more"


def _shown_pairs(pairs: Sequence[Pair]) -> Iterator[str]:
    """The first pair, that in the middle and the last, as the plain template renders them."""
    numbers = sorted({0, len(pairs) // 2, len(pairs) - 1})
    for number in numbers:
        pair = pairs[number]
        yield ""
        yield f"── pair {number + 1} of {len(pairs)}: {_cut(pair.id, 50)} ".ljust(WIDTH, "─")
        rendered = [render_plain(pair.prompt, pair.side(side)) for side in SIDES]
        yield from _block("prompt", rendered[0].prefix, _PROMPT_LINES)
        yield "┄┄ here the reply begins ".ljust(WIDTH, "┄")
        for side, (_, response) in zip(SIDES, rendered, strict=True):
            yield from _block(side, response.removeprefix(" "), _REPLY_LINES)


def _block(label: str, text: str, most: int) -> Iterator[str]:
    """A text beside its label, its middle left out where it has more lines than `most`."""
    if len(text) > _LONGEST_SHOWN:
        half = _LONGEST_SHOWN // 2
        text = f"{text[:half]}…{text[-half:]}"
    lines = []
    for line in text.splitlines() or [""]:
        plain = "".join(c if c.isprintable() else "\t" if c == "\t" else ascii(c)[1:-1] for c in line).expandtabs(4)
        lines += textwrap.wrap(plain, WIDTH - _LABEL, replace_whitespace=False) or [""]
    if len(lines) > most:
        lines = [*lines[: most // 2], "…", *lines[-(most // 2) :]]
    for number, line in enumerate(lines):
        yield f"{'' if number else label:{_LABEL}}{line}".rstrip()


def _lengths(pairs: Sequence[Pair]) -> Iterator[str]:
    sizes = [(sum(len(m.content) for m in pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in pairs]
    yield from _headed("lengths", "  median  longest, in characters")
    for name, column in zip(("prompt", *SIDES), np.array(sizes).T, strict=True):
        yield f"  {name:9}{np.median(column):>8.0f}{column.max():>9}"


def _labels(found: Found) -> Iterator[str]:
    number = found.total("dropped") + found.total("kept_despite")
    yield from _headed("labels")
    if found.pairs:
        share = f"{length_baseline(found.pairs):.1%}"
        yield f"  the longer reply is chosen in {share} of the pairs (a tie of lengths is half)"
    half = " (dataset.on.tie=half keeps them, as preferred by half of the annotators)" if number["tie"] else ""
    yield from textwrap.wrap(f"ties: {number['tie']}{half}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    yield f"  duplicates: {number['duplicate']}"
    yield f"  contradictory, as an earlier pair with its replies exchanged: {number['contradictory']}"


def _defects(found: Found) -> Iterator[str]:
    yield from _headed("defects", "" if found.details else "none")
    for key, what in (("dropped", "dropped"), ("kept_despite", "kept all the same")):
        for kind, count in found.total(key).most_common():
            first, *others = found.places(kind)
            more = [*others, *(["…"] if count > len(others) + 1 else [])]
            yield from textwrap.wrap(
                ", ".join([f"{count} {kind}, {what}: {first} ({found.details[kind]})", *more]),
                WIDTH, initial_indent="  ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip


def _headed(title: str, told: str = "") -> Iterator[str]:
    yield ""
    yield f"{title:{_LABEL}}{told}".rstrip()


def _said(label: str, told: str) -> str:
    return f"{label:{_LABEL}}{told}"


def _wrapped(label: str, told: str) -> Iterator[str]:
    yield from textwrap.wrap(told, WIDTH, initial_indent=f"{label:{_LABEL}}", subsequent_indent=" " * _LABEL)


def _cut(text: str, most: int) -> str:
    """A text for one line, its middle left out where it is longer."""
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: 4 * most])
    return plain if len(plain) <= most else f"{plain[: most // 2]}…{plain[-(most - most // 2 - 1) :]}"


def _asked(arguments: Sequence[str]) -> Iterator[str]:
    """`look FILE_OR_FOLDER`."""
    if len(arguments) != 1:
        raise UserError(_USAGE)
    return look(Path(arguments[0]))


main = printing(_asked, __doc__)
