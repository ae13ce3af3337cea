"""Rows kept by key in a SQLite file: the first counts, many keys are found, and what is wrong is one line."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mars.cache import LOOKUP, Cache, Damaged, OtherLayout, move_aside
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


DAMAGE = {
    "text": lambda whole: b"no database at all" * 300,
    "zeros": lambda whole: whole[:100] + bytes(len(whole) - 100),
    "zeros inside": lambda whole: whole[:4096] + bytes(len(whole) - 4096),
    "cut short": lambda whole: whole[: len(whole) // 2],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_moved_aside_and_made_again(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for use in ("create", "read", "insert"):
        cache, rows = filled(tmp_path / use, 500)
        damaged = DAMAGE[kind](cache.path.read_bytes())
        cache.path.write_bytes(damaged)
        if use == "create" and kind != "zeros inside":  # which nobody sees before it is read
            cache.create()
            assert cache.read("number", [b"1"]) == []
        if use == "read":
            assert cache.read("number", [key for key, _ in rows]) == []
        cache.insert(rows)
        assert sorted(cache.read("word, number", [key for key, _ in rows])) == sorted(rows)
        assert cache.path.with_name("words.sqlite.damaged").read_bytes() == damaged
    assert len(caplog.records) == 3
    assert all(
        r.getMessage().endswith("(words are counted again); it is now words.sqlite.damaged") for r in caplog.records
    )


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_that_is_kept_is_one_line_and_stays(kind: str, tmp_path: Path) -> None:
    cache, rows = filled(tmp_path, 500)
    cache = replace(cache, kept=True, remedy="move the file away")
    damaged = DAMAGE[kind](cache.path.read_bytes())
    cache.path.write_bytes(damaged)
    for use in (lambda: cache.read("number", [key for key, _ in rows]), lambda: cache.insert(rows)):
        with pytest.raises(Damaged, match=r"words\.sqlite: .*\(move the file away\)$"):
            use()
    assert cache.path.read_bytes() == damaged


OTHERS = {
    "older": "CREATE TABLE words (word BLOB PRIMARY KEY); CREATE TABLE more (x);",
    "newer": "CREATE TABLE words (word BLOB PRIMARY KEY, number INTEGER, language TEXT); CREATE TABLE more (x);",
    "another program's": "CREATE TABLE bookmarks (url TEXT);",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_of_another_layout_is_left_alone_and_one_beside_it_is_used(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = words(tmp_path)
    cache.path.parent.mkdir()
    with closing(sqlite3.connect(cache.path)) as other:
        other.executescript(OTHERS[kind])
    before = cache.path.read_bytes()
    for _ in range(2):
        cache.insert([(b"a", 1)])
        assert cache.read("number", [b"a"]) == [(1,)]
    (line,) = {record.getMessage() for record in caplog.records}
    assert "has other tables, of another version of mars or of another program; it is left alone, and words." in line
    with pytest.raises(OtherLayout, match=r"words\.sqlite: has other tables.* \(words are counted again\)$"):
        replace(cache, kept=True).create()
    assert cache.path.read_bytes() == before


def test_a_table_that_an_older_version_did_not_have_is_added(tmp_path: Path) -> None:
    cache = words(tmp_path)
    cache.path.parent.mkdir()
    with closing(sqlite3.connect(cache.path)) as older:
        older.executescript(
            "CREATE TABLE words (word BLOB PRIMARY KEY, number INTEGER); INSERT INTO words VALUES ('a', 1);"
        )
    assert cache.read("number", ["a"]) == [(1,)]
    with cache.transaction() as database:
        database.execute("INSERT INTO more VALUES (2)")
    assert list(cache.path.parent.iterdir()) == [cache.path]


def test_a_file_that_goes_while_it_is_used_is_made_again(tmp_path: Path) -> None:
    cache, _ = filled(tmp_path, 3)
    shutil.rmtree(cache.path.parent)
    cache.insert([(b"0", 7)])
    assert cache.read("number", [b"0", b"1"]) == [(7,)]


def test_who_comes_late_moves_no_new_file_aside(tmp_path: Path) -> None:
    cache, rows = filled(tmp_path, 3)
    cache.path.write_bytes(b"no database at all" * 300)
    with pytest.raises(Damaged) as found, cache.open():
        pass
    cache.insert(rows)  # another process, which has moved it by now
    move_aside(found.value)
    assert len(cache.read("word", [key for key, _ in rows])) == 3


@pytest.mark.parametrize(
    ("in_the_way", "line"),
    [
        (lambda path: path.mkdir(), "unable to open database file"),
        (lambda path: path.symlink_to("/nowhere/at/all"), "unable to open database file"),
        (lambda path: path.parent.rmdir() or path.parent.touch(), "words cannot be stored here: File exists"),
        (
            lambda path: path.parent.rmdir() or path.parent.symlink_to("/nowhere"),
            "words cannot be stored here: File exists",
        ),
    ],
)
def test_what_is_in_the_way_is_one_line(in_the_way: Callable[[Path], None], line: str, tmp_path: Path) -> None:
    cache = words(tmp_path)
    cache.path.parent.mkdir()
    in_the_way(cache.path)
    with pytest.raises(UserError, match=rf"{line} \(.*link.*, then run the same command again\)$"):
        cache.insert([(b"a", 1)])
