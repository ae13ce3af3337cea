"""Packed texts and shared prompts: the scores and gradients of one text at a time, and a clear word where not."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.backbones import backbone, pairs, reward_model

from mars.config import ConfigError
from mars.reward import packing
from mars.reward.engine import Engine, Tuning
from mars.reward.fast_paths import CannotPackError, packing_of, take_fast_paths
from mars.reward.feeding import Feed
from mars.reward.packing import ATTENTION, Packing, attend, pack
from mars.reward.shared_prompts import forest, path
from mars.reward.weights import load_tokenizer

CPU = torch.device("cpu")
PACKED = ("bert", "roberta", "modernbert", "llama", "qwen2", "qwen3")
CAUSAL = ("llama", "qwen2", "qwen3")


def texts():
    """Texts of many lengths: replies to one prompt, others, one twice, one that another continues."""
    rng = np.random.default_rng(0)
    prompt, *others = (rng.integers(4, 200, n) for n in (40, 3, 60, 9))
    replies = [np.concatenate([prompt, rng.integers(4, 200, n)]) for n in (5, 30, 17)]
    return [*replies, *others, replies[0], replies[1][:50], np.concatenate([replies[1], [7, 8]])]


def padded(ids):
    """One text as a batch of its own."""
    return {"input_ids": torch.from_numpy(ids)[None], "attention_mask": torch.ones(1, len(ids), dtype=torch.int64)}


def gradient(model, scores):
    """The gradient of a sum of scores, each with a weight of its own."""
    model.zero_grad()
    (scores * torch.linspace(-1, 1, len(scores))).sum().backward()
    return torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None])


def assert_as_one_at_a_time(model, batch):
    expected = torch.cat([model(**padded(ids)) for ids in texts()])
    scores = model(**batch)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    one, other = gradient(model, expected), gradient(model, scores)
    assert (one - other).norm() < 1e-5 * one.norm()
    assert len(np.unique(expected.detach().numpy().round(5))) == len(texts()) - 1  # one is there twice


@pytest.mark.parametrize("kind", PACKED)
def test_packed_texts_have_the_scores_and_gradients_of_one_at_a_time(kind):
    model = reward_model(kind)
    how = packing_of(model, 128)
    batch = pack(texts(), how, CPU, share=False)
    assert batch["input_ids"].shape == (1, sum(map(len, texts())))
    assert_as_one_at_a_time(model.train(), batch)


@pytest.mark.parametrize("kind", CAUSAL)
def test_so_have_texts_that_share_what_they_begin_with(kind):
    model = reward_model(kind)
    batch = pack(texts(), packing_of(model, 128), CPU)
    # The prompt, its replies of 5, 30 and 17 tokens, two tokens that continue one of them, and three other texts.
    assert batch["input_ids"].shape == (1, 40 + (5 + 30 + 17) + 2 + (3 + 60 + 9))
    assert_as_one_at_a_time(model.train(), batch)


def test_an_encoder_that_reads_the_mean_over_a_text_does_so_packed():
    model = reward_model("modernbert")
    model.model.config.classifier_pooling = "mean"
    how = packing_of(model, 128)
    assert how.mean
    assert_as_one_at_a_time(model, pack(texts(), how, CPU))


def test_a_padded_batch_has_the_same_bits_with_the_exchanged_attention():
    for kind in PACKED:
        model = reward_model(kind).eval()
        batch = load_tokenizer(backbone(kind))(["short", "a longer text"], return_tensors="pt", padding=True)
        given = batch["input_ids"], batch["attention_mask"]
        before = model(*given)
        packing_of(model, 128)
        assert model.model.config._attn_implementation == ATTENTION
        assert torch.equal(model(*given), before)


def test_roberta_counts_positions_past_its_padding_and_leaves_padding_out():
    ids = np.array([9, 0, 8])
    batch = pack([ids, ids], Packing(padding=0), CPU)
    assert batch["layout"].positions.tolist() == [[1, 0, 2, 1, 0, 2]]
    assert pack([ids, ids], Packing(), CPU)["layout"].positions.tolist() == [[0, 1, 2, 0, 1, 2]]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12), st.integers(1, 4))
def test_the_spans_of_a_path_are_the_text_and_no_long_start_is_there_twice(lists, least):
    ids = [np.array(one) for one in lists]
    spans, ends = forest(ids, least)
    assert all(span.parent is None or span.parent < i for i, span in enumerate(spans))
    for text, end in zip(ids, ends, strict=True):
        parts = [spans[i] for i in path(spans, end)]
        assert np.concatenate([ids[s.text][s.start : s.stop] for s in parts]).tolist() == text.tolist()
    for i, one in enumerate(spans):
        for other in spans[:i]:
            if one.parent == other.parent:
                starts = [ids[s.text][s.start : s.start + least] for s in (one, other)]
                whole = min(map(len, [ids[s.text][s.start : s.stop] for s in (one, other)])) >= least
                assert not whole or not np.array_equal(*starts)


def test_a_pool_of_one_prompt_is_the_prompt_once():
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, 100, 200)
    ids = [np.concatenate([prompt, np.array([i]), rng.integers(0, 100, 30)]) for i in range(12)]
    assert sum(span.stop - span.start for span in forest(ids)[0]) == 200 + 12 * 31


def documented(query, key, value, cu_q, cu_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False):
    """What the documentation of `varlen_attn` says, written out: a span's queries are the last of its keys."""
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert (max_q, max_k) == (int(cu_q.diff().max()), int(cu_k.diff().max()))
    results = []
    for i in range(len(cu_q) - 1):
        q, k, v = query[cu_q[i] : cu_q[i + 1]], key[cu_k[i] : cu_k[i + 1]], value[cu_k[i] : cu_k[i + 1]]
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        back = torch.arange(len(k) - len(q), len(k))[:, None] - torch.arange(len(k))
        left, right = window_size
        hidden = (back > left) * (left >= 0) | (back < -right) * (right >= 0)
        weights = torch.einsum("qhd,khd->hqk", q, k) * (scale or q.shape[-1] ** -0.5)
        results.append(torch.einsum("hqk,khd->qhd", weights.masked_fill(hidden, -torch.inf).softmax(-1), v))
    return torch.cat(results)


