"""The reward model: scores that do not depend on their batch, the right position, an honest head, plain checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.backbones import KINDS, backbone, pairs
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mars.reward.engine import Engine, Tuning
from mars.reward.model import ScalarHead, last_position, load_linear, load_reward_model
from mars.reward.weights import BackboneError, load_tokenizer

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_batch_size_or_order(kind, tmp_path):
    few = Engine(backbone(kind), "full", CPU, token_budget=100, cache=tmp_path)
    many = Engine(backbone(kind), "full", CPU, token_budget=100_000, cache=tmp_path)
    model, data = few.new_model(3), pairs(24)
    one = few.scorer(model).scores(few.texts.add_pairs(data))
    other = many.scorer(model).scores(many.texts.add_pairs(data[::-1]))[::-1]
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.unique(one).size > 20


def test_scores_of_a_causal_model_do_not_depend_on_the_padding_side():
    tokenizer = load_tokenizer(backbone("qwen3"))
    torch.manual_seed(0)
    model = load_reward_model(backbone("qwen3"), tokenizer, CPU).eval()
    scores = []
    for side in ("left", "right"):
        batch = tokenizer(["short", "a longer text than that"], return_tensors="pt", padding=True, padding_side=side)
        scores.append(model(batch["input_ids"], batch["attention_mask"]))
    torch.testing.assert_close(scores[0], scores[1], atol=1e-5, rtol=0)


def test_a_saved_linear_head_is_loaded_with_its_backbone(tmp_path):
    engine = Engine(backbone(), "head", CPU, 4096, tmp_path)
    numbers = engine.texts.add_pairs(pairs(3))
    model = engine.new_model(5)
    engine.save(model, tmp_path / "model")
    loaded, its_backbone = load_linear(tmp_path / "model")
    assert its_backbone == engine.backbone
    np.testing.assert_array_equal(engine.scorer(loaded).scores(numbers), engine.scorer(model).scores(numbers))
    with pytest.raises(BackboneError, match="no linear reward model"):
        load_linear(tmp_path)


def test_the_scored_token_comes_from_the_mask_even_where_pad_equals_eos():
    tokenizer = load_tokenizer(backbone("qwen3"))
    torch.manual_seed(0)
    model = load_reward_model(backbone("qwen3"), tokenizer, CPU).eval()
    end = tokenizer.pad_token_id
    alone = torch.tensor([[5, 6, 7, end]])
    padded = torch.tensor([[5, 6, 7, end, end, end]])
    expected = model(alone, torch.ones_like(alone))
    torch.testing.assert_close(model(padded, torch.tensor([[1, 1, 1, 1, 0, 0]])), expected, atol=1e-5, rtol=0)
    other = model(alone, torch.tensor([[1, 1, 1, 0]]))
    assert not torch.allclose(other, expected, atol=1e-5)
    assert last_position(torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0]])).tolist() == [3, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_off_means_training_and_evaluation_agree(kind, tmp_path):
    for dropout in (False, True):
        engine = Engine(backbone(kind), "full", CPU, 4096, tmp_path, Tuning(dropout=dropout))
        model, numbers = engine.new_model(0), engine.texts.add_pairs(pairs(4)).ravel()
        batch = engine.inputs.batch(numbers)
        with torch.no_grad():
            same = torch.equal(model.train()(**batch), model.eval()(**batch))
        assert same != dropout or kind == "qwen3"  # Qwen3 has no dropout to turn on


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_computes_in_fp32_under_bf16(kind):
    tokenizer = load_tokenizer(backbone(kind))
    torch.manual_seed(0)
    model = load_reward_model(backbone(kind, dtype="bfloat16"), tokenizer, CPU).eval()
    batch = tokenizer(["some text"], return_tensors="pt")
    seen = []
    head = next(m for m in model.modules() if isinstance(m, ScalarHead))
    head.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    score = model(batch["input_ids"], batch["attention_mask"])
    assert seen == [torch.float32]
    assert score.item() != score.bfloat16().float().item()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_a_saved_model_gives_the_same_scores_through_plain_transformers(kind, mode, tmp_path):
    lora = {"r": 4, "lora_alpha": 8} if mode == "lora" else None
    if lora:
        pytest.importorskip("peft")
    engine = Engine(backbone(kind), mode, CPU, 4096, tmp_path, Tuning(lora=lora))
    model, data = engine.new_model(1), pairs(6)
    numbers = engine.texts.add_pairs(data)
    with torch.no_grad():  # adapters start at zero: move everything that trains
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    expected = engine.scorer(model).scores(numbers)
    engine.save(model, tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.bin"))
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    for pair, row in zip(data, expected, strict=True):
        for response, score in zip((pair.chosen, pair.rejected), row, strict=True):
            text = f"Human: {pair.prompt[0].content}\n\nAssistant: {response}"
            with torch.no_grad():
                logits = plain(**tokenizer(text, truncation=True, max_length=96, return_tensors="pt")).logits
            if len(tokenizer(text)["input_ids"]) <= 96:
                assert logits.item() == pytest.approx(float(score), abs=1e-5)


def test_the_fresh_head_is_a_function_of_the_seed(tmp_path):
    engine = Engine(backbone(), "full", CPU, 4096, tmp_path)
    same, again, other = (engine.new_model(s).state_dict()["model.classifier.weight"] for s in (1, 1, 2))
    assert torch.equal(same, again)
    assert not torch.equal(same, other)


def test_weights_that_are_not_the_pinned_ones_are_refused(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"not the weights")
    with pytest.raises(BackboneError, match=r"sha256 is .*, but backbone\.sha256 says abc"):
        load_tokenizer(backbone(source=str(tmp_path), sha256="abc"))


def test_a_backbone_that_cannot_be_fetched_is_one_line(tmp_path):
    with pytest.raises(BackboneError, match=r'"nobody/nothing" cannot be loaded \(offline\?') as error:
        load_tokenizer(backbone(source="nobody/nothing"))
    assert "\n" not in str(error.value)
