"""Pairs on disk are the pairs that were put there, in whatever order they are read."""

from __future__ import annotations

import errno
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.config import UserError
from mars.preferences import columns
from mars.preferences.columns import Changed, PairFile, Stored, pick
from mars.preferences.dataset import DatasetConfig, load
from mars.preferences.dialogue import Message
from mars.preferences.numbering import Numbering
from mars.preferences.pair import DataError, Pair, pairs_digest
from mars.worlds import planted
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=20)  # halves of surrogate pairs too


def pair(i: int) -> Pair:
    return Pair(f"p{i}", (Message("user", f"prompt {i // 2}"),), f"good {i}", f"bad {i}")


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pairs of a corpus stay objects."""
    monkeypatch.setattr(columns, "IN_MEMORY", 3)
    monkeypatch.setattr(planted, "IN_MEMORY", 3)


@given(TEXTS, TEXTS, TEXTS, st.floats(allow_nan=False) | st.none(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_pair_comes_back_as_it_was(name, prompt, reply, margin, exchanged):
    one = Pair(name, (Message("system", reply), Message("user", prompt)), reply, prompt, margin, name, exchanged)
    file = PairFile()
    numbers = [file.add(one), file.add(pair(1))]
    assert [file.read(n) for n in reversed(numbers)] == [pair(1), one]


@pytest.mark.usefixtures("small_memory")
def test_what_is_in_memory_and_what_is_on_disk_is_one_sequence():
    stored = Stored()
    for i in range(8):
        stored.append(pair(i))
        assert stored[i] == stored[-1] == pair(i)  # reading does not disturb what is written next
    assert list(stored) == [pair(i) for i in range(8)]
    some = pick(pick(stored, np.array([7, 2, 3, 0])), np.array([2, 0]))
    assert (list(some), some[-1], len(some)) == ([pair(3), pair(7)], pair(7), 2)
    assert some.pairs is stored
    assert list(stored[2:5]) == [pair(i) for i in (2, 3, 4)]
    assert [p.id for p in Changed(some, lambda p: pair(int(p.id[1:]) + 1))] == ["p4", "p8"]
    with pytest.raises(IndexError):
        stored[8]


class Full(io.FileIO):
    """A file on a full disk."""

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_in_one_line(small_memory: None, tmp_path: Path):
    stored = Stored()
    stored._rest.__dict__["_file"] = Full(tmp_path / "pairs", "w+")
    for i in range(5):
        stored.append(pair(i))
    with pytest.raises(UserError, match=r"cannot be written: No space left on device \(.*TMPDIR"):
        stored[4]


def test_a_corpus_on_disk_is_the_same_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    row = {"prompt": "Why {}?", "chosen": "Because {}.", "rejected": "No \ud83d\ude00 {}."}
    for split, count in (("train", 40), ("test", 9)):
        lines = [
            json.dumps({k: v.format(i % 30 if k == "prompt" else i) for k, v in row.items()}) for i in range(count)
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    config = DatasetConfig("files", path=str(tmp_path), size=25, validation=6, flip_rate=0.3)
    whole = load(config)
    monkeypatch.setattr(columns, "IN_MEMORY", 3)
    parted = load(config)
    assert parted.base[20].id == whole.base[20].id
    assert isinstance(parted.base[20], Pair)
    assert (parted.digests, parted.report) == (whole.digests, whole.report)


@pytest.mark.usefixtures("small_memory")
def test_places_are_named_in_a_corpus_on_disk_too(tmp_path: Path):
    rows = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b", "id": f"r{i}"} for i in range(8)]
    (tmp_path / "train-1.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    again = {"prompt": "other", "chosen": "a", "rejected": "b", "id": "r6"}
    (tmp_path / "train-2.jsonl").write_text(f"{json.dumps(again)}\n")
    config = DatasetConfig("files", path=str(tmp_path), test_from_train=2)
    with pytest.raises(DataError, match=re.escape('train-2.jsonl:1: the id "r6" stands at train-1.jsonl:7 already')):
        load(config)


@pytest.mark.usefixtures("small_memory")
def test_generated_rows_on_disk_are_those_that_were_generated():
    rows, fresh = (load_planted(PlantedConfig(size=9)).base for _ in range(2))
    assert [rows[i] for i in (8, 3, 1, 8)] == [fresh[i] for i in (8, 3, 1, 8)]
    assert pairs_digest(rows) == pairs_digest(rows) == pairs_digest([fresh.world.pair("train", i) for i in range(9)])


@given(st.lists(st.lists(st.integers(0, 400), max_size=300), max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_key_has_the_number_of_its_first_coming(batches):
    numbering, known = Numbering(), dict[bytes, int]()
    for batch in batches:
        keys = [(7919 * n).to_bytes(8, "little") * 2 for n in batch]  # of some the search begins at one place
        np.testing.assert_array_equal(numbering.find(keys), [known.get(key, -1) for key in keys])
        new = [key for key in dict.fromkeys(keys) if key not in known]
        numbering.add(new)
        known |= {key: len(known) + i for i, key in enumerate(new)}
        np.testing.assert_array_equal(numbering.find(keys), [known[key] for key in keys])
    assert len(numbering) == len(known)
