"""Submissions that lie: each kind is refused with its reason, costs no other run, and is not read beyond its bounds.

The liar is careful: unless a case says otherwise, submission.json holds the digests of what was changed.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.boards import model_of, study_of

from analysis.boards.bounds import MOST_RUNS
from analysis.boards.entries import SUBMISSION, read
from analysis.leaderboard import leaderboard
from analysis.submission import SubmissionConfig, submit
from mars.config import UserError
from mars.files import config_hash, file_digest

TABLE, RECORD = "scores/in_distribution.parquet", "evaluations/in_distribution.json"
TEN_GB = 10 * 10**9
ODD = "is neither text that is short and can be shown, nor number"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two arms and two seeds, and a model, as their submissions."""
    made, place = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("packed")
    study_of(made / "a", (0, 1))
    model_of(made / "models" / "someone--model-01234567")
    for name in ("a", "models"):
        submit(SubmissionConfig(str(made / name), str(place / name), f"Team {name.upper()}"))
    return place


def hashed_anew(folder: Path) -> None:
    told = json.loads((folder / SUBMISSION).read_text())
    for run in told["runs"]:
        files = (
            [path for path in sorted((folder / run).rglob("*")) if path.is_file()] if (folder / run).is_dir() else []
        )
        if files:
            told["runs"][run] = {path.relative_to(folder / run).as_posix(): file_digest(path) for path in files}
    (folder / SUBMISSION).write_text(json.dumps(told))


def edited(name: str, *keys: str, to: Any) -> Callable[[Path], None]:
    """The value under `keys` of a JSON file is another."""

    def spoil(run: Path) -> None:
        told = json.loads((run / name).read_text())
        inner = told
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to
        (run / name).write_text(json.dumps(told))

    return spoil


def scores(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        change(pd.read_parquet(run / TABLE)).to_parquet(run / TABLE, index=False)

    return spoil


def arrow(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda run: pq.write_table(change(pq.read_table(run / TABLE)), run / TABLE)


def set_column(name: str, values: Callable[[int], Any]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, values(len(table)))


def content(name: str, data: bytes) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(data)

    return spoil


def sparse(name: str, size: int = TEN_GB) -> Callable[[Path], None]:
    """A file of so many zeros, which take no room."""

    def spoil(run: Path) -> None:
        with (run / name).open("wb") as file:
            file.truncate(size)

    return spoil


def other_run(run: Path) -> Path:
    return min(run.parent.glob("uniform-*"))


def exchanged(run: Path) -> None:
    for ours, theirs in ((run / TABLE, other_run(run) / TABLE), (run / RECORD, other_run(run) / RECORD)):
        shutil.copy(theirs, ours)


def moved_out(name: str) -> Callable[[Path], None]:
    """The file or directory lies elsewhere, and a link in its place."""

    def spoil(run: Path) -> None:
        elsewhere = run.parent.parent / f"elsewhere-{Path(name).name}"
        (run / name).replace(elsewhere)
        (run / name).symlink_to(elsewhere)

    return spoil


def run_link(run: Path) -> None:
    run.replace(run.parent.parent / "elsewhere")
    run.symlink_to(run.parent.parent / "elsewhere")


def pipe(name: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return spoil


def listed(value: Callable[[Path], dict[str, Any]]) -> Callable[[Path], None]:
    """submission.json lists more directories."""

    def spoil(run: Path) -> None:
        told = json.loads((run.parent / SUBMISSION).read_text())
        told["runs"] |= value(run)
        (run.parent / SUBMISSION).write_text(json.dumps(told))

    return spoil


def listed_file(name: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        told = json.loads((run.parent / SUBMISSION).read_text())
        told["runs"][run.name][name] = "0" * 64
        (run.parent / SUBMISSION).write_text(json.dumps(told))

    return spoil


def archive(run: Path) -> None:
    with tarfile.open(run / "scores.tar.gz", "w:gz") as file:
        file.add(run / TABLE)


def bomb_of_names(run: Path) -> None:
    """A name of ten million letters, a hundred thousand times, in a few kilobytes."""
    table = pq.read_table(run / TABLE)
    rows = table.take(pa.array(np.zeros(100_000, int)))
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, "int32")), pa.array(["n" * 10_000_000]))
    rows = rows.set_column(rows.column_names.index("subset"), "subset", names)
    pq.write_table(rows, run / TABLE, compression="zstd", store_schema=False)


def other_rows(run: Path) -> None:
    """A whole manifest, of which the digest of the test rows was changed afterwards."""
    told = json.loads((run / "manifest.json").read_text()) | {"validation_sha256": "v"}
    rows = {key: told[key] for key in ("base_sha256", "validation_sha256", "test_sha256")}
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"dataset": {"name": "planted"}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    told["config_hash"] = config_hash(config, rows)
    (run / "manifest.json").write_text(json.dumps(told | {"test_sha256": "0" * 64}))


def laughs(run: Path) -> None:
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40))]
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + "\n" + "\n".join(lines) + "\n")


