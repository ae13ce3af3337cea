"""Any text is a dialogue or a ValueError, any JSON value a row or a defect, any file pairs or one line: nothing else.

A short look at each property by default; `MARS_FUZZ_SECONDS=100` looks for other examples until so many seconds have
passed, property by property (CONTRIBUTING.md).
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mars.preferences.bad_rows import Policies, read_split
from mars.preferences.candidates import Tally, read_candidates
from mars.preferences.containers.raw import RawRow
from mars.preferences.dialogue import Message, parse_hh, render_plain, split_last_assistant
from mars.preferences.pair import DataError, Pair
from mars.preferences.recognition import fitting
from mars.preferences.rows import Defect, Row, Schema, examine
from mars.preferences.schemas import SCHEMAS, hh_rlhf
from mars.preferences.shapes import SHAPES
from mars.preferences.sources import Source, open_file

SECONDS = float(os.environ.get("MARS_FUZZ_SECONDS", "0"))
PARSERS: dict[str, Schema] = {
    f"{name}{key}": schema for name, kinds in (SCHEMAS | SHAPES).items() for key, schema in kinds.items()
}


def looked_at(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, derandomize=False, database=None, suppress_health_check=slow)


def rounds() -> Iterator[None]:
    """Once, and then until the time is over."""
    end = time.monotonic() + SECONDS
    yield
    while time.monotonic() < end:
        yield


# ---- what is tried

WORDS = st.sampled_from(
    ["\n\nHuman:", "\n\nAssistant:", "Human: ", "\n", " ", "a", "\u200b", "\u202e", "\0", "\ufeff", ""]
)
MARKED = st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=12).map("".join)
TEXT = st.one_of(MARKED, st.text(st.characters(exclude_categories=()), max_size=20))  # lone surrogates too
NAMES = (
    "prompt chosen rejected response_0 response_1 better_response_id safer_response_id role content id subset source "
    "instruction completions response overall_score fine-grained_score score_chosen score_rejected "
    "candidate candidates gold conversation_a conversation_b winner response_a response_b winner_model_a "
    "winner_model_b question response_A response_B label context response1 response2 preference_strength history "
    "human_ref_A human_ref_B labels score_ratio score_A score_B annotator1 annotator2 output output_1 output_2 "
    "preference input responses rank scores conversations from value system tool_calls"
)
COLUMNS = st.sampled_from(NAMES.split())
ROLES = st.sampled_from(["user", "assistant", "system", "human"])
LEAF = st.one_of(
    st.none(), st.booleans(), TEXT, ROLES, st.integers(-2, 2), st.integers(), st.just(10**400),
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["1", "N/A", "nan", "1e999"]),
)  # fmt: skip
TURNS = st.lists(st.fixed_dictionaries({"role": st.one_of(ROLES, LEAF), "content": st.one_of(TEXT, LEAF)}), max_size=4)
VALUE = st.recursive(
    st.one_of(LEAF, TURNS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(COLUMNS, TEXT), inner, max_size=4)),
    max_leaves=12,
)
ROW = st.dictionaries(st.one_of(COLUMNS, TEXT), VALUE, max_size=8)


NUMBERS = st.one_of(st.integers(-3, 3), LEAF)
SAID = st.lists(st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt", "tool"]), "value": TEXT}), max_size=4)
LIKELY = [  # what the shapes of public datasets need, besides prompt, chosen and rejected
    {"conversation_a": TURNS, "conversation_b": TURNS, "winner": st.sampled_from(["model_a", "model_b", "tie"])},
    {"response_a": TEXT, "response_b": TEXT, "winner_model_a": NUMBERS, "winner_model_b": NUMBERS},
    {"question": TEXT, "response_A": TEXT, "response_B": TEXT, "label": st.sampled_from(["A>B", "B>A", "A=B"])},
    {"context": TURNS, "response1": TEXT, "response2": TEXT, "preference_strength": NUMBERS},
    {"history": TEXT, "human_ref_A": TEXT, "human_ref_B": TEXT, "labels": NUMBERS, "score_ratio": NUMBERS},
    {"instruction": TEXT, "response1": TEXT, "response2": TEXT, "annotator1": NUMBERS, "annotator2": NUMBERS},
    {"instruction": TEXT, "output": st.lists(TEXT, min_size=2, max_size=2), "preference": NUMBERS},
    {"responses": st.lists(TEXT, min_size=2, max_size=4), "rank": st.lists(NUMBERS, min_size=2, max_size=4)},
    {"conversations": SAID, "chosen": SAID, "rejected": SAID},
]


@st.composite
def likely_rows(draw: st.DrawFn) -> dict[str, Any]:
    """A row that has what its schema needs, with a value or two exchanged."""
    sides = {"prompt": TEXT, "chosen": TEXT, "rejected": TEXT}
    pku = {"response_0": TEXT, "response_1": TEXT, "better_response_id": st.integers(0, 1)}
    completion = st.fixed_dictionaries({"response": TEXT, "overall_score": LEAF, "fine-grained_score": LEAF})
    many = {"instruction": TEXT, "completions": st.lists(completion, max_size=4)}
    said = draw(st.sampled_from([{}, many, *LIKELY]))
    row = {key: draw(value) for key, value in (sides | pku | said).items()}
    return row | draw(st.dictionaries(COLUMNS, VALUE, max_size=2))


ANY_ROW = st.one_of(ROW, likely_rows())


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A file of rows as JSON, whole or with a few bytes exchanged."""
    rows = draw(st.lists(st.one_of(ANY_ROW, VALUE), max_size=4))
    content = bytearray(b"\n".join(json.dumps(row).encode() for row in rows))
    for place, byte in draw(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3)):
        content[place : place + 1] = bytes([byte])
    return bytes(content) + draw(st.binary(max_size=8))


