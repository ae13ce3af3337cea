"""What the machine does to a run, in tables: a full disk, a lost or foreign file, a directory that goes, no rights.

Each line is a fault: how it is made, and what is said of it. It ends in one line of a UserError, or in a line of the
log where the program mends it alone; once it is mended, the same run comes to its end in the undisturbed one's bits.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from support import BRIEFLY
from support.commands import run_here
from support.faults import Disk, bound_by_rights, mounted

from analysis.report import build as report
from mars import cache, files
from mars.config import UserError
from mars.method import checkpoint, start, trainer
from mars.reward import engine
from mars.reward.encoder import frozen_encoder
from mars.run import execute, main

SETTINGS = ["scale=tiny", "rounds.number=2", "rounds.warmup=1", "rounds.budget=8", "pool.width=2", "curvature=false"]
SETTINGS += ["dataset.test_size=8", *BRIEFLY]
BITS = ("metrics.json", "selection.parquet", "allocation.parquet", "variants.parquet", "scores/in_distribution.parquet")
BITS += ("model/model.safetensors",)


class Tried(NamedTuple):
    """A run that is tried in a folder, again and again. place: its directory."""

    config: dict[str, Any]
    place: Path

    @property
    def cache(self) -> Path:
        """Where its features and variants are."""
        return Path(self.config["cache"])

    def run(self) -> None:
        """As a new process would: nothing is known of before."""
        frozen_encoder.cache_clear()
        execute(self.config)

    def refused(self) -> str:
        """The one line in which it ends."""
        with pytest.raises(UserError) as error:
            self.run()
        assert "\n" not in str(error.value)
        assert not (self.place / "DONE").exists()
        return str(error.value)

    def log(self) -> str:
        """All that its run.log says."""
        return (self.place / "run.log").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an undisturbed run."""
    tried = made(tmp_path_factory.mktemp("whole"))
    tried.run()
    return bits(tried)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was interrupted in its second round."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.MonkeyPatch.context() as patch:
        during_round(patch, 2, interrupt)
        with pytest.raises(KeyboardInterrupt):
            made(folder).run()
    return folder


@pytest.fixture
def left(half: Path, tmp_path: Path) -> Tried:
    """A copy of that run, to be gone on with."""
    shutil.copytree(half, tmp_path / "left")
    return made(tmp_path / "left")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk") as disk:
        yield disk


def made(folder: Path) -> Tried:
    """The run that all these tests try, in `folder`."""
    from mars.cli import composed

    global _composed
    _composed = _composed or composed("config", SETTINGS)
    config = {**_composed, "study": f"{folder}/study", "cache": f"{folder}/cache", "out": f"{folder}/study/run"}
    return Tried(config, folder / "study" / "run")


_composed: dict[str, Any] | None = None


def bits(tried: Tried) -> dict[str, bytes]:
    return {name: (tried.place / name).read_bytes() for name in BITS}


def interrupt() -> None:
    raise KeyboardInterrupt


def during_round(patch: pytest.MonkeyPatch, number: int, fault: Callable[[], object]) -> None:
    """`fault()` as the training of a round begins, the first being 1."""
    real, begun = trainer.train_round, []

    def train_round(*args: Any, **named: Any) -> Any:
        begun.append(1)
        if len(begun) == number:
            fault()
        return real(*args, **named)

    patch.setattr(trainer, "train_round", train_round)


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


# ---- a full disk, from the moment at which this is to be written