class Lie(NamedTuple):
    """What is done to a run of a submission, and the reason for which it is refused."""

    spoil: Callable[[Path], object]
    reason: str
    hashed: bool = True


LARGE = "is larger than may be read (10,000,000,000 bytes, at most "
LIES = {
    # numbers
    "metric edited": Lie(
        edited("metrics.json", "in_distribution", "test", "accuracy", to=0.999),
        "metrics.json: in_distribution/test/accuracy: stated 0.999, the scores give ",
    ),
    "metric edited, old digests": Lie(
        edited("metrics.json", "in_distribution", "test", "accuracy", to=0.999),
        "metrics.json is not the file that was packed",
        False,
    ),
    "metric is NaN": Lie(
        edited("metrics.json", "in_distribution", "test", "accuracy", to=float("nan")),
        "metrics.json: in_distribution/test/accuracy: stated nan",
    ),
    "metric is infinite": Lie(
        edited("metrics.json", "in_distribution", "test", "accuracy", to=float("inf")),
        "metrics.json: in_distribution/test/accuracy: stated inf",
    ),
    "metric of 400 digits": Lie(
        edited("metrics.json", "in_distribution", "test", "accuracy", to=10**400),
        "metrics.json: in_distribution/test/accuracy: stated a number of more than 63 bits",
    ),
    "metric is text": Lie(
        edited("metrics.json", "in_distribution", "test", "accuracy", to="0.99"),
        "metrics.json: in_distribution/test/accuracy: stated '0.99'",
    ),
    "metric is true": Lie(
        edited("metrics.json", "in_distribution", "test", "accuracy", to=True),
        "metrics.json: in_distribution/test/accuracy: stated True",
    ),
    "metric of one's own": Lie(
        edited("metrics.json", "in_distribution", "test", "wisdom", to=1.0),
        "metrics.json: in_distribution/test/wisdom: stated 1, not to be had",
    ),
    "part of one's own": Lie(
        edited("metrics.json", "in_distribution", "hard", to={"accuracy": 1.0}),
        "metrics.json: in_distribution/hard/accuracy: stated 1, not to be had",
    ),
    "metrics in a list": Lie(edited("metrics.json", "in_distribution", to=[1.0]), "metrics.json: holds [1.0] where"),
    "record edited": Lie(edited(RECORD, "metrics", "test", "auc", to=1.0), f"{RECORD}: test/auc: stated 1"),
    "record of another benchmark": Lie(
        edited(RECORD, "benchmark", to="reward_bench"), f"{TABLE}: reward_bench: the recorded protocol is not"
    ),
    "record of a benchmark in a list": Lie(
        edited(RECORD, "benchmark", to=["in_distribution"]),
        f"{RECORD}: the benchmark ['in_distribution'] is not known here",
    ),
    "record of a protocol of one's own": Lie(
        edited(RECORD, "protocol", to={"ties": "a tie wins"}), f"{RECORD}: the protocol's "
    ),
    "record with more rows than scores": Lie(
        edited(RECORD, "data", "rows", to={"test": 300}), f"{TABLE} holds 30 of the 300 pairs of test"
    ),
    "record without its rows": Lie(edited(RECORD, "data", to={}), f"{RECORD} does not say which rows were judged"),
    # scores
    "sides exchanged": Lie(
        scores(lambda t: t.rename(columns={"chosen_score": "rejected_score", "rejected_score": "chosen_score"})),
        "metrics.json: in_distribution/",
    ),
    "every pair right": Lie(
        scores(lambda t: t.assign(chosen_score=t["rejected_score"] + 1)), "metrics.json: in_distribution/"
    ),
    "scores in another order": Lie(
        scores(lambda t: t.assign(chosen_score=t["chosen_score"].to_numpy()[::-1])), "metrics.json: in_distribution/"
    ),
    "scores of another run": Lie(
        lambda run: shutil.copy(other_run(run) / TABLE, run / TABLE), "metrics.json: in_distribution/"
    ),
    "scores and record of another run": Lie(exchanged, "metrics.json: in_distribution/"),
    "scores of another benchmark": Lie(
        lambda run: shutil.copy(next(run.parent.parent.glob("models/*/scores/reward_bench.parquet")), run / TABLE),
        "metrics.json: in_distribution/test/accuracy: stated 0.8",
    ),
    "a row missing": Lie(scores(lambda t: t[1:]), "metrics.json: in_distribution/"),
    "half of the rows missing": Lie(scores(lambda t: t[::2]), "metrics.json: in_distribution/"),
    "no row": Lie(scores(lambda t: t[:0]), f"{TABLE}: holds no examples"),
    "a row twice": Lie(scores(lambda t: pd.concat([t, t[:1]])), f'{TABLE}: "test test-0" is there more than once'),
    "every row twice": Lie(scores(lambda t: pd.concat([t, t])), f'{TABLE}: "test test-0" is there more than once'),
    "rows twice under new ids": Lie(
        scores(lambda t: pd.concat([t, t.assign(id=t["id"] + "b")])),
        "metrics.json: in_distribution/test/n: stated 30, the scores give 60",
    ),
    "tests called validation": Lie(
        scores(lambda t: t.assign(split="validation")), f"{TABLE}: in_distribution: there is nothing to judge"
    ),
    "a score is NaN": Lie(
        scores(lambda t: t.assign(chosen_score=np.nan)), f'{TABLE}: the chosen_score of "test-0" is nan'
    ),
    "a score is infinite": Lie(
        scores(lambda t: t.assign(rejected_score=-np.inf)), f'{TABLE}: the rejected_score of "test-0" is -inf'
    ),
    "scores are whole numbers": Lie(
        scores(lambda t: t.assign(chosen_score=1)),
        f'{TABLE}: column "chosen_score" is int64 where floating point belongs',
    ),
    "scores are complex lists": Lie(
        scores(lambda t: t.assign(chosen_score=[[1.0]] * len(t))), f'{TABLE}: column "chosen_score" is list'
    ),
    "an id is missing": Lie(
        scores(lambda t: t.assign(id=[None, *t["id"][1:]])), f'{TABLE}: column "id" has empty cells'
    ),
    "texts beside the scores": Lie(
        scores(lambda t: t.assign(prompt="How do I …")), f'{TABLE}: column "prompt" does not belong there'
    ),
    "a column with a control for a name": Lie(
        scores(lambda t: t.assign(**{"\x1b[2J": 1})), f'{TABLE}: column "\\x1b[2J" does not belong there'
    ),
    "a column twice": Lie(arrow(lambda t: t.append_column("id", t["id"])), f"{TABLE}: has a column twice"),
    # tables that are none
    "zeros for a table": Lie(content(TABLE, bytes(999)), f"{TABLE}: Parquet magic bytes not found"),
    "half a table": Lie(
        lambda run: (run / TABLE).write_bytes((run / TABLE).read_bytes()[:-99]),
        f"{TABLE}: Parquet magic bytes not found",
    ),
    "a table of ten million rows": Lie(
        arrow(lambda t: pa.concat_tables([t] * 3).take(pa.array(np.zeros(2_000_001, int)))),
        f"{TABLE}: is larger than may be read (2,000,001 rows",
    ),
    "a name without end, again and again": Lie(
        bomb_of_names, f'{TABLE}: column "subset" holds texts ("nnnnnnnnnnnnnnnnnnnn…")'
    ),
    # records that are none
    "manifest is a list": Lie(content("manifest.json", b"[]"), "manifest.json: cannot be read: not a mapping"),
    "manifest in utf-16": Lie(
        content("manifest.json", "{}".encode("utf-16-le") + b"\xff"), "manifest.json: cannot be read"
    ),
    "manifest without end": Lie(content("manifest.json", b"[" * 100_000), "manifest.json: cannot be read"),
    "a record nested deep": Lie(
        edited(RECORD, "environment", to=json.loads("[" * 100 + "]" * 100)), "is nested deeper than 20 levels"
    ),
    "a number of 400 digits": Lie(
        edited("manifest.json", "wall_seconds", to=10**400), "holds a whole number where numbers of 63 bits belong"
    ),
    "a manifest with NaN": Lie(edited("manifest.json", "max_length", to=float("nan")), "holds nan where"),
    "seed is none": Lie(edited("manifest.json", "seed", to="0"), "manifest.json: seed is '0', not a whole number"),
    "seed below zero": Lie(edited("manifest.json", "seed", to=-1), "manifest.json: method is "),
    "seed is true": Lie(edited("manifest.json", "seed", to=True), "manifest.json: seed is True, not a whole number"),
    "no arm": Lie(edited("manifest.json", "method", to=" "), "manifest.json: method is ' '"),
    "an arm with a control": Lie(edited("manifest.json", "method", to="mars\x1b[2J"), f"manifest.json: method {ODD}"),
    "an arm written backwards": Lie(edited("manifest.json", "method", to="\u202esram"), f"manifest.json: method {ODD}"),
    "an arm of a megabyte": Lie(edited("manifest.json", "method", to="m" * 2**20), f"manifest.json: method {ODD}"),
    "an id with a line end": Lie(edited("manifest.json", "run_id", to="a\nb"), f"manifest.json: run_id {ODD}"),
    "other test rows than it was made with": Lie(other_rows, "config.yaml: is not what the run was made with ("),
    "a newer version": Lie(edited("manifest.json", "schema_version", to=99), "manifest.json: is of schema version 99"),
    "a version of 1.0": Lie(edited("manifest.json", "schema_version", to=1.0), "manifest.json: schema_version is 1.0"),
    "settings that make an object": Lie(
        content("config.yaml", b"a: !!python/object/apply:os.system [id]"),
        "config.yaml: cannot be read: could not determine a constructor",
    ),
    "settings that stand for terabytes": Lie(laughs, "config.yaml: cannot be read: holds aliases"),
    "settings without end": Lie(content("config.yaml", b"[" * 100_000), "config.yaml: cannot be read"),
    "rounds of text": Lie(
        content("rounds.csv", b"round,loss\n0,<script>\n"), "rounds.csv: cannot be read: loss: not numbers"
    ),
    "not finished": Lie(lambda run: (run / "DONE").unlink(), "DONE: is not there"),
    # sizes and counts
    "ten gigabytes of metrics": Lie(sparse("metrics.json"), f"metrics.json {LARGE}67,108,864)", False),
    "ten gigabytes of scores": Lie(sparse(TABLE), f"{TABLE} {LARGE}268,435,456)", False),
    "ten gigabytes of rounds": Lie(sparse("rounds.csv"), f"rounds.csv {LARGE}67,108,864)", False),
    "ten gigabytes of nothing": Lie(sparse("DONE"), f"DONE {LARGE}67,108,864)", False),
    "ten gigabytes that do not belong": Lie(
        sparse("model.safetensors"), "model.safetensors does not belong in a submission", False
    ),
    "too many files": Lie(
        lambda run: [(run / f"{i}").touch() for i in range(501)], " holds more than 500 files and directories", False
    ),
    "too many evaluations": Lie(
        lambda run: [(run / "evaluations" / f"{i}.json").touch() for i in range(501)],
        "evaluations holds more than 500 files",
        False,
    ),
    # places
    "a link for a file": Lie(moved_out("rounds.csv"), "rounds.csv is a link"),
    "a link for the scores": Lie(moved_out("scores"), "scores is a link"),
    "a link to the device of zeros": Lie(
        lambda run: ((run / "DONE").unlink(), (run / "DONE").symlink_to("/dev/zero")), "DONE is a link", False
    ),
    "a link to nothing": Lie(
        lambda run: (run / "evaluations" / "x.json").symlink_to("nowhere"), "evaluations/x.json is a link", False
    ),
    "a link for the run": Lie(run_link, "is a link", False),
    "a pipe for a record": Lie(
        pipe("metrics.json"), "metrics.json is no file (a directory, a pipe or a device)", False
    ),
    "a pipe for scores": Lie(pipe("scores/x.parquet"), "scores/x.parquet is no file", False),
    "a directory for a record": Lie(
        lambda run: ((run / "metrics.json").unlink(), (run / "metrics.json").mkdir()), "metrics.json is no file", False
    ),
    "a directory more": Lie(lambda run: (run / "model").mkdir(), "model does not belong in a submission"),
    "a directory in the scores": Lie(
        lambda run: (run / "scores" / "more").mkdir(), "scores/more does not belong in a submission"
    ),
    "an archive": Lie(archive, "scores.tar.gz does not belong in a submission"),
    "a pickle": Lie(
        content("scores/in_distribution.pkl", b"cos\nsystem\n."),
        "scores/in_distribution.pkl does not belong in a submission",
    ),
    "a program": Lie(content("evaluate.py", b"import os"), "evaluate.py does not belong in a submission"),
    "a file that is not listed": Lie(
        content("evaluations/x.json", b"{}"), f"evaluations/x.json is not listed in {SUBMISSION}", False
    ),
    "a file above": Lie(
        listed_file("../../../../etc/passwd"), f"../../../../etc/passwd is listed in {SUBMISSION} and not there", False
    ),
    "a file of the system": Lie(
        listed_file("/etc/passwd"), f"/etc/passwd is listed in {SUBMISSION} and not there", False
    ),
    "a file by a detour": Lie(
        listed_file("scores/../DONE"), f"scores/../DONE is listed in {SUBMISSION} and not there", False
    ),
    "digests that are none": Lie(
        listed(
            lambda run: {run.name: dict.fromkeys(json.loads((run.parent / SUBMISSION).read_text())["runs"][run.name])}
        ),
        "DONE is not the file that was packed",
        False,
    ),
}


