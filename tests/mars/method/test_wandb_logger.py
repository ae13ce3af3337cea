"""What W&B was given is read back from its offline file."""

import json
from pathlib import Path

import pytest

from analysis.study.wandb_runs import offline, records
from mars.method.wandb_logger import artifact_name, kept_id
from mars.run import execute

wandb = pytest.importorskip("wandb")


def test_rounds_histograms_config_and_summary_reach_wandb(compose):
    directory = execute(compose("scale=tiny", "logger=wandb", "wandb.tags=[a,b]", "wandb.log_every=1"))
    wandb.teardown()  # its service may write the last records after a run is closed
    (file,) = directory.glob("wandb/offline-run-*/*.wandb")
    run = next(record.run for record in records(file) if record.HasField("run"))
    assert (run.display_name, run.run_group, list(run.tags)) == (directory.name, "study", ["a", "b"])
    (told,) = offline(directory)
    assert told.config["method"]["name"] == "mars"
    rounds = [h for h in told.history if "round/round" in h]
    assert [h["round/round"] for h in rounds] == [0, 1]
    assert all(h["round/budgets"]["_type"] == h["round/margins"]["_type"] == "histogram" for h in rounds)
    assert "round/validation_accuracy" in rounds[0]
    steps = [h for h in told.history if "train/loss" in h]
    assert [h["train/step"] for h in steps] == [1, 2, 3, 4, 5, 6, 7, 8]
    metrics = json.loads((directory / "metrics.json").read_text())["in_distribution"]
    assert told.summary["in_distribution/test/accuracy"] == metrics["test"]["accuracy"]
    assert told.summary["manifest/git"] == json.loads((directory / "manifest.json").read_text())["git"]
    assert "manifest/base_ids" not in told.summary


def _artifacts(directory):
    """{type: (name, {path in it: file here})} of what an offline run kept for its sync."""
    kept = [record for file in directory.glob("wandb/offline-run-*/*.wandb") for record in records(file)]
    found = [record.artifact for record in kept if record.HasField("artifact")]
    return {a.type: (a.name, {entry.path: Path(entry.local_path) for entry in a.manifest.contents}) for a in found}


def test_model_scores_and_metrics_are_artifacts_of_the_run_where_that_is_asked_for(compose):
    plain, asked = (["scale=tiny", "logger=wandb", *x] for x in ([], ["wandb.artifacts=true", "force=true"]))
    directory = execute(compose(*plain))
    wandb.teardown()
    assert _artifacts(directory) == {}
    assert execute(compose(*asked)) == directory  # a window makes no other run
    wandb.teardown()
    found = _artifacts(directory)
    name, files = found["model"]
    assert name == f"model-{directory.name}"
    assert {path.relative_to(directory).as_posix() for path in files.values()} >= {"model/model.safetensors"}
    name, files = found["evaluation"]
    assert name == f"evaluation-{directory.name}"
    assert {"metrics.json", "scores/in_distribution.parquet"} <= files.keys()
    assert all(file == directory / path and file.is_file() for path, file in files.items())  # as they lie, uncopied


def test_the_name_of_an_artifact_is_one_that_wandb_takes():
    wandb.Artifact(artifact_name("report", "my study, ü" + "x" * 200), type="report")
    assert artifact_name("report", "my study, ü") == "report-my_study___"


def test_a_resumed_run_keeps_its_id_and_reports_its_manifest_once_it_is_done(compose, tmp_path, interrupt_at):
    config = compose("scale=tiny", "logger=wandb")
    interrupt_at(2)
    with pytest.raises(KeyboardInterrupt):
        execute(config)
    wandb.teardown()
    (unfinished,) = offline(tmp_path / "study")
    assert unfinished.manifest == {}
    directory = execute(config)
    wandb.teardown()
    assert len(list(directory.rglob("*.wandb"))) == 2
    (told,) = offline(directory)
    assert told.id == unfinished.id
    assert told.manifest["run_id"] == directory.name
    assert told.rounds["round"].tolist() == [0, 1]


def test_wandb_that_fails_is_told_of_once_and_stops_nothing(compose, monkeypatch, caplog):
    def broken(*_, **__):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(wandb.Run, "log", broken)
    directory = execute(compose("scale=tiny", "logger=wandb", "rounds.number=1", "method=none", "wandb.log_every=1"))
    wandb.teardown()
    assert (directory / "DONE").exists()
    (line,) = [r.getMessage() for r in caplog.records if "W&B" in r.getMessage()]
    assert line.startswith("W&B fails: [Errno 32] Broken pipe (the run goes on without it")


@pytest.mark.parametrize("damage", [b"", b"\xff\x00", b"../../another"])
def test_a_damaged_id_is_drawn_anew_and_a_whole_one_is_kept(damage, tmp_path):
    file = tmp_path / "wandb" / "id"
    first = kept_id(file)
    assert kept_id(file) == first == file.read_text()
    file.write_bytes(damage)
    again = kept_id(file)
    assert len(again) == 16
    assert kept_id(file) == again != first
