"""A row as it is stored, and the text of a file that may be compressed and need not be UTF-8.

A file says how it is compressed by its extension, and how its text is encoded by its byte order mark; without one it is
UTF-8. No other encoding is guessed: every file is valid Latin-1, so a guess would turn mistakes into text without a
word. What is not UTF-8 is a defect of its row instead.

    file = TextFile(Path("train.csv.gz"), "train.csv.gz", ".gz")
    file.encoding  # "UTF-8"
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from mars.preferences.pair import DataError
from mars.preferences.rows import Defect

LONGEST_LINE = (
    16 * 2**20
)  # bytes of a line of JSON, characters of a field of CSV; a longer one is never held as a whole
CONVERT = "from Windows? iconv -f WINDOWS-1252 -t UTF-8 FILE >NEW"
_SAMPLE = 2**20  # characters by which a file's form is recognised

_MARKS = {  # the longer ones first: that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF32_LE: "UTF-32-LE",
    codecs.BOM_UTF32_BE: "UTF-32-BE",
    codecs.BOM_UTF16_LE: "UTF-16-LE",
    codecs.BOM_UTF16_BE: "UTF-16-BE",
}


class RawRow(NamedTuple):
    """One row as stored. Without a value it is unreadable; with a defect its value is what could be mended."""

    number: int
    value: Mapping[str, Any] | None
    defect: Defect | None = None


@dataclass(frozen=True)
class Form:
    """How a file is read. unusual: what one would not expect of its name, for the record and the log."""

    container: str  # how it is compressed, too
    encoding: str = ""  # of text
    delimiter: str = ""  # of fields, in a word
    unusual: tuple[str, ...] = ()


def _unzstd(path: Path) -> BinaryIO:
    import pyarrow

    return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))


# Extension: what a file with it is called, and how it is opened.
PACKINGS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "": ("", lambda path: path.open("rb")),
    ".gz": ("gzip", gzip.open),
    ".bz2": ("bzip2", bz2.open),
    ".xz": ("xz", lzma.open),
    ".zst": ("zstd", _unzstd),
}


@dataclass(frozen=True)
class TextFile:
    """A file of text. label: its name in messages. packing: a key of PACKINGS."""

    path: Path
    label: str
    packing: str = ""

    @cached_property
    def _mark(self) -> bytes:
        with self._opened() as file:
            start = file.read(max(map(len, _MARKS)))
        return next((mark for mark in _MARKS if start.startswith(mark)), b"")

    @property
    def encoding(self) -> str:
        """By its byte order mark, "UTF-8" without one. Raises DataError as `unpacked`."""
        return _MARKS.get(self._mark, "UTF-8")

    def form(self, container: str, delimiter: str = "", *unusual: str) -> Form:
        """How it is read, where its rows are in that container; an encoding that is not UTF-8 is unusual."""
        packed = f"{container}, {kind}" if (kind := PACKINGS[self.packing][0]) else container
        told = () if self.encoding == "UTF-8" else (self.encoding,)
        return Form(packed, self.encoding, delimiter, (*unusual, *told))

    @contextlib.contextmanager
    def unpacked(self) -> Iterator[BinaryIO]:
        """Its bytes, behind a byte order mark.

        Raises DataError, here or where it is read, for a compressed file or text that is not whole.
        """
        mark = self._mark
        with self._opened() as file:
            file.read(len(mark))
            yield file

    @contextlib.contextmanager
    def text(self, newline: str = "") -> Iterator[TextIO]:
        """Its text, line ends as they are. Bytes that are not UTF-8 are surrogates (PEP 383). Raises as `unpacked`.

        newline: what ends a line, as `open` takes it.
        """
        with self.unpacked() as file, io.TextIOWrapper(file, self.encoding, self._errors, newline) as text:
            yield text

    def encoded(self, text: str) -> bytes:
        """A part of its text in UTF-8, as it would be if the file were; what is wrong in the file is wrong in it."""
        return text.encode("utf-8", self._errors)

    @property
    def _errors(self) -> str:
        return "surrogateescape" if self.encoding == "UTF-8" else "surrogatepass"

    def lines(self) -> Iterator[bytes | None]:
        """Its lines in UTF-8, and None in the place of one longer than LONGEST_LINE. Raises as `unpacked`."""
        with self._reading() as read:
            while line := read(LONGEST_LINE + 1):
                if len(line) <= LONGEST_LINE:
                    yield line
                    continue
                while line and not line.endswith(b"\n"):
                    line = read(2**20)
                yield None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Callable[[int], bytes]]:
        """What reads a line, or so much of it, in UTF-8."""
        if self.encoding == "UTF-8":
            with self.unpacked() as file:
                yield file.readline
        else:
            with self.text("\n") as text:
                yield lambda most: self.encoded(text.readline(most))

    def sample(self) -> tuple[str, bool]:
        """(how its text begins, whether that is all of it). Raises as `unpacked`."""
        with self.text() as text:
            start = text.read(_SAMPLE + 1)
        return start[:_SAMPLE], len(start) <= _SAMPLE

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        kind, opened = PACKINGS[self.packing]
        try:
            with opened(self.path) as file:
                yield file
        except UnicodeDecodeError as error:
            raise DataError(f"{self.label}: is not whole {self.encoding} text: {error.reason}") from None
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno:  # of the disk
                raise
            raise DataError(f"{self.label}: is not a whole {kind} file: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """The first line of the root cause, fit for a terminal: libraries wrap errors several times, and quote the data."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    lines = str(error).strip().splitlines()
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in (lines[0] if lines else "")[:300])
    return plain or type(error).__name__
