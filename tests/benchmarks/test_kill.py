"""The kill test in short: a few kills of head runs, each gone on with and compared byte by byte."""

import shutil

import pandas as pd

from benchmarks.kill import KINDS, Kill, kill_runs, unequal
from benchmarks.killer import PHASES


def test_a_run_killed_in_any_phase_ends_in_the_same_bits(tmp_path):
    done = kill_runs(4, ["head"], tmp_path, 0, lambda kill: None)
    assert [kill.unequal for kill in done] == [[]] * 4
    assert all(kill.lost >= 0 for kill in done)


def test_every_kind_and_phase_has_a_place():
    assert set(KINDS) == {"head", "full", "lora"}
    assert {"training", "checkpointing", "pool filling", "feature writing"} < set(PHASES)


def test_files_that_differ_are_named(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name / "scores").mkdir(parents=True)
        pd.DataFrame({"score": [1.0]}).to_parquet(tmp_path / name / "scores" / "a.parquet")
        pd.DataFrame({"loss": [1.0], "seconds": [len(name)]}).to_csv(tmp_path / name / "rounds.csv")
        (tmp_path / name / "DONE").touch()
    one, other = tmp_path / "one", tmp_path / "other"
    assert unequal(one, other) == []
    pd.DataFrame({"score": [1.0 + 1e-16, 2.0]}).to_parquet(other / "scores" / "a.parquet")
    pd.DataFrame({"loss": [1.1], "seconds": [5]}).to_csv(other / "rounds.csv")
    assert unequal(one, other) == ["scores/a.parquet", "rounds.csv"]
    assert (
        Kill("head", "training", 1, 0.5, unequal(one, other))
        .row()
        .endswith("NOT EQUAL: scores/a.parquet, rounds.csv |")
    )
    shutil.rmtree(other / "scores")
    (other / "DONE").unlink()
    assert unequal(one, other) == ["DONE"]
