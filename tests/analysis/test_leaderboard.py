"""Studies of many people on one board: honest ones pass whole, and each way to cheat or to err has its own line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.boards import MODEL, USUAL, judged, model_of, of_rows, study_of

from analysis import load, submission
from analysis.boards.entries import SUBMISSION, read
from analysis.inference.stats import mean_interval
from analysis.leaderboard import Leaderboard, leaderboard, main, run, write
from analysis.submission import SubmissionConfig, submit
from benchmarks.protocols.reward_bench import RewardBench
from benchmarks.registry import find, names
from mars.config import UserError
from mars.record.run_directory import RunDirectory


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two people's studies, `a` of seeds 0 and 1, made on a cluster, `b` of 2 and 3, and a directory of models."""
    place = tmp_path_factory.mktemp("made")
    study_of(place / "a", (0, 1))
    log = tmp_path_factory.mktemp("slurm") / "1_0_0_log.out"
    log.write_text("what the job said")
    for directory in (place / "a").iterdir():
        RunDirectory(directory).link_job(log)
    study_of(place / "b", (2, 3))
    model_of(place / "models" / "someone--model-01234567")
    return place


@pytest.fixture
def here(made, tmp_path) -> Path:
    """The same, to be spoiled."""
    return Path(shutil.copytree(made, tmp_path / "here"))


@pytest.fixture(scope="module")
def packed(made, tmp_path_factory) -> Path:
    """The same as submissions."""
    place = tmp_path_factory.mktemp("packed")
    for name in ("a", "b", "models"):
        submit(SubmissionConfig(str(made / name), str(place / name), f"Team {name.upper()}"))
    return place


def one(directory: Path, method: str = "mars") -> Path:
    return min(directory.glob(f"{method}-*"))


def frame(board: Leaderboard, benchmark: str = "in_distribution") -> pd.DataFrame:
    (found,) = (b.table.frame for b in board.boards if b.table.name.startswith(benchmark))
    return found.set_index("entry")


# ---- what passes


def test_the_seeds_of_two_people_are_one_arm_and_a_model_stands_beside_it(packed):
    board = leaderboard([packed / "a", packed / "b", packed / "models"])
    assert board.refused == []
    table = frame(board)
    assert set(table.index) == {"mars", "uniform", "someone/model"}
    assert table.loc["mars", "seeds"] == 4
    assert table.loc["mars", "by"] == "Team A, Team B"
    runs = [path for team in ("a", "b") for path in (packed / team).glob("mars-*")]
    values = [json.loads((path / "metrics.json").read_text())["in_distribution"]["test"]["accuracy"] for path in runs]
    expected = mean_interval(np.array(values))
    assert tuple(table.loc["mars", ["value", "value_lo"]]) == pytest.approx((expected.mean, expected.lo))
    assert list(table["interval"]) == ["examples" if entry == "someone/model" else "seeds" for entry in table.index]
    assert table.loc["someone/model", "value_lo"] < table.loc["someone/model", "value"]
    assert list(table["rank"]) == [1, 2, 3]
    assert list(table["value"]) == sorted(table["value"], reverse=True)
    assert set(table["verified"]) == {"scores, hashes"}
    assert len(board.runs) == 10  # of eight runs and a model on two boards


def test_studies_runs_evaluations_and_submissions_are_read_alike(made, packed):
    sent = frame(leaderboard([packed / "a", packed / "models"]))
    own = frame(leaderboard([*(made / "a").iterdir(), made / "models" / "someone--model-01234567"]))
    told = ["rank", "value", "value_lo", "seeds", "examples"]
    pd.testing.assert_frame_equal(sent[told], own[told])
    assert set(own["verified"]) == {"scores"}


def test_a_number_on_the_board_is_that_of_the_scores(made):
    table = frame(leaderboard([made / "models"]), "reward_bench")
    told = RewardBench(resamples=5).evaluate(pd.read_parquet(next(made.glob("models/*/scores/reward_bench.parquet"))))
    for part in ("Chat", "Chat Hard", "Safety", "Reasoning"):
        assert table.loc["someone/model", f"{part}/accuracy"] == told.metrics[part]["accuracy"]
    assert table.loc["someone/model", "value"] == told.metrics["overall"]["accuracy"]


