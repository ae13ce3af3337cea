"""A replicate draws anew all that is random and not the arm; a run that names none is the run it was before."""

import json

import pytest

from mars.choices import SEEDS, effective
from mars.config import ConfigError
from mars.run import execute


def manifest(directory):
    return json.loads((directory / "manifest.json").read_text())


def test_a_replicate_moves_every_seed_and_no_other_setting(compose):
    plain, third = (effective(compose("scale=tiny", *more)) for more in ([], ["replicate=3", "seed=1"]))
    assert (third["seed"], third["dataset"]["seed"], third["augmenter"]["seed"]) == (3 * SEEDS + 1, 3, 3)
    assert third["rounds"]["warmup_seed"] == 3
    third |= {key: plain[key] for key in ("seed", "dataset", "augmenter", "rounds")}
    assert third == plain


def test_every_draw_is_another_in_another_replicate_and_the_arms_share_it(compose):
    runs = {
        (method, replicate): manifest(execute(compose("scale=tiny", f"method={method}", f"replicate={replicate}")))
        for method in ("uniform", "mars")
        for replicate in (0, 1)
    }
    for key in ("base_sha256", "validation_sha256", "test_sha256", "start", "pool_sha256"):
        assert runs["uniform", 0][key] == runs["mars", 0][key]
        assert runs["uniform", 0][key] != runs["uniform", 1][key]
    assert [run["replicate"] for run in runs.values()] == [0, 1, 0, 1]


def test_the_first_replicate_is_the_run_without_one_and_is_not_made_again(compose, caplog):
    caplog.set_level("INFO", logger="mars.run")
    plain = execute(compose("scale=tiny", "method=none"))
    assert manifest(plain)["replicate"] is None
    assert execute(compose("scale=tiny", "method=none", "replicate=0")) == plain
    assert "is finished" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["replicate=-1"], "replicate: must be at least 0, not -1"),
        (["replicate=true"], "replicate: True is not a whole number"),
        (["replicate=1", f"seed={SEEDS}"], f"seed: with replicate=1 it must be below {SEEDS}, not {SEEDS}"),
    ],
)
def test_what_is_no_replicate_is_one_line(overrides, line, compose):
    with pytest.raises(ConfigError) as error:
        execute(compose("scale=tiny", *overrides))
    assert str(error.value) == line


def test_of_scarce_rows_a_replicate_is_a_subsample_of_a_stated_size(compose, tmp_path):
    rows = [{"prompt": f"question {i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    place = ["scale=tiny", "method=none", "dataset=files", f"dataset.train={tmp_path}/rows.jsonl"]
    place += ["dataset.test_from_train=10", "dataset.validation=10"]
    drawn = [set(manifest(execute(compose(*place, "dataset.size=20", f"replicate={r}")))["base_ids"]) for r in (0, 1)]
    assert [len(ids) for ids in drawn] == [20, 20]
    assert drawn[0] != drawn[1]
    for size, why in (("null", "dataset.size is null"), ("50", "dataset.size=50 asks for more than there are")):
        with pytest.raises(ConfigError, match=f"replicate: {why}, so every replicate would train on the same 40 base"):
            execute(compose(*place, f"dataset.size={size}", "replicate=1"))
