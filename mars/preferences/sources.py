"""Where raw rows come from: local files and the Hugging Face hub.

JSON lines are read here, one by one: a reader that stops at the first bad line without naming it is no help with a
hundred thousand of them. `datasets` reads CSV, Parquet and the hub. Rows are numbered from 1: the lines of a .jsonl
file, the records below the header of a .csv file, the rows of the rest.

    next(iter(open_file(Path("train.jsonl"), "train.jsonl").rows)).value
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
import glob
import gzip
import hashlib
import json
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mars.config import nearest
from mars.preferences.pair import DataError
from mars.preferences.rows import Defect, shown

EXTENSIONS = (".jsonl", ".jsonl.gz", ".csv", ".parquet")
LONGEST_LINE = 16 * 2**20  # bytes of a row of JSON; a longer line is a defect, and is never held as a whole
SPLITS = {"train": ("train_prefs", "train"), "test": ("test_prefs", "test")}  # names on the hub; the first there counts

# How files begin that are no text, whatever they are called: what each is, and what to do.
_NOT_TEXT = {
    b"\x1f\x8b": "is compressed (name it .jsonl.gz, or unpack it)",
    b"PK\x03\x04": "is a zip archive (unpack it)",
    b"PAR1": "is a Parquet file (name it .parquet)",
    b"\xff\xfe": "is text in UTF-16 or UTF-32 (save it as UTF-8)",
    b"\xfe\xff": "is text in UTF-16 or UTF-32 (save it as UTF-8)",
}


class RawRow(NamedTuple):
    """One row as stored. Without a value it is unreadable; with a defect its value is what could be mended."""

    number: int
    value: Mapping[str, Any] | None
    defect: Defect | None = None


@dataclass(frozen=True)
class Source:
    """One file, or one split on the hub. label: its name in messages. identity: JSON, what the record says it is."""

    label: str
    identity: Mapping[str, Any]
    rows: Iterable[RawRow]


def open_file(path: Path, label: str) -> Source:
    """The source of a .jsonl, .jsonl.gz, .csv or .parquet file; its rows are read when they are iterated over.

    Raises DataError where the file is missing, empty, or of another kind.
    """
    kind = next((e for e in EXTENSIONS if path.name.endswith(e)), None)
    if path.is_dir():
        raise DataError(f"{path}: is a directory (name a file in it)")
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*") if p.name.endswith(EXTENSIONS)]
        raise DataError(f"{path}: no such file{nearest(path.name, siblings)}")
    if kind is None:
        raise DataError(f"{path}: unknown extension (known: {', '.join(EXTENSIONS)})")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    rows = _json_lines(path, label) if kind in (".jsonl", ".jsonl.gz") else _table(path, label, kind.removeprefix("."))
    try:
        with path.open("rb") as data:
            start = data.read(4)
            if kind in (".jsonl", ".csv") and (other := next((b for b in _NOT_TEXT if start.startswith(b)), None)):
                raise DataError(f"{path}: {_NOT_TEXT[other]}")
            data.seek(0)
            return Source(label, {"file": label, "sha256": hashlib.file_digest(data, "sha256").hexdigest()}, rows)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from None


def open_directory(directory: Path, split: str) -> list[Source]:
    """The files of `split` in a directory laid out as on the hub: in it, else in its data/, else anywhere below.

    Raises DataError where there are none, or the split is there in two formats.
    """
    if not directory.is_dir():
        raise DataError(f"dataset.path: no such directory {directory} (dataset.train=F and dataset.test=F name files)")
    for pattern in ("*", "data/*", "**/*"):
        found = sorted(p for p in directory.glob(pattern) if p.is_file() and p.name.endswith(EXTENSIONS))
        for name in SPLITS[split]:
            files = [p for p in found if re.match(rf"{name}[-.]", p.name)]
            if len({p.name[p.name.index(".") :] for p in files}) > 1:
                names = " and ".join(p.name for p in files[:2])
                raise DataError(f"{directory}: has {names} (name one with dataset.{split}=F)")
            if files:
                return [open_file(p, p.relative_to(directory).as_posix()) for p in files]
    names = ", ".join(f"{name}*" for name in SPLITS[split])
    raise DataError(f"{directory}: no file {names} of {', '.join(EXTENSIONS)} ({_instead(split)})")


def _instead(split: str) -> str:
    take = ", or take one from train with dataset.test_from_train=N" if split == "test" else ""
    return f"name one with dataset.{split}=F{take}"


def open_hub(hub: str, revision: str | None, config: str | None, data_dir: str | None, split: str) -> Source:
    """`split` of a hub dataset under one of its usual names. Raises DataError where that cannot be read."""
    offline = "dataset.path=DIR, or dataset.train=F and dataset.test=F, work without it"
    return _open_hub((hub, revision, config, data_dir), split, SPLITS[split], offline, _instead(split))


def open_hub_split(hub: str, revision: str | None, split: str, instead: str) -> Source:
    """The split of exactly that name. instead: what works without the hub. Raises DataError as `open_hub`."""
    return _open_hub((hub, revision, None, None), split, (split,), instead, instead)


def _open_hub(
    place: tuple[str, str | None, str | None, str | None], split: str, names: tuple[str, ...], offline: str, absent: str
) -> Source:
    """The first of `names` that is there; offline, absent: what to do where the hub cannot be read, or has none."""
    hub, revision, config, data_dir = place
    label = f"{hub}@{revision[:7]}" if revision else hub
    try:
        dataset = _hub_dataset(hub, revision, config, data_dir)
    except Exception as error:  # of a dozen types, from four libraries
        raise DataError(f"{label}: cannot be read from the hub: {_reason(error)} ({offline})") from error
    name = next((name for name in names if name in dataset), None)
    if name is None:
        raise DataError(f"{label}: no {split} split, only {', '.join(dataset)} ({absent})")
    rows = dataset[name]
    identity = {"hub": hub, "revision": revision, "config": config, "data_dir": data_dir, "split": name}
    identity["fingerprint"] = rows._fingerprint
    return Source(f"{label}[{name}]", identity, (RawRow(i, row) for i, row in enumerate(rows, 1)))


@functools.lru_cache(maxsize=1)  # train and test are two splits of one load
def _hub_dataset(hub: str, revision: str | None, config: str | None, data_dir: str | None) -> Any:
    import datasets

    return datasets.load_dataset(hub, name=config, data_dir=data_dir, revision=revision)


def _json_lines(path: Path, label: str) -> Iterator[RawRow]:
    opened: Any = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(_lines(file), 1):
                if line is None:
                    yield RawRow(number, None, Defect("bad_json", f"the line is longer than {LONGEST_LINE} bytes"))
                    continue
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if text.strip():
                    yield _json_row(number, text)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{label}: is not a whole gzip file: {_reason(error)}") from None


def _lines(file: gzip.GzipFile | BinaryIO) -> Iterator[bytes | None]:
    """The lines of `file`, and None in the place of one longer than LONGEST_LINE."""
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) <= LONGEST_LINE:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(2**20)
        yield None


def _json_row(number: int, line: bytes) -> RawRow:
    """A line as a row; text that cannot be written as UTF-8 is mended with U+FFFD and marked as a defect."""
    defect = None
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        text = line.decode(errors="replace")
        defect = Defect("encoding", f"byte {error.start + 1} of the line is not UTF-8")
    try:
        value = json.loads(text.strip(), object_pairs_hook=_each_key_once)
        plain = json.dumps(value, ensure_ascii=False) if "\\ud" in text.lower() else ""  # an escaped surrogate
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        beside = f", and {defect}" if defect else ""
        return RawRow(number, None, Defect("bad_json", f"the line is not JSON: {reason}{beside}"))
    if not isinstance(value, dict):
        return RawRow(number, None, Defect("bad_json", f"the line is a JSON {type(value).__name__}, not an object"))
    mended = plain.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if mended != plain:  # half of a pair cannot be written as UTF-8
        return RawRow(number, json.loads(mended), Defect("encoding", "holds half of a surrogate pair"))
    return RawRow(number, value, defect)


def _each_key_once(items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a key that is there twice: which of its values was meant, nobody can tell."""
    value = dict(items)
    if len(value) < len(items):
        key, _ = Counter(key for key, _ in items).most_common(1)[0]
        raise ValueError(f"the key {shown(key)} is there twice")
    return value


