"""The semantic layer: which pairs are close, what rewrites are taken, and that asking order never matters.

Most texts carry their own embedding: "bad@60" lies at 60° on the unit circle, so every distance is 1 − cos of a
difference of angles and can be checked by hand.
"""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backbones import backbone

from mars.augment.planted import PlantedAugmenter
from mars.augment.variant import Variant
from mars.config import ConfigError, UserError
from mars.pool.semantic import Refiner
from mars.pool.semantic_settings import SemanticConfig, semantic_config
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair
from mars.reward.encoder import FrozenEncoder, sentence_embedder
from mars.worlds.planted import load_planted
from mars.worlds.planted_settings import PlantedConfig

PROMPT = (Message("user", "why?"),)


def embed(texts):
    angles = np.radians([float(text.rpartition("@")[2]) for text in texts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def apart(degrees):
    return 1 - math.cos(math.radians(degrees))


def pair(name, degrees, chosen=0):
    return Pair(name, PROMPT, f"good {name}@{chosen}", f"bad {name}@{degrees}", gold_margin=1.5, subset="s")


class Script:
    """An augmenter that writes what its script says, number by number, and remembers what it was asked for."""

    def __init__(self, **lines):
        self.lines, self.calls = lines, []

    def __call__(self, requests):
        self.calls.append([(r.pair.id, r.part, r.number) for r in requests])
        return [Variant(self._text(*asked), "script", {}) for asked in self.calls[-1]]

    def _text(self, name, part, number):
        lines = self.lines.get(f"{name}_{part}", [])
        return lines[number] if number < len(lines) else None

    @property
    def asked(self):
        return [request for call in self.calls for request in call]


def config(**changes):
    """Pairs up to 30° apart are close."""
    values = {"encoder": backbone(), "writer": {"name": "script"}, "threshold": "value", "at": apart(30)}
    return SemanticConfig(**values | changes)


def refiner(pairs, script, keeps_label=None, **changes):
    return Refiner(config(**changes), pairs, embed, script, keeps_label)


def reasons(table, row=0):
    return [reason for *_, reason in json.loads(table["tries"][row])]


SPREAD = [pair("a", 10), pair("b", 60), pair("c", 80), pair("d", 85)]  # distances .015 .500 .826 .913, mean .564


@pytest.mark.parametrize(
    ("threshold", "at", "expected", "close"),
    [
        ("mean", None, 0.5636, "ab"),
        ("quantile", 0.5, 0.6632, "ab"),
        ("quantile", 0.25, 0.3788, "a"),
        ("quantile", 0.0, apart(10), ""),  # nothing is below the least
        ("value", 0.9, 0.9, "abc"),
    ],
)
def test_pairs_strictly_below_the_threshold_are_close(threshold, at, expected, close):
    found = refiner(SPREAD, Script(), threshold=threshold, at=at)
    assert found.threshold == pytest.approx(expected, abs=1e-4)
    assert "".join(p.id for p, near in zip(SPREAD, found.close, strict=True) if near) == close


@pytest.mark.parametrize("degrees", range(1, 90, 8))
@pytest.mark.parametrize("n", [1, 3, 7, 10])
def test_no_pair_is_closer_than_the_mean_when_all_are_equally_far(n, degrees):
    script = Script()
    pairs = [pair(f"p{i}", degrees) for i in range(n)]
    found = refiner(pairs, script, threshold="mean", at=None)
    assert all(a is b for a, b in zip(found.refine(range(n)), pairs, strict=True))
    assert not script.calls


def test_a_far_pair_is_left_alone_and_never_written():
    script = Script(far_rejected=["new@90"], near_rejected=["new@40"])
    pairs = [pair("far", 45), pair("near", 20)]
    assert refiner(pairs, script).refine([0, 1])[0] is pairs[0]
    assert script.asked == [("near", "rejected", 0)]


def test_the_first_rejected_rewrite_that_moves_away_is_taken_and_no_other_is_made():
    script = Script(p_rejected=["worse@5", "first@21", "second@90"], p_chosen=["better@-90"])
    base = pair("p", 20)
    assert refiner([base], script).refine([0]) == [Pair("p", PROMPT, base.chosen, "first@21", None, "s")]
    assert script.asked == [("p", "rejected", 0), ("p", "rejected", 1)]


def test_the_chosen_response_is_rewritten_only_after_every_rejected_try_failed():
    script = Script(p_rejected=["a@5"] * 5, p_chosen=["b@10", "c@-15", "d@-90"])
    base = pair("p", 20)
    assert refiner([base], script).refine([0]) == [Pair("p", PROMPT, "c@-15", base.rejected, None, "s")]
    assert script.asked == [("p", "rejected", k) for k in range(5)] + [("p", "chosen", 0), ("p", "chosen", 1)]


def test_a_pair_no_try_moves_stays_as_it_was():
    script, base = Script(p_rejected=["a@1"] * 5, p_chosen=["b@19"] * 5), pair("p", 20)
    found = refiner([base], script)
    assert found.refine([0])[0] is base
    assert len(script.asked) == 10
    assert found.summary()["kept"] == 1


def test_a_side_with_no_tries_is_never_rewritten():
    script, base = Script(p_rejected=["a@90"], p_chosen=["b@-90"]), pair("p", 20)
    assert refiner([base], script, tries_rejected=0).refine([0])[0].chosen == "b@-90"
    assert script.asked == [("p", "chosen", 0)]


def test_every_refused_try_says_why():
    lines = [None, "  \n", " bad p@20", "nearer@19", "mirrored@-20"]  # the last has the very distance of the original
    found = refiner([pair("p", 20)], Script(p_rejected=lines), tries_chosen=0)
    found.refine([0])
    tries = json.loads(found.record()["tries"][0])
    assert [reason for *_, reason in tries] == ["blank", "blank", "same", "too close", "too close"]
    assert [distance for _, _, distance, _ in tries] == [None, None, None, *(pytest.approx(apart(a)) for a in (19, 20))]
    assert found.summary()["refused"] == {"blank": 2, "same": 1, "too close": 2}


def test_strict_asks_for_a_least_gain_and_then_for_the_label():
    asked = []

    def keeps_label(pairs):
        asked.extend(p.rejected for p in pairs)
        return np.array([p.rejected.startswith("kept") for p in pairs])

    lines = ["nearer@10", "kept little@25", "flipped@50", "kept@50", "never@60"]
    found = refiner([pair("p", 20)], Script(p_rejected=lines), keeps_label, accept="strict", min_gain=0.1)
    assert found.refine([0])[0].rejected == "kept@50"
    assert reasons(found.record()) == ["too close", "min gain", "label", ""]
    assert asked == ["flipped@50", "kept@50"]  # a model is asked about nothing that fails already


def test_strict_without_a_least_gain_still_asks_for_some():
    found = refiner(
        [pair("p", 20)], Script(p_rejected=["mirrored@-20"]), lambda ps: np.ones(len(ps), bool), accept="strict"
    )
    found.refine([0])
    assert reasons(found.record())[0] == "too close"


def test_any_gain_is_taken_whatever_a_model_says():
    found = refiner([pair("p", 20)], Script(p_rejected=["a@20.5"]), lambda ps: np.zeros(len(ps), bool))
    assert found.refine([0])[0].rejected == "a@20.5"


def test_strict_without_a_trained_start_is_one_line():
    with pytest.raises(ConfigError, match=r"^semantic.accept: strict needs a trained start \(set rounds.warmup\)$"):
        refiner([pair("p", 20)], Script(), accept="strict")


def test_tries_are_batched_over_all_pairs_still_open():
    pairs = [pair(f"p{i}", 20) for i in range(10)]
    # Pair i takes its i-th try: 0–4 rewrite the rejected side, 5–9 the chosen one.
    lines = {f"p{i}_rejected": ["x@5"] * i + ["y@40"] for i in range(10)}
    lines |= {f"p{i}_chosen": ["x@15"] * (i - 5) + ["y@-40"] for i in range(5, 10)}
    script = Script(**lines)
    found = refiner(pairs, script)
    refined = found.refine(range(10))
    assert [len(call) for call in script.calls] == list(range(10, 0, -1))
    assert [p.rejected == "y@40" for p in refined] == [True] * 5 + [False] * 5
    assert [p.chosen == "y@-40" for p in refined] == [False] * 5 + [True] * 5


def test_what_is_decided_is_remembered():
    script = Script(p_rejected=["new@40"])
    found = refiner([pair("p", 20), pair("q", 80)], script)
    first = found.refine([0, 1, 0])
    assert first[0] is first[2]
    assert all(a is b for a, b in zip(found.refine(np.array([0, 1, 0])), first, strict=True))
    assert len(script.asked) == 1


ANGLES = st.lists(st.integers(0, 60), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(ANGLES, st.data())
def test_neither_order_nor_occasion_of_asking_changes_a_pair(angles, data):
    pairs = [pair(f"p{i}", degrees) for i, degrees in enumerate(angles)]
    line = st.none() | st.integers(-60, 120).map(lambda degrees: f"t@{degrees}")
    sides = [f"{p.id}_{side}" for p in pairs for side in ("rejected", "chosen")]
    lines = {side: data.draw(st.lists(line, max_size=5)) for side in sides}
    order = data.draw(st.permutations(range(len(pairs))))
    cut = data.draw(st.integers(0, len(pairs)))

    whole = refiner(pairs, Script(**lines), threshold="mean", at=None)
    parts = refiner(pairs, Script(**lines), threshold="mean", at=None)
    parts.refine(order[:cut])
    parts.refine(order[cut:])
    assert parts.refine(range(len(pairs))) == whole.refine(range(len(pairs)))
    pd.testing.assert_frame_equal(parts.record(), whole.record())
    assert parts.summary() == whole.summary()
    taken = whole.record().query("refined != ''")
    assert (taken["new_distance"] > taken["distance"]).all()
    assert (taken["distance"] < whole.threshold).all()


def test_a_writer_that_fails_leaves_nothing_half_decided():
    script = Script(p_rejected=["near@5", "new@40"])

    def down(requests):
        if requests[0].number == 1 and len(script.calls) < 2:
            script.calls.append([])
            raise UserError("endpoint: down")
        return script(requests)

    found = refiner([pair("p", 20)], down)
    with pytest.raises(UserError, match="down"):
        found.refine([0])
    assert len(found.record()) == 0
    assert found.refine([0])[0].rejected == "new@40"
    assert reasons(found.record()) == ["too close", ""]


def test_the_record_has_a_row_for_each_pair_looked_at_and_the_summary_counts_them():
    script = Script(a_rejected=["x@5", "y@50"], b_chosen=["z@-40"], c_rejected=["w@1"])
    pairs = [pair("a", 10), pair("far", 70), pair("b", 20), pair("c", 25), pair("unseen", 15)]
    found = refiner(pairs, script, tries_rejected=2, tries_chosen=1)
    found.refine([3, 2, 1, 0])
    table = found.record()
    assert table["id"].tolist() == ["a", "far", "b", "c"]
    assert table["close"].tolist() == [True, False, True, True]
    assert table["refined"].tolist() == ["rejected", "", "chosen", ""]
    assert table["number"].astype(object).where(table["number"].notna(), None).tolist() == [1, None, 0, None]
    assert table["tries_made"].tolist() == [2, 0, 3, 3]
    np.testing.assert_allclose(table["distance"], [apart(a) for a in (10, 70, 20, 25)], atol=1e-6)
    np.testing.assert_allclose(table["threshold"], apart(30))
    gains = [apart(50) - apart(10), np.nan, apart(60) - apart(20), np.nan]
    np.testing.assert_allclose(table["gain"], gains, atol=1e-6)
    summary = found.summary()
    assert summary.pop("mean_gain") == pytest.approx((gains[0] + gains[2]) / 2, abs=1e-6)
    assert summary == {
        "threshold": apart(30),
        "looked_at": 4,
        "close": 3,
        "refined_rejected": 1,
        "refined_chosen": 1,
        "kept": 1,
        "tries": 8,
        "refused": {"blank": 4, "too close": 2},
    }
    json.dumps(summary, allow_nan=False)


def test_a_run_that_never_asks_pays_for_no_embedding(tmp_path):
    found = Refiner(config(), [pair("p", 20)], lambda texts: 1 / 0, Script())
    assert found.refine([]) == []
    assert found.summary()["threshold"] is None
    found.record().to_parquet(tmp_path / "record.parquet")
    filled = refiner([pair("p", 20)], Script())
    filled.refine([0])
    pd.testing.assert_series_equal(found.record().dtypes, filled.record().dtypes)


def test_distances_that_are_no_numbers_are_one_line():
    found = Refiner(config(), [pair("p", 20)], lambda texts: np.full((len(texts), 2), np.nan), Script())
    with pytest.raises(UserError, match=r"semantic.encoder: tiny gives no finite distance for 1 of 1 pairs"):
        found.refine([0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": "mean", "at": 0.5}, "semantic.at: 0.5 has no use with threshold=mean"),
        ({"at": None}, r"semantic.at: threshold=value needs a number in \[0, 2\], not None"),
        ({"threshold": "quantile", "at": 1.5}, r"semantic.at: threshold=quantile needs a number in \[0, 1\], not 1.5"),
        ({"tries_chosen": -1}, "semantic.tries_chosen: must be at least 0, not -1"),
        ({"tries_rejected": 0, "tries_chosen": 0}, "semantic.tries_rejected: with 0 tries of either side"),
        ({"min_gain": 0.1}, "semantic.min_gain: 0.1 has an effect with accept=strict only"),
        ({"min_gain": -0.1}, r"semantic.min_gain: must be in \[0, 2\], not -0.1"),
        ({"accept": "all"}, "semantic.accept: 'all' is not a choice"),
        ({"treshold": "mean"}, 'semantic.treshold: no such setting .did you mean "threshold"'),
        ({"encoder": {"name": "tiny"}}, "semantic.encoder.source: is required"),
        ({"name": "off"}, "semantic.encoder: has no use with semantic=off"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line(changes, message):
    values = {"encoder": {"name": "tiny", "source": "random:bert"}, "writer": {}, "threshold": "value", "at": 0.3}
    with pytest.raises(ConfigError, match=message):
        semantic_config(values | changes)


def test_off_is_a_choice_and_the_default(compose):
    assert compose()["semantic"] == compose("semantic=off")["semantic"] == {"name": "off"}
    assert semantic_config(compose()["semantic"]) is None


def test_the_paper_and_the_strict_presets(compose):
    paper, strict = (semantic_config(compose(f"semantic={name}")["semantic"]) for name in ("paper", "strict"))
    assert paper.encoder.name == strict.encoder.name == "mpnet"
    assert (paper.writer["name"], paper.writer["task"]) == ("instruct", "refine")
    assert (paper.threshold, paper.at, paper.accept, paper.which) == ("mean", None, "any", "all")
    assert (paper.tries_rejected, paper.tries_chosen) == (5, 5)
    assert (strict.threshold, strict.at, strict.accept, strict.which) == ("quantile", 0.25, "strict", "selected")


@pytest.mark.parametrize("name", ["paper", "strict"])
@pytest.mark.parametrize("writer", ["planted", "rules"])
def test_encoder_and_writer_can_be_exchanged_for_offline_ones(name, writer, compose):
    offline = ("backbone@semantic.encoder=minilm", f"augmenter@semantic.writer={writer}", "semantic.which=all")
    found = semantic_config(compose(f"semantic={name}", *offline)["semantic"])
    assert (found.encoder.name, found.writer["name"], found.which) == ("minilm", writer, "all")
    assert "task" not in found.writer  # which only instruct knows


def test_a_blank_text_is_far_from_everything(tmp_path):
    embedder = sentence_embedder(FrozenEncoder(backbone(), tmp_path, torch.device("cpu"), 4096))
    vectors = embedder(["", "words", " \n"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [0, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(vectors[1], embedder(["words"])[0])


def test_planted_pairs_are_refined_by_true_paraphrases(tmp_path):
    base = load_planted(PlantedConfig(size=16)).base
    writer, calls = PlantedAugmenter(), []

    def write(requests):
        calls.append(len(requests))
        return writer.make(requests)

    encoder = FrozenEncoder(backbone(), tmp_path, torch.device("cpu"), 20_000)
    paper = SemanticConfig(backbone(), {"name": "planted"})
    found = Refiner(paper, base, sentence_embedder(encoder), write)
    refined = found.refine(range(len(base)))
    table, summary = found.record(), found.summary()
    assert 0 < summary["close"] < len(base)
    assert summary["refined_rejected"] > 0
    assert len(calls) <= 10
    assert calls == sorted(calls, reverse=True)
    assert (table["close"] == (table["distance"] < table["distance"].mean())).all()
    for row, (old, new) in enumerate(zip(base, refined, strict=True)):
        changed = [side for side in ("chosen", "rejected") if old.side(side) != new.side(side)]
        assert changed == ([table["refined"][row]] if table["refined"][row] else [])
        assert (new.id, new.prompt, new.subset) == (old.id, old.prompt, old.subset)
        assert new.gold_margin is None if changed else new is old
    # What the record says is what an independent measurement of the refined pairs finds.
    again = Refiner(paper, refined, sentence_embedder(encoder), write)
    np.testing.assert_array_equal(again.distances, table["new_distance"].fillna(table["distance"]))
    assert (table["gain"].dropna() > 0).all()
