"""What several processes want: in parts by size, each thing once, and waited for where another has it in hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from mars import claims
from mars.cache import LOOKUP, Cache
from mars.claims import Claim, Claims, free, key_of
from mars.each_once import each_once

SCHEMA = f"CREATE TABLE IF NOT EXISTS words (word BLOB PRIMARY KEY, number INTEGER); {claims.TABLE}"


class Word(NamedTuple):
    text: str
    size: int = 1

    @property
    def key(self) -> bytes:
        return key_of(self.text)

    @property
    def wanted(self) -> tuple[bytes]:
        return (self.text.encode(),)


def words(path: Path) -> Cache:
    cache = Cache(path / "words.sqlite", "words", "word", SCHEMA, "words are counted again")
    cache.create()
    return cache


def writer(cache: Cache, parts: list[list[str]]) -> Callable[[Sequence[Word], Claim], None]:
    """Stores what it gets, and keeps in `parts` what that was."""

    def make(mine: Sequence[Word], _: Claim) -> None:
        parts.append([word.text for word in mine])
        cache.insert([(word.text.encode(), word.size) for word in mine])

    return make


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([1, 1, 1, 1, 1], [2, 2, 1]),
        ([9, 1, 1], [1, 2]),  # one at least, however large
        ([1, 9, 1], [1, 1, 1]),
        ([2, 2, 1, 1], [1, 1, 2]),
    ],
)
def test_parts_are_as_large_as_asked_for(sizes: list[int], parts: list[int], tmp_path: Path) -> None:
    cache, made = words(tmp_path), list[list[str]]()
    todo = [Word(str(i), size) for i, size in enumerate(sizes)]
    gone = list(each_once(Claims(cache), todo, 2, writer(cache, made), "words"))
    assert [len(part) for part in made] == parts
    assert [text for part in made for text in part] == [word.text for word in todo]
    assert sum(gone) == sum(sizes)


def test_what_is_stored_is_not_made_even_behind_much_that_is(tmp_path: Path) -> None:
    cache, made = words(tmp_path), list[list[str]]()
    todo = [Word(str(i)) for i in range(2 * LOOKUP + 5)]
    cache.insert([(word.text.encode(), 1) for word in todo[:-1]])
    assert list(each_once(Claims(cache), todo, 3 * LOOKUP, writer(cache, made), "words")) == [len(todo)]
    assert made == [[todo[-1].text]]


def test_what_another_has_in_hand_is_waited_for_and_not_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache, made = words(tmp_path), list[list[str]]()
    todo = [Word("theirs"), Word("mine"), Word("mine too")]
    held, finish = threading.Event(), threading.Event()

    def another() -> None:
        with Claims(cache).claim(free([todo[0].key])):
            held.set()
            finish.wait(30)
            cache.insert([(b"theirs", 1)])

    other = threading.Thread(target=another)
    other.start()
    assert held.wait(30)
    gone = []
    with caplog.at_level("INFO", "mars"):
        for shrunk in each_once(Claims(cache), todo, 1, writer(cache, made), "words"):
            gone.append(shrunk)
            if len(gone) == 2:
                threading.Timer(0.2, finish.set).start()
    other.join()
    assert made == [["mine"], ["mine too"]]
    assert gone == [1, 1, 1]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("words.sqlite: waiting for words that process ")
    assert line.endswith(" is making")


def test_what_another_gave_up_is_made_here(tmp_path: Path) -> None:
    cache, made = words(tmp_path), list[list[str]]()
    with Claims(cache).claim(free([Word("a").key])):
        todo = each_once(Claims(cache), [Word("a"), Word("b")], 1, writer(cache, made), "words")
        assert next(todo) == 1
    assert list(todo) == [1]
    assert made == [["b"], ["a"]]