def _table(path: Path, label: str, kind: str) -> Iterator[RawRow]:
    """The rows of a .csv or .parquet file. A CSV field is always text: "NA" and "42" are responses too."""
    import datasets

    options: dict[str, Any] = {}
    damaged = kind == "csv" and _is_damaged(path)
    if kind == "csv":
        text = datasets.Features({name: datasets.Value("string") for name in _header(path, label)})
        options = {"features": text, "keep_default_na": False, "index_col": False, "encoding_errors": "replace"}
    number = 0
    try:
        with _silence(datasets):
            files = {"train": glob.escape(str(path.resolve()))}
            rows = datasets.load_dataset(kind, data_files=files, split="train", **options)
        for number, row in enumerate(rows, 1):
            broken = damaged and any(field and ("\ufffd" in field or "\0" in field) for field in row.values())
            yield RawRow(number, row, Defect("encoding", "holds NUL, or bytes that are not UTF-8") if broken else None)
    except Exception as error:  # pandas, pyarrow and datasets have one family each
        reason = _reason(error)
        if any(empty in reason for empty in _EMPTY):
            raise DataError(f"{label}: holds no rows") from None
        place = f"{label}:{number + 1}" if number or isinstance(error, UnicodeDecodeError) else label
        hint = f" ({_QUOTING})" if "tokenizing" in reason else ""
        raise DataError(f"{place}: cannot be read as {kind}: {reason}{hint}") from error