def documented_in_2_11(query, key, value, cu_q, cu_k, max_q, max_k, *, scale=None, window_size=(-1, -1)):
    """The same before it knew of groups of heads."""
    return documented(query, key, value, cu_q, cu_k, max_q, max_k, scale=scale, window_size=window_size)


def documented_in_2_10(query, key, value, cu_q, cu_k, max_q, max_k, is_causal=False):
    """The same before it had a window."""
    raise AssertionError("is not to be called")


@pytest.fixture
def varlen():
    return pytest.importorskip("torch.nn.attention.varlen", reason="torch before 2.10 has none")


@pytest.mark.parametrize(("causal", "window"), [(True, None), (True, 9), (False, None), (False, 9)])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("kernel", [documented, documented_in_2_11])
def test_the_flash_kernel_is_asked_for_the_same_attention(causal, window, scale, kernel, varlen, monkeypatch):
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    layout = pack(texts(), Packing(causal=causal), CPU)["layout"]
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, layout.positions.shape[1], 8) for heads in (4, 2, 2))
    module = SimpleNamespace(is_causal=causal)
    expected, _ = attend(module, query, key, value, None, layout, scaling=scale, sliding_window=window)
    if layout.gathered is not None:
        key, value = key[:, :, layout.gathered], value[:, :, layout.gathered]
    found = packing._fused(layout, (query, key, value), scale, causal, window)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_torch_whose_kernel_has_no_window_has_none_to_pack_for(varlen, monkeypatch):
    monkeypatch.setattr(varlen, "varlen_attn", documented_in_2_11)
    assert packing.flash_kernel() is documented_in_2_11
    monkeypatch.setattr(varlen, "varlen_attn", documented_in_2_10)
    assert packing.flash_kernel() is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("causal", "window"), [(True, None), (True, 9), (False, None), (False, 9)])
