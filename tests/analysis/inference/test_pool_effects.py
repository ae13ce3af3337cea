"""Pool against allocation: contrasts by hand, from the replicates' own numbers."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from support.study import make_run

from analysis.exhibits.pools_by_allocation import PoolsByAllocation
from analysis.inference.pool_effects import AGAINST, ALLOCATION, INTERACTION, POOL, WITHIN, pool_effects, split_pool
from analysis.inference.stats import mean_interval
from analysis.study.loading import load
from analysis.study.study import NothingToShow, Study

SKILLS = {"eda": 0.3, "planted": 1.2, "rules": 0.6}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """uniform and mars × three pools × four replicates with test pairs of their own."""
    path = tmp_path_factory.mktemp("outputs") / "pools"
    for (pool, skill), (arm, more), seed in itertools.product(
        SKILLS.items(), (("uniform", 0), ("mars", 0.1)), range(4)
    ):
        settings = {"score": "absolute"} if arm == "mars" else {}
        config = {"augmenter": {"name": pool}}
        make_run(path, arm, seed, skill + more, settings=settings, own_rows=True, examples=300, config=config)
    return load(path)


def _accuracy(study: Study, arm: str, pool: str) -> np.ndarray:
    return study.values(f"{arm} augmenter={pool}", "test", "accuracy").to_numpy()


def test_each_effect_is_the_mean_of_the_replicates_own_contrast(study: Study) -> None:
    frame = pool_effects(study)
    found = frame[frame["endpoint"] == "accuracy"].set_index(["effect", "contrast"])
    of = {pool: _accuracy(study, "mars", pool) - _accuracy(study, "uniform", pool) for pool in SKILLS}
    both = {pool: (_accuracy(study, "mars", pool) + _accuracy(study, "uniform", pool)) / 2 for pool in SKILLS}
    allocation = sum(of.values()) / 3
    by_hand = {
        (POOL, "eda − rules"): both["eda"] - both["rules"],
        (POOL, "planted − rules"): both["planted"] - both["rules"],
        (ALLOCATION, "mars − uniform"): allocation,
        (AGAINST, "(eda − rules) − (mars − uniform)"): both["eda"] - both["rules"] - allocation,
        (AGAINST, "(planted − rules) − (mars − uniform)"): both["planted"] - both["rules"] - allocation,
        **{(WITHIN, f"mars − uniform, {pool}"): of[pool] for pool in ("rules", "eda", "planted")},
        (INTERACTION, "mars − uniform, eda − rules"): of["eda"] - of["rules"],
        (INTERACTION, "mars − uniform, planted − rules"): of["planted"] - of["rules"],
    }
    assert list(found.index) == list(by_hand)
    for key, contrast in by_hand.items():
        interval = found.loc[key, ["difference", "difference_lo", "difference_hi"]].tolist()
        assert interval == pytest.approx(mean_interval(contrast), abs=1e-5)


def test_a_focus_may_name_a_setting_that_all_arms_share(study: Study) -> None:
    assert pool_effects(study.judged(focus="mars score=absolute")).equals(pool_effects(study))
    with pytest.raises(NothingToShow):
        pool_effects(study.judged(focus="mars score=signed"))


def test_a_pool_that_is_better_for_both_arms_is_found_and_worth_more(study: Study) -> None:
    found = pool_effects(study).set_index(["endpoint", "effect", "contrast"])["difference_lo"]
    assert found["accuracy", POOL, "planted − rules"] > 0
    assert found["accuracy", AGAINST, "(planted − rules) − (mars − uniform)"] > 0


def test_the_table_of_it_is_readable_in_every_form(study: Study) -> None:
    forms = dict(PoolsByAllocation().table(study).forms())
    assert "nan" not in "".join(forms.values()).lower()
    assert forms["tex"].isascii()
    assert "| pool less allocation | (planted − rules) − (mars − uniform) | +" in forms["md"]


def test_a_semantic_layer_is_a_pool_too() -> None:
    assert split_pool("mars augmenter=eda tau=2") == ("eda", "mars tau=2")
    assert split_pool("mars semantic=planted tau=2") == ("semantic=planted", "mars tau=2")
    assert split_pool("uniform augmenter.noise=0.3") == ("noise=0.3", "uniform")


def test_arms_of_one_pool_have_no_effect_of_it(tmp_path: Path) -> None:
    for arm in ("uniform", "mars"):
        make_run(tmp_path / "one", arm, 0, 0.5)
    with pytest.raises(NothingToShow, match=r"did not run with several pools \(python -m mars.run experiment=pools\)"):
        pool_effects(load(tmp_path / "one"))
