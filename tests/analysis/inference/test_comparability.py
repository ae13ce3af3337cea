"""What arms differ in beside their strategy."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.study import LEFT_OUT, make_run, make_study

from analysis import load
from analysis.exhibits.ranking import rank
from analysis.inference.comparability import confounds

OLD_POOL = {"augmenter": "rules", "variants_made": 7, "rows": "grid"}  # rows once said which rows there are


def _notes(path: Path) -> list[str]:
    found = confounds(load(path))
    assert not any(confound.blocks for confound in found)
    return [confound.text for confound in found]


def _drew(augmenter: str, pool: str, rows: int = 100, unspent: int = 0, layer: str = "off") -> dict[str, object]:
    record = {"augmenter": augmenter, "rows": rows, "unspent": unspent}
    return {"pool": record, "pool_sha256": pool * 64, "semantic_layer": layer}


def test_what_differs_between_seeds_and_not_between_arms_is_no_confound(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        drawn = dict.fromkeys(("start", "base_sha256", "validation_sha256", "test_sha256"), f"{seed:064x}")
        make_study(tmp_path, seeds=(seed,), manifest={**drawn, "steps": 30 + seed})
    assert confounds(load(tmp_path)) == []


def test_one_seed_out_of_step_is_enough_and_is_named(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1, 2))
    make_study(tmp_path, {"mars": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.5}, seeds=(2,), manifest={"steps": 31})
    (found,) = confounds(load(tmp_path))
    assert (found.field, found.blocks) == ("steps", True)
    assert "for seed 2 (30: uniform; 31: mars)" in found.text


@pytest.mark.parametrize(
    ("manifest", "field", "words"),
    [
        ({"validation_sha256": "f" * 64}, "validation_sha256", "so their curves cannot be compared"),
        ({"git": {"commit": "f" * 40, "dirty": False}}, "commit", "(00000000: uniform; ffffffff: mars)"),
        ({"git": {"commit": "0" * 40, "dirty": True}}, "dirty", "uncommitted changes, which no commit names: mars"),
    ],
)
def test_what_cannot_move_a_rank_is_a_note(tmp_path: Path, manifest: dict[str, object], field: str, words: str) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(0, 1), manifest=manifest)
    (found,) = confounds(load(tmp_path))
    assert (found.field, found.blocks) == (field, False)
    board = rank(load(tmp_path))
    assert list(board.table.frame["rank"].dropna()) == [1, 2]
    assert words in board.notes[0]


def test_runs_of_an_installed_package_have_no_commit_and_no_note(tmp_path: Path) -> None:
    assert confounds(load(make_study(tmp_path, manifest={"git": None}))) == []


def test_what_no_run_recorded_is_said_not_to_be_compared(tmp_path: Path) -> None:
    (found,) = confounds(load(make_study(tmp_path, manifest={"start": LEFT_OUT, "template": LEFT_OUT})))
    assert not found.blocks
    assert found.text == "not recorded by any run, so not compared: starting weights, template"


def test_arms_without_a_seed_in_common_are_not_ranked(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "none": 0.3}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(2, 3))
    (found,) = confounds(load(tmp_path))
    assert (found.field, found.blocks) == ("seed", True)
    assert "(0, 1: none, uniform; 2, 3: mars)" in found.text


def test_batch_size_and_training_settings_are_notes(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    make_study(tmp_path, {"mars": 0.9}, seeds=(0, 1), manifest={"batch_size": 32, "train_sha256": "f" * 64})
    batch, training = _notes(tmp_path)
    assert batch.startswith("arms trained at different batch sizes (64: uniform; 32: mars), so")
    assert training.startswith("arms have different training settings (lr, schedule, …) (")
    assert "ffffffff: mars)" in training


def test_dropped_prompts_are_a_note_where_other_arms_keep_theirs(tmp_path: Path) -> None:
    make_study(tmp_path, {"mars": 0.9, "won": 0.5}, seeds=(0, 1), manifest={"drop_prompt": True})
    assert _notes(tmp_path) == []
    make_study(tmp_path, {"uniform": 0.5}, seeds=(0, 1))
    assert _notes(tmp_path) == ["drawn rows lose their prompt in: won, mars"]


def test_arms_that_draw_from_different_pools_are_named_with_their_pools(tmp_path: Path) -> None:
    make_study(tmp_path, {"uniform": 0.5, "mars": 0.6}, seeds=(0, 1), manifest=_drew("rules", "a"))
    for arm, rows in (("none", 0), ("none_matched", 100)):
        make_study(tmp_path, {arm: 0.5}, seeds=(0, 1), manifest=_drew("none", "b", rows, 100 - rows))
    make_study(tmp_path, {"representation": 0.5}, seeds=(0, 1), manifest=_drew("rules", "c", 0))
    assert _notes(tmp_path) == []  # they draw from no pool
    make_study(tmp_path, {"eda": 0.5}, seeds=(0, 1), manifest=_drew("eda", "d"))
    assert _notes(tmp_path) == ["arms draw from different pools: eda (eda), others (rules)"]
    make_study(tmp_path, {"won": 0.5}, seeds=(0, 1), manifest=_drew("rules", "a", layer="paper"))
    make_study(tmp_path, {"stratified": 0.5}, seeds=(0, 1), manifest=_drew("rules", "e"))
    assert _notes(tmp_path) == [
        "arms draw from different pools: stratified (rules eeeeeeee), eda (eda), won (rules, semantic layer paper), "
        "others (rules aaaaaaaa)"
    ]


def test_variants_of_two_versions_of_an_augmenter_are_two_pools(tmp_path: Path) -> None:
    for arm, version in (("uniform", 1), ("won", 2), ("mars", 2)):
        drew = _drew("eda", "a")
        drew["pool"] |= {"settings": {"seed": 0, "version": version}}
        make_study(tmp_path, {arm: 0.5}, seeds=(0, 1), manifest=drew)
    assert "arms draw from different pools: uniform (eda, version 1), others (eda, version 2)" in _notes(tmp_path)


def test_pools_are_compared_seed_by_seed(tmp_path: Path) -> None:
    for seed, pool in ((0, "a"), (1, "b"), (2, "c")):
        make_study(tmp_path, {"uniform": 0.5, "mars": 0.6}, seeds=(seed,), manifest=_drew("eda", pool))
    assert _notes(tmp_path) == []
    make_run(tmp_path, "won", 2, 0.5, manifest=_drew("rules", "c"))
    assert _notes(tmp_path)[0] == "arms draw from different pools for seed 2: won (rules), others (eda)"


def test_an_arm_that_finds_too_few_rows_is_a_note(tmp_path: Path) -> None:
    for arm, rows in (
        ("uniform", (100, 100)),
        ("won", (90, 100)),
        ("west_of_n", (89, 100)),
        ("self_training", (40, 56)),
    ):
        for seed, drawn in enumerate(rows):
            make_run(tmp_path, arm, seed, 0.5, manifest=_drew("rules", "a", drawn, 100 - drawn))
    make_study(tmp_path, {"none": 0.5, "adaboost": 0.5}, seeds=(0, 1), manifest=_drew("none", "b", 0, 100))
    make_study(tmp_path, {"mars": 0.5}, seeds=(0, 1), manifest={"pool": OLD_POOL})
    so = "of its budget, so it trains on fewer synthetic rows"
    assert _notes(tmp_path) == [f"west_of_n drew 94 % {so}", f"self_training drew 48 % {so}"]
