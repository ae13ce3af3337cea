"""Frozen features: computed once a text, shared through the disk, safe to fill from several processes."""

import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from support.backbones import backbone, pairs

from mars.preferences.dialogue import Rendered
from mars.reward.encoder import FrozenEncoder
from mars.reward.engine import Engine
from mars.reward.features import Features
from mars.reward.tokens import text_key
from mars.reward.weights import file_sha256, weights_id

CPU = torch.device("cpu")


def encoder(cache: Path, **changes):
    return FrozenEncoder(backbone(**changes), cache, CPU, 4096)


def texts(n):
    return [Rendered(f"prompt {i}", f" reply {i * i}") for i in range(n)]


def test_features_have_unit_length_and_do_not_depend_on_the_batch(tmp_path):
    whole, _ = encoder(tmp_path / "a")(texts(12))
    single = np.concatenate([encoder(tmp_path / "b")([t])[0] for t in texts(12)])
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(whole, single, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_feature_has_the_same_bits_whatever_is_encoded_beside_it(tmp_path, dtype):
    varied = [Rendered("p" * (i % 40), " r" * (1 + i % 17)) for i in range(60)]
    whole, _ = encoder(tmp_path / "a", dtype=dtype)(varied)
    parts = encoder(tmp_path / "b", dtype=dtype)
    np.testing.assert_array_equal(whole, np.concatenate([parts(varied[i : i + 7])[0] for i in range(0, 60, 7)]))


def test_what_is_on_disk_is_not_computed_again(tmp_path):
    first, cuts = encoder(tmp_path)(texts(5))
    again, same_cuts = encoder(tmp_path)(texts(5))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(cuts, same_cuts)
    with sqlite3.connect(encoder(tmp_path).path) as database:
        first = np.eye(1, 32, dtype=np.float32)  # what no encoder would compute
        database.execute("UPDATE features SET vector = ?", (first.tobytes(),))
    last = encoder(tmp_path)
    assert (last(texts(5))[0] == first).all()
    assert not {"tokenizer", "_backbone"} & set(vars(last))  # neither is loaded


def test_a_file_of_an_older_version_is_read_and_not_written(tmp_path):
    """It has no claims, and may be on a disk that nobody here may write."""
    first, _ = encoder(tmp_path)(texts(5))
    path = encoder(tmp_path).path
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE claims")
    before = path.read_bytes()
    np.testing.assert_array_equal(encoder(tmp_path)(texts(5))[0], first)
    assert path.read_bytes() == before


def test_another_setting_is_another_file_and_a_prefix_is_not_a_response(tmp_path):
    assert encoder(tmp_path).path != encoder(tmp_path, max_length=64).path
    assert encoder(tmp_path).path != encoder(tmp_path, pooling="first").path
    different, _ = encoder(tmp_path)([Rendered("ab", "c"), Rendered("a", "bc")])
    assert len(different) == 2
    with sqlite3.connect(encoder(tmp_path).path) as database:
        assert database.execute("SELECT count(*) FROM features").fetchone() == (2,)


def test_another_tokenizer_or_config_is_another_model(tmp_path):
    for name, text in (("model.safetensors", "w"), ("config.json", "{}"), ("tokenizer.json", "{}")):
        (tmp_path / name).write_text(text)
    before = weights_id(backbone(source=str(tmp_path)))
    file_sha256.cache_clear()
    (tmp_path / "tokenizer.json").write_text("{ }")
    assert weights_id(backbone(source=str(tmp_path))) != before


ODD = {
    "zeros": np.zeros(32, dtype=np.float32),
    "not a number": np.full(32, np.nan, dtype=np.float32),
    "another length": np.full(32, 0.5, dtype=np.float32),
    "another dimension": np.eye(1, 16, dtype=np.float32)[0],
    "half a number": np.zeros(33, dtype=np.uint8),
}


@pytest.mark.parametrize("kind", ["text", *ODD])
def test_a_damaged_cache_is_moved_aside_and_computed_again(kind, tmp_path, caplog):
    whole, _ = encoder(tmp_path)(texts(4))
    path = encoder(tmp_path).path
    if kind == "text":
        path.write_bytes(b"not a database, but long enough to be looked at" * 40)
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            new = ODD[kind].tobytes(), text_key(texts(4)[0])
            database.execute("UPDATE features SET vector = ? WHERE text = ?", new)
    again, _ = encoder(tmp_path)(texts(4))
    np.testing.assert_array_equal(again, whole)
    assert caplog.text.count("(features are computed again); it is now tiny-") == 1


def _fill(cache, start, results):
    """Puts ([400, d] features, how many texts this process encoded) into `results`."""
    torch.set_num_threads(1)
    encoder, encoded = FrozenEncoder(backbone(), cache, CPU, token_budget=64), []
    encoder._backbone.register_forward_hook(lambda _, __, output: encoded.append(len(output.last_hidden_state)))
    start.wait()
    results.put((encoder(texts(400))[0], sum(encoded)))


def test_two_processes_encode_each_text_once_and_both_get_all(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=_fill, args=(tmp_path, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    (one, by_one), (two, by_two) = results.get(timeout=60), results.get(timeout=60)
    for process in processes:
        process.join()
    np.testing.assert_array_equal(one, two)
    assert by_one + by_two == 400
    assert min(by_one, by_two) > 0
    with closing(sqlite3.connect(encoder(tmp_path).path)) as database:
        assert database.execute("SELECT count(*) FROM features").fetchone() == (400,)
        assert database.execute("SELECT count(*) FROM claims").fetchone() == (0,)


def test_truncation_is_known_for_cached_texts(tmp_path):
    for _ in range(2):  # the second time from disk
        inputs = Features(encoder(tmp_path, max_length=16))
        numbers = inputs.add([Rendered("a long enough prompt", "reply"), Rendered("p", "r"), Rendered("p", "r" * 40)])
        assert inputs.cuts[numbers].tolist() == [1, 0, 2]


def test_a_head_scores_its_features(tmp_path):
    engine = Engine(backbone(), "head", CPU, 4096, tmp_path)
    numbers = engine.texts.add_pairs(pairs(6))
    model = engine.new_model(0)
    matrix, _ = engine.inputs.encoder(
        [engine.texts.render(p.prompt, t) for p in pairs(6) for t in (p.chosen, p.rejected)]
    )
    expected = (matrix @ model.theta.detach().numpy()).reshape(-1, 2)
    np.testing.assert_allclose(engine.scorer(model).scores(numbers), expected, atol=1e-6)


def test_two_runs_share_an_encoders_vectors_and_number_texts_each_for_itself(tmp_path):
    shared = encoder(tmp_path)
    first, second = Features(shared), Features(shared)
    assert first.add(texts(5)).tolist() == [0, 1, 2, 3, 4]
    assert second.add([texts(7)[i] for i in (6, 2, 6, 0)]).tolist() == [0, 1, 0, 2]
    assert second.add(texts(3)).tolist() == [2, 3, 1]
    assert len(shared.vectors) == 6
    expected, _ = encoder(tmp_path / "other")([texts(7)[i] for i in (6, 2, 0, 1)])
    np.testing.assert_array_equal(second.batch(np.arange(4))["features"].numpy(), expected)
    assert (len(first.lengths), len(second.lengths)) == (5, 4)


def test_a_thousand_texts_have_the_features_they_have_alone(tmp_path):
    """They are tokenised in parts, and claimed in parts; what is not yet on the disk is in memory."""
    whole, _ = encoder(tmp_path / "a")(texts(60))
    for _ in range(2):  # the second time from disk
        parted = FrozenEncoder(backbone(), tmp_path / "b", CPU, token_budget=5, tokenised=7)
        np.testing.assert_array_equal(parted(texts(60))[0], whole)
