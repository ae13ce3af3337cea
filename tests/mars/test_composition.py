"""Configs composed by parts are what Hydra composes of the whole."""

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mars.cli import composed
from mars.composition import composition


def whole(name, overrides, with_hydra=False):
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        return hydra.compose(name, list(overrides), return_hydra_config=with_hydra)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("config", ()),
        ("config", ("seed=3",)),
        ("config", ("scale=tiny", "method=uniform", "train=full", "train.lr=1e-3", "until=null")),
        ("config", ("seed=1", "experiment=settle", "seed=2", "rounds.number=7", "scale=tiny", "rounds.budget=16")),
        ("config", ("experiment=iterative", "method=mars", "method.tau=0.5", "dataset=gaussian", "labels=flip25")),
        ("config", ("name='a, b=c'", 'study="x y"', "cache=${study}/c", "out=${oc.env:HOME}", "until=")),
        ("config", ("+downstream={a:{b:1}}", "seed=1")),
        ("config", ("train.lr=0.5", "train= {lr:2}", "pool={width:3}", "rounds.keep='last,best'", "dataset.size=1e3")),
        ("config", ("+logger@second=wandb", "backbone@pool.gates.encoder=tiny", "pool.gates.similarity=0.9", "seed=4")),
        ("config", ("+extra.key=1", "extra.key=2", "~labels", "++seed=5")),
        ("config", ("logger=terminal", "benchmark=in_distribution", "benchmark.resamples=5")),
        ("evaluate", ("study=x", "benchmark=robustness", "benchmark.resamples=5")),
        ("plan", ("study=x",)),
    ],
)
def test_parts_make_the_whole(name, overrides):
    for _ in range(2):  # the second time of what is kept
        expected, made = whole(name, overrides), composition(name, overrides)
        assert OmegaConf.to_container(made, resolve=False) == OmegaConf.to_container(expected, resolve=False)
        if not overrides or overrides[0] != "+extra.key=1":
            assert composed(name, overrides) == OmegaConf.to_container(expected, resolve=True)
        assert [*made] == [*expected]


def test_a_setting_moves_what_is_worked_out_of_it():
    assert composed("config", ["rounds.budget=50", "scale=tiny"])["rounds"]["budget"] == 50
    before = composed("config", ["scale=tiny"])
    assert composed("config", ["name=other", "scale=tiny"])["study"] == "outputs/other_tiny"
    assert composed("config", ["scale=tiny"]) == before  # and leaves what is kept alone


@pytest.mark.parametrize(
    "overrides",
    [
        ["no_such_key=1"],
        ["method=uniform", "method.tau=1"],
        ["method=no_such_choice", "seed=1"],
        ["seed=1,2"],
        ["method=mars,uniform"],
        ["seed=[1"],
        ["seed@pool=1"],
        ["rounds.number.deeper=1"],
        ["hydra.no_such_key=1"],
    ],
)
def test_a_mistake_is_told_as_hydra_tells_it(overrides):
    with pytest.raises(HydraException) as expected:
        whole("config", overrides)
    with pytest.raises(HydraException) as found:
        composition("config", overrides)
    assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))
    assert str(found.value.__cause__) == str(expected.value.__cause__)


def test_the_sweep_that_choices_bring_is_there():
    overrides = ["experiment=settle", "scale=tiny", "seed=1"]
    params = [
        c.hydra.sweeper.params for c in (whole("config", overrides, True), composition("config", overrides, True))
    ]
    assert params[0] == params[1] != {}
