"""`mars cache`: what is in it and what goes; nothing that somebody uses, and replies only by their name."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.commands import run_here

from mars import claims
from mars.augment.chat import Chat
from mars.augment.chat_settings import Patience
from mars.cache import Cache, default_place
from mars.cli import composed
from mars.commands.cache import KINDS, Entry, Rule, contents, delete, entries, in_use, prune
from mars.config import UserError
from mars.files import size
from mars.pool.store import TABLES
from mars.run import main

NOW = time.time()
DAY = 86_400.0


def variants(place: Path, name: str = "eda-0123") -> Cache:
    """A file of variants, with its tables."""
    file = Cache(place / "variants" / f"{name}.sqlite", "variants", "key", TABLES, "variants are made again")
    file.create()
    return file


def put(path: Path, days: float, size: int = 1000) -> Path:
    """A file of that size, or a directory with one, that was used so many days ago."""
    file = path if path.suffix else path / "model.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(size))
    aged(file, days)
    return path


def aged(file: Path, days: float) -> None:
    """Makes it as if it had been used so many days ago."""
    os.utime(file, (NOW - days * DAY,) * 2)


def filled(place: Path) -> None:
    """Every kind, 40 days old, and a file of features from yesterday."""
    aged(variants(place).path, 40)
    for name in ("starts/minilm-0.safetensors", "writers/tiny_writer-0", "policies/ab", "shards/cd"):
        put(place / name, 40)
    for name in ("replies.sqlite", "candidates.sqlite", "features/old-0.sqlite", "variants/bad.sqlite.damaged"):
        with closing(sqlite3.connect(put(place / name, 40, 0))) as database:
            database.execute("CREATE TABLE one (x)")
        aged(place / name, 40)
    put(place / "features" / "new-1.sqlite", 1)
    put(place / "mine" / "notes.txt", 400)


def pruned(place: Path, rule: Rule) -> list[str]:
    """What prune says, for whom it did so."""
    return list(prune(place, rule, NOW, delete))


def names(place: Path) -> set[str]:
    """The entries of the cache, by their paths."""
    return {str(entry.path.relative_to(place)) for entry in entries(place)}


def test_every_kind_is_listed_with_size_and_last_use(tmp_path: Path) -> None:
    filled(tmp_path)
    assert {entry.kind for entry in entries(tmp_path)} == set(KINDS)
    text = "\n".join(contents(tmp_path, NOW))
    assert text.startswith(f"{tmp_path}: ")
    assert "starts        1.0 kB  models that the arms of a study start from" in text
    assert "  1.0 kB  features/new-1.sqlite, last used 24.0 h ago" in text
    assert "features/old-0.sqlite, last used 40 days ago" in text
    assert "notes.txt" not in text


def test_an_empty_or_absent_cache_is_said_to_be_empty(tmp_path: Path) -> None:
    assert list(contents(tmp_path / "nowhere", NOW))[1] == "it is empty"


def test_what_is_old_goes_and_replies_and_other_people_s_files_stay(tmp_path: Path) -> None:
    filled(tmp_path)
    lines = pruned(tmp_path, Rule())
    assert names(tmp_path) == {"replies.sqlite", "features/new-1.sqlite"}
    assert (tmp_path / "mine" / "notes.txt").exists()
    assert "removed: starts/minilm-0.safetensors, 1.0 kB: not used for 40 days" in lines
    assert any(line.endswith("damaged or half written") for line in lines)
    assert lines[-1].endswith(" freed")


def test_a_dry_run_says_the_same_and_removes_nothing_and_uses_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    before = entries(tmp_path)
    said = list(prune(tmp_path, Rule(), NOW, None))
    assert entries(tmp_path) == before
    assert [line.replace("would be removed", "removed").replace("would be freed", "freed") for line in said] == pruned(
        tmp_path, Rule()
    )


def test_replies_go_only_where_they_are_named(tmp_path: Path) -> None:
    filled(tmp_path)
    pruned(tmp_path, Rule(older=0.0, what=("features",)))
    assert "replies.sqlite" in names(tmp_path)
    assert "features/new-1.sqlite" not in names(tmp_path)
    pruned(tmp_path, Rule(what=("replies",)))
    assert "replies.sqlite" not in names(tmp_path)
    assert "candidates.sqlite" in names(tmp_path)


def test_the_replies_of_a_chat_are_those_that_have_to_be_named(tmp_path: Path) -> None:
    """The kind and the module that writes the file agree on its name."""

    class Backend:
        name = "none"

    Chat(Backend(), tmp_path, Patience())  # type: ignore[arg-type]
    assert [entry.kind for entry in entries(tmp_path)] == ["replies"]
    assert KINDS["replies"].named


def test_what_was_used_within_the_hour_stays(tmp_path: Path) -> None:
    filled(tmp_path)
    aged(tmp_path / "starts" / "minilm-0.safetensors", 0.01)
    aged(tmp_path / "variants" / "bad.sqlite.damaged", 0.01)
    lines = pruned(tmp_path, Rule(older=0.0))
    assert {"starts/minilm-0.safetensors", "variants/bad.sqlite.damaged"} <= names(tmp_path)
    assert "stays, may be in use: variants/bad.sqlite.damaged (damaged or half written)" in lines
    assert lines[-1].endswith(", 2 in use")


def held(place: Path, hold: Callable[[Cache], None]) -> bool:
    """Whether a 40 days old file counts as in use while `hold` was done to it."""
    file = variants(place)
    hold(file)
    aged(file.path, 40)
    return in_use(Entry("variants", file.path, 0, NOW - 40 * DAY), NOW)


def test_a_file_that_is_locked_or_claimed_is_in_use(tmp_path: Path) -> None:
    assert not held(tmp_path / "free", lambda _: None)
    with closing(sqlite3.connect(tmp_path / "locked.sqlite", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        assert in_use(Entry("features", tmp_path / "locked.sqlite", 0, NOW - 40 * DAY), NOW)
    file = variants(tmp_path / "claimed")
    with claims.Claims(file).claim(claims.free([claims.key_of("a text")])):
        assert held(tmp_path / "claimed", lambda _: None)
    assert not held(tmp_path / "claimed", lambda _: None)


def test_a_writer_that_is_being_made_is_in_use(tmp_path: Path) -> None:
    writer = put(tmp_path / "writers" / "tiny_writer-0", 40)
    file = Cache(tmp_path / "writers" / "claims.sqlite", "claims", "owner", claims.TABLE, "")
    file.create()
    entry = Entry("writers", writer, 0, NOW - 40 * DAY)
    with claims.Claims(file).claim(claims.free([claims.key_of("tiny_writer-1")])):
        assert in_use(entry, NOW)
    assert not in_use(entry, NOW)


def test_of_two_versions_files_the_other_s_goes(tmp_path: Path) -> None:
    other = tmp_path / "variants" / "eda-0123.sqlite"
    other.parent.mkdir()
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE variants (key BLOB PRIMARY KEY)")
    variants(tmp_path).insert([(b"k", b"text", "", "{}", "", "", 0, b"")])  # into a file beside it
    ours = next(other.parent.glob("eda-0123.*.sqlite"))
    for file in (other, ours):
        aged(file, 2)
    assert pruned(tmp_path, Rule())[0].endswith("of another version of mars")
    assert list(other.parent.iterdir()) == [ours]


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    put(tmp_path / "starts" / ".minilm-0.safetensors.4711", 2)
    pruned(tmp_path, Rule())
    assert list((tmp_path / "starts").iterdir()) == []


def test_the_command_lists_prunes_and_finds_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    monkeypatch.setenv("MARS_CACHE", str(tmp_path))
    assert default_place() == tmp_path
    assert run_here(main, "cache").stdout == run_here(main, "cache", f"cache={tmp_path}").stdout
    listed = run_here(main, "cache", "prune", "dry_run=true", "what=features,starts", "older=0.5")
    assert (listed.returncode, listed.stdout.count("would be removed")) == (0, 3)
    run_here(main, "cache", "prune", "what=features,starts", "older=0.5")
    assert not {"features/new-1.sqlite", "starts/minilm-0.safetensors"} & names(tmp_path)


@pytest.mark.parametrize("named", ["/elsewhere", ""])
def test_the_default_place_is_that_of_the_config(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARS_CACHE", raising=False)
    if named:
        monkeypatch.setenv("MARS_CACHE", named)
    assert Path(composed("config")["cache"]).expanduser() == default_place()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["purge"], "usage: cache [prune]"),
        (["prune", "now"], "usage: cache [prune]"),
        (["older=3"], "older: no such setting (known: cache) (usage:"),
        (["prune", "oldr=3"], 'oldr: no such setting (did you mean "older"?) (usage:'),
        (["prune", "older=soon"], "older: must be a number of days, not soon"),
        (["prune", "what=featurs"], "what: featurs is nothing that is cached"),
        (["prune", "dry_run=maybe"], "dry_run: must be true or false, not maybe"),
        (["cache=FILE"], "is no directory"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], line: str, tmp_path: Path) -> None:
    (tmp_path / "FILE").touch()
    done = run_here(main, "cache", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_cannot_be_removed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").touch()
    (tmp_path / "a.sqlite-journal").mkdir()  # which no file's removal removes
    with pytest.raises(UserError, match=r"a\.sqlite: cannot be removed: "):
        delete(Entry("features", tmp_path / "a.sqlite", 0, 0.0))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9.96e6, "10 MB"), (12e9, "12 GB"), (3e15, "3000 TB")],
)
def test_a_size_is_said_in_the_unit_that_suits_it(count: float, text: str) -> None:
    assert size(count) == text


def test_a_folder_that_is_no_cache_is_left_alone(tmp_path: Path) -> None:
    for name in ("policies/law/act.txt", "photo.damaged", "project/.app.log.2", "deep/down/old.damaged"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
        aged(tmp_path / name, 24 * 60)
    before = names(tmp_path)
    done = run_here(main, "cache", "prune", f"cache={tmp_path}")
    assert done.returncode == 1
    assert done.stderr == f"error: cache: {tmp_path} holds no features, variants, replies or starts of mars\n"
    filled(tmp_path)
    pruned(tmp_path, Rule(older=0.0))
    assert before - {"policies/law/act.txt", "policies/law", "policies"} <= names(tmp_path)
