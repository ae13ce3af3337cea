"""The containers that rows come in: each gives the pairs of the same rows as JSON lines, and says what it found.

READ: what is read, and what is said of it beyond its name. REFUSED: what is not, and the whole line that says so.
FOLDERS: what `datasets` saves, and folders of shards.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from mars.preferences.dataset import DatasetConfig, load, summary
from mars.preferences.pair import DataError, Preferences
from mars.preferences.sources import KNOWN, open_split

CHOSEN = ("Right.", "a; b; c", 'say "so", now', "two\nlines\r\nand\ta tab", "größer 😀", "NA", "42")
ROWS = [
    {"prompt": f"Question {i}?", "chosen": chosen, "rejected": f"Wrong, {i}."}
    for i, chosen in enumerate(
        ["Right.", "a; b; c", 'say "so", now', "two\nlines\r\nand\ta tab", "größer 😀", "NA", "42"]
    )
]
FRAME = pd.DataFrame(ROWS)
TABLE = pa.Table.from_pylist(ROWS)
HELD = {"prompt": "Held out?", "chosen": "Yes.", "rejected": "No."}


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def csv_of(frame: pd.DataFrame = FRAME, **how: Any) -> bytes:
    return frame.to_csv(**({"index": False} | how)).encode()


def json_of(value: Any, **how: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, **how).encode()


def lines_of(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(map(json_of, rows)) + b"\n"


def in_utf16(content: bytes) -> bytes:
    return content.decode().encode("utf-16")


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


def arrow(new: Callable[..., Any]) -> bytes:
    sink = io.BytesIO()
    with new(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def feathered(compression: str) -> bytes:
    sink = io.BytesIO()
    feather.write_feather(TABLE, sink, compression=compression)
    return sink.getvalue()


def loaded(folder: Path, train: Path, **settings: Any) -> Preferences:
    (folder / "held.jsonl").write_bytes(json_of(HELD))
    return load(DatasetConfig("files", train=str(train), test=str(folder / "held.jsonl"), validation=0, **settings))


def pairs_of(preferences: Preferences) -> list[tuple[str, str, str, str]]:
    return sorted((pair.id, pair.part("prompt"), pair.chosen, pair.rejected) for pair in preferences.base)


PAIRS = sorted((f"files-train-{i}", row["prompt"], row["chosen"], row["rejected"]) for i, row in enumerate(ROWS, 1))
IN_DATA = 'the list "data" of an object'
SAMPLE = FRAME.set_index(pd.Index([5, 3, 90, 3, 1, 0, -1]))
INDEX = "an index column without a name, dropped"

READ: dict[str, tuple[str, bytes, str]] = {  # name and content of the file, what is said of it
    "an array": ("a.json", json_of(ROWS), ""),
    "an array over lines": ("a.json", json_of(ROWS, indent=2), ""),
    "an array, gzip": ("a.json.gz", gzip.compress(json_of(ROWS)), ""),
    "an array, escaped": ("a.json", json.dumps(ROWS).encode(), ""),
    "an array, a byte order mark": ("a.json", b"\xef\xbb\xbf" + json_of(ROWS), ""),
    "an array, utf-16": ("a.json", in_utf16(json_of(ROWS)), "UTF-16-LE"),
    "a list in an object": ("a.json", json_of({"version": 2, "data": ROWS, "tags": ["x"]}), IN_DATA),
    "a table of pandas with its schema": ("a.json", FRAME.to_json(orient="table").encode(), IN_DATA),
    "columns": ("a.json", json_of({name: list(FRAME[name]) for name in FRAME}), "an object of columns"),
    "columns as pandas writes them": ("a.json", FRAME.to_json().encode(), "an object of objects"),
    "columns apart from their names": ("a.json", FRAME.to_json(orient="split").encode(), "a table of pandas"),
    "rows by name": ("a.json", json_of({f"row {i}": row for i, row in enumerate(ROWS)}), "an object of objects"),
    "lines called .json": ("a.json", lines_of(ROWS), "JSON lines"),
    "lines, utf-16": ("a.jsonl", in_utf16(lines_of(ROWS)), "UTF-16-LE"),
    "lines, bzip2": ("a.jsonl.bz2", bz2.compress(lines_of(ROWS)), ""),
    "lines, xz": ("a.jsonl.xz", lzma.compress(lines_of(ROWS)), ""),
    "lines, zstd": ("a.jsonl.zst", zstd(lines_of(ROWS)), ""),
    "csv": ("a.csv", csv_of(), ""),
    "csv, gzip": ("a.csv.gz", gzip.compress(csv_of()), ""),
    "csv, named in capitals": ("A.CSV", csv_of(), ""),
    "csv, quoted throughout": ("a.csv", csv_of(quoting=1), ""),
    "csv, semicolons": ("a.csv", csv_of(sep=";"), "semicolon-separated"),
    "csv, tabs": ("a.csv", csv_of(sep="\t"), "tab-separated"),
    "csv, an index": ("a.csv", csv_of(index=True), INDEX),
    "csv, an index of a sample": ("a.csv", csv_of(SAMPLE, index=True), INDEX),
    "csv, semicolons, index, utf-16": (
        "a.csv", in_utf16(csv_of(sep=";", index=True)), f"semicolon-separated, {INDEX}, UTF-16-LE",
    ),
    "csv of a spreadsheet": ("a.csv", b"\xef\xbb\xbf" + csv_of(sep=";", lineterminator="\r\n"), "semicolon-separated"),
    "csv that says its delimiter": ("a.csv", b"sep=;\r\n" + csv_of(sep=";"), "semicolon-separated by its first line"),
    "csv that says the usual delimiter": ("a.csv", b"sep=,\n" + csv_of(), "comma-separated by its first line"),
    "csv that says tabs, quoted, index, utf-16": (
        "a.csv", in_utf16(b'"sep=\t"\n' + csv_of(sep="\t", index=True)),
        f"tab-separated by its first line, {INDEX}, UTF-16-LE",
    ),
    "tsv": ("a.tsv", csv_of(sep="\t"), ""),
    "tsv, xz": ("a.tsv.xz", lzma.compress(csv_of(sep="\t")), ""),
    "tsv of commas": ("a.tsv", csv_of(), "comma-separated"),
    "an arrow stream": ("a.arrow", arrow(pa.ipc.new_stream), ""),
    "an arrow file": ("a.arrow", arrow(pa.ipc.new_file), ""),
    "feather": ("a.feather", feathered("lz4"), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_every_container_gives_the_pairs_of_the_same_rows_as_lines(name: str, tmp_path: Path) -> None:
    file, content, said = READ[name]
    (tmp_path / file).write_bytes(content)
    found = loaded(tmp_path, tmp_path / file)
    assert pairs_of(found) == PAIRS
    told = found.report["sources"]["train"][0]
    assert (told["file"], told["rows"], told["kept"], told.get("read_as", "")) == (file, 7, 7, said)
    assert summary(found.report) == ([f"{file}: read as {said}"] if said else [])


def test_rows_of_the_file_that_one_would_expect_are_recorded_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines_of(ROWS))
    told = loaded(tmp_path, tmp_path / "a.jsonl").report["sources"]["train"][0]
    assert list(told) == ["file", "sha256", "rows", "kept", "dropped", "kept_despite", "examples"]


@pytest.mark.parametrize("name", ["an array, gzip", "csv, semicolons, index, utf-16"])
def test_no_container_changes_what_a_run_is_called(name: str, tmp_path: Path) -> None:
    """Its id is made of its settings and the digests of its rows, which know no container."""
    file, content, _ = READ[name]
    (tmp_path / file).write_bytes(content)
    (tmp_path / "lines.jsonl").write_bytes(lines_of(ROWS))
    one, other = (loaded(tmp_path, tmp_path / each).digests for each in (file, "lines.jsonl"))
    assert one == other


# ---- what is not read


BROKEN = json_of(ROWS[:2], indent=1).replace(b'"rejected": "Wrong, 1."', b'"rejected": Wrong')
CP1252 = csv_of(FRAME.replace("größer 😀", "größer")).decode().encode("cp1252")
CONVERT = "from Windows? iconv -f WINDOWS-1252 -t UTF-8 FILE >NEW"
QUOTED = "a field that holds a {}, a quote or a line break stands in quotes"
DELIMITERS = "the known delimiters are comma, semicolon and tab: save it with one of them"
SAVE = "save the rows as an array of objects, or as .jsonl"

REFUSED: dict[str, tuple[str, bytes, str]] = {  # name and content of the file, the line
    "an array that breaks off": (
        "a.json", json_of(ROWS)[:-1], "a.json:7: the array does not end behind its last row (is the file cut off?)",
    ),
    "an array that breaks off in a row": ("a.json", BROKEN, (
        "a.json:2: the row is not JSON: Expecting value at character 67 (line 10 of the file)"
    )),
    "an array without a comma": (
        "a.json", json_of(ROWS[:2]).replace(b"}, {", b"} {"), "a.json:1: no comma stands behind this row of the array",
    ),
    "an array with more behind it": (
        "a.json", json_of(ROWS) + b"[]", "a.json:7: behind the array, which ends with this row, stands more text",
    ),
    "an array of nothing": ("a.json", b"[]", "a.json: holds no rows"),
    "an array of texts": ("a.json", json_of(["a", "b"]), (
        "a.json:1: the row is a JSON str, not an object; 2 of 2 rows (100.0%) cannot be used: 2 bad_json "
        "(mend them, or allow more than dataset.max_bad_fraction=0.05)"
    )),
    "an array called .jsonl": ("a.jsonl", json_of(ROWS), (
        "a.jsonl:1: the line is a JSON list, not an object (an array of rows is named .json); 1 of 1 rows (100.0%) "
        "cannot be used: 1 bad_json (mend them, or allow more than dataset.max_bad_fraction=0.05)"
    )),
    "lists in lists": ("a.json", json_of({"data": [[1], [2]], "n": 2}), (
        f"a.json: is a JSON object without a list of rows, or columns of one length ({SAVE})"
    )),
    "several lists of rows": ("a.json", json_of({"train": ROWS, "test": ROWS[:1]}), (
        'a.json: holds several lists of rows: "train", "test" (save each as a file of its own)'
    )),
    "columns of two lengths": ("a.json", json_of({"prompt": ["a"], "chosen": []}), (
        f"a.json: is a JSON object without a list of rows, or columns of one length ({SAVE})"
    )),
    "a number": ("a.json", b"7", f"a.json: is a JSON int, not rows ({SAVE})"),
    "no json": ("a.json", b"prompt,chosen", f"a.json: is not JSON: Expecting value at character 1 ({SAVE})"),
    "an object that is not utf-8": (
        "a.json", '{"data":\n["é"]}'.encode("cp1252"), f"a.json: line 2 is not UTF-8 ({CONVERT})",
    ),
    "utf-16 cut off": ("a.csv", in_utf16(csv_of())[:-1], "a.csv: is not whole UTF-16-LE text: truncated data"),
    "csv of windows": ("a.csv", CP1252, (
        f"a.csv:5: 'chosen' holds bytes that are not UTF-8 ({CONVERT}); 1 of 7 rows (14.3%) cannot be used: 1 encoding "
        "(mend them, or allow more than dataset.max_bad_fraction=0.05)"
    )),
    "csv, a field too many": ("a.csv", csv_of(sep=";") + b"a;b;c;d\n", (
        f"a.csv:8: has 4 fields, the header 3 ({QUOTED.format('semicolon')})"
    )),
    "csv, an index that is none": ("a.csv", b",prompt,chosen,rejected\nx,a,b,c\n", (
        "a.csv: column 1 has no name (give it one, or take it out)"
    )),
    "csv, a quote in the open": ("a.tsv", csv_of(sep="\t") + b'a\t"b" c\td\n', (
        "a.tsv: the row that ends in line 11: '\\t' expected after '\"' "
        f"({QUOTED.format('tab')}, and a quote in it is doubled)"
    )),
    "csv, a quote in the open below a first line for Excel": ("a.csv", b'sep=;\na;b\n"c" d;e\n', (
        "a.csv: the row that ends in line 3: ';' expected after '\"' "
        f"({QUOTED.format('semicolon')}, and a quote in it is doubled)"
    )),
    "csv that says an unknown delimiter": ("a.csv", b"sep=|\n" + csv_of(sep="|"), (
        f"a.csv: its first line is 'sep=|' ({DELIMITERS})"
    )),
    "csv, pipes": ("a.csv", csv_of(sep="|"), f'a.csv: its header has "|" between the columns ({DELIMITERS})'),
    "gzip cut off": ("a.csv.gz", gzip.compress(csv_of())[:-9], (
        "a.csv.gz: is not a whole gzip file: Compressed file ended before the end-of-stream marker was reached"
    )),
    "bzip2 cut off": ("a.json.bz2", bz2.compress(json_of(ROWS))[:-9], (
        "a.json.bz2: is not a whole bzip2 file: Compressed file ended before the end-of-stream marker was reached"
    )),
    "xz that is none": ("a.jsonl.xz", lines_of(ROWS), (
        "a.jsonl.xz: is not a whole xz file: Input format not supported by decoder"
    )),
    "zstd cut off": (
        "a.tsv.zst", zstd(csv_of(sep="\t"))[:-3], "a.tsv.zst: is not a whole zstd file: Truncated compressed stream",
    ),
    "arrow that is none": ("a.arrow", b"junk" * 9, (
        "a.arrow: cannot be read as arrow: Expected to read 1802401130 metadata bytes, but only read 32"
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_one_line_with_file_row_and_what_to_do(name: str, tmp_path: Path) -> None:
    file, content, said = REFUSED[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError) as error:
        loaded(tmp_path, tmp_path / file)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("a.txt", f"unknown extension (rename it after what is in it; known: {KNOWN})"),
        ("a.xlsx", f"unknown extension (save the sheet as CSV; known: {KNOWN})"),
        ("a.jsonl.lz4", f"unknown extension (known: {KNOWN})"),
        ("empty.json", "the file is empty"),
        ("packed.csv", "is compressed (name it packed.csv.xz, or unpack it)"),
    ],
)
def test_a_name_that_says_the_wrong_thing_is_told_with_what_to_do(file: str, said: str, tmp_path: Path) -> None:
    content = {"empty.json": b"", "packed.csv": lzma.compress(csv_of())}.get(file, lines_of(ROWS))
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError) as error:
        loaded(tmp_path, tmp_path / file)
    assert str(error.value) == f"{tmp_path / file}: {said}"


def test_a_bad_row_of_an_array_is_dropped_and_counted_by_its_place_in_it(tmp_path: Path) -> None:
    half = b'{"prompt": "Q", "chosen": "\\ud83d", "rejected": "b"}'
    twice = b'{"prompt": "Q", "chosen": "a", "chosen": "b", "rejected": "c"}'
    content = b"[" + b",".join([json_of(ROWS[0]), half, b"7", twice, '{"a": "é"}'.encode("cp1252")]) + b"]"
    (tmp_path / "a.json").write_bytes(content)
    told = loaded(tmp_path, tmp_path / "a.json", max_bad_fraction=1).report["sources"]["train"][0]
    assert told["examples"] == {"encoding": ["a.json:2", "a.json:5"], "bad_json": ["a.json:3", "a.json:4"]}


# ---- folders


def test_a_saved_dataset_is_read_and_each_of_its_files_is_in_the_record(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    found = loaded(tmp_path, tmp_path / "saved")
    assert pairs_of(found) == PAIRS
    told = found.report["sources"]["train"]
    assert [(t["file"], t["rows"]) for t in told] == [
        ("data-00000-of-00002.arrow", 4),
        ("data-00001-of-00002.arrow", 3),
    ]
    with pytest.raises(DataError, match=r"saved: has no splits.*dataset.test_from_train=N"):
        load(DatasetConfig("files", path=str(tmp_path / "saved")))


def test_a_saved_dictionary_of_datasets_has_its_splits(tmp_path: Path) -> None:
    train, test = datasets.Dataset.from_list(ROWS), datasets.Dataset.from_list([HELD])
    datasets.DatasetDict(train=train, test=test, other=test).save_to_disk(tmp_path / "saved")
    found = load(DatasetConfig("files", path=str(tmp_path / "saved"), validation=0))
    assert pairs_of(found) == PAIRS
    assert [pair.chosen for pair in found.tests["test"]] == ["Yes."]
    assert found.report["sources"]["test"][0]["file"] == "test/data-00000-of-00001.arrow"
    assert pairs_of(loaded(tmp_path, tmp_path / "saved")) == PAIRS  # dataset.train=FOLDER takes the train split
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "other"]}')
    with pytest.raises(DataError, match=r"saved: no test split, only train, other \(name one with dataset.test=F"):
        load(DatasetConfig("files", path=str(tmp_path / "saved")))


def test_a_saved_dataset_that_is_not_whole_says_which_file_is_missing(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    (tmp_path / "saved" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"data-00001-of-00002.arrow: no such file"):
        loaded(tmp_path, tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"state.json: names no files of rows \(save the dataset again\)"):
        loaded(tmp_path, tmp_path / "saved")


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_folder_of_shards_is_one_split(kind: str, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for i, part in enumerate([ROWS[:3], ROWS[3:]]):
        file = tmp_path / "shards" / f"part.{i}.{kind}"
        pd.DataFrame(part).to_parquet(file) if kind == "parquet" else file.write_bytes(lines_of(part))
    for other in ("README.md", f"._part.0.{kind}"):
        (tmp_path / "shards" / other).write_text("No rows.")
    assert pairs_of(loaded(tmp_path, tmp_path / "shards")) == PAIRS
    (tmp_path / "shards" / "part.2.jsonl").write_bytes(b"")
    said = "part.2.jsonl: the file is empty" if kind == "jsonl" else "has part.0.parquet and part.2.jsonl"
    with pytest.raises(DataError, match=said):
        loaded(tmp_path, tmp_path / "shards")


def test_what_datasets_says_of_shards_is_no_shard(tmp_path: Path) -> None:
    for name in ("dataset_info.json", "dataset_infos.json", "state.json"):
        (tmp_path / name).write_bytes(json_of({"features": {}, "_data_files": []}))
        (tmp_path / "part.jsonl").write_bytes(lines_of(ROWS))
        assert [source.label for source in open_split(tmp_path, "train")] == ["part.jsonl"]
        (tmp_path / name).unlink()


def test_a_row_of_a_shard_is_told_by_the_shard_s_name_and_its_own_number(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "one.jsonl").write_bytes(lines_of(ROWS))
    (tmp_path / "shards" / "two.jsonl").write_bytes(lines_of([HELD | {"chosen": None}]))
    told = loaded(tmp_path, tmp_path / "shards", max_bad_fraction=1).report["sources"]["train"]
    assert [t["examples"] for t in told] == [{}, {"not_text": ["two.jsonl:1"]}]


def test_a_folder_of_several_splits_is_never_taken_for_one(tmp_path: Path) -> None:
    for name in ("train-0.jsonl", "test-0.jsonl"):
        (tmp_path / name).write_bytes(lines_of(ROWS))
    with pytest.raises(DataError) as error:
        open_split(tmp_path, "train")
    assert str(error.value) == (
        f"{tmp_path}: holds test and train (dataset.path=DIR takes each, dataset.train=F one file)"
    )
