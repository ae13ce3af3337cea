"""A file with bad rows, as a newcomer meets it: one line says where, what and what to do; nothing is written."""

import json
from pathlib import Path

import pytest
from support.commands import run_here

from mars.run import main

ROWS = 60
BAD = {  # kind: (such a line, what is said of it)
    "bad_json": (b'{"prompt": "Q", "chosen": ', "the line is not JSON: Expecting value at character 26"),
    "encoding": (
        b'{"prompt": "Q", "chosen": "a\xff", "rejected": "b"}',
        "byte 29 of the line is not UTF-8 (from Windows? iconv -f WINDOWS-1252 -t UTF-8 FILE >NEW)",
    ),
    "not_text": (b'{"prompt": "Q", "chosen": 5, "rejected": "b"}', '"chosen" is 5, not text'),
    "not_text, missing": (b'{"prompt": "Q", "chosen": "a"}', '"rejected" is missing (known: prompt, chosen)'),
    "empty": (b'{"prompt": "Q", "chosen": " ", "rejected": "b"}', '"chosen" is empty'),
    "identical": (b'{"prompt": "Q", "chosen": "a", "rejected": "a"}', "chosen and rejected are the same text"),
}


def stopped(folder: Path, bad: dict[int, bytes], *settings: str) -> str:
    """What a run of 60 rows, `bad` where it has the line, writes to standard error as it fails, without `error: `."""
    sound = (
        json.dumps({"prompt": f"Question {i}?", "chosen": f"Right {i}.", "rejected": f"No, {i}."}).encode()
        for i in range(1, ROWS + 1)
    )
    (folder / "rows.jsonl").write_bytes(b"".join(bad.get(i, row) + b"\n" for i, row in enumerate(sound, 1)))
    files = ["dataset=files", "dataset.train=rows.jsonl", "dataset.test_from_train=0.2"]
    done = run_here(main, "scale=tiny", *files, "study=study", "cache=cache", *settings, cwd=folder)
    assert done.returncode == 1
    assert done.stdout == ""
    assert [path.name for path in folder.iterdir()] == ["rows.jsonl"]  # nothing half-written
    said = done.stderr.removesuffix("\n")
    assert "\n" not in said
    return said.removeprefix("error: ")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_with_what_to_do(name: str, tmp_path: Path):
    line, what = BAD[name]
    kind = name.partition(",")[0]
    said = stopped(tmp_path, {17: line}, f"dataset.on.{kind}=raise")
    assert said == f"rows.jsonl:17: {what} (drop such rows with dataset.on.{kind}=drop)"


def test_too_many_bad_rows_are_counted_by_kind_and_the_first_is_named(tmp_path: Path):
    lines = [line for line, _ in BAD.values()]
    said = stopped(tmp_path, {i: lines[i % len(lines)] for i in range(10, 50)})
    assert said == (
        'rows.jsonl:10: "chosen" is empty; 40 of 60 rows (66.7%) cannot be used: 12 not_text, 7 empty, 7 identical, '
        "7 bad_json, 7 encoding (mend them, or allow more than dataset.max_bad_fraction=0.05)"
    )


def test_a_file_in_another_encoding_is_told_apart_from_bad_json(tmp_path: Path):
    utf_16 = '{"prompt": "Q"}'.encode("utf-16")
    said = stopped(tmp_path, {2: utf_16}, "dataset.on.bad_json=raise")
    assert said.startswith("rows.jsonl:2: the line is not JSON: ")
    assert ", and byte 1 of the line is not UTF-8 (" in said
    assert stopped(tmp_path, {1: utf_16}).startswith("rows.jsonl:1: the line is not JSON: ")