_EMPTY = ("corresponds to no data", "BatchSize must be greater than 0", "No columns to parse")  # of `datasets`, pandas
_QUOTING = "a field that holds a comma, a quote or a line break stands in quotes"


def _header(path: Path, label: str) -> list[str]:
    """The columns of a .csv file, quoted throughout as it must be: pandas lets a stray quote swallow rows.

    Raises DataError for a quote out of place, a field longer than LONGEST_LINE, a column twice or without a name.
    """
    limit = csv.field_size_limit(LONGEST_LINE)
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            rows = csv.reader(lines, strict=True)
            header: list[str] = next((row for row in rows if row), [])
            for _ in rows:
                pass
    except csv.Error as error:
        where = f"the row that ends in line {rows.line_num}"
        raise DataError(f"{label}: {where}: {error} ({_QUOTING}, and a quote in it is doubled)") from None
    finally:
        csv.field_size_limit(limit)
    counts = Counter(name for name in header if name)
    if wrong := next((name for name in counts if "\0" in name or counts[name] > 1), None):
        what = "holds NUL (is the file UTF-16? save it as UTF-8)" if "\0" in wrong else "is there twice"
        raise DataError(f"{label}: the column {shown(wrong)} {what}")
    if "" in header:
        raise DataError(f"{label}: column {header.index('') + 1} has no name (give it one, or take it out)")
    return header


def _is_damaged(path: Path) -> bool:
    """Whether a text file holds NUL, or bytes that are not UTF-8."""
    try:
        with path.open(encoding="utf-8") as lines:
            return any("\0" in line for line in lines)
    except UnicodeDecodeError:
        return True


@contextlib.contextmanager
def _silence(datasets: Any) -> Iterator[None]:
    """Inside, `datasets` shows no progress bar and logs nothing, and a column too many is an error."""
    level, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Length of header or names does not match")
            yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def _reason(error: BaseException) -> str:
    """The first line of the root cause, fit for a terminal: libraries wrap errors several times, and quote the data."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    lines = str(error).strip().splitlines()
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in (lines[0] if lines else "")[:300])
    return plain or type(error).__name__
