"""What may be opened of a folder that somebody sent: known names, plain files, no more and no larger than a run needs.

All of it is told from names and sizes, before a byte is read: a file of zeros takes nothing to send and hours to hash,
a pipe is never read to its end, and a link leads to files that nobody meant to send.

    files = readable(Path("team_x/mars-planted-minilm-s0-3263e073"), closed=True)
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mars.config import UserError
from mars.record.layout import PASSED_ON, record_of, scores_of

MOST_RUNS = 10_000  # directories of a source
MOST_FILES = 500  # of a run or model: two for each evaluation
LARGEST_RECORD = 64 * 2**20  # bytes of a file of JSON, YAML or CSV
LARGEST_TABLE = 256 * 2**20  # bytes of a table of scores
LONGEST_NAME = 200  # characters of anything that is called a name
DEEPEST = 20  # levels of a record

_SCORES, _RECORDS = Path(scores_of("")).parent.name, Path(record_of("")).parent.name
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no file's name on some systems


def readable(directory: Path, closed: bool) -> dict[str, Path]:
    """{name: path} of the files of a run or model that a board reads, by name.

    closed: nothing else may lie there, links included, as in a submission. Raises UserError for what may not be read.
    """
    found: dict[str, Path] = {}
    for entry in _entries(directory, MOST_FILES):
        if entry.name in (_SCORES, _RECORDS) and entry.is_dir(follow_symlinks=not closed):
            inner = _entries(directory / entry.name, MOST_FILES)
            found |= {f"{entry.name}/{one.name}": Path(one.path) for one in inner}
        elif closed or entry.name in PASSED_ON:
            found[entry.name] = Path(entry.path)
    for name, path in found.items():
        belongs = name in PASSED_ON or re.fullmatch(rf"{_SCORES}/.+\.parquet|{_RECORDS}/.+\.json", name)
        if closed and path.is_symlink():
            raise UserError(f"{plain(name)} is a link")
        if belongs:
            check_file(path, name, LARGEST_TABLE if name.endswith(".parquet") else LARGEST_RECORD)
        elif closed:
            raise UserError(f"{plain(name)} does not belong in a submission")
    return dict(sorted(found.items()))


def check_file(path: Path, name: str, largest: int) -> None:
    """Raises UserError for what is no plain file, or is larger."""
    try:
        told = path.stat()
    except OSError as error:
        raise UserError(f"{plain(name)} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(told.st_mode):
        raise UserError(f"{plain(name)} is no file (a directory, a pipe or a device)")
    if told.st_size > largest:
        raise UserError(f"{plain(name)} is larger than may be read ({told.st_size:,} bytes, at most {largest:,})")


def directories(source: Path) -> list[os.DirEntry[str]]:
    """What lies in a source, by name. Raises UserError where that is too much."""
    return sorted(_entries(source, MOST_RUNS), key=lambda entry: entry.name)


def check_name(name: str) -> None:
    """Raises UserError for what is no name of a directory on every system, or cannot be shown."""
    inner = name.replace("\\", "/").split("/")
    shown = name.isprintable() and len(name) <= LONGEST_NAME
    if not shown or len(inner) > 1 or name in ("", ".", "..") or _DEVICES.fullmatch(name):
        raise UserError(f'"{plain(name)}" is no name for a directory')


def check_values(value: Any) -> None:
    """Raises UserError for a record that is nested too deep, or holds a number that JSON and floats do not share."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [one for one in level if isinstance(one, Mapping | list)]
        level = list(itertools.chain.from_iterable(one.values() if isinstance(one, Mapping) else one for one in inner))
        for one in level:
            if isinstance(one, float | int) and not abs(one) < 2**63:
                raise UserError(
                    f"holds {one if isinstance(one, float) else 'a whole number'} where numbers of 63 bits belong"
                )
        if not level:
            return
    raise UserError(f"is nested deeper than {DEEPEST} levels")


def plain(text: str, longest: int = 80) -> str:
    """`text` fit for a line on a terminal or page: what cannot be seen is escaped, and the rest is cut off."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text[:longest])
    return shown if len(text) <= longest else f"{shown}…"


def _entries(directory: Path, most: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        for number, entry in enumerate(entries):
            if number == most:
                raise UserError(f"{plain(directory.name)} holds more than {most:,} files and directories")
            yield entry
