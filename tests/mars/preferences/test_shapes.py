"""Files in the shapes of public datasets: each is recognised and read, or is one line that names the setting to give.

SHAPES has a sound row of every shape by number; "Right" is always the better reply. BROKEN has what people do to such
files, and what is said of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import SHARED

from mars.config import ConfigError, build
from mars.preferences.bad_rows import Policies
from mars.preferences.dataset import DatasetConfig, load, summary
from mars.preferences.dialogue import Message
from mars.preferences.pair import DataError, Pair, Preferences
from mars.preferences.recognition import fitting
from mars.preferences.rows import Defect
from mars.preferences.shapes import SHAPES as KNOWN
from mars.preferences.shapes import Columns
from mars.preferences.turns import conversation, repeats, split_alike

PANDALM = SHARED / "data" / "pandalm" / "testset-v1.json.gz"
needs_pandalm = pytest.mark.skipif(not PANDALM.exists(), reason="needs PandaLM's rows in ../shared/data")


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def loaded(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Preferences:
    """The rows as train.jsonl and as test.jsonl, none for validation."""
    train, test = (written(folder / name, rows) for name in ("train.jsonl", "test.jsonl"))
    values = {"name": "files", "train": train, "test": test, "validation": 0.0} | settings
    return load(build(DatasetConfig, values, "dataset"))


def one(folder: Path, row: dict[str, Any], **settings: Any) -> Pair:
    return loaded(folder, [row], **settings).base[0]


def said(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> str:
    """The one line of the error that the rows are."""
    with pytest.raises((DataError, ConfigError)) as error:
        loaded(folder, rows, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def turns(*texts: str, keys: tuple[str, str] = ("role", "content"), who: tuple[str, str] = ("user", "assistant")):
    return [{keys[0]: who[i % 2], keys[1]: text} for i, text in enumerate(texts)]


def shared(*texts: str) -> list[dict[str, str]]:
    return turns(*texts, keys=("from", "value"), who=("human", "gpt"))


class Shape(NamedTuple):
    name: str  # as it is recognised
    row: Callable[[str, str, str], dict[str, Any]]  # (question, right reply, wrong reply) → raw row
    strength: float | None = None
    settings: dict[str, Any] = {}  # noqa: RUF012 - never written to


HH = "\n\nHuman: {}\n\nAssistant: {}"
SHAPES = {
    "plain": Shape("plain", lambda q, r, w: {"prompt": q, "chosen": r, "rejected": w}),
    "plain, turns": Shape(
        "plain", lambda q, r, w: {"prompt": turns(q), "chosen": turns(q, r), "rejected": turns(q, w)}
    ),
    "plain, own columns": Shape(
        "plain",
        lambda q, r, w: {"question": q, "better": r, "worse": w, "gap": 2},
        2.0,
        {"columns": {"prompt": "question", "chosen": "better", "rejected": "worse", "margin": "gap"}},
    ),
    "hh": Shape("hh", lambda q, r, w: {"chosen": HH.format(q, r), "rejected": HH.format(q, w)}),
    "ultrafeedback, completions": Shape(
        "ultrafeedback",
        lambda q, r, w: {
            "instruction": q,
            "completions": [{"response": w, "overall_score": 3}, {"response": r, "overall_score": 7.5}],
        },
        4.5,
    ),
    "ultrafeedback, binarised": Shape(
        "ultrafeedback",
        lambda q, r, w: {
            "prompt": q,
            "chosen": turns(q, r),
            "rejected": turns(q, w),
            "score_chosen": 8,
            "score_rejected": 6,
        },
        2.0,
        {"schema": "ultrafeedback"},
    ),
    "pku": Shape(
        "pku",
        lambda q, r, w: {
            "prompt": q,
            "response_0": w,
            "response_1": r,
            "better_response_id": 1,
            "safer_response_id": 0,
        },
    ),
    "pku, safer": Shape(
        "pku",
        lambda q, r, w: {
            "prompt": q,
            "response_0": w,
            "response_1": r,
            "better_response_id": 0,
            "safer_response_id": 1,
        },
        None,
        {"schema": "pku", "preference": "safer"},
    ),
    "arena": Shape(
        "arena",
        lambda q, r, w: {"conversation_a": turns(q, w), "conversation_b": turns(q, r), "winner": "model_b", "turn": 1},
    ),
    "arena, kaggle": Shape(
        "arena",
        lambda q, r, w: {
            "prompt": json.dumps([q]),
            "response_a": json.dumps([r]),
            "response_b": json.dumps([w]),
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
    ),
    "arena, words": Shape(
        "arena",
        lambda q, r, w: (
            {"prompt": q, "response_a": r, "response_b": w}
            | {"winner_model_a": "True", "winner_model_b": "False", "winner_tie": "False"}
        ),
    ),
    "judgebench": Shape(
        "judgebench", lambda q, r, w: {"question": q, "response_A": w, "response_B": r, "label": "B>A", "source": "s"}
    ),
    "helpsteer 2": Shape(
        "helpsteer_preference",
        lambda q, r, w: {"prompt": q, "response_1": r, "response_2": w, "preference_strength": -2},
        2.0,
    ),
    "helpsteer 3": Shape(
        "helpsteer_preference",
        lambda q, r, w: {"context": turns(q), "response1": w, "response2": r, "overall_preference": 3},
        3.0,
    ),
    "shp": Shape(
        "shp",
        lambda q, r, w: {"history": q, "human_ref_A": r, "human_ref_B": w, "labels": 1, "score_ratio": 4.0},
        math.log(4),
    ),
    "shp, scores": Shape(
        "shp",
        lambda q, r, w: {"history": q, "human_ref_A": w, "human_ref_B": r, "labels": 0, "score_A": 3, "score_B": 12},
        9.0,
    ),
    "pandalm": Shape(
        "pandalm",
        lambda q, r, w: (
            {"instruction": q, "input": "", "response1": r, "response2": w}
            | {"annotator1": 1, "annotator2": 1, "annotator3": 1}
        ),
    ),
    "alpaca, chosen": Shape("alpaca", lambda q, r, w: {"instruction": q, "input": "", "chosen": r, "rejected": w}),
    "alpaca, output": Shape("alpaca", lambda q, r, w: {"instruction": q, "input": "", "output": [r, w]}),
    "alpaca, farm": Shape(
        "alpaca", lambda q, r, w: {"instruction": q, "input": "", "output_1": w, "output_2": r, "preference": 2}
    ),
    "ranked, ranks": Shape(
        "ranked", lambda q, r, w: {"prompt": q, "responses": [w, r, "Middling."], "rank": [3, 1, 2]}
    ),
    "ranked, scores": Shape(
        "ranked", lambda q, r, w: {"query": q, "completions": [w, r, "Middling."], "scores": [0.5, 3.0, 1.0]}, 2.5
    ),
    "sharegpt": Shape(
        "sharegpt",
        lambda q, r, w: {"conversations": shared(q), "chosen": shared(q, r)[1], "rejected": shared(q, w)[1]},
    ),
    "sharegpt, dialogues": Shape("sharegpt", lambda q, r, w: {"chosen": shared(q, r), "rejected": shared(q, w)}),
    "trl, implicit": Shape("trl", lambda q, r, w: {"chosen": f"{q} {r}", "rejected": f"{q} {w}"}),
    "trl, lines of turns": Shape(
        "trl", lambda q, r, w: {"chosen": f"Human: {q}\nAssistant: {r}", "rejected": f"Human: {q}\nAssistant: {w}"}
    ),
    "trl, tools": Shape(
        "trl",
        lambda q, r, w: {
            "prompt": [
                *turns(q),
                {"role": "assistant", "content": None, "tool_calls": [{"name": "look"}]},
                {"role": "tool", "content": "found"},
            ],
            "chosen": [{"role": "assistant", "content": r}],
            "rejected": [{"role": "assistant", "content": w}],
        },
    ),
}


def rows_of(shape: Shape, number: int = 4) -> list[dict[str, Any]]:
    return [shape.row(f"Question {i}?", f"Right {i}.", f"Wrong, {i}.") for i in range(number)]


@pytest.mark.parametrize("key", SHAPES)
def test_a_file_of_every_shape_is_read_and_its_shape_is_in_the_record(key: str, tmp_path: Path) -> None:
    shape = SHAPES[key]
    data = loaded(tmp_path, rows_of(shape), **shape.settings)
    assert sorted((pair.chosen, pair.rejected) for pair in data.base) == [
        (f"Right {i}.", f"Wrong, {i}.") for i in range(4)
    ]
    assert {pair.prompt[0].content for pair in data.base} == {f"Question {i}?" for i in range(4)}
    assert [(pair.agreement, pair.strength) for pair in data.base] == [(1.0, pytest.approx(shape.strength))] * 4
    (told,) = data.report["sources"]["train"]
    if data.report["rule"] == "as given":
        assert "rule" not in told
        assert shape.name == "plain"
    else:
        assert data.report["rule"] == told["rule"]
        assert told["rule"].startswith(f"{shape.name}: ")
        otherwise = "" if "schema" in shape.settings else " (to read it otherwise: dataset.schema=NAME)"
        assert f"train.jsonl: read as {told['rule']}{otherwise}" in summary(data.report)


def test_every_shape_is_in_the_table_and_what_is_recognised_says_so() -> None:
    assert {shape.name for shape in SHAPES.values()} == set(KNOWN)
    for shape in SHAPES.values():
        if not shape.settings:
            assert fitting(rows_of(shape))[0] == shape.name


class Broken(NamedTuple):
    shape: str
    change: dict[str, Any]  # to every row; `...` takes a column away
    said: tuple[str, ...]
    settings: dict[str, Any] = {}  # noqa: RUF012 - never written to


NO_SHAPE = ("and no shape fits the columns", "dataset.schema=NAME")
BROKEN = {
    "plain, a column misspelt": Broken(
        "plain", {"chosen": ..., "choosen": "a"}, ('no column "chosen" (did you mean "choosen"?)', *NO_SHAPE)
    ),
    "plain, both sides by other names": Broken(
        "plain, own columns",
        {},
        (
            'train.jsonl: no column "chosen" and "rejected", and no shape fits',
            "(name yours, as dataset.columns.chosen=NAME and dataset.columns.rejected=NAME, or the shape",
        ),
        {"columns": {"prompt": "question"}},
    ),
    "plain by name, both sides by other names": Broken(
        "plain, own columns",
        {},
        ('"chosen" is missing (known: question, better, worse, gap)',),
        {"schema": "plain", "on": {"not_text": "raise"}},
    ),
    "plain, both sides written otherwise": Broken(
        "plain",
        {"chosen": ..., "rejected": ..., "Chosen ": "a", "RE_JECTED": "b", "unchosen": "c"},
        ('no column "chosen" (did you mean "Chosen "?) and "rejected" (did you mean "RE_JECTED"?), and',),
    ),
    "plain, no prompt": Broken("plain", {"prompt": ...}, ('no column "prompt"', "dataset.columns.prompt=NAME")),
    "plain, no text": Broken("plain", {"chosen": 7}, ('train.jsonl:1: "chosen" is 7, not text',)),
    "own columns, one misspelt": Broken(
        "plain, own columns",
        {},
        ('train.jsonl: no column "qestion" (did you mean "question"?)',),
        {"columns": {"prompt": "qestion", "chosen": "better", "rejected": "worse"}},
    ),
    "own columns, no margin": Broken(
        "plain, own columns", {"gap": "much"}, ("train.jsonl:1: \"gap\" is 'much', not a finite number",)
    ),
    "own columns, an infinite margin": Broken("plain, own columns", {"gap": 1e999}, ('"gap" is inf, not a finite',)),
    "hh, no dialogue": Broken("hh", {"rejected": "plain text"}, ('no column "prompt"', *NO_SHAPE)),
    "ultrafeedback, no scores": Broken(
        "ultrafeedback, completions", {"completions": [{"response": "a"}]}, ("0 of 1 completions have",)
    ),
    "pku, an id of 2": Broken("pku", {"better_response_id": 2}, ('"better_response_id" is 2, not 0 or 1',)),
    "arena, another winner": Broken(
        "arena", {"winner": "A"}, ("train.jsonl:1: \"winner\" is 'A', not model_a, model_b or tie",)
    ),
    "arena, no winner": Broken("arena", {"winner": ...}, NO_SHAPE),
    "arena, two winners": Broken("arena, kaggle", {"winner_model_b": 1}, ("or more than one, of",)),
    "arena, a reply too few": Broken(
        "arena, kaggle", {"response_b": "[]"}, ('"response_b" has 0 replies to the 1 turns of "prompt"',)
    ),
    "judgebench, a bare letter": Broken("judgebench", {"label": "A"}, ("\"label\" is 'A', not one of A>B, B>A, A=B",)),
    "helpsteer, words": Broken("helpsteer 2", {"preference_strength": "slightly"}, ("is 'slightly', not a number",)),
    "shp, no label": Broken("shp", {"labels": None}, ('"labels" is null, not 0 or 1',)),
    "pandalm, a vote of 3": Broken("pandalm", {"annotator3": 3}, ('"annotator3" is 3, not 0, 1 or 2',)),
    "alpaca, one output": Broken("alpaca, output", {"output": "a"}, ("not a list of two texts, the better one first",)),
    "alpaca, a preference of 3": Broken("alpaca, farm", {"preference": 3}, ('"preference" is 3, not 1 or 2',)),
    "ranked, a rank too few": Broken("ranked, ranks", {"rank": [1, 2]}, ('"rank" is [1, 2], not a list of 3 numbers',)),
    "sharegpt, a strange speaker": Broken(
        "sharegpt", {"conversations": [{"from": "narrator", "value": "x"}]}, ("holds a turn of 'narrator'",)
    ),
    "trl, nothing in common": Broken("trl, implicit", {"chosen": "Other."}, ('no column "prompt"', *NO_SHAPE)),
    "trl, nothing in common, by name": Broken(
        "trl, implicit", {"chosen": "Other."}, ("share no beginning that ends a sentence",), {"schema": "trl"}
    ),
    "trl, a question beside": Broken(
        "trl, implicit", {"question": "q"}, ('"prompt" is missing, and "question" may be it',), {"schema": "trl"}
    ),
    "no shape of ours": Broken("plain", {"prompt": ..., "chosen": ..., "rejected": ..., "text": "a"}, NO_SHAPE),
    "another shape by name": Broken("hh", {}, ('no column "question" and', "response_A"), {"schema": "judgebench"}),
    "a shape misspelt": Broken(
        "arena", {}, ('dataset.schema: "arean" is unknown (did you mean "arena"?)',), {"schema": "arean"}
    ),
    "a column that the shape has not": Broken(
        "arena", {}, ("dataset.columns.chosen: rows of arena have no such column",), {"columns": {"chosen": "winner"}}
    ),
    "a prompt that the shape calls otherwise": Broken(
        "judgebench", {}, ("dataset.columns.prompt: rows of judgebench have no",), {"columns": {"prompt": "source"}}
    ),
    "nothing to rank": Broken("hh", {}, ("dataset.ranked: rows of hh have no all to choose",), {"ranked": "all"}),
    "a preference too many": Broken(
        "hh", {}, ("dataset.preference: rows of hh have no safer",), {"schema": "hh", "preference": "safer"}
    ),
}


@pytest.mark.parametrize("key", BROKEN)
def test_a_file_that_fits_no_shape_is_one_line_with_the_setting_or_the_row(key: str, tmp_path: Path) -> None:
    broken = BROKEN[key]
    shape = SHAPES[broken.shape]
    rows = [{k: v for k, v in (row | broken.change).items() if v is not ...} for row in rows_of(shape)]
    message = said(tmp_path, rows, **(broken.settings or shape.settings))
    assert all(part in message for part in broken.said), message


def test_the_tables_are_of_forty_files_in_twenty_shapes() -> None:
    assert len(SHAPES) >= 20
    assert len(SHAPES) + len(BROKEN) >= 40


# Recognition


def test_plain_rows_are_plain_whatever_else_they_have(tmp_path: Path) -> None:
    row = {"prompt": "Q?", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 1, "margin": 3}
    assert fitting([row]) == ["plain", "ultrafeedback"]
    assert one(tmp_path, row) == Pair("files-train-1", (Message("user", "Q?"),), "a", "b")
    named = one(tmp_path, row, schema="ultrafeedback")
    assert (named.chosen, named.strength) == ("a", 1.0)


def test_a_few_bad_rows_hide_no_shape_and_are_told_by_place(tmp_path: Path) -> None:
    rows = rows_of(SHAPES["arena"], 5)
    rows[1]["winner"] = "nobody"
    data = loaded(tmp_path, rows, max_bad_fraction=0.5)
    assert data.report["sources"]["train"][0]["dropped"] == {"unlabelled": 1}
    assert data.report["sources"]["train"][0]["examples"] == {"unlabelled": ["train.jsonl:2"]}


def test_rows_that_two_shapes_read_differently_are_not_guessed_at(tmp_path: Path) -> None:
    row = SHAPES["judgebench"].row("Q?", "a", "b") | SHAPES["shp"].row("P?", "c", "d")
    assert fitting([row]) == ["judgebench", "shp"]
    message = said(tmp_path, [row])
    assert message.endswith("(say which: dataset.schema=judgebench or dataset.schema=shp)")
    assert one(tmp_path, row, schema="shp").chosen == "c"


def test_train_and_test_may_have_different_shapes(tmp_path: Path) -> None:
    train = written(tmp_path / "a.jsonl", rows_of(SHAPES["arena"]))
    test = written(tmp_path / "b.jsonl", rows_of(SHAPES["plain"]))
    data = load(DatasetConfig("files", train=train, test=test, validation=0))
    assert len(data.base) == len(data.tests["test"]) == 4
    assert ["rule" in data.report["sources"][split][0] for split in ("train", "test")] == [True, False]


def test_a_dataset_with_its_own_schema_takes_none() -> None:
    for setting in ({"schema": "arena"}, {"columns": {"prompt": "q"}}, {"ranked": "all"}):
        with pytest.raises(ConfigError, match=f"dataset.{next(iter(setting))}: hh_rlhf has its own"):
            build(DatasetConfig, {"name": "hh_rlhf", **setting}, "dataset")


# Labels


VOTES = {
    (1, 1, 1): (True, 1.0),
    (1, 1, 0): (True, 5 / 6),
    (1, 1, 2): (True, 2 / 3),
    (2, 1, 2): (False, 2 / 3),
    (2, 2, 0): (False, 5 / 6),
    (0, 1, 2): (None, 0.5),
    (0, 0, 1): (None, 0.5),
    (0, 0, 0): (None, 0.5),
}


@pytest.mark.parametrize("votes", VOTES)
def test_votes_are_the_side_most_prefer_and_its_share_with_half_for_each_tie(votes: tuple, tmp_path: Path) -> None:
    first_better, agreement = VOTES[votes]
    row = {"instruction": "Q?", "input": "text", "response1": "a", "response2": "b"}
    row |= {f"annotator{i}": vote for i, vote in enumerate(votes, 1)}
    train = written(tmp_path / "train.jsonl", [row])
    test = written(tmp_path / "test.jsonl", rows_of(SHAPES["plain"]))
    pair = load(DatasetConfig("files", train=train, test=test, validation=0, on=Policies(tie="half"))).base[0]
    assert pair.prompt == (Message("user", "Q?\n\ntext"),)
    assert (pair.chosen == "a") == (first_better is not False)
    assert pair.agreement == pytest.approx(agreement)


TIES = {
    "arena": {"winner": "tie (bothbad)"},
    "arena, kaggle": {"winner_model_a": 0, "winner_tie": 1},
    "judgebench": {"label": "A=B"},
    "helpsteer 2": {"preference_strength": 0},
    "pandalm": {"annotator1": 0, "annotator2": 0},
    "alpaca, farm": {"preference": 0},
    "ranked, scores": {"scores": [1, 1, 1]},
    "ultrafeedback, completions": {"completions": [{"response": f"r{i}", "overall_score": 5} for i in range(3)]},
    "ultrafeedback, binarised": {"score_rejected": 8},
}


@pytest.mark.parametrize("key", TIES)
def test_a_tie_is_dropped_halved_or_an_error_as_its_policy_says(key: str, tmp_path: Path) -> None:
    shape = SHAPES[key]
    rows = rows_of(shape)
    rows[2] |= TIES[key]
    assert loaded(tmp_path, rows, **shape.settings).report["sources"]["train"][0]["dropped"] == {"tie": 1}
    assert said(tmp_path, rows, **shape.settings, on={"tie": "raise"}).startswith("train.jsonl:3: ")
    halved = loaded(tmp_path, rows, **shape.settings, on={"tie": "half"})
    assert sorted(pair.agreement for pair in halved.base) == [0.5, 1, 1, 1]
    assert halved.report["sources"]["train"][0]["kept_despite"] == {"tie": 1}
    # no side is right, so there is nothing to test on
    assert (len(halved.tests["test"]), halved.report["subset"]["test_ties"]) == (3, 1)


def test_a_tie_and_a_label_of_the_same_replies_are_two_judgements(tmp_path: Path) -> None:
    def judged(winner: str, first: str = "a", second: str = "b") -> dict[str, Any]:
        return SHAPES["arena"].row("Q?", second, first) | {"winner": winner}

    rows = [judged("tie"), judged("model_a"), judged("model_b"), judged("tie"), judged("tie", "b", "a")]
    test = written(tmp_path / "held.jsonl", rows_of(SHAPES["arena"]))
    data = loaded(tmp_path, rows, test=test, on={"tie": "half"}, max_bad_fraction=1)
    (told,) = data.report["sources"]["train"]
    assert (told["dropped"], told["kept_despite"]) == ({"duplicate": 2}, {"tie": 1, "contradictory": 1})
    assert sorted((pair.agreement, pair.chosen) for pair in data.base)[1:] == [(1.0, "a"), (1.0, "b")]
    last = loaded(tmp_path, rows[::-1], test=test, on={"tie": "half"}, max_bad_fraction=1)
    assert sorted(pair.agreement for pair in last.base) == [0.5, 1, 1]


def test_a_tie_without_a_label_cannot_be_kept_as_one(tmp_path: Path) -> None:
    rows = rows_of(SHAPES["arena"])
    rows[2]["winner"] = "tie"
    message = said(tmp_path, rows, on={"tie": "keep"})
    assert message.startswith("train.jsonl:3: neither model won, with no label to keep")


def test_a_test_of_ties_alone_is_told(tmp_path: Path) -> None:
    rows = rows_of(SHAPES["arena"])
    test = written(tmp_path / "held.jsonl", [row | {"winner": "tie"} for row in rows])
    message = said(tmp_path, rows, test=test, on={"tie": "half"})
    assert message == "files: no test pair has a better reply: all 4 are ties (test on others)"


def test_conversations_of_several_turns_answer_prompts_of_their_own(tmp_path: Path) -> None:
    row = {
        "conversation_a": turns("Q", "a", "R", "b"),
        "conversation_b": turns("Q", "c", "R", "d"),
        "winner": "model_b",
    }
    message = said(tmp_path, [row])
    assert "(3, 3 turns; dataset.on.prompts_differ=keep takes that of the chosen one); 1 of 1 rows" in message
    pair = one(tmp_path, row, on={"prompts_differ": "keep"})
    assert pair.prompt == (Message("user", "Q"), Message("assistant", "c"), Message("user", "R"))
    assert (pair.chosen, pair.rejected) == ("d", "b")


def test_of_ranked_replies_the_rule_says_which_are_compared(tmp_path: Path) -> None:
    row = {"prompt": "Q", "responses": ["c", "a", "b"], "scores": [1, 5, 2], "id": "x"}
    found = {}
    for rule in ("best_worst", "adjacent", "all"):
        data = loaded(tmp_path, [row], ranked=rule)
        found[rule] = {pair.id: (pair.chosen, pair.rejected, pair.strength) for pair in data.base}
        assert data.report["sources"]["train"][0]["rows"] == 1
        assert data.report["sources"]["train"][0]["kept"] == len(data.base)
    assert found["best_worst"] == {"x": ("a", "c", 4.0)}
    assert found["adjacent"] == {"x-2-3": ("a", "b", 3.0), "x-3-1": ("b", "c", 1.0)}
    assert found["all"] == {"x-2-3": ("a", "b", 3.0), "x-2-1": ("a", "c", 4.0), "x-3-1": ("b", "c", 1.0)}


# Prompts in replies, and tools


def test_texts_are_split_where_a_turn_or_a_sentence_ends() -> None:
    for prompt in ("Who was it? ", "A line\n", "Human: Hi.\n\nAssistant: ", "### Instruction:\nGo.\n\n### Response:\n"):
        assert split_alike(f"{prompt}She. Yes.", f"{prompt}Sure. No.") == len(prompt)
    assert split_alike("Q?\nAssistant: Well. A", "Q?\nAssistant: Well. B") == len("Q?\nAssistant: ")
    assert split_alike("The sky is blue.", "The sky is green.") == 0


def test_an_option_to_choose_from_begins_no_reply() -> None:
    options = "A: Paris\nB: Rome\nC: Oslo\nSay one letter.\n"
    for question in ("Which is the capital of France?\n", "Question: Which is the capital of France?\n"):
        prompt = question + options
        assert split_alike(f"{prompt}It is A.", f"{prompt}It is C.") == len(prompt)
        assert split_alike(f"{prompt}Answer: A", f"{prompt}Answer: C") == len(f"{prompt}Answer: ")
    assert split_alike("Q: Who?\nA: He, I say. Yes.", "Q: Who?\nA: He, I say. No.") == len("Q: Who?\nA: ")
    assert split_alike("Who?\nA: He, I say. Yes.", "Who?\nA: He, I say. No.") == len("Who?\nA: He, I say. ")


def test_a_reply_repeats_its_prompt_where_both_do_and_the_prompt_ends_there() -> None:
    assert repeats("Is tea hot?", "Is tea hot? Yes.", "Is tea hot? No.")
    assert repeats("Go on", "Go on\nYes.", "Go on\nNo.")
    assert not repeats("Hello", "Hello there", "Hello you")
    assert not repeats("Is tea hot?", "Is tea hot? Yes.", "No.")
    assert not repeats("Is tea hot?", "Is tea hot?", "Is tea hot? No.")
    assert not repeats("", "a", "b")


def test_a_prompt_in_both_replies_is_counted_and_taken_off_where_it_is_asked_for(tmp_path: Path) -> None:
    rows = [{"prompt": f"Hot {i}?", "chosen": f"Hot {i}? Yes.", "rejected": f"Hot {i}? No."} for i in range(3)]
    plain = loaded(tmp_path, rows)
    assert plain.base[0].chosen.startswith("Hot")
    assert plain.report["sources"]["train"][0]["kept_despite"] == {"repeats_prompt": 3}
    split = loaded(tmp_path, rows, schema="trl")
    assert {(pair.chosen, pair.rejected) for pair in split.base} == {("Yes.", "No.")}
    assert split.report["sources"]["train"][0]["kept_despite"] == {"split_prompt": 3}
    assert split.report["sources"]["train"][0]["examples"]["split_prompt"][0] == "train.jsonl:1"


def test_a_call_is_the_text_of_its_turn_and_the_answer_of_a_tool_is_told_by_the_user(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    found = conversation([*turns("Q"), call, {"role": "tool", "content": "42"}], "prompt")
    assert [message.role for message in found] == ["user", "assistant", "user"]
    assert [message.content for message in found] == ["Q", '{"function": {"name": "f"}}', "42"]
    assert conversation([call | {"content": "I look."}], "x")[0].content == 'I look.\n{"function": {"name": "f"}}'
    with pytest.raises(Defect, match="holds a turn without text"):
        conversation([{"role": "assistant", "content": None}], "x")
    data = loaded(tmp_path, rows_of(SHAPES["trl, tools"]))
    assert data.report["sources"]["train"][0]["kept_despite"] == {"tool_turn": 4}


def test_plain_rows_that_call_tools_name_the_schema_that_reads_them(tmp_path: Path) -> None:
    called = SHAPES["trl, tools"].row("Q?", "a", "b")
    rows = rows_of(SHAPES["plain, turns"])
    message = said(tmp_path, [*rows, called], on={"not_text": "raise"})
    assert "train.jsonl:5: " in message
    assert "(dataset.schema=trl reads calls of tools) (drop such rows" in message
    told = called | {"prompt": [*turns("Q?"), {"role": "tool", "content": "found"}]}
    message = said(tmp_path, [*rows, told], on={"dialogue": "raise"})
    assert "the role 'tool' (known: system, user, assistant) (dataset.schema=trl reads calls of tools)" in message
    assert len(loaded(tmp_path, [*rows, called, told], schema="trl").base) == 6


def test_alpaca_and_sharegpt_have_turns_before_the_prompt(tmp_path: Path) -> None:
    before = {"system": "Be kind.", "history": [["Hi", "Hello"]]}
    pair = one(tmp_path, before | {"instruction": "Go", "input": "x", "chosen": "a", "rejected": "b"})
    assert [message.content for message in pair.prompt] == ["Be kind.", "Hi", "Hello", "Go\n\nx"]
    row = {"system": "Be kind.", "conversations": shared("Hi", "Hello", "Go"), "chosen": "a", "rejected": "b"}
    assert [message.role for message in one(tmp_path, row).prompt] == ["system", "user", "assistant", "user"]


# Lists in cells of text, as CSV has them


CELLS = {
    "plain, turns": ("prompt", "chosen", "rejected"),
    "plain, one text": ("chosen", "rejected"),
    "ultrafeedback, binarised": ("chosen", "rejected"),
    "arena": ("conversation_a", "conversation_b"),
    "helpsteer 3": ("context",),
    "alpaca, output": ("output",),
    "ranked, ranks": ("responses", "rank"),
    "ranked, scores": ("completions", "scores"),
    "sharegpt, dialogues": ("chosen", "rejected"),
    "trl, tools": ("prompt", "chosen", "rejected"),
}


@pytest.mark.parametrize("key", CELLS)
def test_a_list_as_json_in_a_cell_is_the_list(key: str, tmp_path: Path) -> None:
    mixed = Shape("plain", lambda q, r, w: {"prompt": q, "chosen": turns(q, r), "rejected": turns(q, w)})
    shape = SHAPES.get(key, mixed)
    rows = rows_of(shape)
    cells = [row | {field: json.dumps(row[field]) for field in CELLS[key]} for row in rows]
    assert list(loaded(tmp_path, cells, **shape.settings).base) == list(loaded(tmp_path, rows, **shape.settings).base)


def test_turns_as_pandas_prints_them_are_no_text_to_train_on(tmp_path: Path) -> None:
    row = SHAPES["ultrafeedback, binarised"].row("What is 2 + 2?", "4", "5")
    printed = row | {"chosen": str(row["chosen"]), "rejected": str(row["rejected"]).replace("}, {", "}\n {")}
    message = said(tmp_path, [printed])
    assert message.startswith(
        'train.jsonl:1: "chosen" holds turns as Python prints them, not as JSON (save the rows as'
    )
    whole = {field: printed[field] for field in ("chosen", "rejected")}
    assert said(tmp_path, [whole]).startswith('train.jsonl: "chosen" holds turns as Python prints them')
    one_side = loaded(tmp_path, [row, row | {"rejected": printed["rejected"]}], max_bad_fraction=1)
    assert one_side.report["sources"]["train"][0]["dropped"] == {"not_text": 1}


def test_a_text_that_only_looks_like_turns_stays_a_text(tmp_path: Path) -> None:
    for text in ('[{"from": "Berlin", "to": "Paris"}]', "[1, 2]", "[citation needed]", "[{'role' is a key.", "[]"):
        assert one(tmp_path, {"prompt": text, "chosen": text, "rejected": "b"}).chosen == text


@pytest.mark.parametrize("ranks", [[2, 0, 1], [0, 1, 2], [2, 3, 4], [1, 1.5, 2], [-1, 1, 2]])
def test_numbers_that_cannot_be_ranks_are_no_label(ranks: list[float], tmp_path: Path) -> None:
    message = said(tmp_path, [row | {"rank": ranks} for row in rows_of(SHAPES["ranked, ranks"])])
    assert f'train.jsonl:1: "rank" is {ranks}, not ranks, whole numbers of which the best is 1' in message


# Columns


def test_the_users_columns_are_read_under_the_usual_names(tmp_path: Path) -> None:
    row = {"q": "Q?", "rejected": "good", "chosen": "bad", "kind": "k", "key": 7, "by": "1.5"}
    names = {"prompt": "q", "chosen": "rejected", "rejected": "chosen", "subset": "kind", "id": "key", "margin": "by"}
    pair = one(tmp_path, row, columns=names)
    assert pair == Pair("7", (Message("user", "Q?"),), "good", "bad", subset="k", strength=1.5)


def test_the_columns_of_a_shape_may_have_a_margin_and_a_subset_beside(tmp_path: Path) -> None:
    row = SHAPES["arena"].row("Q?", "a", "b") | {"language": "English", "gap": 3}
    pair = one(tmp_path, row, columns={"subset": "language", "margin": "gap"})
    assert (pair.chosen, pair.subset, pair.strength) == ("a", "English", 3.0)
    assert Columns(margin="gap").renamed({"gap": 1, "margin": 2}) == {"gap": 1, "margin": 1}


def test_an_id_that_is_no_name_hides_no_shape_and_is_a_defect_where_it_was_named(tmp_path: Path) -> None:
    for shape in SHAPES.values():
        if not shape.settings:
            rows = [row | {"id": [1], "subset": {"a": 1}} for row in rows_of(shape)]
            assert fitting(rows) == fitting(rows_of(shape))
            assert {pair.subset for pair in loaded(tmp_path, rows).base} == {""}
    rows = rows_of(SHAPES["plain"])
    message = said(tmp_path, [row | {"key": [1]} for row in rows], columns={"id": "key"})
    assert message.startswith('train.jsonl:1: "id" is [1], neither text nor number')


def test_rows_to_test_on_need_no_id_subset_or_margin_of_the_users(tmp_path: Path) -> None:
    row = SHAPES["plain"].row("Q?", "a", "b")
    names = {"subset": "kind", "id": "key", "margin": "gap"}
    test = written(
        tmp_path / "held.jsonl", [row | {"gap": None}, row | {"prompt": "P?", "gap": 1, "key": "k", "kind": "x"}]
    )
    data = loaded(tmp_path, [row | {"gap": 2, "key": "r", "kind": "y"}], test=test, columns=names)
    found = [(pair.id, pair.subset, pair.strength) for pair in [*data.base, *data.tests["test"]]]
    assert found == [("r", "y", 2.0), ("files-test-1", "", None), ("k", "x", 1.0)]
    for own in names.values():
        train = {"gap": 2, "key": "r", "kind": "y"}
        del train[own]
        message = said(tmp_path, [row | train], test=test, columns=names, max_bad_fraction=1)
        assert f'no column "{own}"' in message
    assert '"gap" is \'x\', not a finite number' in said(
        tmp_path, [row | {"gap": 2, "key": "r", "kind": "y"}], columns=names,
        test=written(tmp_path / "held.jsonl", [row | {"gap": "x"}]),
    )  # fmt: skip


# PandaLM as published


@needs_pandalm
def test_pandalm_as_published_has_a_pair_of_every_row_that_is_new_and_the_votes_as_agreement() -> None:
    on = Policies(tie="half", empty="keep")  # replies of nothing were judged too
    data = load(DatasetConfig("files", train=str(PANDALM), test_from_train=0.2, validation=0.1, on=on))
    (told,) = data.report["sources"]["train"]
    assert (told["rows"], told["kept"], told["dropped"]) == (999, 863, {"duplicate": 136})
    assert told["kept_despite"] == {"empty": 24, "tie": 79}
    pairs = [*data.base, *data.validation]
    assert {round(pair.agreement, 3) for pair in pairs} == {0.5, 0.667, 0.833, 1.0}
    assert all(pair.agreement > 0.5 for pair in data.tests["test"])
    assert "True" in {text for pair in [*pairs, *data.tests["test"]] for text in (pair.chosen, pair.rejected)}
