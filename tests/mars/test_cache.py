"""Rows kept by key in a SQLite file: the first counts, many keys are found, and what is wrong is one line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mars.cache import LOOKUP, Cache
from mars.config import UserError

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS words (word BLOB PRIMARY KEY, number INTEGER); CREATE TABLE IF NOT EXISTS more (x);"
)


def words(path: Path) -> Cache:
    return Cache(path / "folder" / "words.sqlite", "words", "word", SCHEMA, "words are counted again")


def filled(path: Path, count: int) -> tuple[Cache, list[tuple[bytes, int]]]:
    cache, rows = words(path), [(str(i).encode(), i) for i in range(count)]
    cache.create()
    cache.insert(rows)
    return cache, rows


def test_more_keys_than_one_select_takes_are_all_found(tmp_path: Path) -> None:
    cache, rows = filled(tmp_path, 2 * LOOKUP + 1)
    assert sorted(cache.read("word, number", [b"nowhere", *(key for key, _ in rows)])) == sorted(rows)


def test_the_first_row_of_a_key_counts(tmp_path: Path) -> None:
    cache, _ = filled(tmp_path, 2)
    cache.insert([(b"1", 100), (b"2", 2)])
    assert sorted(cache.read("number", [b"0", b"1", b"2"])) == [(0,), (1,), (2,)]
    cache.insert([])


def test_reading_makes_nothing(tmp_path: Path) -> None:
    cache = words(tmp_path)
    assert cache.read("number", [b"0"]) == []
    assert list(tmp_path.iterdir()) == []
    cache.path.parent.mkdir()
    cache.path.touch()  # what another process has opened and not yet filled
    assert cache.read("number", [b"0"]) == []
    assert cache.path.stat().st_size == 0


def test_creating_what_is_there_writes_nothing(tmp_path: Path) -> None:
    cache, rows = filled(tmp_path, 3)
    with closing(sqlite3.connect(cache.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")  # whoever else would write now waits a minute
        cache.create()
        assert len(cache.read("word", [key for key, _ in rows])) == 3


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache, _ = filled(tmp_path, 1)

    def add_and_fail() -> None:
        with cache.transaction() as database:
            cache.add(database, [(b"new", 1)])
            assert [*cache.select(database, "number", [b"new"])] == [(1,)]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_and_fail()
    assert cache.read("number", [b"new"]) == []


def test_a_damaged_file_and_a_folder_that_cannot_be_are_one_line(tmp_path: Path) -> None:
    cache, _ = filled(tmp_path, 1)
    cache.path.write_bytes(b"no database at all" * 300)
    for use in (cache.create, lambda: cache.read("number", [b"0"]), lambda: cache.insert([(b"1", 1)])):
        with pytest.raises(UserError, match=r"words\.sqlite: .*\(delete the file; words are counted again\)$"):
            use()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/folder: words cannot be stored here"):
        words(tmp_path / "file").create()
