"""Files of replies: every form that is read, what is refused in one line, and what AlpacaEval's tool gets."""

import json

import pytest

from benchmarks.judges.generations import Generation, instruction, pair_up, read_generations, write_model_outputs
from mars.preferences.dialogue import Message
from mars.preferences.pair import DataError

TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Why?"},
]


@pytest.fixture
def written(tmp_path):
    def write(name, rows):
        path = tmp_path / name
        text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text if not isinstance(rows, str) else rows)
        return path

    return write


def replies(written, name, *pairs):
    return read_generations(written(name, [{"prompt": p, "response": r} for p, r in pairs]))


def test_alpaca_eval_s_outputs_and_plain_rows_are_the_same_replies(written):
    alpaca = [{"dataset": "koala", "instruction": "Q", "output": "R", "generator": "m-7b"}]
    one = read_generations(written("a.json", alpaca))
    other = read_generations(written("b.jsonl", [{"prompt": "Q", "response": "R", "dataset": "koala"}]))
    assert (one.name, other.name) == ("m-7b", "b")
    assert list(one.rows) == list(other.rows) == [Generation((Message("user", "Q"),), "R", "", "koala")]


def test_several_turns_are_a_prompt_and_one_instruction_for_alpaca_eval(written, tmp_path):
    found = read_generations(written("a.jsonl", [{"prompt": TURNS, "response": "So."}]))
    assert [turn.role for turn in found.rows[0].prompt] == ["user", "assistant", "user"]
    assert instruction(found.rows[0].prompt) == "Human: Hi\n\nAssistant: Hello\n\nHuman: Why?"
    write_model_outputs(tmp_path / "out.json", "m", found.rows)
    (row,) = json.loads((tmp_path / "out.json").read_text())
    assert row == {"dataset": "", "instruction": instruction(found.rows[0].prompt), "output": "So.", "generator": "m"}


def test_repeated_prompts_are_paired_by_occurrence_whatever_the_order_of_the_files(written):
    one = replies(written, "a.jsonl", ("P", "a1"), ("Q", "b1"), ("P", "a2"))
    other = replies(written, "b.jsonl", ("Q", "B1"), ("P", "A1"), ("P", "A2"))
    paired = pair_up(one, other)
    assert [(c.ours, c.theirs, c.occurrence) for c in paired.comparisons] == [
        ("a1", "A1", 0), ("b1", "B1", 0), ("a2", "A2", 1)
    ]  # fmt: skip
    assert paired.counts["repeated"] == 1
    assert paired.counts["prompts"] == 2


def test_missing_prompts_are_one_line_or_dropped_and_counted(written):
    one = replies(written, "a.jsonl", ("P", "x"), ("Q", "y"), ("P", "z"))
    other = replies(written, "b.jsonl", ("P", "X"), ("R", "Y"))
    with pytest.raises(
        DataError, match=r'b\.jsonl: lacks 2 of the 3 prompts of a\.jsonl, the first "Q" .*missing=drop'
    ):
        pair_up(one, other)
    paired = pair_up(one, other, "drop")
    assert len(paired.comparisons) == 1
    assert (paired.counts["missing_in_theirs"], paired.counts["missing_in_ours"]) == (2, 1)
    with pytest.raises(DataError, match="no prompt in common"):
        pair_up(one, replies(written, "c.jsonl", ("Z", "z")), "drop")


def test_identical_and_empty_replies_need_no_judge(written):
    one = replies(written, "a.jsonl", ("P", "x"), ("Q", " "), ("R", "y"), ("S", ""))
    other = replies(written, "b.jsonl", ("P", "x"), ("Q", "y"), ("R", "z"), ("S", ""))
    paired = pair_up(one, other)
    assert [c.ruled for c in paired.comparisons] == ["identical", "empty", "", "identical"]
    assert (paired.counts["identical"], paired.counts["empty"]) == (2, 1)


@pytest.mark.parametrize(
    ("name", "rows", "line"),
    [
        ("a.json", {"instruction": "Q"}, r'a\.json:1: "response" is missing \(or "output"\)'),
        ("a.json", "{", r"a\.json: is not JSON"),
        ("a.json", [], "holds no replies"),
        ("a.json", [{"instruction": "Q"}], r'a\.json:1: "response" is missing \(or "output"\)'),
        ("a.json", [{"output": "R"}], r'a\.json:1: "prompt" is missing \(or "instruction"\)'),
        ("a.json", [{"instruction": "Q", "output": 3}], r'a\.json:1: "output" is not text \(int\)'),
        ("a.jsonl", [{"prompt": "Q", "response": "R"}, {"prompt": TURNS[:2], "response": "R"}],
         r'a\.jsonl:2: "prompt" does not end with the user\'s turn'),
        ("a.json", [{"instruction": "Q", "output": "R", "generator": "m"}, {"instruction": "P", "output": "R",
         "generator": "n"}], r'a\.json:2: is by "n", rows before it by "m"'),
        ("a.txt", "x", "unknown extension"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(written, name, rows, line):
    with pytest.raises(DataError, match=line) as error:
        read_generations(written(name, rows))
    assert "\n" not in str(error.value)
