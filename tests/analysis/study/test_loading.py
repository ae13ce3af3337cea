"""What is counted, what is left out and why, what is remarked; and that the numbers shown are those of the scores."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from support.study import make_run, make_study

from analysis import Study, load
from analysis.study.results_table import tidy, to_parquet
from analysis.study.study import KEYS
from mars.augment.named import AUGMENTERS
from mars.config import UserError
from mars.files import config_hash
from mars.plugins import resolve
from mars.record.facts import ADDRESSED


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """none, uniform, eda, mars × 3 seeds, and one run that did not finish. Read-only."""
    path = make_study(tmp_path_factory.mktemp("outputs") / "quick")
    make_run(path, "mars", 9, 1.0, done=False)
    return path


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A study of its own, and its runs of uniform and mars."""
    path = make_study(tmp_path / "two", {"uniform": 0.5, "mars": 0.8}, seeds=(0,))
    return path, next(path.glob("uniform-*")), next(path.glob("mars-*"))


def _edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def _left(loaded: Study) -> dict[str, str]:
    return dict(zip(loaded.left_out["run"], loaded.left_out["reason"], strict=True))


def _accuracy(loaded: Study, arm: str) -> float:
    return loaded.values(arm, "test", "accuracy").iloc[0]


def test_only_finished_runs_are_counted(study: Path) -> None:
    loaded = load(study)
    assert len(loaded.runs) == len(loaded.members) == 12
    assert loaded.arms == ["none", "uniform", "eda", "mars"]
    assert loaded.splits == ["test", "test_reversed_nuisance"]
    assert len(loaded.rounds) == 12 * 3
    ((name, reason),) = _left(loaded).items()
    assert (name.rsplit("-", 1)[0], reason) == ("mars-planted-minilm-s9", "unfinished")
    assert loaded.remarks == ()
    assert set(loaded.runs["source"]) == {"quick"}


def test_metrics_and_rounds_stand_behind_the_keys_of_their_run(study: Path) -> None:
    loaded = load(study)
    run = loaded.members[next(study.glob("eda-*-s1-*")).name]
    stated = json.loads((study / run.name / "metrics.json").read_text())["in_distribution"]
    mine = loaded.metrics[loaded.metrics["run"] == run.name]
    assert set(mine["arm"]) == {"eda"}
    found = {(row.split, row.metric): row.value for row in mine.itertuples()}
    assert found == {(split, k): v for split, values in stated.items() for k, v in values.items()}
    assert loaded.rounds[loaded.rounds["run"] == run.name]["round"].tolist() == [0, 1, 2]
    assert list(loaded.rounds.columns[: len(KEYS)]) == list(loaded.metrics.columns[: len(KEYS)]) == KEYS


def test_loading_writes_nothing(study: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(f): (f.stat().st_mtime_ns, f.stat().st_size) for f in study.rglob("*")}

    before = state()
    load(study)
    assert state() == before


def test_a_run_alone_and_several_studies_are_sources_too(study: Path, tmp_path: Path) -> None:
    one = next(study.glob("mars-*-s0-*"))
    assert list(load(one).members) == [one.name]
    other = make_study(tmp_path / "hh", {"mars": 0.5}, seeds=(0,), dataset="hh_rlhf")
    both = load(study, other)
    assert both.name == "quick, hh"
    assert sorted(both.runs["source"].value_counts().items()) == [("hh", 1), ("quick", 12)]
    apart = make_study(tmp_path / "again" / "hh", {"mars": 0.5}, seeds=(1,), dataset="hh_rlhf")
    assert load(other, apart).name == f"{tmp_path.name}/hh, again/hh"