# ---- what must hold


@looked_at(60)
@given(MARKED)
def any_text_is_a_dialogue_or_a_value_error(text: str) -> None:
    try:
        turns = parse_hh(text)
    except ValueError:
        return
    assert turns
    assert all(turn.content == turn.content.strip() for turn in turns)
    spoken = sum(len(turn.content.split()) for turn in turns)
    assert spoken <= len(text.split())


@looked_at(60)
@given(st.lists(MARKED.map(str.strip), min_size=1, max_size=4), MARKED.map(str.strip))
def a_dialogue_is_read_as_it_was_rendered(contents: list[str], response: str) -> None:
    if any(f"\n\n{speaker}:" in text for text in [*contents, response] for speaker in ("Human", "Assistant")):
        return  # counted as `turn_marker`, because nothing can tell it from a turn
    prompt = tuple(
        Message("user" if i % 2 == len(contents) % 2 else "assistant", text) for i, text in enumerate(contents, 1)
    )
    rendered = "".join(render_plain(prompt, response))
    assert split_last_assistant(parse_hh(rendered)) == (prompt, response)
    row = hh_rlhf({"chosen": f"\n\n{rendered}", "rejected": rendered})
    assert (row.prompt, row.chosen, row.rejected, row.doubts) == (prompt, response, response, ())


@looked_at(60)
@given(ANY_ROW)
def any_value_is_a_row_or_a_defect(raw: dict[str, Any]) -> None:
    for schema in PARSERS.values():
        try:
            rows = schema.rows(raw)
        except Defect:
            continue
        assert rows
        for row in rows:
            assert isinstance(row, Row)
            assert all(isinstance(message, Message) and isinstance(message.content, str) for message in row.prompt)
            assert all(isinstance(text, str) for text in (row.chosen, row.rejected, row.subset, row.id or ""))
            assert all(isinstance(doubt, Defect) for doubt in examine(row, 20))
            assert 0.5 <= row.agreement <= 1
            assert row.strength is None or isinstance(row.strength, float)
    assert set(fitting([raw])) <= set(SHAPES)


@looked_at(40)
@given(ANY_ROW)
def any_value_is_candidates_or_one_line(raw: dict[str, Any]) -> None:
    try:
        found = list(read_candidates(Source("f", {}, [RawRow(1, raw)]), Tally()))
    except DataError:
        return
    assert all(isinstance(one.text, str) and isinstance(one.gold, float) for one in found)


def judged(path: Path, schema: Schema) -> None:
    """The file's rows are pairs or counted, or it is an error of one line with its name."""
    said = ""
    try:
        pairs, (told,) = read_split([open_file(path, path.name)], schema, "p", Policies())
    except DataError as error:
        said = str(error)
    if said:
        assert path.name in said
        assert "\n" not in said
        return
    assert told.get("pairs", told["rows"]) == told["kept"] + sum(told["dropped"].values())
    assert told["kept"] == len(pairs)
    for pair in pairs:
        assert isinstance(pair, Pair)
        assert pair.prompt[-1].role == "user"
        "".join([pair.id, pair.subset, pair.chosen, pair.rejected, *(m.content for m in pair.prompt)]).encode()


@pytest.mark.parametrize(
    "holds",
    [
        any_text_is_a_dialogue_or_a_value_error,
        a_dialogue_is_read_as_it_was_rendered,
        any_value_is_a_row_or_a_defect,
        any_value_is_candidates_or_one_line,
    ],
    ids=lambda holds: holds.__name__,
)
def test_for_all_texts_and_values(holds: Callable[[], None]) -> None:
    for _ in rounds():
        holds()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.json"])
def test_any_lines_are_pairs_or_counted_or_one_line(name: str, tmp_path: Path) -> None:
    @looked_at(25)
    @given(lines(), st.sampled_from(sorted(PARSERS)), st.booleans())
    def holds(content: bytes, schema: str, whole: bool) -> None:
        if name.endswith(".json"):
            content = b"[" + content.replace(b"\n", b",") + b"]"
        packed = gzip.compress(content, 1) if name.endswith(".gz") else content
        (tmp_path / name).write_bytes(packed if whole else packed[: len(packed) // 2])
        judged(tmp_path / name, PARSERS[schema])

    for _ in rounds():
        holds()


def test_any_table_is_pairs_or_counted_or_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    cells = st.lists(
        st.sampled_from([b"a", b'"', b",", b"\n", b"\r", b"\xe9", b"\0", b" ", b'""', b"\xef\xbb\xbf"]), max_size=20
    )

    @looked_at(8)
    @given(st.sampled_from([b"prompt,chosen,rejected\n", b"prompt,chosen,chosen\n", b""]), cells.map(b"".join))
    def holds(header: bytes, content: bytes) -> None:
        (tmp_path / "rows.csv").write_bytes(header + content)
        judged(tmp_path / "rows.csv", PARSERS["files"])

    for _ in rounds():
        holds()


def test_lists_of_any_depth_are_a_defect(tmp_path: Path) -> None:
    """Also at the depth that the JSON reader just takes, where whatever looks at the value goes too deep."""
    levels = range(800, 1010)
    deep = [b'{"prompt": "\\ud800", "chosen": ' + b"[" * n + b"]" * n + b', "rejected": "b"}' for n in levels]
    (tmp_path / "deep.jsonl").write_bytes(b"\n".join([b'{"prompt": "a", "chosen": "b", "rejected": "c"}', *deep]))
    judged(tmp_path / "deep.jsonl", PARSERS["files"])