def test_every_known_benchmark_has_a_headline():
    assert all(find(name).measures and find(name).title and "id" in find(name).kinds for name in names())


def test_the_same_bytes_in_any_order_and_nothing_of_where_it_lay(here, tmp_path):
    sources = [here / "a", here / "b", here / "models"]
    write(leaderboard(sources), tmp_path / "1")
    write(leaderboard([*reversed(sources), here / "a"]), tmp_path / "2")
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names == ["index.html", "leaderboard.csv", "leaderboard.md", "refused.csv", "runs.csv"]
    for name in names:
        content = (tmp_path / "1" / name).read_bytes()
        assert content == (tmp_path / "2" / name).read_bytes()
        assert str(tmp_path).encode() not in content


def test_other_test_rows_are_another_board(here):
    study_of(here / "c", (0,), "other rows", config={"dataset": {"test": "c.jsonl"}}, manifest={"test_sha256": "c"})
    board = leaderboard([here / "a", here / "c"])
    assert board.refused == []
    titles = [b.table.title for b in board.boards]
    assert len(titles) == len(set(titles)) == 2
    assert [list(b.table.frame["by"].unique()) for b in board.boards] in ([["a"], ["c"]], [["c"], ["a"]])


def test_another_protocol_is_another_board(here):
    table = pd.read_parquet(next(here.glob("models/*/scores/reward_bench.parquet")))
    half = here / "models" / "half"
    judged(half, "reward_bench", RewardBench(resamples=5, ties="half"), table, {"sha256": "the file"})
    board = leaderboard([here / "models"])
    assert board.refused == []
    assert sum(b.table.name.startswith("reward_bench") for b in board.boards) == 2


def test_a_run_without_records_is_refused(here):
    for directory in (here / "a").iterdir():
        shutil.rmtree(directory / "evaluations")
    board = leaderboard([here / "a", here / "b"])
    assert len(board.refused) == 4
    assert all("evaluations/in_distribution.json is not there" in refused.reason for refused in board.refused)


def test_a_confounded_group_is_shown_without_ranks_and_the_model_beside_it_with_one(here):
    spoil_json(one(here / "a") / "manifest.json", steps=99)
    board = leaderboard([here / "a", here / "models"])
    table = frame(board)
    assert table["rank"].isna().to_dict() == {"mars": True, "uniform": True, "someone/model": False}
    assert "different numbers of optimiser steps" in table.loc["mars", "not_ranked"]
    assert any("not ranked: arms took different numbers" in line for line in board.to_markdown().splitlines())


def test_one_arm_and_seed_on_other_base_rows_is_nobodys_second_seed(here):
    other = study_of(here / "c", (0,), config={"dataset": {"seed": 9}}, manifest={"base_sha256": "other"})
    board = leaderboard([here / "a", other])
    (found,) = board.boards
    assert sorted(found.table.frame["by"]) == ["a", "a", "c", "c"]
    assert found.table.frame["rank"].isna().all()
    assert "are the same arm and seed" in found.table.frame["not_ranked"][0]


def test_the_same_run_from_two_people_counts_once(here):
    shutil.copytree(one(here / "a"), here / "b" / one(here / "a").name)
    board = leaderboard([here / "a", here / "b"])
    assert board.refused == []
    assert frame(board).loc["mars", "seeds"] == 4
    assert any("counted once" in remark and one(here / "a").name in remark for remark in board.remarks)


def test_one_models_two_evaluations_under_two_names_count_once(here):
    shutil.copytree(here / "models" / "someone--model-01234567", here / "models" / "copy")
    board = leaderboard([here / "models"])
    assert list(frame(board).index) == ["someone/model"]


def test_one_run_sent_as_two_seeds_is_remarked_on(here):
    run = one(here / "a")
    copy = Path(shutil.copytree(run, here / "a" / run.name.replace("-s0-", "-s7-")))
    spoil_json(copy / "manifest.json", run_id=copy.name, seed=7)
    board = leaderboard([here / "a"])
    places = f"a/{run.name}, a/{copy.name}"
    assert list(board.remarks) == [f"of different names and with the same score on every example: {places}"]


