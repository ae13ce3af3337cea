"""Settings are strict: a wrong key, type or value is one line that names it and the nearest valid one."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from mars import choices, files
from mars.cli import composed
from mars.config import ConfigError, build, choose, naming_runs


@dataclass(frozen=True)
class Inner:
    tau: float = 1.0
    score: Literal["absolute", "signed"] = "absolute"

    def __post_init__(self):
        if self.tau > 100:
            raise ValueError(f"tau: {self.tau} is too large")


@dataclass(frozen=True)
class Outer:
    n: int
    inner: Inner = field(default_factory=Inner)
    tags: tuple[str, ...] = ()
    size: int | None = None
    flag: bool = False


def test_nested_settings_are_built_and_ints_widen_to_floats():
    built = build(Outer, {"n": 2, "inner": {"tau": 3}, "tags": ["a"], "size": None}, "")
    assert built == Outer(2, Inner(3.0), ("a",))
    assert isinstance(built.inner.tau, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": 1, "inner": {"tua": 1}}, 'x.inner.tua: no such setting (did you mean "tau"?)'),
        ({"n": 1, "inner": {"score": "signd"}}, "x.inner.score: 'signd' is not a choice (did you mean \"signed\"?)"),
        ({"n": 1, "inner": {"tau": "much"}}, "x.inner.tau: 'much' is not a number"),
        ({"n": 1, "inner": {"tau": 101.0}}, "x.inner.tau: 101.0 is too large"),
        ({"n": True}, "x.n: True is not a whole number"),
        ({"n": 1.5}, "x.n: 1.5 is not a whole number"),
        ({"n": 1, "tags": "a"}, "x.tags: a list is expected, not 'a'"),
        ({"n": 1, "flag": 1}, "x.flag: 1 is not true or false"),
        ({}, "x.n: is required"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_key(values, message):
    with pytest.raises(ConfigError) as error:
        build(Outer, values, "x")
    assert str(error.value) == message


def test_choosing_names_the_nearest():
    with pytest.raises(ConfigError, match=r'method.name: "unifrom" is unknown \(did you mean "uniform"\?\)'):
        choose({"uniform": 1, "none": 2}, "unifrom", "method.name")


@pytest.mark.parametrize("name", ["hh_rlhf", "pku_saferlhf", "ultrafeedback"])
def test_a_dataset_of_the_hub_has_the_settings_of_files_in_their_order(name):
    files, ours = (composed("config", [f"dataset={n}"])["dataset"] for n in ("files", name))
    assert list(ours) == list(files)
    changed = {key for key in files if ours[key] != files[key]}
    assert changed - {"data_dir", "preference"} == {"name", "hub", "revision", "size", "licence"}


def test_a_setting_that_came_later_renames_no_run_at_its_default(compose):
    def name(*overrides):
        return files.config_hash(choices.shaping(compose("scale=tiny", "train=full", *overrides)), {"base_sha256": "x"})

    assert name() == "c4f70fbe"  # as it was before there were these settings
    assert name() == name("train.token_budget=4096") == name("deterministic=false")
    changed = ("train.token_budget=2048", "train.bf16_weights=true", "train.packing=true", "train.packing=false")
    assert len({name(), *map(name, changed), name("train.margin=column"), name("train.margin=weight")}) == 7
    older = {"train": {"lr": 0.1, "token_budget": 4096}, "seed": 0}
    newer = {"train": {"lr": 0.1, "token_budget": "auto", "bf16_weights": False, "packing": "auto"}, "seed": 0}
    newer["train"] |= {"margin": "none", "margin_scale": 1.0}
    assert naming_runs(newer) == naming_runs(older) == older
    assert naming_runs({"train": {"bf16_weights": True}}) == {"train": {"bf16_weights": True}}


def test_settings_of_a_files_shape_rename_no_run_that_does_not_set_them(compose):
    def name(*overrides):
        return files.config_hash(choices.shaping(compose(*overrides)), {"base_sha256": "x"})

    # as they were before there were these settings
    assert name("scale=tiny") == "2307db9a"
    assert name("dataset=files") == "377fae36"
    judged = ("benchmark=files", "benchmark.path=x")
    assert name(*judged) == "88c5c7fe"
    after = ("+benchmark@downstream.own=files", "downstream.own.path=f", "dataset=ultrafeedback")
    assert name(*after) == "d823061e"
    # what is read of a file names a run by its rows, and what a run is judged on by the settings
    assert name("dataset=files", "dataset.schema=arena", "dataset.columns.margin=gap") == name("dataset=files")
    changed = ("benchmark.schema=arena", "benchmark.columns.prompt=q", "benchmark.ranked=all", "benchmark.on.tie=drop")
    assert len({name(*judged), *(name(*judged, setting) for setting in changed)}) == 5
