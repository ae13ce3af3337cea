"""Rows of tables: separated text, such as CSV, and the columnar files that `datasets` reads.

The delimiter of a text is the one that splits the header into most columns, of those under which no row has more or
fewer fields than the header. The standard library's Sniffer guesses from frequencies instead, and takes a letter or a
full stop where replies are long. A first line such as "sep=;", written for Excel, names the delimiter and is no row.
A first column without a name that counts the rows, as pandas writes it, is dropped.

    rows, form = separated(TextFile(Path("train.csv"), "train.csv"), ",")
"""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from mars.preferences.containers.raw import CONVERT, LONGEST_LINE, Form, RawRow, TextFile, reason
from mars.preferences.pair import DataError
from mars.preferences.rows import Defect, shown

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_KNOWN = "the known delimiters are comma, semicolon and tab: save it with one of them"
_SAYING = re.compile(r'"?sep=(.{1,2}?)"?(?:\r\n|\r|\n|\Z)', re.IGNORECASE)  # the first line of a text for Excel
_LOOKED_AT = 200  # rows by which a delimiter is chosen
_QUOTING = "a field that holds a {}, a quote or a line break stands in quotes"
_INDEX = "an index column without a name, dropped"
_WHOLE_NUMBER = re.compile(r"-?\d+")
_EMPTY = ("corresponds to no data", "BatchSize must be greater than 0")  # of `datasets`


def separated(file: TextFile, usual: str) -> tuple[Iterator[RawRow], Form]:
    """The rows of separated text, numbered from 1 below the header. A field is always text: "NA" and "42" are replies.

    usual: the delimiter that the file's name says. Raises DataError as `TextFile.unpacked`, for a delimiter that is not
    known, and at the row for a quote out of place, a field longer than LONGEST_LINE, a field too many, and a column
    twice or without a name.
    """
    table = _table(file, usual)
    kind, word = {",": "CSV", "\t": "TSV"}[usual], DELIMITERS[table.delimiter]
    unusual = [f"{word}-separated"] if table.delimiter != usual else []
    if table.is_said:
        unusual = [f"{word}-separated by its first line"]
    return _rows(file, table), file.form(kind, word, *unusual, *([_INDEX] if table.is_indexed else []))


class _Table(NamedTuple):
    """What the beginning of a text is under one delimiter. is_whole: all rows looked at have as many fields."""

    delimiter: str
    columns: int
    is_whole: bool
    is_indexed: bool
    is_said: bool = False  # by the first line, which is no row


def _table(file: TextFile, usual: str) -> _Table:
    start, is_all = file.sample()
    if said := _SAYING.match(start):
        if said[1] not in DELIMITERS:
            raise DataError(f"{file.label}: its first line is {shown(said[0].strip())} ({_KNOWN})")
        return _under(said[1], start[said.end() :], is_all)._replace(is_said=True)
    table = max(
        (_under(mark, start, is_all) for mark in DELIMITERS),
        key=lambda t: (t.is_whole, t.columns, t.delimiter == usual),
    )
    if table.columns > 1:
        return table
    if any("|" in line for line in start.strip().splitlines()[:1]):
        raise DataError(f'{file.label}: its header has "|" between the columns ({_KNOWN})')
    return _under(usual, start, is_all)


def _under(delimiter: str, start: str, is_all: bool) -> _Table:
    try:
        read = _reader(io.StringIO(start, newline=""), delimiter)
        rows = list(itertools.islice(filter(_is_row, read), _LOOKED_AT + 1))
    except csv.Error:
        rows = []
    if not is_all and len(rows) <= _LOOKED_AT:
        del rows[-1:]  # cut off
    header, *rows = rows or [[]]
    is_whole = len(header) > 1 and all(len(row) == len(header) for row in rows)
    is_indexed = len(header) > 1 and not header[0] and all(_WHOLE_NUMBER.fullmatch(row[0]) for row in rows)
    return _Table(delimiter, len(header), is_whole, is_indexed)


