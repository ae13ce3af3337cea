"""Rows of JSON: a line each, an array, or an object that holds them as a list, by name or as columns.

Lines are read one by one: a reader that stops at the first bad line without naming it is no help with a hundred
thousand of them. The text of a document is read whole, and the rows of an array are decoded one after the other, so
that a mistake in it has a row number too.

    rows, form = document(TextFile(Path("train.json"), "train.json"))
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mars.preferences.containers.raw import CONVERT, LONGEST_LINE, Form, RawRow, TextFile
from mars.preferences.pair import DataError
from mars.preferences.rows import Defect, shown

_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\r\n]*")
_INSTEAD = "save the rows as an array of objects, or as .jsonl"


def lines(file: TextFile) -> tuple[Iterator[RawRow], Form]:
    """A row of each line that is not blank, numbered by the lines. Raises DataError as `TextFile.unpacked`."""
    return _lines(file), file.form("JSON lines")


def document(file: TextFile) -> tuple[Iterator[RawRow], Form]:
    """The rows of a JSON document, numbered from 1; also lines of JSON under this name.

    Raises DataError where it is neither an array nor an object that holds rows, here or at the row where it goes wrong.
    """
    start, _ = file.sample()
    start = start.lstrip()
    if start.startswith("["):
        return _array(file), file.form("JSON array")
    first, _, rest = start.partition("\n")
    if rest.strip() and _is_object(first):
        return _lines(file), file.form("JSON lines", "", "JSON lines")
    rows, how = _of_object(_whole(file), file.label)
    numbered = (_sound(number, row, "row") for number, row in enumerate(rows, 1))
    return numbered, file.form("JSON object", "", how)


def _lines(file: TextFile) -> Iterator[RawRow]:
    for number, line in enumerate(file.lines(), 1):
        if line is None:
            yield RawRow(number, None, Defect("bad_json", f"the line is longer than {LONGEST_LINE} bytes"))
        elif line.strip():
            yield _decoded(number, line, "line")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _array(file: TextFile) -> Iterator[RawRow]:
    with file.text() as opened:
        text = opened.read()
    number, place = 0, _behind_blanks(text, _behind_blanks(text) + 1)
    while text[place : place + 1] not in ("]", ""):
        number += 1
        try:
            _, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file.label}:{number}: the row is not JSON: {_told(error, place)}") from None
        yield _decoded(number, file.encoded(text[place:end]), "row")
        place = _behind_blanks(text, end)
        if text[place : place + 1] == ",":
            place = _behind_blanks(text, place + 1)
        elif text[place : place + 1] not in ("]", ""):
            raise DataError(f"{file.label}:{number}: no comma stands behind this row of the array")
    if not text[place:]:
        raise DataError(f"{file.label}:{number}: the array does not end behind its last row (is the file cut off?)")
    if text[place + 1 :].strip():
        raise DataError(f"{file.label}:{number}: behind the array, which ends with this row, stands more text")


def _behind_blanks(text: str, place: int = 0) -> int:
    found = _BLANKS.match(text, place)
    return found.end() if found else place


def _told(error: Exception, start: int = 0) -> str:
    """What is wrong with JSON. start: where in its text the row begins."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    line = f" (line {error.lineno} of the file)" if error.lineno > 1 else ""
    return f"{error.msg} at character {error.pos - start + 1}{line}"


def _decoded(number: int, content: bytes, what: str) -> RawRow:
    """A row of JSON; text that cannot be written as UTF-8 is mended with U+FFFD and marked as a defect."""
    defect = None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        text = content.decode(errors="replace")
        defect = Defect("encoding", f"byte {error.start + 1} of the {what} is not UTF-8 ({CONVERT})")
    try:
        value = json.loads(text.strip(), object_pairs_hook=_each_key_once)
        row = _sound(number, value, what, "\\ud" in text.lower())
    except (ValueError, RecursionError) as error:
        beside = f", and {defect}" if defect else ""
        return RawRow(number, None, Defect("bad_json", f"the {what} is not JSON: {_told(error)}{beside}"))
    return row if row.defect else row._replace(defect=defect)


def _sound(number: int, value: Any, what: str, may_be_halved: bool = True) -> RawRow:
    """A value as a row. may_be_halved: its texts may hold half of a surrogate pair, which UTF-8 cannot write."""
    if not isinstance(value, dict):
        hint = " (an array of rows is named .json)" if isinstance(value, list) and what == "line" else ""
        kind = f"a JSON {type(value).__name__}, not an object{hint}"
        return RawRow(number, None, Defect("bad_json", f"the {what} is {kind}"))
    plain = json.dumps(value, ensure_ascii=False) if may_be_halved else ""
    mended = plain.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if mended != plain:
        return RawRow(number, json.loads(mended), Defect("encoding", "holds half of a surrogate pair"))
    return RawRow(number, value)


def _each_key_once(items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a key that is there twice: which of its values was meant, nobody can tell."""
    value = dict(items)
    if len(value) < len(items):
        key, _ = Counter(key for key, _ in items).most_common(1)[0]
        raise ValueError(f"the key {shown(key)} is there twice")
    return value


def _whole(file: TextFile) -> Mapping[str, Any]:
    """The file's one object. Raises DataError for anything else, and for text that is not UTF-8."""
    with file.text() as opened:
        text = opened.read()
    if file.encoding == "UTF-8" and (broken := re.search("[\udc80-\udcff]", text)):
        line = text.count("\n", 0, broken.start()) + 1
        raise DataError(f"{file.label}: line {line} is not UTF-8 ({CONVERT})")
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.label}: is not JSON: {_told(error)} ({_INSTEAD})") from None
    if not isinstance(value, dict):
        raise DataError(f"{file.label}: is a JSON {type(value).__name__}, not rows ({_INSTEAD})")
    return value


def _of_object(value: Mapping[str, Any], label: str) -> tuple[Sequence[Any], str]:
    """(the rows that an object holds, in which way). Raises DataError where it holds none, or several lists of them."""
    inner = list(value.values())
    lists = [key for key, held in value.items() if isinstance(held, list)]
    tables = [key for key in lists if value[key] and all(isinstance(row, dict) for row in value[key])]
    if set(lists) == {"columns", "index", "data"} and all(isinstance(row, list) for row in value["data"]):
        return [dict(zip(value["columns"], row, strict=False)) for row in value["data"]], "a table of pandas"
    if inner and len(lists) == len(inner) > len(tables) and len(set(map(len, inner))) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*inner, strict=True)], "an object of columns"
    if len(tables) == 1:
        return value[tables[0]], f'the list "{tables[0]}" of an object'
    if tables:
        named = ", ".join(f'"{key}"' for key in tables[:5])
        raise DataError(f"{label}: holds several lists of rows: {named} (save each as a file of its own)")
    if inner and all(isinstance(held, dict) for held in inner):
        return _of_objects(value), "an object of objects"
    if inner and not lists:
        return [value], "one row"
    raise DataError(f"{label}: is a JSON object without a list of rows, or columns of one length ({_INSTEAD})")


def _of_objects(value: Mapping[str, Mapping[str, Any]]) -> Sequence[Any]:
    """Rows by name, or columns whose fields are numbered, as pandas writes them unless told otherwise."""
    first = next(iter(value.values()))
    if not first or not all(name.isdecimal() for column in value.values() for name in column):
        return list(value.values())
    return [{column: fields.get(number) for column, fields in value.items()} for number in first]