# ---- what is refused


def spoil_json(file: Path, **values: Any) -> None:
    told = json.loads(file.read_text())
    for key, value in values.items():
        told.pop(key) if value is None else told.update({key: value})
    file.write_text(json.dumps(told))


def spoil_scores(directory: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    file = directory / "scores" / "in_distribution.parquet"
    change(pd.read_parquet(file)).to_parquet(file, index=False)


def restate(directory: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Scores changed and every number stated anew, so that the run is at one with itself."""
    record = json.loads((directory / "evaluations" / "in_distribution.json").read_text())
    table = change(pd.read_parquet(directory / "scores" / "in_distribution.parquet"))
    data = {**of_rows(table), "sha256": record["data"]["sha256"]}
    judged(directory, "in_distribution", USUAL, table, data)


def first(column: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{column: [value, *table[column][1:]]})

    return change


def edited_metrics(run: Path) -> None:
    told = json.loads((run / "metrics.json").read_text())
    told["in_distribution"]["test"]["accuracy"] = 0.99
    (run / "metrics.json").write_text(json.dumps(told))


def edited_record(run: Path) -> None:
    file = run / "evaluations" / "in_distribution.json"
    told = json.loads(file.read_text())
    told["metrics"]["test"]["auc"] = 0.99
    file.write_text(json.dumps(told))


def other_protocol(run: Path) -> None:
    file = run / "evaluations" / "in_distribution.json"
    spoil_json(file, protocol={**json.loads(file.read_text())["protocol"], "ties": "a tie wins"})


def no_digest(run: Path) -> None:
    spoil_json(run / "evaluations" / "in_distribution.json", data={"name": "planted"})


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "edited metrics": (edited_metrics, "metrics.json: in_distribution/test/accuracy: stated 0.99, the scores give 0."),
    "edited record": (edited_record, "evaluations/in_distribution.json: test/auc: stated 0.99, the scores give 0."),
    "edited score": (
        lambda run: spoil_scores(run, first("chosen_score", 9.0)),
        "metrics.json: in_distribution/test/",
    ),
    "a score that is none": (
        lambda run: spoil_scores(run, first("chosen_score", np.nan)),
        'scores/in_distribution.parquet: the chosen_score of "test-0" is nan (1 such scores)',
    ),
    "a missing row": (
        lambda run: spoil_scores(run, lambda table: table[1:]),
        "metrics.json: in_distribution/test/",
    ),
    "a missing row, all stated anew": (
        lambda run: restate(run, lambda table: table[1:]),
        'scores/in_distribution.parquet lacks 1 of the examples, "test test-0" among them, unlike ',
    ),
    "other rows under the same digest": (
        lambda run: restate(run, first("id", "test-900")),
        "scores/in_distribution.parquet lacks 1 of the examples",
    ),
    "other lengths": (
        lambda run: restate(run, first("chosen_length", 3)),
        'scores/in_distribution.parquet differs in chosen_length on 1 examples, "test test-0" among them',
    ),
    "other gold": (
        lambda run: restate(run, first("gold_margin", 8.0)),
        "scores/in_distribution.parquet differs in gold_margin on 1 examples",
    ),
    "a row twice": (
        lambda run: spoil_scores(run, first("id", "test-1")),
        'scores/in_distribution.parquet: "test test-1" is there more than once',
    ),
    "another protocol than the scores'": (
        other_protocol,
        "evaluations/in_distribution.json: the protocol's ties is \"a tie wins\", the scores are of \"half credit\"",
    ),
    "a text column": (
        lambda run: spoil_scores(run, lambda table: table.assign(prompt="How do I …")),
        'scores/in_distribution.parquet: column "prompt" does not belong there',
    ),
    "texts for ids": (
        lambda run: spoil_scores(run, lambda table: table.assign(id=table["id"] + " word" * 50)),
        'scores/in_distribution.parquet: column "id" holds texts ("test-0 word word wor…")',
    ),
    "scores as text": (
        lambda run: spoil_scores(run, lambda table: table.assign(chosen_score="1.0")),
        'scores/in_distribution.parquet: column "chosen_score" is ',
    ),
    "a column missing": (
        lambda run: spoil_scores(run, lambda table: table.drop(columns="rejected_length")),
        "scores/in_distribution.parquet: lacks rejected_length",
    ),
    "no scores": (
        lambda run: shutil.rmtree(run / "scores"),
        "scores/ holds no table",
    ),
    "numbers without scores": (
        lambda run: spoil_json(run / "metrics.json", robustness={"overall": {"accuracy": 1.0}}),
        "scores/robustness.parquet is not there, and the run states numbers of robustness",
    ),
    "scores without a record": (
        lambda run: shutil.copy(run / "scores" / "in_distribution.parquet", run / "scores" / "files.parquet"),
        "evaluations/files.json is not there, so the protocol behind files is not known",
    ),
    "no digest of the rows": (no_digest, "evaluations/in_distribution.json does not say which rows were judged"),
    "a newer manifest": (
        lambda run: spoil_json(run / "manifest.json", schema_version=2),
        "manifest.json: is of schema version 2, and this program knows those up to 1",
    ),
    "a newer record": (
        lambda run: spoil_json(run / "evaluations" / "in_distribution.json", schema_version=7),
        "evaluations/in_distribution.json: is of schema version 7, and this program knows those up to 1",
    ),
    "an unknown benchmark": (
        lambda run: spoil_json(run / "evaluations" / "in_distribution.json", benchmark="my_own"),
        "evaluations/in_distribution.json: the benchmark 'my_own' is not known here",
    ),
    "a manifest without its start": (
        lambda run: spoil_json(run / "manifest.json", start=None),
        "manifest.json lacks start",
    ),
    "no manifest": (lambda run: (run / "manifest.json").unlink(), "manifest.json: cannot be read: No such file"),
    "a manifest that is none": (
        lambda run: (run / "manifest.json").write_text("{"),
        "manifest.json: cannot be read",
    ),
    "records that are lists": (
        lambda run: spoil_json(run / "evaluations" / "in_distribution.json", metrics=["accuracy"]),
        "evaluations/in_distribution.json: holds ['accuracy'] where metrics belong",
    ),
    "data that is a list": (
        lambda run: spoil_json(run / "evaluations" / "in_distribution.json", data=["planted"]),
        "its records are not as they should be (AttributeError",
    ),
    "a start that is a list": (
        lambda run: spoil_json(run / "manifest.json", start=["a", "b"]),
        "manifest.json: start is ['a', 'b'], not of its kind",
    ),
    "a seed that is none": (
        lambda run: spoil_json(run / "manifest.json", seed="zero"),
        "manifest.json: seed is 'zero', not a whole number",
    ),
    "an unfinished run": (lambda run: (run / "DONE").unlink(), "DONE: is not there (the run is not finished)"),
    "no settings": (lambda run: (run / "config.yaml").unlink(), "config.yaml: cannot be read: No such file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TAMPERED)
def test_what_does_not_add_up_is_refused_with_its_own_line_and_costs_nothing_else(here, kind):
    spoil, reason = TAMPERED[kind]
    run = one(here / "a")
    spoil(run)
    board = leaderboard([here / "a"])
    (refused,) = board.refused
    assert (refused.by, refused.run) == ("a", run.name)
    assert refused.reason.startswith(reason)
    assert "\n" not in refused.reason
    assert str(here) not in refused.reason
    assert frame(board)["seeds"].to_dict() == {"mars": 1, "uniform": 2}


@pytest.mark.parametrize("kind", ["a missing row, all stated anew", "no manifest"])
def test_a_model_of_which_something_is_wrong_is_refused_too(here, kind):
    model = here / "models" / "someone--model-01234567"
    if kind == "no manifest":
        for record in model.glob("evaluations/*.json"):
            spoil_json(record, model={})
        reason = "manifest.json: is not there, and evaluations/ does not hold one model's records"
    else:
        label = "in_distribution-planted"
        table = pd.read_parquet(model / "scores" / f"{label}.parquet")[1:]
        judged(model, label, USUAL, table, of_rows(table))
        reason = f"scores/{label}.parquet lacks 1 of the examples"
    board = leaderboard([here / "a", here / "models"])
    (refused,) = board.refused
    assert refused.reason.startswith(reason)


def test_two_runs_of_one_id_that_differ_are_both_refused(here):
    run = one(here / "a")
    shutil.copytree(run, here / "b" / run.name)
    restate(here / "b" / run.name, first("chosen_score", 9.0))
    board = leaderboard([here / "a", here / "b"])
    assert [(r.by, r.run) for r in board.refused] == [("a", run.name), ("b", run.name)]
    line = f"2 entries claim the id {run.name} and differ, in the scores of 1 rows of in_distribution"
    assert all(r.reason == f"{line} (a/{run.name}, b/{run.name})" for r in board.refused)
    assert frame(board).loc["mars", "seeds"] == 3


def test_two_who_differ_on_the_rows_of_one_digest_are_both_refused(here):
    for directory in (here / "a").iterdir():
        restate(directory, first("chosen_length", 3))
    board = leaderboard([here / "a", here / "b"])
    assert board.boards == []
    assert len(board.refused) == 8
    assert all("differs in chosen_length on 1 examples" in refused.reason for refused in board.refused)


# ---- submissions


def rehash(folder: Path, **values: Any) -> None:
    spoil_json(folder / SUBMISSION, **values)


def test_a_submission_holds_what_was_packed_and_no_weights(made, packed):
    told = json.loads((packed / "a" / SUBMISSION).read_text())
    assert (told["name"], told["schema_version"]) == ("Team A", 1)
    assert told["code"]["commits"] == ["0" * 40]
    names = {name for files in told["runs"].values() for name in files}
    assert names == {"DONE", "config.yaml", "manifest.json", "metrics.json", "rounds.csv",
                     "evaluations/in_distribution.json", "scores/in_distribution.parquet"}  # fmt: skip
    assert {p.relative_to(packed / "a").parts[0] for p in (packed / "a").rglob("*")} == {SUBMISSION, *told["runs"]}
    assert len(load(packed / "a").members) == 4  # a report reads it as a study
    (model,) = (packed / "models").glob("*/manifest.json")
    assert json.loads(model.read_text())["model"] == MODEL


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (edited_metrics, "metrics.json is not the file that was packed"),
        (lambda run: spoil_scores(run, first("chosen_score", 9.0)), "scores/in_distribution.parquet is not the file"),
        (lambda run: (run / "rounds.csv").unlink(), f"rounds.csv is listed in {SUBMISSION} and not there"),
        (lambda run: (run / "notes.txt").write_text("?"), "notes.txt does not belong in a submission"),
        (
            lambda run: (run / "evaluations" / "files.json").write_text("{}"),
            f"evaluations/files.json is not listed in {SUBMISSION}",
        ),
        (shutil.rmtree, f"{SUBMISSION} lists it, and it is not there"),
    ],
)
def test_a_file_that_is_not_the_one_packed_costs_its_run(packed, tmp_path, spoil, reason):
    folder = Path(shutil.copytree(packed / "a", tmp_path / "a"))
    run = one(folder)
    spoil(run)
    board = leaderboard([folder])
    (refused,) = board.refused
    assert (refused.by, refused.run) == ("Team A", run.name)
    assert refused.reason.startswith(reason)


def test_a_link_out_of_a_submission_is_not_followed(packed, tmp_path):
    folder = Path(shutil.copytree(packed / "a", tmp_path / "a"))
    file = one(folder) / "rounds.csv"
    file.replace(tmp_path / "elsewhere.csv")
    file.symlink_to(tmp_path / "elsewhere.csv")
    (refused,) = leaderboard([folder]).refused
    assert refused.reason == "rounds.csv is a link"


def test_a_directory_that_is_not_listed_is_refused(packed, tmp_path):
    folder = Path(shutil.copytree(packed / "a", tmp_path / "a"))
    shutil.copytree(one(packed / "b"), folder / one(packed / "b").name)
    (refused,) = leaderboard([folder]).refused
    assert refused.reason == f"{SUBMISSION} does not list it"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"schema_version": 2}, f"{SUBMISSION}: is of schema version 2, and this program knows those up to 1"),
        ({"schema_version": None}, f"{SUBMISSION}: schema_version is None"),
        ({"name": ""}, f"{SUBMISSION}: name is missing"),
        ({"name": "a\nb"}, f"{SUBMISSION}: name is missing, or no line of at most 80 characters"),
        ({"runs": ["a"]}, f"{SUBMISSION}: runs is no table"),
    ],
)
def test_a_submission_that_cannot_be_understood_is_refused_as_a_whole(packed, tmp_path, values, reason):
    folder = Path(shutil.copytree(packed / "a", tmp_path / "a"))
    spoil_json(folder / SUBMISSION, **values)
    entries, refused = read(folder)
    assert entries == []
    assert [r.run for r in refused] == [""]
    assert refused[0].reason.startswith(reason)


@pytest.mark.parametrize("kind", ["edited metrics", "a text column", "an unfinished run", "other lengths"])
def test_what_would_be_refused_is_not_packed_at_all(here, kind):
    TAMPERED[kind][0](one(here / "a"))
    with pytest.raises(UserError, match=r"^study: \d of 4 would be refused; ") as error:
        submit(SubmissionConfig(str(here / "a"), str(here / "sent" / "a"), "Team A"))
    assert TAMPERED[kind][1] in str(error.value)
    assert list((here / "sent").iterdir()) == []


def test_nothing_is_written_over(made, packed):
    with pytest.raises(UserError, match=r"^out: .* is there already"):
        submit(SubmissionConfig(str(made / "a"), str(packed / "a"), "Team A"))
    with pytest.raises(UserError, match="is a submission already"):
        submit(SubmissionConfig(str(packed / "a"), str(packed / "again"), "Team A"))


# ---- the command


def test_the_command_writes_prints_and_warns(here, capsys, caplog):
    edited_metrics(one(here / "a"))
    run({"studies": [str(here / "a"), str(here / "b")], "out": str(here / "out"), "debug": False})
    assert "| 1 | " in capsys.readouterr().out
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["refused"]
    refused = pd.read_csv(here / "out" / "refused.csv")
    assert list(refused["run"]) == [one(here / "a").name]
    assert refused["reason"][0] in (here / "out" / "index.html").read_text().replace("&#39;", "'")
    assert refused["reason"][0] in (here / "out" / "leaderboard.md").read_text()


def test_without_a_rank_it_fails_and_still_says_what_was_refused(here):
    for directory in (here / "a").iterdir():
        edited_metrics(directory)
    with pytest.raises(UserError, match=r"^studies: nothing could be ranked; 4 refused, see .*/refused\.csv$"):
        run({"studies": str(here / "a"), "out": str(here / "out"), "debug": False})
    assert len(pd.read_csv(here / "out" / "refused.csv")) == 4


@pytest.mark.parametrize("what", ["nowhere", "a file", "an empty directory"])
def test_a_source_that_holds_nothing_is_a_mistake(tmp_path, what):
    source = tmp_path / "source"
    if what == "a file":
        source.write_text("")
    elif what == "an empty directory":
        source.mkdir()
    with pytest.raises(UserError, match=r"^studies: .*source (is not a directory|holds no run)"):
        leaderboard([source])


def test_from_the_command_line(here, monkeypatch, capsys):
    out = here / "team a"
    monkeypatch.setattr("sys.argv", ["submission", f"study={here / 'a'}", f"out='{out}'", "name='Team A'"])
    submission.main()
    assert capsys.readouterr().out.strip() == str(out)
    monkeypatch.setattr("sys.argv", ["leaderboard", f"studies=['{out}',{here / 'nowhere'}]", f"out={here / 'out'}"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith(f"error: studies: {here / 'nowhere'} is not a directory")


def test_a_directory_of_other_things_is_not_made_a_leaderboard(here):
    out = here / "out"
    out.mkdir()
    (out / "index.html").write_text("mine")
    with pytest.raises(UserError, match=r"^out: .* exists and is no leaderboard"):
        run({"studies": str(here / "a"), "out": str(out), "debug": False})
    assert (out / "index.html").read_text() == "mine"
    (out / "index.html").unlink()
    for _ in range(2):  # its own may be made anew
        run({"studies": str(here / "a"), "out": str(out), "debug": False})