@pytest.mark.parametrize("groups", [2, 4])
def test_the_flash_kernel_has_the_outputs_and_gradients_of_the_plain_statement(causal, window, groups):
    """Spans that share their start, and groups of heads, among them."""
    gpu = torch.device("cuda")
    layout = pack(texts(), Packing(causal=causal), gpu)["layout"]
    torch.manual_seed(0)
    given = [torch.randn(1, heads, layout.positions.shape[1], 64) for heads in (4, groups, groups)]
    found = []
    for dtype in (torch.bfloat16, torch.float32):  # by the kernel; span by span
        tensors = [tensor.bfloat16().to(gpu, dtype).requires_grad_() for tensor in given]
        attended, _ = attend(SimpleNamespace(is_causal=causal), *tensors, None, layout, sliding_window=window)
        (attended.float() * torch.linspace(-1, 1, attended.shape[1], device=gpu)[None, :, None, None]).sum().backward()
        found.append([attended, *(tensor.grad for tensor in tensors)])
    for by_kernel, plain in zip(*found, strict=True):
        assert (by_kernel.float() - plain).norm() < 0.02 * plain.norm()


def test_queries_that_autocast_left_in_fp32_meet_their_values_in_bf16():
    layout = pack(texts(), Packing(causal=True), CPU)["layout"]
    query, key, value = (torch.randn(1, 2, layout.positions.shape[1], 8) for _ in range(3))
    module = SimpleNamespace(is_causal=True)
    mixed, _ = attend(module, query, key, value.bfloat16(), None, layout)
    assert mixed.dtype == torch.bfloat16
    assert torch.equal(mixed, attend(module, *(x.bfloat16() for x in (query, key, value)), None, layout)[0])


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_weights_held_in_16_bits_are_tried_in_fp32_and_stay_as_they_were(kind):
    model = reward_model(kind)
    model.model.bfloat16()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    take_fast_paths(model, True, 128)
    assert (model.unread is not None) == (kind == "bert")
    assert all(tensor.dtype == before[name].dtype for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    alone = torch.cat([model(**padded(ids)) for ids in texts()])
    together = model(**pack(texts(), model.packing, CPU))
    torch.testing.assert_close(together, alone, atol=0.05, rtol=0.05)


# Models that do not take packed texts


@pytest.mark.parametrize("kind", ["deberta-v2", "mpnet"])
def test_attention_that_cannot_be_exchanged_stays_padded_and_says_so(kind, caplog):
    model = reward_model(kind)
    with pytest.raises(CannotPackError, match=f'attention of {kind} is "eager", and only "sdpa" can be exchanged'):
        packing_of(model, 128)
    with pytest.raises(ConfigError, match=r"^train.packing: attention of .* \(set it to false\)$"):
        take_fast_paths(model, True, 128)
    with caplog.at_level(logging.INFO):
        take_fast_paths(model, "auto", 128)
    assert caplog.records[-1].levelno == logging.INFO
    assert model.packing is None


def test_an_attention_that_is_set_stays():
    with pytest.raises(CannotPackError, match='"eager"'):
        packing_of(reward_model("bert", attention="eager"), 128)


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_a_model_that_ignores_the_layout_is_found_out(kind):
    model = reward_model(kind)
    for name, module in model.named_modules():
        if name.endswith(("attention.self", "self_attn")):
            module.register_forward_pre_hook(
                lambda _module, inputs, settings: (inputs, {**settings, "layout": None, "attention_mask": None}),
                with_kwargs=True,
            )
    with pytest.raises(CannotPackError, match=f"{kind} reads packed texts otherwise than alone"):
        packing_of(model, 128)
    assert model.model.config._attn_implementation == "sdpa"


def test_a_model_that_fails_at_a_packed_row_stays_padded(caplog):
    model = reward_model("qwen3")

    def refuse(_module, _inputs, settings):
        if "layout" in settings:
            raise TypeError("no such keyword: layout")

    model.model.base_model.register_forward_pre_hook(refuse, with_kwargs=True)
    take_fast_paths(model, "auto", 128)
    (said,) = caplog.records
    assert said.levelno == logging.WARNING  # unlike a kind of model that is always padded
    assert said.message == "texts are padded: qwen3 does not take packed texts: no such keyword: layout"
    assert model.packing is None


def test_dropout_and_packing_exclude_each_other():
    model = reward_model("qwen3")
    take_fast_paths(model, "auto", 128, dropout=True)
    assert model.packing is None
    with pytest.raises(ConfigError, match=r"train.packing: packed attention has no dropout"):
        take_fast_paths(model, True, 128, dropout=True)
    layout = pack(texts(), Packing(), CPU)["layout"]
    with pytest.raises(ValueError, match="no dropout"):
        attend(SimpleNamespace(), *(torch.zeros(1, 1, layout.positions.shape[1], 4),) * 3, None, layout, dropout=0.1)


def test_a_length_beyond_the_models_positions_is_refused():
    with pytest.raises(ConfigError, match=r"backbone.max_length: 520 tokens, but the model has 519 positions"):
        reward_model("roberta", max_length=520)


# In use


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_noise_is_each_texts_own(kind):
    model = reward_model(kind).train()
    batch = pack(texts(), packing_of(model, 128), CPU, share=False)
    clean = model(**batch)
    noise = torch.zeros(len(clean))
    noise[1] = 5.0
    noisy = model(**batch, noise=noise)
    assert (clean - noisy).abs()[1] > 1e-3
    noisy = torch.cat([noisy[:1], noisy[2:]])
    torch.testing.assert_close(noisy, torch.cat([clean[:1], clean[2:]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "qwen3"])
@pytest.mark.parametrize("token_budget", [1, 300, 10**6])
def test_an_engine_scores_packed_texts_as_padded_ones(kind, token_budget, tmp_path):
    scores, differences = [], []
    for wanted in (True, False):
        engine = Engine(backbone(kind), "full", CPU, token_budget, tmp_path, Tuning(packing=wanted))
        numbers, model = engine.texts.add_pairs(pairs(12)), engine.new_model(0)
        assert (model.packing is not None) == wanted
        scorer = engine.scorer(model)
        scores.append(scorer.scores(numbers))
        differences.append(scorer.differences(numbers))
    np.testing.assert_allclose(*scores, atol=1e-5)
    np.testing.assert_allclose(*differences, atol=1e-4)


def test_what_can_be_packed_is_packed_of_itself_and_a_checkpoint_shows_nothing_of_it(tmp_path):
    for kind, packed in (("bert", True), ("qwen3", True), ("deberta-v2", False)):
        engine = Engine(backbone(kind), "full", CPU, 4096, tmp_path)
        model = engine.new_model(0)
        assert (model.packing is not None) == packed
        assert (model.unread is not None) == (kind != "qwen3")
        engine.save(model, tmp_path / kind)
        assert "attn_implementation" not in (tmp_path / kind / "config.json").read_text()


def test_texts_that_are_to_be_padded_are(tmp_path):
    engine = Engine(backbone("qwen3"), "full", CPU, 4096, tmp_path)
    model = engine.new_model(0)
    numbers = engine.texts.padded()
    batch = Feed(model, numbers.inputs).batch(numbers.add_pairs(pairs(1)).ravel())
    assert batch["input_ids"].shape == (2, 96)


def test_texts_that_share_a_start_come_beside_each_other(tmp_path):
    engine = Engine(backbone("qwen3"), "full", CPU, 4096, tmp_path)
    data = pairs(8)
    numbers = engine.texts.add_pairs(data)
    order = np.concatenate([numbers[:, 0], numbers[::-1, 1]])  # the two sides of a pair far apart
    feed = Feed(engine.new_model(0), engine.inputs)
    batches = feed.batches(order, 10**6)
    assert [len(batch) for batch in batches] == [16]
    starts = [engine.inputs.ids(order[batches[0]])[i][:64].tobytes() for i in range(16)]
    groups = [one for one, before in zip(starts, [b"", *starts], strict=False) if one != before]
    assert len(groups) == len(set(groups))