def _reader(text: TextIO, delimiter: str, strict: bool = False) -> Any:
    csv.field_size_limit(LONGEST_LINE)  # of the process, and left so: rows of several files may be read by turns
    return csv.reader(text, delimiter=delimiter, strict=strict)


def _is_row(fields: Sequence[str]) -> bool:
    return len(fields) > 1 or bool("".join(fields).strip())


def _rows(file: TextFile, table: _Table) -> Iterator[RawRow]:
    quoting = _QUOTING.format(DELIMITERS[table.delimiter])
    with file.text() as text:
        if table.is_said:
            text.readline()
        lines = _reader(text, table.delimiter, strict=True)
        try:
            rows = filter(_is_row, lines)
            header = _header(next(rows, []), file.label, table.is_indexed)
            for number, fields in enumerate(rows, 1):
                place = f"{file.label}:{number}"
                if table.is_indexed and not _WHOLE_NUMBER.fullmatch(fields.pop(0)):
                    raise DataError(f"{place}: the column without a name holds no number of a row (give it a name)")
                if len(fields) > len(header) and any(fields[len(header) :]):
                    raise DataError(f"{place}: has {len(fields)} fields, the header {len(header)} ({quoting})")
                yield _row(number, header, fields, file)
        except csv.Error as error:
            where = f"the row that ends in line {lines.line_num + table.is_said}"
            raise DataError(
                f"{file.label}: {where}: {reason(error)} ({quoting}, and a quote in it is doubled)"
            ) from None


def _row(number: int, header: Sequence[str], fields: Sequence[str], file: TextFile) -> RawRow:
    """A row with "" for the fields that it lacks, and U+FFFD for bytes that are no text."""
    value = dict(itertools.zip_longest(header, fields[: len(header)], fillvalue=""))
    broken = [name for name, field in value.items() if not field.isascii() and _mended(field, file) != field]
    if broken or any("\0" in field for field in fields):
        value |= {name: _mended(value[name], file) for name in broken}
        what = f"{shown(broken[0])} holds bytes that are not UTF-8 ({CONVERT})" if broken else "holds NUL"
        return RawRow(number, value, Defect("encoding", what))
    return RawRow(number, value)


def _mended(text: str, file: TextFile) -> str:
    return file.encoded(text).decode(errors="replace")


def _header(names: list[str], label: str, is_indexed: bool) -> list[str]:
    """The columns of a text. Raises DataError for one that is there twice, holds NUL or has no name."""
    columns = [name.encode(errors="replace").decode() for name in names[is_indexed:]]
    counts = Counter(name for name in columns if name)
    if wrong := next((name for name in counts if "\0" in name or counts[name] > 1), None):
        what = "holds NUL (is the file UTF-16? save it as UTF-8)" if "\0" in wrong else "is there twice"
        raise DataError(f"{label}: the column {shown(wrong)} {what}")
    if "" in columns:
        place = columns.index("") + 1 + is_indexed
        raise DataError(f"{label}: column {place} has no name (give it one, or take it out)")
    return columns


def columnar(path: Path, label: str, kind: str) -> Iterator[RawRow]:
    """The rows of a file, numbered from 1. kind: "parquet" or "arrow".

    Raises DataError, with the row where that is known.
    """
    import datasets

    number = 0
    try:
        with _silence(datasets):
            files = {"train": glob.escape(str(path.resolve()))}
            rows = datasets.load_dataset(kind, data_files=files, split="train")
        for number, row in enumerate(rows, 1):
            yield RawRow(number, row)
    except Exception as error:  # pyarrow and datasets have one family each
        why = reason(error)
        if any(empty in why for empty in _EMPTY):
            raise DataError(f"{label}: holds no rows") from None
        place = f"{label}:{number + 1}" if number or isinstance(error, UnicodeDecodeError) else label
        raise DataError(f"{place}: cannot be read as {kind}: {why}") from error


@contextlib.contextmanager
def _silence(datasets: Any) -> Iterator[None]:
    """Inside, `datasets` shows no progress bar and logs nothing."""
    level, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()