FULL = {  # what: the function that writes it (module, name), what of its first argument, what is said
    "features": (cache.Cache, "transaction", "features/tiny", "features/tiny-.*sqlite: database or disk is full"),
    "variants": (cache.Cache, "transaction", "variants/rules", "variants/rules-.*sqlite: database or disk is full"),
    "warm start": (start, "save_file", "", r"starts/tiny-.*\.safetensors: cannot be written: No space left on device"),
    "config": (files, "aside", "config.yaml", "run/config.yaml: cannot be written: No space left on device"),
    "costs": (files, "aside", "costs.json", "checkpoint/costs.json: cannot be written: No space left on device"),
    "checkpoint": (
        checkpoint,
        "save_file",
        "",
        "run/checkpoint: no checkpoint can be written: No space left on device",
    ),
    "model": (engine, "save_file", "", "run/model: cannot be written: No space left on device"),
    "scores": (files, "aside", "in_distribution.parquet", "in_distribution.parquet: cannot be written: No space left"),
    "evaluation record": (files, "aside", "in_distribution.json", r"(json|parquet): cannot be written: No space left"),
    "metrics": (files, "aside", "metrics.json", r"metrics.json: cannot be written: No space left on device"),
    "rounds": (files, "aside", "rounds.csv", "run/rounds.csv: cannot be written: No space left on device"),
    "selection": (files, "aside", "selection.parquet", "run/selection.parquet: cannot be written: No space left"),
    "allocation": (files, "aside", "allocation.parquet", "run/allocation.parquet: cannot be written: No space left"),
    "manifest": (files, "aside", "manifest.json", "run/manifest.json: cannot be written: No space left on device"),
    "model card": (files, "aside", "README.md", "model/README.md: cannot be written: No space left on device"),
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_one_line_and_with_room_the_run_comes_to_its_end(
    what: str, whole: dict[str, bytes], half: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, name, of, said = FULL[what]
    real, tried = getattr(home, name), made(disk.path)
    if what not in ("features", "variants", "warm start"):
        shutil.copytree(half, disk.path, dirs_exist_ok=True)

    def filling(first: Any, *rest: Any, **named: Any) -> Any:
        if of in str(getattr(first, "path", first)) or not of:
            disk.fill()
        return real(first, *rest, **named)

    monkeypatch.setattr(home, name, filling)
    line = tried.refused()
    assert re.search(said, line), line
    assert "make room" in line
    monkeypatch.undo()
    disk.free()
    assert leftovers(disk.path) == []
    assert all(cp.is_dir() for cp in tried.place.glob("checkpoint/0*"))
    tried.run()
    assert bits(tried) == whole


def test_a_log_on_a_full_disk_is_told_of_once_and_stops_nothing(
    left: Tried, whole: dict[str, bytes], disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (left.place / "run.log").unlink()
    (left.place / "run.log").symlink_to(disk.path / "run.log")
    during_round(monkeypatch, 1, disk.fill)
    left.run()
    assert bits(left) == whole
    (line,) = [record.getMessage() for record in caplog.records if "run.log" in record.getMessage()]
    assert line.endswith("run.log: cannot be written: No space left on device (the run goes on without it)")


def test_a_full_folder_for_temporary_files_is_one_line_that_names_it(
    left: Tried, whole: dict[str, bytes], disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(disk.path))
    disk.fill()
    line = left.refused()
    assert line.startswith(f"{disk.path}: cannot be written: No space left on device (make room there, or name another")
    disk.free()
    left.run()
    assert bits(left) == whole


def test_a_report_on_a_full_disk_leaves_the_one_before_whole(disk: Disk) -> None:
    place = disk.path / "report"
    before = {"tables/a.csv": b"1", "index.html": b"old"}
    report._write(before, place)
    disk.fill()
    with pytest.raises(UserError, match=r"report: cannot be written: No space left on device \(make room, then run"):
        report._write({"tables/a.csv": b"2" * 9000, "index.html": b"new"}, place)
    assert {name: (place / name).read_bytes() for name in before} == before
    assert leftovers(disk.path) == []


# ---- a file or a folder that is not what it was when the run was left, or is in the way

# What the run does about it: MENDED, and its log says so; or it ends in one line, and goes on once that is gone.
MENDED, REFUSED = "mended", "refused"


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe not what was written")


def another_program_s(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")


def another_version_s(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            database.execute(f"ALTER TABLE {table} ADD COLUMN language TEXT")


def folder(path: Path) -> None:
    remove(path)
    (path / "inside").mkdir(parents=True)


def file(path: Path) -> None:
    remove(path)
    path.write_text("a file")


def broken_link(path: Path) -> None:
    remove(path)
    path.symlink_to(path.parent / "nowhere" / "at all")


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def other_tensors(path: Path) -> None:
    save_file({"x": torch.zeros(3)}, path)


def another_version_s_state(path: Path) -> None:
    tree = checkpoint._read(path)
    shutil.rmtree(path)
    checkpoint.write(path.parent, {**tree, "language": "en"})


def another_format(path: Path) -> None:
    path.write_text(path.read_text().replace(f'"format": {checkpoint.FORMAT}', '"format": 99'))


FEATURES, VARIANTS, START = "cache/features/*.sqlite", "cache/variants/*.sqlite", "cache/starts/*.safetensors"
CHECKPOINT = "study/run/checkpoint/000001"
BROKEN = [  # (what is broken, how, what becomes of it, what is said)
    (FEATURES, zeros, MENDED, r"tiny-.*sqlite: file is not a database \(features are computed again\); it is now tiny"),
    (FEATURES, cut, MENDED, r"database disk image is malformed \(features are computed again\)"),
    (
        FEATURES,
        another_program_s,
        MENDED,
        r"tiny-.*sqlite: has other tables, .*; it is left alone, and tiny-.* is used",
    ),
    (FEATURES, another_version_s, MENDED, r"has other tables, of another version of mars"),
    (FEATURES, remove, MENDED, ""),
    (FEATURES, folder, REFUSED, r"tiny-.*sqlite: unable to open database file \(may this user write its folder\? "),
    (FEATURES, broken_link, REFUSED, r"tiny-.*sqlite: unable to open database file .*a broken link"),
    (VARIANTS, zeros, MENDED, r"rules-.*sqlite: file is not a database \(variants are made again\); it is now rules-"),
    (
        VARIANTS,
        another_program_s,
        MENDED,
        r"rules-.*sqlite: has other tables, .*; it is left alone, and rules-.* is used",
    ),
    (VARIANTS, another_version_s, MENDED, r"has other tables, of another version of mars"),
    (VARIANTS, folder, REFUSED, r"rules-.*sqlite: unable to open database file"),
    ("cache", remove, MENDED, ""),
    ("cache", file, REFUSED, "cache/features: features cannot be stored here: Not a directory"),
    ("cache", broken_link, REFUSED, "cache/features: features cannot be stored here: .*link is broken"),
    (START, cut, MENDED, "is damaged: the study's start is trained again"),
    (START, other_tensors, MENDED, "is damaged: the study's start is trained again"),
    (START, folder, REFUSED, r"starts/tiny-.*: cannot be written: .*something else has its name"),
    (
        f"{CHECKPOINT}/tensors.safetensors",
        zeros,
        MENDED,
        "000001 is not used: tensors.safetensors is not what was written",
    ),
    (f"{CHECKPOINT}/tensors.safetensors", folder, MENDED, "000001 is not used: tensors.safetensors: Is a directory"),
    (f"{CHECKPOINT}/state.json", remove, MENDED, "000001 is not used: state.json is missing"),
    (f"{CHECKPOINT}/sha256.json", text, MENDED, "000001 is not used: sha256.json cannot be read"),
    (
        f"{CHECKPOINT}/sha256.json",
        another_format,
        MENDED,
        "000001 is not used: it has format 99, and this version of mars",
    ),
    (CHECKPOINT, another_version_s_state, MENDED, "checkpoint is of another version of mars and is not used: the run"),
    (CHECKPOINT, file, MENDED, "000001 is not used: sha256.json: Not a directory"),
    (CHECKPOINT, remove, MENDED, ""),
    (
        "study/run/checkpoint/costs.json",
        text,
        MENDED,
        "costs.json: cannot be read: .*what earlier attempts paid is not",
    ),
    (
        "study/run/checkpoint/costs.json",
        lambda path: path.write_text("[]"),
        MENDED,
        "costs.json: cannot be read: not a map",
    ),
    ("study/run/checkpoint", file, REFUSED, "run/checkpoint.*: cannot be written: .*something else has its name"),
    ("study/run/checkpoint", broken_link, REFUSED, "run/checkpoint.*: cannot be written: .*a link is broken"),
    (
        "study/run/config.sha256",
        text,
        REFUSED,
        r"run holds a run of another config, or its config.sha256 is damaged \(ch",
    ),
    ("study/run/config.sha256", folder, REFUSED, "config.sha256: cannot be written: Is a directory"),
    ("study/run/config.yaml", folder, REFUSED, "run/config.yaml: cannot be written: Is a directory"),
    ("study/run/config.yaml", broken_link, MENDED, ""),
    ("study/run/run.log", folder, REFUSED, "run/run.log: cannot be written: Is a directory"),
    ("study/run/rounds.csv", folder, REFUSED, "run/rounds.csv: cannot be written: Is a directory"),
    ("study/run/scores", file, REFUSED, "run cannot be written to: File exists .*something else has its name"),
    (
        "study/run/metrics.json",
        text,
        REFUSED,
        r"metrics.json: cannot be read: .* \(move it away; evaluations/ has the num",
    ),
    (
        "study/run/metrics.json",
        lambda path: path.write_text("[1]"),
        REFUSED,
        "metrics.json: cannot be read: not a mapping",
    ),
    ("study/run/model", file, REFUSED, "run/model: cannot be written: File exists"),
    ("study/run/DONE", broken_link, MENDED, ""),
    ("study/run/ledger.sqlite", zeros, MENDED, "ledger.sqlite: file is not a database"),
    ("study/run/ledger.sqlite", another_version_s, MENDED, "ledger.sqlite: has other tables.*runs are not claimed"),
    ("study/run/ledger.sqlite", folder, MENDED, "ledger.sqlite: unable to open database file.*runs are not claimed"),
    ("study/run", broken_link, REFUSED, "run.*: cannot be written: .*a link is broken"),
    ("study", file, REFUSED, "study/run.*: cannot be written: Not a directory"),
]


@pytest.mark.parametrize(("what", "how", "then", "said"), BROKEN)
def test_what_is_broken_is_told_and_mended_or_refused_and_never_used(
    what: str,
    how: Callable[[Path], object],
    then: str,
    said: str,
    left: Tried,
    whole: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    home = Path(left.config["study"]).parent
    path = next(home.glob(what), home / what)
    aside = home.parent / "as it was"
    if path.exists():
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, aside)
    files.say_once.cache_clear()
    how(path)
    if then == REFUSED:
        line = left.refused()
        assert re.search(said, line), line
        remove(path)
        if aside.exists():
            os.rename(aside, path)
    left.run()
    assert bits(left) == whole
    if then == MENDED:
        assert re.search(said, caplog.text), caplog.text
    assert leftovers(home) == []


# ---- what changes while the run is at work

MEANWHILE = {  # (what happens as the second round begins to train, what is said; "" where the run goes on)
    "its directory is removed": (lambda home: shutil.rmtree(home / "study/run"), "run: was removed or replaced while"),
    "its study is removed": (lambda home: shutil.rmtree(home / "study"), "run: was removed or replaced while the run"),
    "its directory is replaced": (
        lambda home: (home / "study/run").rename(home / "old") and shutil.copytree(home / "old", home / "study/run"),
        r"run: was removed or replaced while the run worked in it \(the same command makes the run anew\)",
    ),
    "its config is removed": (
        lambda home: (home / "study/run/config.yaml").unlink(),
        "config.yaml: cannot be read: No such file",
    ),
    "the cache is removed": (lambda home: shutil.rmtree(home / "cache"), ""),
    "the checkpoint is removed": (lambda home: shutil.rmtree(home / "study/run/checkpoint"), ""),
    "the ledger is removed": (lambda home: (home / "study/run/ledger.sqlite").unlink(), ""),
    "the log is removed": (lambda home: (home / "study/run/run.log").unlink(), ""),
    "the clock goes back": (lambda home: None, ""),
    "the clock goes on": (lambda home: None, ""),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_changes_meanwhile_is_noticed_or_does_no_harm(
    what: str, left: Tried, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    happens, said = MEANWHILE[what]
    now, jump = time.time, {"the clock goes back": -1e6, "the clock goes on": 1e6}.get(what, 0)

    def fault() -> None:
        happens(Path(left.config["study"]).parent)
        monkeypatch.setattr(time, "time", lambda: now() + jump)

    during_round(monkeypatch, 1, fault)
    if said:
        line = left.refused()
        assert re.search(said, line), line
        monkeypatch.undo()
    left.run()
    assert bits(left) == whole


# ---- a disk or a folder that may not be written

NO_RIGHTS = {  # (what may not be written, what is said)
    "study": "study/run.*(cannot be written: Permission denied|Permission denied .*see that)",
    "study/run": r"run/\S+: cannot be written: Permission denied \(see that",
    "cache": "features cannot be stored here: Permission denied",
    "cache/features": r"tiny-.*sqlite: (unable to open|attempt to write a readonly) database.*may this user write",
    "cache/variants": r"rules-.*sqlite: (unable to open|attempt to write a readonly) database.*may this user write",
    "study/run/checkpoint": r"run/checkpoint\S*: cannot be written: Permission denied",
}


@pytest.mark.parametrize("where", NO_RIGHTS)
def test_a_folder_that_may_not_be_written_is_one_line(where: str, left: Tried, whole: dict[str, bytes]) -> None:
    home = Path(left.config["study"]).parent
    if where == "study":
        shutil.rmtree(left.place)
    if where.startswith("cache"):
        for path in list((home / where).glob("*")):
            remove(path)
    (home / where).chmod(0o555)
    with bound_by_rights():
        line = left.refused()
    assert re.search(NO_RIGHTS[where], line), line
    (home / where).chmod(0o755)
    left.run()
    assert bits(left) == whole


def test_a_checkpoint_that_may_not_be_read_is_not_taken_for_a_torn_one(left: Tried, whole: dict[str, bytes]) -> None:
    held = left.place / "checkpoint" / "000001" / "state.json"
    held.chmod(0)
    with bound_by_rights():
        line = left.refused()
    assert re.search(r"checkpoint/000001: cannot be read: Permission denied \(give access, or remove ", line)
    held.chmod(0o600)
    left.run()
    assert bits(left) == whole


def test_a_disk_that_is_read_only_is_one_line_for_what_is_written_and_none_for_a_cache_that_is_whole(
    half: Path, disk: Disk, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    shutil.copytree(half, disk.path, dirs_exist_ok=True)
    on_disk, beside = made(disk.path), made(tmp_path / "beside")
    on_disk.run()
    remove(on_disk.place / "DONE")
    disk.read_only()
    line = on_disk.refused()
    assert re.search(r"run/\S+: cannot be written: Read-only file system \(see that the disk is sound", line), line
    Tried({**beside.config, "cache": on_disk.config["cache"]}, beside.place).run()
    assert bits(beside) == whole
    disk.read_only(False)
    on_disk.run()
    assert bits(on_disk) == whole


def test_a_command_tells_a_fault_in_one_line_and_goes_on_once_it_is_mended(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = [
        "-m",
        "scale=tiny",
        f"study={disk.path}/study",
        f"cache={disk.path}/cache",
        "method=none",
        "rounds.number=1",
    ]
    run_here(main, *sweep, "seed=0")
    (done,) = disk.path.glob("study/*/DONE")
    kept = {path: path.read_bytes() for path in sorted(done.parent.rglob("*")) if path.is_file()}
    disk.fill()
    full = run_here(main, *sweep, "seed=0,1")
    assert full.returncode == 1
    assert "Traceback" not in full.stderr + full.stdout
    (line,) = [line for line in full.stderr.splitlines() if line.startswith("error:")]
    assert re.search(
        r"cannot be written: No space left on device \(make room|database or disk is full \(make room", line
    )
    assert {path: path.read_bytes() for path in kept} == kept  # a finished run stays as it is
    disk.free()
    assert run_here(main, *sweep, "seed=0,1", "retry=failed").returncode == 0
    assert len(list(disk.path.glob("study/*/DONE"))) == 2
    assert {path: path.read_bytes() for path in kept} == kept
