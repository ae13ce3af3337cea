"""`mars look`: what it says of a file or folder, and that the command at its end trains."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import OmegaConf
from support import ROOT
from support.commands import run_here

from mars.commands.suggestion import WIDTH
from mars.preferences.dataset import DatasetConfig, load
from mars.run import main

ROWS = [{"prompt": f"Question {i}?", "chosen": f"Right, {i}.", "rejected": "Wrong."} for i in range(40)]
TOY = ("scale=tiny", "backbone=tiny", "rounds.number=1", "rounds.steps=2", "rounds.budget=8", "batch_size=4")


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def lines_of(rows: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def looked_at(name: str, folder: Path) -> str:
    done = run_here(main, "look", name, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(len(line) <= WIDTH for line in done.stdout.splitlines() if "dataset." not in line)
    return done.stdout


def command(said: str) -> list[str]:
    """The arguments of the command that `look` ends with, as a shell takes them."""
    words = shlex.split(said[said.index("python -m mars.run") :].replace("\\\n", " "))
    assert words[:3] == ["python", "-m", "mars.run"]
    return words[3:]


def test_a_table_is_told_with_its_container_columns_and_shape(tmp_path: Path) -> None:
    content = pd.DataFrame(ROWS).assign(note=[None] * 30 + ["a"] * 10).to_csv(sep=";")
    (tmp_path / "pairs.csv").write_text(content, encoding="utf-16")
    said = looked_at("pairs.csv", tmp_path)
    assert said.startswith(
        "file       pairs.csv\n"
        "container  CSV, UTF-16-LE, semicolons between fields\n"
        "found      an index column without a name, dropped\n"
        "rows       40, which give 40 pairs to train on\n"
        "shape      plain: as given\n"
        "\n"
        "columns\n"
        "            type                      missing\n"
        "  prompt    text                      0\n"
        "  chosen    text                      0\n"
        "  rejected  text                      0\n"
        "  note      text                      30 (75.0%)\n"
    )


def test_three_pairs_are_shown_with_the_prompt_apart_from_the_replies(tmp_path: Path) -> None:
    long = " ".join(f"word{i}" for i in range(3000))
    (tmp_path / "pairs.jsonl").write_text(
        lines_of([*ROWS, {"prompt": "a\x1b[1m\n\nb", "chosen": long, "rejected": "c"}])
    )
    said = looked_at("pairs.jsonl", tmp_path)
    first, middle, last = (part.splitlines() for part in said.split("── pair ")[1:])
    assert first[1:7] == [
        "prompt     Human: Question 0?",
        "",
        "           Assistant:",
        "┄┄ here the reply begins ".ljust(WIDTH, "┄"),
        "chosen     Right, 0.",
        "rejected   Wrong.",
    ]
    assert middle[0].startswith("21 of 41: files-train-21 ──")
    assert last[1] == r"prompt     Human: a\x1b[1m"
    shown = last[last.index("┄┄ here the reply begins ".ljust(WIDTH, "┄")) + 1 :][:8]
    assert (shown[0][:18], shown[3], shown[6][-8:]) == ("chosen     word0 w", "           …", "word2999")
    assert shown[7] == "rejected   c"


def test_lengths_labels_and_defects_are_counted(tmp_path: Path) -> None:
    turned = {"prompt": "Question 3?", "chosen": "Wrong.", "rejected": "Right, 3."}
    empty = {"prompt": "Question 5?", "chosen": " ", "rejected": "b"}
    (tmp_path / "pairs.jsonl").write_text(lines_of([*ROWS, ROWS[0], ROWS[1], turned, empty]) + "\nno json\n")
    said = looked_at("pairs.jsonl", tmp_path)
    part = said[said.index("\nlengths") : said.index("\ntrain on it")]
    assert part == (
        "\nlengths      median  longest, in characters\n"
        "  prompt         12       12\n"
        "  chosen         10       10\n"
        "  rejected        6        9\n"
        "\nlabels\n"
        "  the longer reply is chosen in 97.6% of the pairs (a tie of lengths is half)\n"
        "  ties: 0\n"
        "  duplicates: 2\n"
        "  contradictory, as an earlier pair with its replies exchanged: 1\n"
        "\ndefects\n"
        "  2 duplicate, dropped: pairs.jsonl:41 (repeats an earlier row), pairs.jsonl:42\n"
        '  1 empty, dropped: pairs.jsonl:44 ("chosen" is empty)\n'
        "  1 bad_json, dropped: pairs.jsonl:45 (the line is not JSON: Expecting value at\n"
        "      character 1)\n"
        "  1 contradictory, kept all the same: pairs.jsonl:43 (an earlier row has the\n"
        "      same responses the other way round)\n"
    )


def test_the_command_at_the_end_trains_also_on_a_file_of_an_odd_name_with_many_bad_rows(tmp_path: Path) -> None:
    name = r"my pairs\, größe 'v2\' [final] ${x}.jsonl"
    (tmp_path / name).write_text(lines_of([*ROWS, *[{"prompt": "Q", "chosen": "a"}] * 9]))
    said = looked_at(name, tmp_path)
    assert "9 of 49 rows (18.4%) cannot be used. The last setting lets them go;" in said
    arguments = command(said)
    assert arguments[0] == "study='outputs/my_pairs_größe_v2_final_x'"
    assert arguments[-2:] == ["dataset.test_from_train=0.2", "dataset.max_bad_fraction=0.19"]
    done = run_here(main, *arguments, *TOY, f"cache={tmp_path}/cache", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("outputs/my_pairs_größe_v2_final_x/*/DONE"))


@pytest.mark.parametrize(
    "name", ["größe", "ends\\", "two\\\\", "q\\'", "a'b", "2024", "null", "-1e5", "${x}", "\\${x}", "a b,c={d}"]
)
def test_hydra_reads_the_name_of_a_folder_in_the_command_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "rows.jsonl").write_text(lines_of(ROWS))
    said = looked_at(name, tmp_path)
    assert given(said, "dataset.train") == name
    assert isinstance(given(said, "study"), str)


def test_a_name_that_only_hydra_wants_quoted_stands_in_double_quotes(tmp_path: Path) -> None:
    (tmp_path / "größe.jsonl").write_text(lines_of(ROWS))
    assert """ "dataset.train='größe.jsonl'" """ in looked_at("größe.jsonl", tmp_path)


def given(said: str, key: str) -> Any:
    """The value of a setting in the command that `look` ends with."""
    parsed = {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(command(said))}
    value = parsed[key].text if isinstance(parsed[key], QuotedString) else parsed[key]
    return OmegaConf.create({"value": value}).value


# ---- where a command would only fail


@pytest.mark.parametrize("number", [1, 30])
def test_without_pairs_the_first_defect_stands_where_the_command_would(number: int, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(lines_of([{"prompt": "Q", "chosen": "a", "rejected": None}] * number))
    said = looked_at("pairs.jsonl", tmp_path)
    assert said.endswith('train on it\n  There are no pairs to train on. pairs.jsonl:1: "rejected" is null, not text\n')


def test_of_ties_alone_it_says_how_they_are_kept(tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {i}.", "response1": "a", "response2": "b", "annotator1": 0} for i in range(5)]
    (tmp_path / "votes.json").write_text(json.dumps(rows))
    said = looked_at("votes.json", tmp_path)
    assert said.endswith(
        "  There are no pairs to train on: each is a tie. dataset.on.tie=half keeps them;\n"
        "  what is tested on (dataset.test=FILE) needs pairs of which one side is better.\n"
    )


@pytest.mark.parametrize(
    ("number", "why"), [(1, "there is one pair, and"), (20, "all 20 pairs are in one prompt, and")]
)
def test_pairs_of_one_prompt_need_a_test_file(number: int, why: str, tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "chosen": f"a{i}", "rejected": "b"} for i in range(number)]
    (tmp_path / "pairs.jsonl").write_text(lines_of(rows))
    said = looked_at("pairs.jsonl", tmp_path)
    assert f"A test from these rows would take all: {why}" in " ".join(said.split())
    assert "mars.run" not in said
    (tmp_path / "test.jsonl").write_text(lines_of(ROWS))
    train, test = (str(tmp_path / name) for name in ("pairs.jsonl", "test.jsonl"))
    assert len(load(DatasetConfig("files", train=train, test=test, validation=0)).base) == number


@pytest.mark.parametrize(
    ("prompts", "settings"),
    [
        (["P", "Q"], {"test_from_train": 1}),
        (["P", "Q", "R"], {"test_from_train": 0.2}),
        (["P"] * 10 + ["Q"] * 10, {"test_from_train": 0.2, "validation": 0}),
    ],
)
def test_few_prompts_are_divided_so_that_some_are_left(
    prompts: list[str], settings: dict[str, Any], tmp_path: Path
) -> None:
    rows = [{"prompt": prompt, "chosen": f"a{i}", "rejected": "b"} for i, prompt in enumerate(prompts)]
    (tmp_path / "pairs.jsonl").write_text(lines_of(rows))
    said = looked_at("pairs.jsonl", tmp_path)
    assert command(said)[3:] == [f"dataset.{name}={value}" for name, value in settings.items()]
    assert ("no pair is held out for validation" in " ".join(said.split())) == ("validation" in settings)
    found = load(DatasetConfig("files", train=str(tmp_path / "pairs.jsonl"), **settings))
    assert found.base
    assert found.tests["test"]


def test_votes_are_recognised_and_their_ties_can_be_kept(tmp_path: Path) -> None:
    votes = [(1, 1, 2), (0, 0, 0), (2, 2, 2)]
    rows = [
        {"instruction": f"Say {i}.", "response1": "a", "response2": "b", **dict(zip(ANNOTATORS, vote, strict=True))}
        for i, vote in enumerate(votes)
    ]
    (tmp_path / "votes.json").write_text(json.dumps(rows))
    said = looked_at("votes.json", tmp_path)
    assert "container  JSON array, UTF-8\nrows       3, which give 2 pairs to train on\nshape      pandalm: " in said
    assert "  ties: 1 (dataset.on.tie=half keeps them" in said


ANNOTATORS = ("annotator1", "annotator2", "annotator3")


def test_a_test_file_beside_the_train_file_is_used(tmp_path: Path) -> None:
    for name in ("train-pairs.jsonl", "test-pairs.jsonl"):
        (tmp_path / name).write_text(lines_of(ROWS))
    said = looked_at("train-pairs.jsonl", tmp_path)
    assert "test       test-pairs.jsonl (not looked at here)\n" in said
    assert command(said)[2:] == ["dataset.train=train-pairs.jsonl", "dataset.test=test-pairs.jsonl"]


@pytest.mark.parametrize("with_test", [True, False])
def test_a_folder_is_looked_at_as_a_dataset_takes_it(with_test: bool, tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list(ROWS)
    splits = {"train": rows, "test": rows} if with_test else {"train": rows}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    said = looked_at("saved", tmp_path)
    assert said.startswith("file       train/data-00000-of-00001.arrow\n")
    rest = [] if with_test else ["dataset.test_from_train=0.2"]
    assert command(said) == ["study=outputs/saved", "dataset=files", "dataset.path=saved", *rest]


def test_a_folder_of_shards_is_one_file_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for i in (0, 1):
        pd.DataFrame(ROWS[20 * i : 20 * i + 20]).to_parquet(tmp_path / "shards" / f"part-{i}.parquet")
    said = looked_at("shards", tmp_path)
    assert said.startswith("files      2 files, part-0.parquet to part-1.parquet\ncontainer  Parquet\nrows       40,")
    assert "dataset.train=shards" in command(said)


def test_a_shape_that_is_not_recognised_is_an_error_behind_the_columns(tmp_path: Path) -> None:
    rows = [{"question": "Q", "good": "a", "bad": None}, {"question": ["Q"], "good": "a"}]
    (tmp_path / "odd.jsonl").write_text(lines_of(rows))
    done = run_here(main, "look", "odd.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.endswith(
        "rows       2\n\ncolumns\n"
        "            type                      missing\n"
        "  question  text or list              0\n"
        "  good      text                      0\n"
        "  bad       nothing                   2 (100.0%)\n"
    )
    assert done.stderr.startswith('error: odd.jsonl: no column "chosen" and "rejected", and no shape fits the columns ')
    assert "dataset.columns.chosen=NAME" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "error: usage: look FILE_OR_FOLDER"),
        (["a.csv", "b.csv"], "error: usage: look FILE_OR_FOLDER"),
        (["pairs.cvs"], 'error: pairs.cvs: no such file (did you mean "pairs.csv"?)'),
        (["."], "error: pairs.csv: the file is empty"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").touch()
    done = run_here(main, "look", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", said)


def test_a_folder_with_a_broken_split_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    for name in ("train.jsonl", "train.csv", "test.jsonl"):
        (tmp_path / name).write_text(lines_of(ROWS))
    done = run_here(main, "look", str(tmp_path))
    assert done.stderr == f"error: {tmp_path}: has train.csv and train.jsonl (name one with dataset.train=F)\n"


def test_what_the_terminal_cannot_write_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "größe.jsonl").write_text(lines_of(ROWS))
    asked = [sys.executable, "-m", "mars.run", "look", "größe.jsonl"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("file       gr??e.jsonl\n")
    assert "?? pair 1 of 40: files-train-1 ??" in done.stdout


def test_torch_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(lines_of(ROWS))
    code = "import sys; from mars.run import main; main(); print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    asked = [sys.executable, "-c", code, "look", str(tmp_path / "pairs.jsonl")]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.endswith("\n[]\n")
    done = run_here(main, "look", "--help")
    assert done.stdout.startswith("What a file of preferences holds")