def test_a_source_of_which_nothing_remains_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no runs"):
        load(tmp_path)
    make_run(tmp_path, "mars", 0, 0.5, done=False)
    with pytest.raises(UserError, match="1 unfinished runs and no finished one"):
        load(tmp_path)
    broken = make_run(tmp_path, "mars", 1, 0.5)
    (broken / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=rf"of 2; {broken.name}: manifest\.json: cannot be read") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def _unreadable(file: str) -> Callable[[Path], object]:
    return lambda run: (run / file).write_text("{[")


def _stated(**changes: object) -> Callable[[Path], object]:
    return lambda run: _edit(run / "manifest.json", lambda manifest: manifest.update(changes))


def _repeated(run: Path) -> None:
    file = run / "scores" / "in_distribution.parquet"
    table = pd.read_parquet(file)
    pd.concat([table, table[:1]]).to_parquet(file)


BROKEN = [
    (_unreadable("manifest.json"), "manifest.json: cannot be read: "),
    (lambda run: (run / "manifest.json").unlink(), "manifest.json: cannot be read: No such file"),
    (lambda run: (run / "manifest.json").write_text("[1]"), "manifest.json: cannot be read: not a mapping"),
    (
        lambda run: _edit(run / "manifest.json", lambda m: m.pop("schema_version")),
        "manifest.json: schema_version is None",
    ),
    (
        _stated(schema_version=99),
        "manifest.json: is of schema version 99, and this program knows those up to 1 (update",
    ),
    (_stated(schema_version="new"), "manifest.json: schema_version is 'new'"),
    (_stated(seed="zero"), "manifest.json: seed is 'zero'"),
    (_stated(pool=7), "manifest.json: pool is 7, not a group"),
    (lambda run: _edit(run / "manifest.json", lambda m: m.pop("dataset")), "manifest.json: lacks dataset"),
    (_unreadable("config.yaml"), "config.yaml: cannot be read: "),
    (_unreadable("scores/in_distribution.parquet"), "scores/in_distribution.parquet: cannot be read: "),
    (_repeated, 'scores/in_distribution.parquet: id "test-0" repeats in split test'),
]


@pytest.mark.parametrize(("damage", "reason"), BROKEN)
def test_a_broken_run_is_left_out_with_file_and_reason(
    damage: Callable[[Path], object], reason: str, two: tuple[Path, Path, Path]
) -> None:
    path, _, mars = two
    damage(mars)
    loaded = load(path)
    assert loaded.arms == ["uniform"]
    assert list(_left(loaded)) == [mars.name]
    assert _left(loaded)[mars.name].startswith(reason)
    assert str(path) not in _left(loaded)[mars.name]  # the same wherever the study lies