@pytest.fixture
def sent(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "sent"))


@pytest.mark.parametrize("kind", LIES)
def test_a_lie_is_refused_with_its_reason_and_costs_no_other_run(kind: str, sent: Path) -> None:
    lie = LIES[kind]
    run = min((sent / "a").glob("mars-*"))
    lie.spoil(run)
    if lie.hashed:
        hashed_anew(sent / "a")
    board = leaderboard([sent / "a"])
    assert [(refused.by, refused.run) for refused in board.refused] == [("Team A", run.name)]
    reason = board.refused[0].reason
    assert reason.removeprefix(run.name).startswith(lie.reason)
    assert reason.isprintable()
    assert len(reason) < 600
    (table,) = (one.table.frame.set_index("entry") for one in board.boards)
    assert table["seeds"].to_dict() == {"mars": 1, "uniform": 2}


@pytest.mark.parametrize("value", ["1e999", -1, {"a": 1}, [1], "<script>", None])
def test_what_no_number_rests_on_may_be_stated_and_stops_nobody(value: Any, sent: Path) -> None:
    edited("manifest.json", "pool", "rows", to=value)(min((sent / "a").glob("mars-*")))
    hashed_anew(sent / "a")
    board = leaderboard([sent / "a"])
    assert board.refused == []
    assert len(board.boards) == 1


