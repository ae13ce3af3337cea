"""Reading preferences: every schema, every format, every defect under every policy, and the draw of the splits."""

import csv
import dataclasses
import gzip
import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ROOT

from mars.config import ConfigError, build
from mars.preferences import contamination
from mars.preferences.bad_rows import Policies
from mars.preferences.dataset import DatasetConfig, length_baseline, load
from mars.preferences.dialogue import Message
from mars.preferences.pair import DataError, Preferences
from mars.preferences.rows import Defect, Kind
from mars.preferences.schemas import hh_rlhf, schema_of

REAL = ROOT.parent / "shared" / "data"
real_data = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real rows beside the repository, in ../shared/data")


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def rows(count: int, start: int = 0) -> list[dict]:
    span = range(start, start + count)
    return [{"prompt": f"Question {i}?", "chosen": f"Right {i}.", "rejected": f"Wrong, {i}."} for i in span]


def write(path: Path, content: list[dict]) -> str:
    """`content` in the format that the name asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in content).encode()
    if path.name.endswith(".csv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, content[0])
            table.writeheader()
            table.writerows(content)
    elif path.name.endswith(".parquet"):
        import pandas as pd

        pd.DataFrame(content).to_parquet(path)
    else:
        path.write_bytes(gzip.compress(lines) if path.name.endswith(".gz") else lines)
    return str(path)


def load_lines(tmp_path: Path, lines: bytes, name: str = "files", **settings) -> Preferences:
    """Preferences from the `lines` of train.jsonl and a test file of one sound row."""
    (tmp_path / "train.jsonl").write_bytes(lines)
    settings = {"validation": 0.0, "max_bad_fraction": 1.0} | settings
    test = write(tmp_path / "held.jsonl", [SOUND[name]])
    return load(DatasetConfig(name, train=str(tmp_path / "train.jsonl"), test=test, **settings))


def load_rows(tmp_path: Path, train: list[dict], name: str = "files", **settings) -> Preferences:
    return load_lines(tmp_path, "".join(json.dumps(row) + "\n" for row in train).encode(), name, **settings)


def texts(pairs) -> list[tuple]:
    return sorted((p.id, p.prompt, p.chosen, p.rejected, p.subset) for p in pairs)


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


SOUND = {
    "files": {"prompt": "Held out?", "chosen": "Yes.", "rejected": "No."},
    "ultrafeedback": {"prompt": "Held out?", "chosen": "Yes.", "rejected": "No."},
    "hh_rlhf": {
        "chosen": "\n\nHuman: Held out?\n\nAssistant: Yes.",
        "rejected": "\n\nHuman: Held out?\n\nAssistant: No.",
    },
    "pku_saferlhf": {
        "prompt": "Held out?",
        "response_0": "Yes.",
        "response_1": "No.",
        "better_response_id": 0,
        "safer_response_id": 0,
    },
}


# Schemas


def test_hh_the_prompt_is_everything_up_to_the_last_assistant_turn():
    opening = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: A joke?\n\nAssistant:"
    row = hh_rlhf({"chosen": f"{opening} Knock knock.", "rejected": f"{opening} No. "})
    assert row.prompt == (Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "A joke?"))
    assert (row.chosen, row.rejected, row.doubts) == ("Knock knock.", "No.", ())


def test_hh_an_empty_last_turn_is_the_response_and_not_the_turn_before(tmp_path):
    opening = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: A joke?\n\nAssistant:"
    row = {"chosen": opening, "rejected": f"{opening} No."}
    assert hh_rlhf(row).chosen == ""
    with pytest.raises(DataError) as error:
        load_rows(tmp_path, [row], "hh_rlhf", on=Policies(empty="raise"))
    assert one_line(error) == 'train.jsonl:1: "chosen" is empty (drop such rows with dataset.on.empty=drop)'


def test_hh_prompts_that_differ_are_a_doubt_and_keep_takes_the_chosen_side(tmp_path):
    row = {"chosen": "\n\nHuman: One\n\nAssistant: a", "rejected": "\n\nHuman: Two\n\nAssistant: b"}
    assert [doubt.kind for doubt in hh_rlhf(row).doubts] == ["prompts_differ"]
    kept = load_rows(tmp_path, [row], "hh_rlhf", on=Policies(prompts_differ="keep"))
    assert kept.base[0].prompt == (Message("user", "One"),)


@pytest.mark.parametrize(
    "dialogue", ["no marker", "\n\nHuman: only a question", "\n\nHuman: a\n\nAssistant: b\n\nHuman: c", ""]
)
def test_hh_a_text_that_is_no_dialogue_is_a_defect(dialogue):
    with pytest.raises(Defect) as error:
        hh_rlhf({"chosen": dialogue, "rejected": dialogue})
    assert error.value.kind == "dialogue"


def test_hh_a_prompt_that_ends_with_the_assistant_is_a_defect(tmp_path):
    opening = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nAssistant:"
    row = {"chosen": f"{opening} a", "rejected": f"{opening} b"}
    with pytest.raises(DataError, match="does not end with the user's turn"):
        load_rows(tmp_path, [row], "hh_rlhf", on=Policies(dialogue="raise"))


def turns(*contents: str) -> list[dict]:
    return [{"role": role, "content": c} for role, c in zip(("user", "assistant") * 9, contents, strict=False)]


def test_ultrafeedback_binarised_holds_whole_dialogues_beside_the_prompt(tmp_path):
    row = {
        "prompt": "Hi",
        "prompt_id": "0",
        "chosen": turns("Hi", "Hello!"),
        "rejected": turns("Hi", "Go away."),
        "messages": turns("Hi", "Hello!"),
        "score_chosen": 8.0,
        "score_rejected": 3.5,
    }
    tied = row | {"score_rejected": 8.0, "prompt": "Ho", "chosen": turns("Ho", "1"), "rejected": turns("Ho", "2")}
    loaded = load_rows(tmp_path, [row, tied], "ultrafeedback")
    assert texts(loaded.base) == [("ultrafeedback-train-1", (Message("user", "Hi"),), "Hello!", "Go away.", "")]
    assert loaded.report["sources"]["train"][0]["dropped"] == {"tie": 1}
    assert len(load_rows(tmp_path, [row, tied], "ultrafeedback", on=Policies(tie="keep")).base) == 2


def completions(*scores, other=None) -> dict:
    """A row of openbmb/UltraFeedback; the responses are named by their position."""
    listed = [
        {"model": "m", "response": f"r{i}", "critique": "c", "overall_score": s, "fine-grained_score": other}
        for i, s in enumerate(scores)
    ]
    return {"source": "sharegpt", "instruction": "Hi", "models": ["m"] * len(scores), "completions": listed}


@pytest.mark.parametrize(
    ("scores", "chosen", "rejected"),
    [
        ((7.5, 3.0, 8.0, 1), "r2", "r3"),
        (("7.5", "3", "10", "9"), "r2", "r1"),  # numbers, not text: "10" is more than "9"
        ((5, 5, 2, 2), "r0", "r2"),  # of equals the first
        ((None, "N/A", 4, 6), "r3", "r2"),  # what has no score takes no part
    ],
)
def test_ultrafeedback_completions_are_binarised_best_against_worst(tmp_path, scores, chosen, rejected):
    loaded = load_rows(tmp_path, [completions(*scores)], "ultrafeedback")
    assert texts(loaded.base) == [("ultrafeedback-train-1", (Message("user", "Hi"),), chosen, rejected, "sharegpt")]
    assert "overall_score" in loaded.report["rule"]


def test_ultrafeedback_completions_can_be_binarised_by_the_other_score(tmp_path):
    row = completions(None, None)
    row["completions"][1]["fine-grained_score"], row["completions"][0]["fine-grained_score"] = 4.25, 3.5
    with pytest.raises(DataError, match=r'"overall_score" \(dataset.preference=fine_grained takes the other score\)'):
        load_rows(tmp_path, [row], "ultrafeedback", on=Policies(unlabelled="raise"))
    loaded = load_rows(tmp_path, [row], "ultrafeedback", preference="fine_grained")
    assert (loaded.base[0].chosen, loaded.base[0].rejected) == ("r1", "r0")


def test_ultrafeedback_completions_that_all_tie_have_no_label_to_keep(tmp_path):
    good, tied = completions(2, 1), completions(4, 4, 4)
    assert load_rows(tmp_path, [good, tied], "ultrafeedback").report["sources"]["train"][0]["dropped"] == {"tie": 1}
    with pytest.raises(DataError) as error:
        load_rows(tmp_path, [good, tied], "ultrafeedback", on=Policies(tie="keep"))
    assert one_line(error).startswith("train.jsonl:2: all completions score 4, with no label to keep")


def test_pku_the_preference_says_which_label_decides(tmp_path):
    row = {"prompt": "Hi", "response_0": "a", "response_1": "b", "better_response_id": 1, "safer_response_id": 0}
    by_better = load_rows(tmp_path, [row], "pku_saferlhf").base[0]
    by_safer = load_rows(tmp_path, [row], "pku_saferlhf", preference="safer").base[0]
    assert (by_better.chosen, by_better.rejected) == ("b", "a")
    assert (by_safer.chosen, by_safer.rejected) == ("a", "b")
    with pytest.raises(DataError, match='"better_response_id" is -1, not 0 or 1'):
        load_rows(tmp_path, [row | {"better_response_id": -1}], "pku_saferlhf", on=Policies(unlabelled="raise"))


def test_files_every_way_to_write_a_dialogue_gives_the_same_pair(tmp_path):
    prompt, dialogue = turns("Hi", "Hello.", "A joke?"), ("Hi", "Hello.", "A joke?")
    forms = [
        {"prompt": prompt, "chosen": "Knock.", "rejected": "No."},
        {"prompt": prompt, "chosen": [{"role": "assistant", "content": "Knock."}], "rejected": "No."},
        {"chosen": turns(*dialogue, "Knock."), "rejected": turns(*dialogue, "No.")},
        {"prompt": prompt, "chosen": turns(*dialogue, "Knock."), "rejected": "No."},
    ]
    pairs = [load_rows(tmp_path, [form | {"id": "same", "subset": "s"}]).base for form in forms]
    expected = (Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "A joke?"))
    assert all(texts(p) == [("same", expected, "Knock.", "No.", "s")] for p in pairs)


@pytest.mark.parametrize(
    ("change", "kind", "detail"),
    [
        ({"chosen": None}, "not_text", '"chosen" is null, not text'),
        ({"chosen": 7}, "not_text", '"chosen" is 7, not text'),
        ({"prompt": []}, "not_text", '"prompt" is [], not text or a list of messages'),
        ({"prompt": [{"role": "user"}]}, "not_text", '"prompt" holds a turn without text'),
        ({"prompt": [{"role": "human", "content": "x"}]}, "dialogue", "holds the role 'human' (known: system, user"),
        ({"prompt": turns("x", "y")}, "dialogue", "the prompt does not end with the user's turn"),
        ({"chosen": turns("x")}, "dialogue", '"chosen": the dialogue does not end with an assistant turn'),
        ({"prompt": None}, "not_text", '"prompt" is missing'),
    ],
)
def test_files_a_row_that_holds_no_preference_says_why(tmp_path, change, kind, detail):
    with pytest.raises(DataError) as error:
        load_rows(tmp_path, [rows(1)[0] | change], on=Policies(**{kind: "raise"}))
    assert detail in one_line(error)
    assert f"dataset.on.{kind}=drop" in one_line(error)


# Defects and policies

DAMAGED = {
    "bad_json": b'{"prompt": "a", "chosen": ',
    "encoding": b'{"prompt": "a", "chosen": "caf\xe9", "rejected": "c"}',
    "not_text": b'{"prompt": "a", "chosen": "b", "rejected": null}',
    "dialogue": b'{"prompt": [{"role": "assistant", "content": "a"}], "chosen": "b", "rejected": "c"}',
    "unlabelled": None,  # no such row in the plain schema; see the PKU and UltraFeedback cases
    "prompts_differ": json.dumps({"chosen": turns("a", "b"), "rejected": turns("other", "c")}).encode(),
    "empty": b'{"prompt": "a", "chosen": "b", "rejected": " \\n"}',
    "identical": b'{"prompt": "a", "chosen": "b", "rejected": "b "}',
    "tie": None,
    "duplicate": b'{"prompt": "Question 0?", "chosen": "Right 0.", "rejected": "Wrong, 0."}',
    "long_prompt": json.dumps({"prompt": "a" * 99, "chosen": "b", "rejected": "c"}).encode(),
}
KEPT = ("encoding", "prompts_differ", "empty", "identical", "tie", "duplicate", "long_prompt")


def test_every_kind_of_defect_has_a_policy():
    assert tuple(f.name for f in dataclasses.fields(Policies)) == get_args(Kind) == tuple(DAMAGED)


@pytest.mark.parametrize("kind", [kind for kind, line in DAMAGED.items() if line])
@pytest.mark.parametrize("policy", ["drop", "keep", "raise"])
def test_each_defect_follows_its_policy_and_is_counted(tmp_path, kind, policy):
    sound = [json.dumps(row).encode() for row in rows(2)]
    lines = b"\n".join([sound[0], DAMAGED[kind], sound[1]])
    if policy == "keep" and kind not in KEPT:
        with pytest.raises(ConfigError, match=f"dataset.on.{kind}: 'keep' is not a choice"):
            build(DatasetConfig, {"name": "files", "on": {kind: policy}}, "dataset")
        return
    on = Policies(**{kind: policy})
    if policy == "raise":
        with pytest.raises(DataError) as error:
            load_lines(tmp_path, lines, on=on, max_prompt_chars=50)
        assert one_line(error).startswith("train.jsonl:2: ")
        assert one_line(error).endswith(f"(drop such rows with dataset.on.{kind}=drop)")
        return
    loaded = load_lines(tmp_path, lines, on=on, max_prompt_chars=50)
    told = loaded.report["sources"]["train"][0]
    assert told["rows"] == 3
    assert told["kept"] == len(loaded.base) == (2 if policy == "drop" else 3)
    assert told["dropped"] == ({kind: 1} if policy == "drop" else {})
    assert told["kept_despite"] == ({kind: 1} if policy == "keep" else {})
    assert told["examples"] == {kind: ["train.jsonl:2"]}


def test_a_misspelt_kind_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match=r'dataset.on.emtpy: no such setting \(did you mean "empty"\?\)'):
        build(DatasetConfig, {"name": "files", "on": {"emtpy": "drop"}}, "dataset")


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b'["a", "b"]', "the line is a JSON list, not an object"),
        (b"version https://git-lfs.github.com/spec/v1", "the line is not JSON: Expecting value"),
        (b'{"prompt": "a", "chosen": "b"} {}', "the line is not JSON: Extra data"),
        (b"[" * 100_000, "the line is not JSON"),
    ],
)
def test_lines_that_are_no_object_say_what_they_are(tmp_path, line, detail):
    with pytest.raises(DataError) as error:
        load_lines(tmp_path, json.dumps(rows(1)[0]).encode() + b"\n" + line, on=Policies(bad_json="raise"))
    assert one_line(error).startswith(f"train.jsonl:2: {detail}")


def test_kept_bad_bytes_are_marked_and_can_be_written_again(tmp_path):
    half_pair = b'{"prompt": "b", "chosen": "x \\ud83d", "rejected": "c"}'
    whole_pair = b'{"prompt": "c", "chosen": "x \\ud83d\\ude00", "rejected": "c"}'
    lines = b"\n".join([DAMAGED["encoding"], half_pair, whole_pair])
    loaded = load_lines(tmp_path, lines, on=Policies(encoding="keep"))
    kept = {pair.id[-1]: pair.chosen for pair in loaded.base}
    assert kept["1"] == "caf\ufffd"
    assert kept["2"].startswith("x \ufffd")
    assert kept["3"] == "x 😀"
    assert loaded.report["sources"]["train"][0]["kept_despite"] == {"encoding": 2}
    assert all(text.encode() for text in kept.values())


def test_a_byte_order_mark_crlf_and_blank_lines_change_nothing_but_the_line_numbers(tmp_path):
    lines = [json.dumps(row).encode() for row in rows(3)]
    plain = load_lines(tmp_path, b"\n".join(lines))
    dressed = load_lines(tmp_path, b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n")
    assert texts(dressed.base) == texts(plain.base)
    spaced = load_lines(tmp_path, b"\n \n".join(lines))
    assert [pair[1:] for pair in texts(spaced.base)] == [pair[1:] for pair in texts(plain.base)]
    assert sorted(pair.id for pair in spaced.base) == ["files-train-1", "files-train-3", "files-train-5"]
    assert spaced.report["sources"]["train"][0]["rows"] == 3


def test_too_many_bad_rows_are_an_error_with_counts_and_the_first_place(tmp_path):
    lines = [json.dumps(row).encode() for row in rows(8)]
    lines[3:3] = [DAMAGED["empty"], DAMAGED["bad_json"]]
    with pytest.raises(DataError) as error:
        load_lines(tmp_path, b"\n".join(lines), max_bad_fraction=0.19)
    assert one_line(error) == (
        'train.jsonl:4: "rejected" is empty; 2 of 10 rows (20.0%) cannot be used: 1 empty, 1 bad_json '
        "(mend them, or allow more than dataset.max_bad_fraction=0.19)"
    )
    assert len(load_lines(tmp_path, b"\n".join(lines), max_bad_fraction=0.2).base) == 8


def test_duplicates_and_long_prompts_are_no_sign_of_a_bad_file(tmp_path):
    content = rows(2) * 5 + [{"prompt": "x" * 100, "chosen": "a", "rejected": "b"}]
    loaded = load_rows(tmp_path, content, max_bad_fraction=0.0, max_prompt_chars=50)
    assert loaded.report["sources"]["train"][0]["dropped"] == {"duplicate": 8, "long_prompt": 1}
    assert len(loaded.base) == 2


# Files


@pytest.mark.parametrize("extension", [".jsonl.gz", ".csv", ".parquet"])
def test_every_format_gives_the_same_pairs_and_the_same_subset(tmp_path, extension):
    content = [
        *rows(30),
        {"prompt": "NA", "chosen": "None", "rejected": "null"},
        {"prompt": "42", "chosen": "1.0", "rejected": "nan"},
        {"prompt": 'a, "b"\nc\r\nd', "chosen": "ünï ☃", "rejected": " kept "},
    ]
    test = write(tmp_path / "held.jsonl", rows(3, 100))
    write(tmp_path / "train.jsonl", content)
    write(tmp_path / f"train{extension}", content)
    one, other = (
        load(DatasetConfig("files", train=str(tmp_path / f"train{e}"), test=test, size=20, seed=3))
        for e in (".jsonl", extension)
    )
    assert [p.id for p in other.base] == [p.id for p in one.base]
    assert texts([*other.base, *other.validation]) == texts([*one.base, *one.validation])


def test_parquet_holds_messages_and_the_own_ids_may_be_numbers(tmp_path):
    content = [{"chosen": turns("a", "b"), "rejected": turns("a", "c"), "id": 7}]
    train, test = write(tmp_path / "train.parquet", content), write(tmp_path / "test.jsonl", rows(1))
    loaded = load(DatasetConfig("files", train=train, test=test, validation=0))
    assert texts(loaded.base) == [("7", (Message("user", "a"),), "b", "c", "")]


def test_an_empty_csv_field_is_empty_and_a_bad_byte_is_a_row_of_its_own(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"prompt,chosen,rejected\na,b,\nd,caf\xe9,f\ng,h,i\n")
    test = write(tmp_path / "test.jsonl", rows(1))
    loaded = load(
        DatasetConfig("files", train=str(tmp_path / "train.csv"), test=test, validation=0, max_bad_fraction=1)
    )
    told = loaded.report["sources"]["train"][0]
    assert told["examples"] == {"empty": ["train.csv:1"], "encoding": ["train.csv:2"]}
    assert [p.id for p in loaded.base] == ["files-train-3"]


@pytest.mark.parametrize("name", ["train [1].csv", "train*.parquet"])
def test_a_file_name_is_no_pattern(tmp_path, name):
    train, test = write(tmp_path / name, rows(2)), write(tmp_path / "test.jsonl", rows(1))
    assert len(load(DatasetConfig("files", train=train, test=test, validation=0)).base) == 2


def damaged_file(tmp_path: Path, name: str, content: bytes) -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", b"", "train.jsonl: the file is empty"),
        ("train.jsonl", b"\n\n", "train.jsonl: holds no rows"),
        ("train.csv", b"prompt,chosen,rejected\n", "train.csv: holds no rows"),
        (
            "train.csv",
            b"prompt,chosen,rejected\na,b,c\na,b,c,d\n",
            "train.csv:2: has 4 fields, the header 3 (a field that holds a comma",
        ),
        ("train.csv", b"prompt,chosen,rejected\na,b,c,d\na,b,c,d\n", "train.csv:1: has 4 fields, the header 3"),
        ("train.parquet", b"junk", "train.parquet: cannot be read as parquet: Parquet file size is 4 bytes"),
        ("train.jsonl.gz", b"not gzip", "train.jsonl.gz: is not a whole gzip file: Not a gzipped file"),
        (
            "train.jsonl.gz",
            gzip.compress(b'{"prompt": "a"}' * 99, mtime=0)[:-9],
            "train.jsonl.gz: is not a whole gzip file",
        ),
        ("train.txt", b"[]", "train.txt: unknown extension (rename it after what is in it; known: .jsonl, .json,"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path, capfd, name, content, message):
    train, test = damaged_file(tmp_path, name, content), write(tmp_path / "test.jsonl", rows(1))
    with pytest.raises(DataError) as error:
        load(DatasetConfig("files", train=train, test=test))
    assert message in one_line(error)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.parquet"])
def test_a_missing_column_is_named_with_the_nearest_present_one(tmp_path, name):
    content = [{"prompt": "a", "chosen": "b", "rejcted": "c"}] * 2
    with pytest.raises(DataError) as error:
        load(DatasetConfig("files", train=write(tmp_path / name, content), test=write(tmp_path / "t.jsonl", rows(1))))
    assert one_line(error).startswith(f'{name}: no column "rejected" (did you mean "rejcted"?), and no shape fits')
    assert "name yours, as dataset.columns.rejected=NAME" in one_line(error)


def test_a_missing_file_is_named_with_the_nearest_one(tmp_path):
    write(tmp_path / "train.jsonl", rows(1))
    with pytest.raises(DataError, match=r'trian.jsonl: no such file \(did you mean "train.jsonl"\?\)'):
        load(DatasetConfig("files", train=str(tmp_path / "trian.jsonl"), test="t.jsonl"))


def test_a_file_that_may_not_be_opened_is_one_line(tmp_path, monkeypatch):
    train = write(tmp_path / "train.jsonl", rows(1))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"train.jsonl: cannot be opened: Permission denied"):
        load(DatasetConfig("files", train=train, test="t.jsonl"))


def test_an_id_used_twice_is_an_error_and_names_both_places(tmp_path):
    content = [row | {"id": "same"} for row in rows(2)]
    with pytest.raises(DataError, match=r'train.jsonl:2: the id "same" stands at train.jsonl:1 already'):
        load_rows(tmp_path, content)


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "test.jsonl"),
        ("train_prefs-00000-of-00001.parquet", "test_prefs-00000-of-00001.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("data/Alpaca-7B/train.jsonl", "data/Alpaca-7B/test.jsonl"),
        ("harmless-base/train.jsonl.gz", "harmless-base/test.jsonl.gz"),
    ],
)
def test_a_directory_is_read_as_the_hub_lays_it_out(tmp_path, names):
    for name, content in zip(names, (rows(4), rows(2, 10)), strict=True):
        write(tmp_path / name, content)
    write(tmp_path / "train_sft.jsonl", rows(9, 100))  # another split, never to be mixed in
    data_dir = "harmless-base" if "harmless" in names[0] else None
    loaded = load(DatasetConfig("files", path=str(tmp_path), data_dir=data_dir, validation=0))
    assert sorted(p.id for p in loaded.base) == [f"files-train-{i}" for i in range(1, 5)]
    assert [p.id for p in loaded.tests["test"]] == ["files-test-1", "files-test-2"]


def test_the_shards_of_a_split_are_one_numbering_and_each_file_is_reported(tmp_path):
    write(tmp_path / "data" / "A" / "train.jsonl", rows(3))
    write(tmp_path / "data" / "B" / "train.jsonl", [*rows(2, 3), {"prompt": "a", "chosen": "", "rejected": "b"}])
    write(tmp_path / "data" / "B" / "test.jsonl", rows(1, 50))
    loaded = load(DatasetConfig("files", path=str(tmp_path), validation=0, max_bad_fraction=1))
    assert sorted(p.id for p in loaded.base) == [f"files-train-{i}" for i in range(1, 6)]
    told = loaded.report["sources"]["train"]
    assert [(t["file"], t["kept"]) for t in told] == [("data/A/train.jsonl", 3), ("data/B/train.jsonl", 2)]
    assert told[1]["examples"] == {"empty": ["data/B/train.jsonl:3"]}


def test_a_directory_with_a_split_in_two_formats_or_none_is_an_error(tmp_path):
    write(tmp_path / "train.jsonl", rows(1))
    with pytest.raises(DataError, match=r"no file test_prefs\*, test\* of .* dataset.test_from_train=N"):
        load(DatasetConfig("files", path=str(tmp_path)))
    write(tmp_path / "train.csv", rows(1))
    with pytest.raises(DataError, match=r"has train.csv and train.jsonl \(name one with dataset.train=F"):
        load(DatasetConfig("files", path=str(tmp_path)))
    with pytest.raises(DataError, match="no such directory"):
        load(DatasetConfig("files", path=str(tmp_path / "nowhere")))


def test_a_hub_dataset_is_read_by_split_and_its_version_recorded(tmp_path):
    write(tmp_path / "data" / "train_prefs-00000-of-00001.parquet", rows(3))
    write(tmp_path / "data" / "test_prefs-00000-of-00001.parquet", rows(2, 10))
    loaded = load(DatasetConfig("ultrafeedback", hub=str(tmp_path), validation=0))
    assert sorted(p.id for p in loaded.base) == [f"ultrafeedback-train-{i}" for i in (1, 2, 3)]
    told = loaded.report["sources"]["test"][0]
    assert (told["split"], told["rows"], told["kept"]) == ("test_prefs", 2, 2)
    assert told["fingerprint"]


def test_a_hub_dataset_without_a_test_split_says_what_to_do(tmp_path):
    write(tmp_path / "train.jsonl", [completions(i, i + 1) | {"instruction": f"Q{i}"} for i in range(10)])
    with pytest.raises(DataError, match=r"no test split, only train \(.*dataset.test_from_train=N\)"):
        load(DatasetConfig("ultrafeedback", hub=str(tmp_path)))
    loaded = load(DatasetConfig("ultrafeedback", hub=str(tmp_path), test_from_train=0.3, validation=2))
    assert (len(loaded.tests["test"]), len(loaded.validation), len(loaded.base)) == (3, 2, 5)


def test_an_unreachable_hub_names_the_way_without_it(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as error:
        load(DatasetConfig("hh_rlhf", hub="no-such-owner/no-such-set", revision="0123456789"))
    assert one_line(error).startswith("no-such-owner/no-such-set@0123456: cannot be read from the hub: ")
    assert "dataset.path=DIR, or dataset.train=F and dataset.test=F" in one_line(error)


# Splits and subsets


def test_the_subset_is_fixed_by_the_seed_and_a_smaller_one_is_part_of_it(tmp_path):
    def ids(**settings) -> list[str]:
        return [p.id for p in load_rows(tmp_path, rows(100), validation=10, **settings).base]

    assert ids(size=20, seed=1) == ids(size=20, seed=1)
    assert ids(size=20, seed=1) != ids(size=20, seed=2)
    assert ids(size=20, seed=1) == ids(size=50, seed=1)[:20]
    assert ids(size=5) == [f"files-train-{i}" for i in (1, 61, 88, 68, 91)]


def test_a_size_that_train_cannot_fill_is_capped_recorded_and_logged(tmp_path, caplog):
    loaded = load_rows(tmp_path, rows(50), size=50, validation=0.1)
    told = loaded.report["subset"]
    assert (told["size_requested"], told["size"], told["validation"]) == (50, 45, 5)
    assert "only 45 base pairs are left, not the 50 of dataset.size" in caplog.text


def test_validation_is_a_share_of_the_size_and_not_of_a_large_train_split(tmp_path):
    assert len(load_rows(tmp_path, rows(100), size=20, validation=0.1).validation) == 2
    assert len(load_rows(tmp_path, rows(100), size=20, validation=30).validation) == 30


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    repeats=st.lists(st.integers(1, 4), min_size=6, max_size=20),  # pairs of each prompt
    validation=st.sampled_from([0.0, 0.1, 0.5, 3.0]),
    test_from_train=st.sampled_from([0.2, 2.0]),
    size=st.one_of(st.none(), st.integers(1, 20)),
    seed=st.integers(0, 9),
)
def test_no_prompt_is_on_two_sides_of_a_split(tmp_path, repeats, validation, test_from_train, size, seed):
    content = [
        {"prompt": f"Question {i}?", "chosen": f"a{j}", "rejected": f"b{j}"}
        for i, n in enumerate(repeats)
        for j in range(n)
    ]
    train = write(tmp_path / "train.jsonl", content)
    loaded = load(
        DatasetConfig(
            "files", train=train, test_from_train=test_from_train, validation=validation, size=size, seed=seed
        )
    )
    parts = [loaded.base, loaded.validation, loaded.tests["test"]]
    prompts = [{contamination.prompt_key(p) for p in part} for part in parts]
    assert sum(map(len, prompts)) == len(set().union(*prompts))
    told = loaded.report["subset"]
    left = len(content) - told["test"] - told["beside_test"] - told["validation"] - told["beside_validation"]
    assert len(loaded.base) == min(size or left, left)
    found = loaded.report["contamination"]
    assert found["test"]["prompt"]["count"] == found["validation"]["prompt"]["count"] == 0


def test_a_test_subset_is_drawn_by_seed_and_stays_in_file_order(tmp_path):
    train, test = write(tmp_path / "train.jsonl", rows(5)), write(tmp_path / "test.jsonl", rows(50, 100))
    loaded = load(DatasetConfig("files", train=train, test=test, test_size=10, validation=0))
    numbers = [int(p.id.removeprefix("files-test-")) for p in loaded.tests["test"]]
    assert len(numbers) == 10
    assert numbers == sorted(numbers) != list(range(1, 11))
    assert loaded.report["subset"]["test_available"] == 50


def test_nothing_left_to_train_on_is_an_error(tmp_path):
    with pytest.raises(DataError, match="of 5 train pairs none is left to train on"):
        load_rows(tmp_path, rows(5), validation=5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"test_from_train": 0.2}, "which dataset.test_from_train takes whole: set dataset.test=F and"),
        ({"test": "held.jsonl"}, "which dataset.validation takes whole: set dataset.validation=0,"),
    ],
)
def test_pairs_of_one_prompt_cannot_be_divided(settings, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "held.jsonl", rows(1))
    write(tmp_path / "train.jsonl", [{**row, "prompt": "One?"} for row in rows(10)])
    with pytest.raises(DataError) as error:
        load(DatasetConfig("files", train="train.jsonl", **settings))
    assert one_line(error).startswith(f"files: of 10 train pairs none is left to train on (all in one prompt, {said}")


def test_few_prompts_of_which_none_is_left_name_each_setting_that_took_some(tmp_path):
    train = write(tmp_path / "train.jsonl", [{**row, "prompt": f"{i % 2}?"} for i, row in enumerate(rows(20))])
    with pytest.raises(DataError, match=r"\(lower dataset.test_from_train or dataset.validation\)"):
        load(DatasetConfig("files", train=train, test_from_train=0.2))


def test_a_share_of_two_pairs_that_is_no_pair_says_what_takes_one(tmp_path):
    train = write(tmp_path / "train.jsonl", rows(2))
    with pytest.raises(DataError, match=r"test_from_train=0.2 of 2 train pairs is none .*test_from_train=1\)"):
        load(DatasetConfig("files", train=train, test_from_train=0.2))
    assert len(load(DatasetConfig("files", train=train, test_from_train=1)).base) == 1


def test_the_length_baseline_counts_a_tie_as_half(tmp_path):
    content = [
        {"prompt": "a", "chosen": "long", "rejected": "x"},
        {"prompt": "b", "chosen": "x", "rejected": "long"},
        {"prompt": "c", "chosen": "one", "rejected": "two"},
        {"prompt": "d", "chosen": "long", "rejected": "y"},
    ]
    assert length_baseline(load_rows(tmp_path, content).base) == (1 + 0 + 0.5 + 1) / 4


def test_a_leak_from_test_into_train_is_in_the_report(tmp_path):
    loaded = load_rows(tmp_path, [*rows(5), {"prompt": "held OUT", "chosen": "yes", "rejected": "maybe"}])
    found = loaded.report["contamination"]["test"]
    assert (found["prompt"]["ids"], found["prompt_response"]["ids"]) == (["files-test-1"], ["files-test-1"])


def test_the_report_is_json_and_holds_no_base_id(tmp_path):
    loaded = load_rows(tmp_path, rows(5))
    told = json.loads(json.dumps(loaded.report))
    assert told == loaded.report
    assert len(told["sources"]["train"][0]["sha256"]) == 64
    assert "files-train" not in json.dumps(told)


# Configuration


@pytest.mark.parametrize("name", ["hh_rlhf", "ultrafeedback", "pku_saferlhf", "files"])
def test_a_preset_is_flat_complete_and_valid(name, compose):
    values = compose(f"dataset={name}")["dataset"]
    config = build(DatasetConfig, values, "dataset")
    assert config.name == name
    assert set(values) == {f.name for f in dataclasses.fields(DatasetConfig)}
    assert config.on == Policies()
    assert (config.hub is None) == (name == "files") == (config.size is None)
    assert config.hub is None or len(config.revision) == 40


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "hh_rlfh"}, 'dataset.name: "hh_rlfh" is unknown (did you mean "hh_rlhf"?)'),
        ({"name": "files", "size": 0}, "dataset.size: 0 is not a positive number (null: no limit)"),
        ({"name": "files", "validation": 1.5}, "dataset.validation: 1.5 is neither a share below 1 nor a number"),
        ({"name": "files", "validation": -1}, "dataset.validation: -1.0 is neither"),
        ({"name": "files", "max_bad_fraction": 2}, "dataset.max_bad_fraction: 2.0 is not between 0 and 1"),
        ({"name": "files", "test": "f", "test_from_train": 1}, "dataset.test_from_train: there is a test file already"),
        ({"name": "files", "preference": "safer"}, "dataset.preference: files has one label and nothing to choose"),
        (
            {"name": "pku_saferlhf", "preference": "saver"},
            'dataset.preference: "saver" is unknown (did you mean "safer"?)',
        ),
    ],
)
def test_a_setting_that_cannot_be_is_named(values, message):
    with pytest.raises(ConfigError) as error:
        build(DatasetConfig, values, "dataset")
    assert message in one_line(error)


def test_a_dataset_with_nothing_to_read_says_how_to_name_it():
    with pytest.raises(
        ConfigError, match=r"dataset.train: no rows to read \(set dataset.train=F or dataset.path=DIR\)"
    ):
        load(DatasetConfig("files"))


@pytest.mark.parametrize("preference", [None, "overall", "fine_grained"])
def test_the_rule_recorded_names_the_score(preference):
    assert schema_of("ultrafeedback", preference).rule.count("score") >= 2


# Real rows


@real_data
def test_hh_rlhf_rows_are_what_the_protocol_counts():
    loaded = load(DatasetConfig("hh_rlhf", path=str(REAL / "hh_rlhf" / "harmless-base"), size=1000))
    train, test = (loaded.report["sources"][split][0] for split in ("train", "test"))
    assert (train["rows"], train["dropped"]) == (1000, {"empty": 2, "prompts_differ": 2})
    assert (test["rows"], test["dropped"]) == (800, {"empty": 2, "prompts_differ": 3})  # 4 and 5 of all 2312 rows
    assert test["examples"]["empty"] == ["test.jsonl.gz:30", "test.jsonl.gz:382"]
    assert test["sha256"] == "5a9a128100697301f8795329165c2adcd2bf8cb1a5ffff2865b3bf55f6b18033"
    assert (len(loaded.base), len(loaded.validation), len(loaded.tests["test"])) == (896, 100, 795)
    assert loaded.report["length_baseline"]["test"] == pytest.approx(0.4541, abs=5e-5)
    assert loaded.report["contamination"]["test"]["prompt"]["ids"] == ["hh_rlhf-test-431", "hh_rlhf-test-494"]


@real_data
def test_ultrafeedback_rows_are_plain_text_with_a_few_to_drop():
    loaded = load(DatasetConfig("ultrafeedback", path=str(REAL / "ultrafeedback")))
    train, test = (loaded.report["sources"][split][0] for split in ("train", "test"))
    assert (train["rows"], train["dropped"]) == (1000, {"identical": 4, "empty": 2})
    assert (test["rows"], test["dropped"]) == (200, {"identical": 1})
    assert loaded.report["contamination"]["test"]["prompt"]["count"] == 0