def test_two_alike_under_one_id_are_counted_once(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    shutil.copytree(mars, mars.with_name(mars.name[:-8] + "00000000"))
    loaded = load(path)
    assert len(loaded.runs) == 2
    (remark,) = loaded.remarks
    assert remark.startswith(f"{mars.name} is there 2 times, alike, and counted once: two/")
    assert load(path, path).arms == ["uniform", "mars"]


@pytest.mark.parametrize("what", ["scores", "config"])
def test_two_that_differ_under_one_id_are_both_left_out(what: str, two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    other = mars.with_name(mars.name[:-8] + "00000000")
    shutil.copytree(mars, other)
    if what == "scores":
        table = pd.read_parquet(mars / "scores" / "in_distribution.parquet")
        table.assign(chosen_score=table["chosen_score"] + 1e-9).to_parquet(other / "scores" / "in_distribution.parquet")
    else:
        _stated(config_hash="ffffffff")(other)
    loaded = load(path)
    assert loaded.arms == ["uniform"]
    assert sorted(_left(loaded)) == sorted([mars.name, other.name])
    for reason in _left(loaded).values():
        assert reason.startswith(f"2 runs claim the id {mars.name} and differ, so none is counted: ")


def test_runs_of_one_arm_and_seed_that_nothing_tells_apart_are_left_out(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    other = mars.with_name(mars.name[:-8] + "00000000")
    shutil.copytree(mars, other)
    _stated(run_id=other.name)(other)
    loaded = load(path)
    assert loaded.arms == ["uniform"]
    assert _left(loaded)[mars.name] == (
        f"the same arm and seed as two/{other.name}, told apart by no setting (move one out of the study)"
    )
    assert _left(loaded)[other.name].startswith(f"the same arm and seed as two/{mars.name}, ")


def test_a_run_without_scores_is_kept_with_a_remark(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    stated = json.loads((mars / "metrics.json").read_text())["in_distribution"]["test"]["accuracy"]
    shutil.rmtree(mars / "scores")
    loaded = load(path)
    assert _accuracy(loaded, "mars") == stated
    assert loaded.pairs("mars", "test").seeds.tolist() == []
    (remark,) = loaded.remarks
    assert remark.startswith("scores/in_distribution.parquet is missing, so that numbers can be neither checked nor")
    assert remark.endswith(mars.name)


def test_an_edited_number_is_named_and_what_the_scores_give_is_shown(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    true = _accuracy(load(path), "mars")
    _edit(mars / "metrics.json", lambda metrics: metrics["in_distribution"]["test"].update(accuracy=0.99))
    loaded = load(path)
    assert _accuracy(loaded, "mars") == pytest.approx(true)
    assert loaded.values("mars", "test", "accuracy_lo").empty  # the interval that belonged to nothing that is known
    assert not loaded.values("mars", "test", "auc_lo").empty
    (remark,) = loaded.remarks
    assert f"{mars.name}: metrics.json: in_distribution/test/accuracy" in remark
    assert "0.99" in remark


def test_many_edited_numbers_do_not_bury_the_page(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    truth = load(path).metrics

    def raise_all(metrics: dict[str, Any]) -> None:
        for values in metrics["in_distribution"].values():
            values.update({k: v + 1 for k, v in values.items()})

    _edit(mars / "metrics.json", raise_all)
    loaded = load(path)
    assert len(loaded.remarks) == 4
    assert loaded.remarks[-1].startswith(f"{mars.name}: ")
    assert loaded.remarks[-1].endswith("more of its numbers are not those of its scores")
    shown = loaded.metrics.merge(truth, on=["run", "split", "metric"])
    assert len(shown) > 20
    np.testing.assert_allclose(shown["value_x"], shown["value_y"], rtol=1e-5)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"in_distribution": 3}', '{"files": {"overall": {"n": 4}}}'])
def test_numbers_that_metrics_json_does_not_give_are_taken_from_the_scores(
    content: str | None, two: tuple[Path, Path, Path]
) -> None:
    path, _, mars = two
    true = _accuracy(load(path), "mars")
    (mars / "metrics.json").unlink()
    if content is not None:
        (mars / "metrics.json").write_text(content)
    loaded = load(path)
    assert _accuracy(loaded, "mars") == pytest.approx(true)
    (remark,) = loaded.remarks
    assert remark.startswith(f"{mars.name}: metrics.json: ")
    assert remark.endswith("; its numbers are taken from its scores, without intervals")
    assert ("files" in loaded.members[mars.name].metrics) == ("files" in (content or ""))
    shutil.rmtree(mars / "scores")
    assert "there are no scores to take them from" in _left(load(path))[mars.name]


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), ("", "No columns"), ("{[", "no column round")]
)
def test_without_its_rounds_a_run_is_shown_less_its_curves(
    content: str | None, reason: str, two: tuple[Path, Path, Path]
) -> None:
    path, _, mars = two
    (mars / "rounds.csv").unlink()
    if content is not None:
        (mars / "rounds.csv").write_text(content)
    loaded = load(path)
    assert loaded.arms == ["uniform", "mars"]
    assert set(loaded.rounds["arm"]) == {"uniform"}
    (remark,) = loaded.remarks
    assert remark.startswith(f"{mars.name}: rounds.csv: cannot be read: {reason}")
    assert remark.endswith("; its rounds are not shown")


@pytest.mark.parametrize("value", [None, float("nan"), "high"])
def test_what_is_not_a_number_is_named(value: object, two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    _edit(mars / "metrics.json", lambda m: m.update(files={"overall": {"accuracy": value, "n": 4}}))
    loaded = load(path)
    assert loaded.remarks == (f"{mars.name}: not a number: files/overall/accuracy",)
    of_files = loaded.metrics[loaded.metrics["benchmark"] == "files"]
    assert of_files["value"].isna().tolist() == [True, False]


def test_every_augmenter_whose_address_is_no_setting_is_known() -> None:
    """Only for these are the settings of augmenters read, which imports some of them."""
    addressed = {name for name, pair in AUGMENTERS.items() if getattr(resolve(pair)[0], "without_effect", ())}
    assert addressed == ADDRESSED


def test_an_endpoints_address_is_no_setting_wherever_it_stands(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    endpoint = {"name": "instruct", "model": "m", "base_url": "http://here", "concurrency": 3}
    config = yaml.safe_load((mars / "config.yaml").read_text())
    (mars / "config.yaml").write_text(yaml.safe_dump(config | {"semantic": {"name": "paper", "writer": endpoint}}))
    settings = load(path).members[mars.name].config
    assert {key for key in settings if key.startswith("semantic.")} == {
        "semantic.name",
        "semantic.writer.name",
        "semantic.writer.model",
    }


def test_the_tidy_table_has_every_number_and_the_same_bytes_twice(study: Path, tmp_path: Path) -> None:
    loaded = load(study)
    frame = tidy(loaded)
    assert list(frame.columns) == [*KEYS, "source", "benchmark", "split", "metric", "value"]
    assert len(frame) == len(loaded.metrics)
    assert not frame.duplicated(["run", "benchmark", "split", "metric"]).any()
    for name in ("one", "two"):
        (tmp_path / f"{name}.parquet").write_bytes(to_parquet(tidy(load(study))))
    first, second = (hashlib.sha256((tmp_path / f"{name}.parquet").read_bytes()).digest() for name in ("one", "two"))
    assert first == second
    assert pq.read_schema(tmp_path / "one.parquet").metadata[b"mars_schema_version"] == b"1"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "one.parquet"), frame)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.parquet", "two.parquet"]


def test_the_tidy_table_can_be_of_some_runs_only(study: Path) -> None:
    loaded = load(study)
    chosen = [run.name for run in loaded.of("mars")]
    assert set(tidy(loaded, chosen)["run"]) == set(chosen)
    assert tidy(loaded, []).empty


def _rescored(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    file = run / "scores" / "in_distribution.parquet"
    change(pd.read_parquet(file)).to_parquet(file, index=False)


UNBELIEVABLE = [  # what is done to a run, and why it is then left out
    (lambda run: _rescored(run, lambda t: t.assign(chosen_score=t["chosen_score"].where(t.index > 0))), "not finite"),
    (lambda run: _rescored(run, lambda t: t.drop(columns="chosen_score")), "chosen_score: no column of numbers"),
    (lambda run: _rescored(run, lambda t: t.drop(columns="id")), "cannot be read"),
    (lambda run: _rescored(run, lambda t: t.assign(rejected_score="high")), "rejected_score: no column of numbers"),
    (_stated(steps="x"), "steps is 'x', not of its kind"),
    (_stated(git={"commit": [1]}), "git.commit is [1], not of its kind"),
    (_stated(semantic={"writer": [1]}), "semantic.writer is [1], not a group"),
    (_stated(data={"contamination": "x"}), "data.contamination is 'x', not a group"),
    (_stated(method=" "), "method is ' '"),
    (_stated(seed=10**30), "seed 1000"),
    (_stated(config_hash="0" * 8, dataset="planted"), "config.yaml: is not what the run was made with"),
]


@pytest.mark.parametrize(("harm", "reason"), UNBELIEVABLE)
def test_a_run_that_cannot_be_believed_costs_that_run(
    harm: Callable[[Path], object], reason: str, two: tuple[Path, Path, Path]
) -> None:
    path, _, mars = two
    settings = yaml.safe_load((mars / "config.yaml").read_text()) | {"dataset": {"name": "planted"}}
    (mars / "config.yaml").write_text(yaml.safe_dump(settings))
    harm(mars)
    loaded = load(path)
    assert loaded.arms == ["uniform"]
    assert reason in _left(loaded)[mars.name]


def test_a_broken_record_and_a_table_without_one_cost_no_run(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    for label in ("robustness", "mine"):
        shutil.copy(mars / "scores" / "in_distribution.parquet", mars / "scores" / f"{label}.parquet")
    for label in ("robustness", "in_distribution"):
        (mars / "evaluations" / f"{label}.json").write_text("{")
    _edit(mars / "metrics.json", lambda m: m["in_distribution"]["test"].update(accuracy=0.99))
    _edit(mars / "metrics.json", lambda m: m.update(mine={"overall": {"accuracy": 0.5}}))
    loaded = load(path)
    assert loaded.arms == ["uniform", "mars"]
    assert _accuracy(loaded, "mars") < 0.99
    assert any("evaluations/robustness.json: cannot be read" in remark for remark in loaded.remarks)
    assert loaded.values("mars", "overall", "accuracy", "mine").tolist() == [0.5]


def test_a_run_with_its_own_settings_is_counted(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    settings = yaml.safe_load((mars / "config.yaml").read_text()) | {"dataset": {"name": "planted"}}
    manifest = json.loads((mars / "manifest.json").read_text())
    rows = {key: manifest[key] for key in ("base_sha256", "validation_sha256", "test_sha256")}
    (mars / "config.yaml").write_text(yaml.safe_dump(settings))
    _edit(mars / "manifest.json", lambda m: m.update(config_hash=config_hash(settings, rows)))
    assert load(path).arms == ["uniform", "mars"]
    settings["method"]["tau"] = 3
    (mars / "config.yaml").write_text(yaml.safe_dump(settings))
    assert load(path).arms == ["uniform"]


def test_most_runs_say_which_split_is_the_main_one(tmp_path: Path) -> None:
    path = make_study(tmp_path, {"uniform": 0.5, "mars": 0.8})
    file = next(path.glob("mars-*-s0-*")) / "metrics.json"
    parts = json.loads(file.read_text())["in_distribution"]
    file.write_text(json.dumps({"in_distribution": dict(reversed(parts.items()))}))
    assert load(path).splits == ["test", "test_reversed_nuisance"]
    file.write_text(json.dumps({"in_distribution": {"test_reversed_nuisance": parts["test_reversed_nuisance"]}}))
    assert load(path).splits[0] == "test"


def test_a_share_beyond_one_is_no_number(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    shutil.rmtree(mars / "scores")
    _edit(mars / "metrics.json", lambda m: m["in_distribution"]["test"].update(accuracy=1.7))
    loaded = load(path)
    assert loaded.values("mars", "test", "accuracy").empty
    assert any("accuracy: 1.7 is no share, left out" in remark for remark in loaded.remarks)


def test_a_directory_of_another_name_is_a_run_too(two: tuple[Path, Path, Path]) -> None:
    path, _, mars = two
    mars.rename(path / "my_best")
    assert load(path).arms == ["uniform", "mars"]


def test_copies_that_differ_in_steps_are_not_alike(two: tuple[Path, Path, Path], tmp_path: Path) -> None:
    path, _, mars = two
    copy = tmp_path / "sent" / mars.name
    shutil.copytree(mars, copy)
    _edit(copy / "manifest.json", lambda manifest: manifest.update(steps=80))
    assert load(path, copy.parent).arms == ["uniform"]