# ---- what is wrong with all of a submission, or is no run of it

FOLDERS: dict[str, tuple[Callable[[Path], object], str, str]] = {  # what is done, what is refused, why
    "a link for the list": (lambda f: moved_out(SUBMISSION)(f), "", f"{SUBMISSION} is a link"),
    "a link to no list": (
        lambda f: ((f / SUBMISSION).unlink(), (f / SUBMISSION).symlink_to("no")),
        "",
        f"{SUBMISSION} is a link",
    ),
    "a pipe for the list": (pipe(SUBMISSION), "", f"{SUBMISSION} is no file"),
    "ten gigabytes for the list": (sparse(SUBMISSION), "", f"{SUBMISSION} {LARGE}67,108,864)"),
    "a list that is none": (content(SUBMISSION, b"{"), "", f"{SUBMISSION}: cannot be read"),
    "a list without end": (content(SUBMISSION, b"[" * 100_000), "", f"{SUBMISSION}: cannot be read"),
    "a newer list": (edited(SUBMISSION, "schema_version", to=2), "", f"{SUBMISSION}: is of schema version 2"),
    "no name": (edited(SUBMISSION, "name", to=" "), "", f"{SUBMISSION}: name is missing"),
    "a number for a name": (edited(SUBMISSION, "name", to=7), "", f"{SUBMISSION}: name is missing"),
    "a name with controls": (edited(SUBMISSION, "name", to="\x1b]0;team"), "", f"{SUBMISSION}: name is missing"),
    "a name written backwards": (edited(SUBMISSION, "name", to="\u202emaet"), "", f"{SUBMISSION}: name is missing"),
    "a name of a page": (edited(SUBMISSION, "name", to="t" * 81), "", f"{SUBMISSION}: name is missing"),
    "runs in a list": (edited(SUBMISSION, "runs", to=["a"]), "", f"{SUBMISSION}: runs is no table"),
    "too many runs listed": (
        edited(SUBMISSION, "runs", to={str(i): {} for i in range(MOST_RUNS + 1)}),
        "",
        f"{SUBMISSION}: lists more than 10,000 directories",
    ),
    "too many directories": (
        lambda f: [(f / str(i)).mkdir() for i in range(MOST_RUNS)],
        "",
        "a holds more than 10,000 files and directories",
    ),
    "a run above": (edited(SUBMISSION, "runs", "..", to={}), "..", '".." is no name for a directory'),
    "a run elsewhere": (edited(SUBMISSION, "runs", "/etc", to={}), "/etc", '"/etc" is no name for a directory'),
    "a run by a detour": (edited(SUBMISSION, "runs", "x/../../y", to={}), "x/../../y", '"x/../../y" is no name'),
    "a run of another system's path": (edited(SUBMISSION, "runs", "..\\y", to={}), "..\\y", '"..\\y" is no name'),
    "a run without a name": (edited(SUBMISSION, "runs", "", to={}), "", '"" is no name for a directory'),
    "a device for a run": (
        edited(SUBMISSION, "runs", "NUL.txt", to={}),
        "NUL.txt",
        '"NUL.txt" is no name for a directory',
    ),
    "a run with controls": (
        edited(SUBMISSION, "runs", "a\x1b[2J\n", to={}),
        r"a\x1b[2J\n",
        r'"a\x1b[2J\n" is no name for a directory',
    ),
    "a run of a page": (edited(SUBMISSION, "runs", "a" * 201, to={}), "a" * 80 + "…", '"aaa'),
    "a run that is not there": (
        edited(SUBMISSION, "runs", "gone", to={}),
        "gone",
        f"{SUBMISSION} lists it, and it is not there",
    ),
    "a run that is not listed": (
        lambda f: shutil.copytree(min(f.glob("mars-*")), f / "more"),
        "more",
        f"{SUBMISSION} does not list it",
    ),
    "a run listed that is a file": (
        lambda f: ((f / "x").touch(), edited(SUBMISSION, "runs", "x", to={})(f)),
        "x",
        "does not belong in a submission",
    ),
    "an archive beside": (content("team.tar.gz", b"\x1f\x8b"), "team.tar.gz", "does not belong in a submission"),
    "a link beside": (lambda f: (f / "root").symlink_to("/"), "root", "is a link"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_submission_that_lies_as_a_whole_is_refused_and_an_odd_part_of_it_alone(kind: str, sent: Path) -> None:
    spoil, run, reason = FOLDERS[kind]
    spoil(sent / "a")
    entries, refused = read(sent / "a")
    assert [(one.run, one.reason[: len(reason)]) for one in refused] == [(run, reason)]
    whole = reason.startswith((SUBMISSION, "a holds")) and not run
    assert len(entries) == (0 if whole else 4)
    assert refused[0].by == ("a" if whole else "Team A")


MODELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no model": (
        edited("manifest.json", "model", to="someone/model"),
        "manifest.json does not say which model it is of",
    ),
    "a model without weights": (
        edited("manifest.json", "model", "weights", to=None),
        "manifest.json does not say which",
    ),
    "weights in a list": (edited("manifest.json", "model", "weights", to=["a"]), "manifest.json does not say which"),
    "a template nested deep": (
        edited("manifest.json", "model", "template", to=json.loads("[" * 200 + "]" * 200)),
        "is nested deeper",
    ),
    "a template that is an object": (
        edited("manifest.json", "model", "template", to={"a": 1}),
        f"manifest.json: model.template {ODD}",
    ),
    "a name with a line end": (
        edited("manifest.json", "model", "name", to="a\n| 1 | b"),
        f"manifest.json: model.name {ODD}",
    ),
    "a backbone of a megabyte": (
        edited("manifest.json", "model", "backbone", to="b" * 2**20),
        f"manifest.json: model.backbone {ODD}",
    ),
    "sections of its benchmark missing": (lambda run: _without_reasoning(run), "metrics.json: reward_bench/"),
    "scores of its other benchmark": (
        lambda run: shutil.copy(
            run / "scores" / "in_distribution-planted.parquet", run / "scores" / "reward_bench.parquet"
        ),
        "scores/reward_bench.parquet: ",
    ),
}


