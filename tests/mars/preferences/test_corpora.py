"""Malformed preference files, in every schema and format: each is one clear line, or a count in the report.

Three tables. ROWS: one bad row between sound ones is dropped and counted with its place, and is an error with file and
row where its policy says so. FILES: what cannot be read as a whole says which file and what to do. KEPT: what looks
odd and is a preference all the same is read as it stands, and counted where a reader should know of it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mars.preferences import contamination
from mars.preferences.bad_rows import Policies
from mars.preferences.containers.raw import LONGEST_LINE
from mars.preferences.dataset import DatasetConfig, load, summary
from mars.preferences.pair import DataError, Preferences

HUMAN, ASSISTANT = "\n\nHuman: ", "\n\nAssistant: "
DEEP = 300  # levels of lists, fewer than the JSON reader gives up at


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def sound(schema: str, i: int) -> dict[str, Any]:
    """The i-th sound row of a schema."""
    question, right, wrong = f"Question {i}?", f"Right {i}.", f"Wrong, {i}."
    if schema == "hh_rlhf":
        opening = f"{HUMAN}{question}{ASSISTANT}"
        return {"chosen": opening + right, "rejected": opening + wrong}
    if schema == "pku_saferlhf":
        ids = {"better_response_id": 0, "safer_response_id": 0}
        return {"prompt": question, "response_0": right, "response_1": wrong} | ids
    if schema == "completions":
        scored = [{"response": right, "overall_score": 8}, {"response": wrong, "overall_score": 2}]
        return {"instruction": question, "completions": scored}
    return {"prompt": question, "chosen": right, "rejected": wrong}


def line(row: Any) -> bytes:
    return json.dumps(row).encode()


def load_file(folder: Path, schema: str, train: Path, **settings: Any) -> Preferences:
    """`train` in a schema, with a sound row to test on, any share of bad rows and no validation."""
    (folder / "held.jsonl").write_bytes(line(sound(schema, 99)))
    settings = {"validation": 0.0, "max_bad_fraction": 1.0} | settings
    name = "ultrafeedback" if schema == "completions" else schema
    return load(DatasetConfig(name, train=str(train), test=str(folder / "held.jsonl"), **settings))


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


# ---- one bad row


class Row(NamedTuple):
    """schema, the line, its kind of defect and what is said of it."""

    schema: str
    line: bytes
    kind: str
    detail: str


def changed(schema: str, **values: Any) -> bytes:
    """A sound row with other values; `...` takes the key away."""
    row = sound(schema, 5) | values
    return line({key: value for key, value in row.items() if value is not ...})


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def scored(*scores: Any) -> bytes:
    return changed("completions", completions=[{"response": f"r{i}", "overall_score": s} for i, s in enumerate(scores)])


TURN = [{"role": "user", "content": "Question 5?"}]
ROWS = {
    # bytes
    "latin-1": Row(
        "files", '{"prompt": "Q", "chosen": "café", "rejected": "b"}'.encode("latin-1"), "encoding", "byte 31"
    ),
    "utf-16 line": Row("files", '{"prompt": "Q"}'.encode("utf-16-le"), "bad_json", "the line is not JSON"),
    "utf-16 line with its mark": Row(
        "files", '{"prompt": "Q"}'.encode("utf-16"), "bad_json", "byte 1 of the line is not UTF-8"
    ),
    "surrogate bytes": Row(
        "files", b'{"prompt": "Q", "chosen": "\xed\xa0\xbd", "rejected": "b"}', "encoding", "not UTF-8"
    ),
    "half of a surrogate pair": Row(
        "files", rb'{"prompt": "Q", "chosen": "\ud83d", "rejected": "b"}', "encoding", "half of a surrogate"
    ),
    "second half first": Row(
        "hh_rlhf",
        rb'{"chosen": "\n\nHuman: a\n\nAssistant: \udc00\ud800", "rejected": "\n\nHuman: a\n\nAssistant: b"}',
        "encoding",
        "half",
    ),
    "a surrogate in a key": Row("pku_saferlhf", changed("pku_saferlhf")[:-1] + rb', "\udead": 1}', "encoding", "half"),
    "overlong utf-8": Row("files", b'{"prompt": "Q", "chosen": "\xc0\x80", "rejected": "b"}', "encoding", "not UTF-8"),
    "a raw NUL": Row(
        "files", b'{"prompt": "Q", "chosen": "a\x00", "rejected": "b"}', "bad_json", "Invalid control character"
    ),
    "only NULs": Row("files", b"\x00" * 64, "bad_json", "the line is not JSON"),
    "a byte order mark in the middle": Row(
        "files", b"\xef\xbb\xbf" + changed("files"), "bad_json", "Unexpected UTF-8 BOM"
    ),
    "a line of 50 MB": Row(
        "files",
        b'{"prompt": "Q", "chosen": "' + b"a" * 50_000_000 + b'", "rejected": "b"}',
        "bad_json",
        f"longer than {LONGEST_LINE} bytes",
    ),
    # JSON
    "cut off": Row("files", changed("files")[:-9], "bad_json", "the line is not JSON"),
    "two objects": Row("files", b"{} {}", "bad_json", "Extra data at character 4"),
    "single quotes": Row("files", b"{'prompt': 'Q', 'chosen': 'a', 'rejected': 'b'}", "bad_json", "double quotes"),
    "a trailing comma": Row("files", changed("files")[:-1] + b",}", "bad_json", "the line is not JSON"),
    "a comment": Row("files", b"// rows of 2023", "bad_json", "the line is not JSON"),
    "a pointer of git-lfs": Row(
        "files", b"version https://git-lfs.github.com/spec/v1", "bad_json", "the line is not JSON"
    ),
    "a list": Row("hh_rlhf", b'["chosen", "rejected"]', "bad_json", "a JSON list, not an object"),
    "a number": Row("files", b"7", "bad_json", "a JSON int, not an object"),
    "null": Row("files", b"null", "bad_json", "not an object"),
    "NaN alone": Row("files", b"NaN", "bad_json", "a JSON float, not an object"),
    "a key twice": Row(
        "files",
        b'{"prompt": "Q", "chosen": "a", "chosen": "b", "rejected": "c"}',
        "bad_json",
        "the key 'chosen' is there twice",
    ),
    "a key twice in a turn": Row(
        "files",
        b'{"prompt": [{"role": "user", "role": "user", "content": "Q"}], "chosen": "a", "rejected": "c"}',
        "bad_json",
        "'role' is there twice",
    ),
    "deep beyond the reader": Row("files", nested(100_000), "bad_json", "maximum recursion depth"),
    "deep where text belongs": Row(
        "files",
        b'{"prompt": "Q", "chosen": ' + nested(DEEP) + b', "rejected": "b"}',
        "not_text",
        "a turn without text: [[[",
    ),
    "deep with a surrogate": Row(
        "files", rb'{"prompt": "\ud800", "chosen": ' + nested(DEEP) + b', "rejected": "b"}', "encoding", "half"
    ),
    "a number of 5000 digits": Row(
        "files", b'{"prompt": "Q", "chosen": ' + b"9" * 5000 + b', "rejected": "b"}', "bad_json", "4300 digits"
    ),
    # types
    "null text": Row("files", changed("files", chosen=None), "not_text", '"chosen" is null, not text'),
    "a number for text": Row("files", changed("files", rejected=1.5), "not_text", '"rejected" is 1.5, not text'),
    "NaN for text": Row("files", b'{"prompt": "Q", "chosen": NaN, "rejected": "b"}', "not_text", '"chosen" is nan'),
    "true for text": Row("hh_rlhf", changed("hh_rlhf", chosen=True), "not_text", '"chosen" is True'),
    "a prompt that is an object": Row("files", changed("files", prompt={"text": "Q"}), "not_text", '"prompt" is {'),
    "a prompt in a list in a list": Row("files", changed("files", prompt=[TURN]), "not_text", "a turn without text"),
    "a list of texts": Row(
        "ultrafeedback", changed("ultrafeedback", chosen=["a", "b"]), "not_text", "a turn without text"
    ),
    "content in parts": Row(
        "files", changed("files", prompt=[{"role": "user", "content": [{"type": "text"}]}]), "not_text", "without text"
    ),
    "no turns": Row("files", changed("files", prompt=[]), "not_text", '"prompt" is []'),
    "no prompt": Row("files", changed("files", prompt=...), "not_text", '"prompt" is missing'),
    "a misspelt column in one row": Row(
        "files", line({"prompt": "Q", "chosen": "a", "rejcted": "b"}), "not_text", 'did you mean "rejcted"?'
    ),
    "other keys without end": Row(
        "files", line({f"key {i}\n": i for i in range(5000)}), "not_text", '"chosen" is missing (drop'
    ),
    # dialogues
    "no marker": Row("hh_rlhf", changed("hh_rlhf", chosen="Hello there."), "dialogue", 'does not start with "Human:"'),
    "a speaker nobody knows": Row(
        "files", changed("files", prompt=[{"role": "human", "content": "Q"}]), "dialogue", "the role 'human'"
    ),
    "a role that is a list": Row(
        "files", changed("files", prompt=[{"role": ["user"], "content": "Q"}]), "dialogue", "the role ['user']"
    ),
    "a prompt that ends with the reply": Row(
        "files",
        changed("files", prompt=[*TURN, {"role": "assistant", "content": "a"}]),
        "dialogue",
        "does not end with the user's turn",
    ),
    "a response that asks": Row(
        "hh_rlhf",
        changed("hh_rlhf", chosen=f"{HUMAN}a{ASSISTANT}b{HUMAN}c"),
        "dialogue",
        "does not end with an assistant turn",
    ),
    "a turn marker in a response": Row(
        "hh_rlhf",
        line({side: f"{HUMAN}a{ASSISTANT}b{ASSISTANT}{side}" for side in ("chosen", "rejected")}),
        "dialogue",
        "does not end with the user's turn",
    ),
    "nobody asked": Row(
        "files", changed("files", prompt=[{"role": "system", "content": "Be brief."}]), "dialogue", "user's turn"
    ),
    "two prompts": Row(
        "hh_rlhf",
        line({"chosen": f"{HUMAN}a{ASSISTANT}b", "rejected": f"{HUMAN}other{ASSISTANT}c"}),
        "prompts_differ",
        "different prompts",
    ),
    # labels
    "no label": Row(
        "pku_saferlhf",
        changed("pku_saferlhf", better_response_id=None),
        "unlabelled",
        '"better_response_id" is null, not 0 or 1',
    ),
    "a label of a third": Row(
        "pku_saferlhf", changed("pku_saferlhf", better_response_id=2), "unlabelled", "is 2, not 0 or 1"
    ),
    "half a label": Row(
        "pku_saferlhf", changed("pku_saferlhf", better_response_id=0.5), "unlabelled", "is 0.5, not 0 or 1"
    ),
    "a label of infinity": Row(
        "pku_saferlhf", changed("pku_saferlhf", better_response_id=float("inf")), "unlabelled", "is inf, not 0 or 1"
    ),
    "a label of 400 digits": Row(
        "pku_saferlhf", changed("pku_saferlhf", better_response_id=10**400), "unlabelled", "not 0 or 1"
    ),
    "scores that are none": Row(
        "completions", scored("N/A", float("nan")), "unlabelled", '0 of 2 completions have "overall_score"'
    ),
    "one huge score": Row("completions", scored(10**400, 1), "unlabelled", '1 of 2 completions have "overall_score"'),
    "completions that are text": Row(
        "completions", changed("completions", completions="[{}]"), "not_text", '"completions" is '
    ),
    "no completions": Row("completions", scored(), "unlabelled", "0 of 0 completions"),
    "scores that tie": Row("completions", scored(3, 3), "tie", "all completions score 3"),
    # texts
    "white space": Row("files", changed("files", chosen=" \n\t\u00a0"), "empty", '"chosen" is empty'),
    "the same text twice": Row(
        "ultrafeedback", changed("ultrafeedback", chosen="a ", rejected="\na"), "identical", "the same text"
    ),
    "a row once more": Row("files", line(sound("files", 1)), "duplicate", "repeats an earlier row"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_is_counted_with_its_place_or_is_an_error_with_file_and_row(name: str, tmp_path: Path):
    schema, bad, kind, detail = ROWS[name]
    lines = [line(sound(schema, 1)), bad, line(sound(schema, 2))]
    train = written(tmp_path, "train.jsonl", b"\n".join(lines))
    loaded = load_file(tmp_path, schema, train)
    told = loaded.report["sources"]["train"][0]
    assert (told["rows"], told["kept"], told["dropped"]) == (3, 2, {kind: 1})
    assert told["examples"] == {kind: ["train.jsonl:2"]}
    assert f"train.jsonl: 2 of 3 rows kept; dropped 1 {kind} (first: train.jsonl:2)" in summary(loaded.report)
    with pytest.raises(DataError) as error:
        load_file(tmp_path, schema, train, on=Policies(**{kind: "raise"}))
    said = str(error.value)
    assert said.startswith("train.jsonl:2: ")
    assert detail in said
    assert said.endswith(f"(drop such rows with dataset.on.{kind}=drop)")
    assert said.isprintable()
    assert len(said) < 1000


def test_a_line_without_end_is_never_held_as_a_whole(tmp_path: Path):
    """Fifty megabytes in one line of a small file, as a gzip bomb has them."""
    bomb = b'{"prompt": "' + b"a" * 50_000_000
    lines = b"\n".join([line(sound("files", 1)), bomb, line(sound("files", 2))])
    train = written(tmp_path, "train.jsonl.gz", gzip.compress(lines, 1))
    tracemalloc.start()
    try:
        loaded = load_file(tmp_path, "files", train)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert loaded.report["sources"]["train"][0]["examples"] == {"bad_json": ["train.jsonl.gz:2"]}
    assert peak < len(bomb)


# ---- a file that is not what it is taken for


def parquet(columns: pa.Table | dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), file)
    return file.getvalue()


def columns(**values: Any) -> dict[str, Any]:
    return {"prompt": ["Question 1?", "Question 2?"], "chosen": ["a", "b"], "rejected": ["c", "d"]} | values


def squeezed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


LINES = b"\n".join(line(sound("files", i)) for i in range(1, 40))
TABLE = parquet(columns())
NOT_UTF8 = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"], pa.binary()).buffers())
HEAD = b"prompt,chosen,rejected\n"
ALL_BAD = "rows (100.0%) cannot be used: "

FILES: dict[str, tuple[str, bytes, str]] = {  # name and content of the file, what is said
    "empty": ("train.jsonl", b"", "the file is empty"),
    "blank lines": ("train.jsonl", b"\n\r\n \n", "train.jsonl: holds no rows"),
    "a byte order mark alone": ("train.jsonl", b"\xef\xbb\xbf", "train.jsonl: holds no rows"),
    "another extension": ("train.txt", LINES, "unknown extension (rename it after what is in it; known: .jsonl, "),
    "a workbook": ("train.xlsx", b"PK\x03\x04", "unknown extension (save the sheet as CSV; known: .jsonl, "),
    "utf-16 without its mark": (
        "train.jsonl",
        LINES.decode().encode("utf-16-le"),
        "train.jsonl:1: the line is not JSON",
    ),
    "gzip by another name": ("train.jsonl", squeezed(LINES), "is compressed (name it train.jsonl.gz, or unpack it)"),
    "zip by another name": (
        "train.jsonl",
        b"PK\x03\x04 and so on",
        "is a zip archive (unpack it; a workbook",
    ),
    "parquet by another name": ("train.jsonl", TABLE, "is a Parquet file (name it .parquet)"),
    "csv by another name": ("train.jsonl", HEAD + b"a,b,c\n", f"2 of 2 {ALL_BAD}2 bad_json"),
    "one array over lines": (
        "train.jsonl",
        json.dumps([sound("files", 1)], indent=1).encode(),
        "train.jsonl:1: the line is not JSON",
    ),
    "one array in a line": ("train.jsonl", json.dumps([sound("files", 1)]).encode(), "a JSON list, not an object"),
    "carriage returns alone": (
        "train.jsonl",
        LINES.replace(b"\n", b"\r"),
        "train.jsonl:1: the line is not JSON: Extra data",
    ),
    "noise": ("train.jsonl", bytes(range(128, 256)) * 9, f"1 of 1 {ALL_BAD}1 bad_json"),
    "rows of no preference": ("train.jsonl", line({"text": "a", "label": 1}), 'no column "chosen" and "rejected"'),
    "gzip cut off": ("train.jsonl.gz", squeezed(LINES)[:-30], "is not a whole gzip file: Compressed file ended"),
    "gzip cut in its header": ("train.jsonl.gz", squeezed(LINES)[:5], "is not a whole gzip file"),
    "gzip with another checksum": ("train.jsonl.gz", squeezed(LINES)[:-8] + bytes(8), "CRC check failed"),
    "gzip with more behind it": (
        "train.jsonl.gz",
        squeezed(LINES) + b"more",
        "is not a whole gzip file: Not a gzipped",
    ),
    "gzip damaged": (
        "train.jsonl.gz",
        squeezed(LINES)[:40] + b"\xff" * 9 + squeezed(LINES)[49:],
        "is not a whole gzip file",
    ),
    "gzip that is none": ("train.jsonl.gz", LINES, "is not a whole gzip file: Not a gzipped file"),
    "gzip of nothing": ("train.jsonl.gz", squeezed(b""), "train.jsonl.gz: holds no rows"),
    "gzip of gzip": ("train.jsonl.gz", squeezed(squeezed(LINES)), "train.jsonl.gz:1: the line is not JSON"),
    "csv, utf-16 without its mark": (
        "train.csv",
        (HEAD + b"a,b,c\n").decode().encode("utf-16-le"),
        "holds NUL (is the file UTF-16?",
    ),
    "csv, NUL in the header": (
        "train.csv",
        b"pro\x00mpt,chosen,rejected\na,b,c\n",
        r"the column 'pro\x00mpt' holds NUL",
    ),
    "csv, header alone": ("train.csv", HEAD, "train.csv: holds no rows"),
    "csv, no header": ("train.csv", b"a,b,c\nd,e,f\n", "and no shape fits the columns 'a', 'b', 'c' (name yours"),
    "csv, a field too many": ("train.csv", HEAD + b"d,e,f\na,b,c,d\n", "train.csv:2: has 4 fields, the header 3"),
    "csv, every row too long": ("train.csv", HEAD + b"a,b,c,d\na,b,c,d\n", "train.csv:1: has 4 fields, the header 3"),
    "csv, a quote never closed": ("train.csv", HEAD + b'a,"b,c\nd,e,f\n', "ends in line 3: unexpected end of data"),
    "csv, a quote that swallows rows": (
        "train.csv",
        HEAD + b'a,"b,c\nd,e,f\ng,"h",i\n',
        "the row that ends in line 4: ",
    ),
    "csv, quotes behind a backslash": ("train.csv", HEAD + rb'a,"say \"b\", now",c', "and a quote in it is doubled"),
    "csv, a column twice": (
        "train.csv",
        b"prompt,chosen,chosen,rejected\na,b,x,c\n",
        "the column 'chosen' is there twice",
    ),
    "csv, a column without a name": (
        "train.csv",
        b"prompt,chosen,,rejected\na,b,0,c\n",
        "column 3 has no name (give it one",
    ),
    "csv, a header without end": ("train.csv", b"x" * 200_000 + b"\na\n", 'no column "chosen" and "rejected"'),
    "csv, a field without end": (
        "train.csv",
        HEAD + b"a," + b"x" * 17_000_000 + b",c\n",
        "field larger than field limit",
    ),
    "csv, a web page": ("train.csv", b"<html>404, not, found</html>\n", "train.csv: holds no rows"),
    "parquet cut off": ("train.parquet", TABLE[: len(TABLE) // 2], "train.parquet: cannot be read as parquet"),
    "parquet damaged": ("train.parquet", TABLE[:10] + b"\xff" * 60 + TABLE[70:], "cannot be read as parquet"),
    "parquet that is none": ("train.parquet", LINES, "train.parquet: cannot be read as parquet"),
    "parquet of no rows": ("train.parquet", parquet({"prompt": pa.array([], pa.string())}), "holds no rows"),
    "parquet of no columns": ("train.parquet", parquet({}), "holds no rows"),
    "parquet of a column twice": (
        "train.parquet",
        parquet(pa.Table.from_arrays([pa.array(["a"])] * 4, ["prompt", "chosen", "chosen", "rejected"])),
        "cannot be read as parquet",
    ),
    "parquet of numbers": (
        "train.parquet",
        parquet(columns(chosen=[1, 2])),
        'train.parquet:1: "chosen" is 1, not text',
    ),
    "parquet of bytes": ("train.parquet", parquet(columns(chosen=[b"a", b"b"])), "\"chosen\" is b'a', not text"),
    "parquet of times": ("train.parquet", parquet(columns(chosen=pa.array([1, 2], pa.timestamp("s")))), "not text"),
    "parquet of nulls": ("train.parquet", parquet(columns(chosen=pa.nulls(2))), '"chosen" is null, not text'),
    "parquet of maps": (
        "train.parquet",
        parquet(columns(prompt=pa.array([[("a", "b")]] * 2, pa.map_(pa.string(), pa.string())))),
        "cannot be read as parquet",
    ),
    "parquet of nested lists": ("train.parquet", parquet(columns(prompt=[[["a"]], [["b"]]])), "a turn without text"),
    "parquet of bytes called text": (
        "train.parquet",
        parquet(columns(chosen=NOT_UTF8)),
        "train.parquet:2: cannot be read as parquet: 'utf-8'",
    ),
    "an id twice": (
        "train.jsonl",
        line(sound("files", 1) | {"id": "a\x1b"}) + b"\n" + line(sound("files", 2) | {"id": "a\x1b"}),
        r'train.jsonl:2: the id "a\u001b" stands at train.jsonl:1 already',
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_used_is_one_line_with_its_name(name: str, tmp_path: Path, capfd):
    file, content, said = FILES[name]
    with pytest.raises(DataError) as error:
        load_file(tmp_path, "files", written(tmp_path, file, content), max_bad_fraction=0.05)
    assert file in str(error.value)
    assert said in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000
    assert capfd.readouterr().err == ""


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a directory": (lambda path: path.mkdir(), "is a directory without a file of .jsonl, "),
    "a pipe": (lambda path: os.mkfifo(path), "no such file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "no such file"),
    "a link to nothing": (lambda path: path.symlink_to(path.parent / "gone.jsonl"), "no such file"),
    "a link to itself": (lambda path: path.symlink_to(path), "no such file"),
    "nothing": (lambda path: None, "no such file"),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_file_is_not_waited_for(name: str, tmp_path: Path):
    make, said = PLACES[name]
    make(tmp_path / "train.jsonl")
    with pytest.raises(DataError, match=r"train\.jsonl: ") as error:
        load_file(tmp_path, "files", tmp_path / "train.jsonl")
    assert said in str(error.value)


def test_where_no_row_is_left_and_every_row_may_be_dropped_the_reason_is_said(tmp_path: Path):
    with pytest.raises(DataError) as error:
        load_file(tmp_path, "files", written(tmp_path, "train.jsonl", changed("files", chosen=None)))
    assert str(error.value) == "train.jsonl: 0 of 1 rows kept; dropped 1 not_text (first: train.jsonl:1)"


# ---- odd, and a preference all the same


class Kept(NamedTuple):
    """name and content of the file, its (chosen, rejected) as they are read, and what is counted of it."""

    file: str
    content: bytes
    pairs: set[tuple[str, str]]
    counted: dict[str, int]


def two(first: dict[str, Any], second: dict[str, Any]) -> bytes:
    return line(first) + b"\n" + line(second)


ONE = sound("files", 1)
PAIR = ("Right 1.", "Wrong, 1.")
HELD = {("b", "c")}  # of the row Q, b, c
KEPT = {
    "utf-16": Kept("train.jsonl", line(ONE).decode().encode("utf-16"), {PAIR}, {}),
    "utf-16, big end first": Kept("train.jsonl", b"\xfe\xff" + line(ONE).decode().encode("utf-16-be"), {PAIR}, {}),
    "utf-32": Kept("train.jsonl", line(ONE).decode().encode("utf-32"), {PAIR}, {}),
    "csv, utf-16": Kept("train.csv", (HEAD + b"Q,b,c\n").decode().encode("utf-16"), HELD, {}),
    "csv, semicolons": Kept("train.csv", b"prompt;chosen;rejected\nQ;b;c\n", HELD, {}),
    "csv, tabs": Kept("train.csv", b"prompt\tchosen\trejected\nQ\tb\tc\n", HELD, {}),
    "csv, an empty field at the end of each row": Kept("train.csv", HEAD + b"Q,b,c,\n", HELD, {}),
    "crlf": Kept("train.jsonl", line(ONE) + b"\r\n", {PAIR}, {}),
    "a byte order mark": Kept("train.jsonl", b"\xef\xbb\xbf" + line(ONE), {PAIR}, {}),
    "no line end": Kept("train.jsonl", b"\n\n" + line(ONE), {PAIR}, {}),
    "line separators in text": Kept(
        "train.jsonl", line(ONE | {"chosen": "a\u2028b\x85c\x0bd"}), {("a\u2028b\x85c\x0bd", PAIR[1])}, {}
    ),
    "right to left": Kept(
        "train.jsonl", line(ONE | {"chosen": "\u202eשלום\u202c", "rejected": "لا"}), {("\u202eשלום\u202c", "لا")}, {}
    ),
    "marks without width in text": Kept(
        "train.jsonl", line(ONE | {"chosen": "👩\u200d🔬 a\u200bb"}), {("👩\u200d🔬 a\u200bb", PAIR[1])}, {}
    ),
    "a whole surrogate pair": Kept(
        "train.jsonl", rb'{"prompt": "Q", "chosen": "\ud83d\ude00", "rejected": "b"}', {("😀", "b")}, {}
    ),
    "an escaped NUL in text": Kept(
        "train.jsonl", rb'{"prompt": "Q", "chosen": "a\u0000b", "rejected": "b"}', {("a\0b", "b")}, {}
    ),
    "other columns, deep": Kept("train.jsonl", line(ONE)[:-1] + b', "meta": ' + nested(DEEP) + b"}", {PAIR}, {}),
    "a subset that is NaN": Kept("train.jsonl", line(ONE | {"subset": float("nan"), "id": float("nan")}), {PAIR}, {}),
    "an id that is a list, a subset that is an object": Kept(
        "train.jsonl", line(ONE | {"id": [1, 2], "subset": {"a": 1}}), {PAIR}, {}
    ),
    "two gzip files in one": Kept("train.jsonl.gz", squeezed(line(ONE) + b"\n") + squeezed(b"\n"), {PAIR}, {}),
    "csv, crlf and a byte order mark": Kept(
        "train.csv", b"\xef\xbb\xbfprompt,chosen,rejected\r\nQ,b,c\r\n", {("b", "c")}, {}
    ),
    "csv, quotes inside a field": Kept(
        "train.csv", HEAD + b'Q,say "b" now,"c ""d"", e"\n', {('say "b" now', 'c "d", e')}, {}
    ),
    "csv, blank lines": Kept("train.csv", b"\n" + HEAD + b"\nQ,b,c\n\n", {("b", "c")}, {}),
    "csv, a short row": Kept("train.csv", HEAD + b"Q,b\nQ,b,c\n", {("b", "c")}, {"empty": 1}),
    "csv, NUL in a field": Kept("train.csv", HEAD + b"Q,b\x00,c\nQ,b,c\n", {("b", "c")}, {"encoding": 1}),
    "csv, latin-1": Kept("train.csv", HEAD + "Q,é,c\nQ,b,c\n".encode("latin-1"), {("b", "c")}, {"encoding": 1}),
    "csv, a formula": Kept("train.csv", HEAD + b"Q,=1+1,c\n", {("=1+1", "c")}, {}),
    "parquet, categories": Kept(
        "train.parquet", parquet(columns(chosen=pa.array(["a", "b"]).dictionary_encode())), {("a", "c"), ("b", "d")}, {}
    ),
    "contradictory": Kept(
        "train.jsonl",
        two(ONE, ONE | {"chosen": PAIR[1], "rejected": PAIR[0]}),
        {PAIR, PAIR[::-1]},
        {"contradictory": 1},
    ),
    "marks without width alone": Kept(
        "train.jsonl", line(ONE | {"chosen": "\u200b\u200d\ufeff"}), {("\u200b\u200d\ufeff", PAIR[1])}, {"invisible": 1}
    ),
    "controls alone": Kept("train.jsonl", line(ONE | {"rejected": "\0\x07"}), {(PAIR[0], "\0\x07")}, {"invisible": 1}),
    "a prompt of nothing to see": Kept("train.jsonl", line(ONE | {"prompt": "\u200e"}), {PAIR}, {"invisible": 1}),
    "a turn in a response": Kept(
        "train.jsonl",
        line(ONE | {"chosen": "a\n\nHuman: b\n\nAssistant: c"}),
        {("a\n\nHuman: b\n\nAssistant: c", PAIR[1])},
        {"turn_marker": 1},
    ),
    "a turn in a prompt": Kept("train.jsonl", line(ONE | {"prompt": "a\n\nAssistant: b"}), {PAIR}, {"turn_marker": 1}),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_looks_odd_is_read_as_it_stands_and_counted_where_it_matters(name: str, tmp_path: Path):
    file, content, pairs, counted = KEPT[name]
    loaded = load_file(tmp_path, "files", written(tmp_path, file, content))
    assert {(pair.chosen, pair.rejected) for pair in loaded.base} == pairs
    told = loaded.report["sources"]["train"][0]
    assert told["dropped"] | told["kept_despite"] == counted
    assert told["rows"] == told["kept"] + sum(told["dropped"].values())
    lines = [line for line in summary(loaded.report) if ": read as " not in line]
    assert all(f"1 {kind} (first: {file}:" in line for kind, line in zip(counted, lines, strict=True))


def test_contradictory_labels_are_counted_once_for_each_row_that_turns_an_earlier_one_round(tmp_path: Path):
    turned = ONE | {"chosen": PAIR[1], "rejected": PAIR[0]}
    other_prompt = turned | {"prompt": "Another?"}
    alike = ONE | {"chosen": "same", "rejected": "same "}  # identical, and dropped: contradicts nothing
    lines = b"\n".join(map(line, [ONE, other_prompt, turned, ONE, alike]))
    loaded = load_file(tmp_path, "files", written(tmp_path, "train.jsonl", lines))
    told = loaded.report["sources"]["train"][0]
    assert (told["kept"], told["kept_despite"]) == (3, {"contradictory": 1})
    assert (told["dropped"], told["examples"]["contradictory"]) == ({"duplicate": 1, "identical": 1}, ["train.jsonl:3"])
    assert summary(loaded.report)[0].endswith("; kept all the same 1 contradictory (first: train.jsonl:3)")


def test_a_test_row_in_train_is_in_the_report_and_its_summary(tmp_path: Path):
    held = sound("files", 99)
    leaks = [held, held | {"prompt": "question 99"}, held | {"chosen": held["rejected"], "rejected": held["chosen"]}]
    train = written(tmp_path, "train.jsonl", b"\n".join(line(row) for row in [*leaks, sound("files", 1)]))
    found = load_file(tmp_path, "files", train).report["contamination"]
    assert (found["test"]["prompt"]["ids"], found["test"]["prompt_response"]["count"]) == (["files-test-1"], 1)
    assert "1 of 1 pair share the prompt with a training pair, 1 a response" in contamination.summary(found)[0]


def test_the_tables_hold_what_they_promise():
    assert len(ROWS) + len(FILES) + len(PLACES) + len(KEPT) >= 60
    schemas = {"files", "hh_rlhf", "ultrafeedback", "completions", "pku_saferlhf"}
    assert {row.schema for row in ROWS.values()} == schemas