def _without_reasoning(run: Path) -> None:
    file = run / "scores" / "reward_bench.parquet"
    table = pd.read_parquet(file)
    table[~table["subset"].str.startswith("hep")].to_parquet(file, index=False)


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_lies_is_refused_with_its_reason(kind: str, sent: Path) -> None:
    spoil, reason = MODELS[kind]
    spoil(sent / "models" / "someone--model-01234567")
    hashed_anew(sent / "models")
    entries, refused = read(sent / "models")
    assert entries == []
    assert [one.reason[: len(reason)] for one in refused] == [reason]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (sparse("metrics.json"), f"metrics.json {LARGE}67,108,864)"),
        (sparse(TABLE), f"{TABLE} {LARGE}268,435,456)"),
        (pipe("scores/x.parquet"), "scores/x.parquet is no file"),
        (pipe("DONE"), "DONE is no file"),
        (laughs, "config.yaml: cannot be read: holds aliases"),
    ],
)
def test_who_sends_no_list_of_files_is_held_to_the_same_bounds(
    spoil: Callable[[Path], None], reason: str, sent: Path
) -> None:
    (sent / "a" / SUBMISSION).unlink()
    spoil(min((sent / "a").glob("mars-*")))
    entries, refused = read(sent / "a")
    assert len(entries) == 3
    assert [one.reason[: len(reason)] for one in refused] == [reason]


@pytest.mark.parametrize("name", ["team.zip", "team.tar.gz", "pipe", "link"])
def test_an_archive_is_not_unpacked_and_no_pipe_is_read(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    if name == "pipe":
        os.mkfifo(source)
    elif name == "link":
        source.symlink_to(source)
    else:
        source.write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="is not a directory"):
        leaderboard([source])


def test_the_tables_hold_what_they_promise() -> None:
    assert len(LIES) + len(FOLDERS) + len(MODELS) >= 40
