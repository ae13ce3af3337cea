"""What no score reads is dropped: the same scores and gradients, from less work."""

import numpy as np
import pytest
import torch
from support.backbones import backbone, reward_model
from torch import nn

from mars.reward.engine import Engine, Tuning
from mars.reward.fast_paths import leave_out_unread, packing_of, take_fast_paths
from mars.reward.last_layer import last_attention
from mars.reward.model import RewardModel
from mars.reward.packing import pack

CPU = torch.device("cpu")
READS_THE_FIRST = ("bert", "roberta", "deberta-v2")
LENGTHS = (5, 30, 1, 17)


def ids() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(4, 200, length) for length in LENGTHS]


def padded() -> dict[str, torch.Tensor]:
    """`ids` as one batch."""
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    rows = torch.zeros(mask.shape, dtype=torch.int64)
    rows[mask] = torch.from_numpy(np.concatenate(ids()))
    return {"input_ids": rows, "attention_mask": mask.long()}


def scores_and_gradient(model: RewardModel, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    scores = model(**batch)
    (scores * torch.linspace(-1, 1, len(scores))).sum().backward()
    return scores.detach(), torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None])


def assert_alike(one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.testing.assert_close(one[0], other[0], atol=1e-5, rtol=0)
    assert (one[1] - other[1]).norm() < 1e-5 * other[1].norm()


def rows_of_the_last_layer(model: RewardModel, batch: dict) -> int:
    """Tokens, padding included, that the feed-forward of the last layer computes."""
    *_, last = (module for module in model.modules() if hasattr(module, "intermediate"))
    seen = []
    hook = last.intermediate.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    model(**batch)
    hook.remove()
    return seen[0].shape[:2].numel()


@pytest.mark.parametrize("kind", READS_THE_FIRST)
def test_a_padded_batch_has_the_same_scores_and_gradients(kind):
    model = reward_model(kind)
    expected = scores_and_gradient(model, padded())
    assert rows_of_the_last_layer(model, padded()) == len(LENGTHS) * max(LENGTHS)
    leave_out_unread(model, 96)
    assert_alike(scores_and_gradient(model, padded()), expected)
    assert rows_of_the_last_layer(model, padded()) == len(LENGTHS)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "recomputed"])
def test_so_has_a_packed_row_where_activations_are_computed_again_too(kind, kept):
    model = reward_model(kind)
    batch = pack(ids(), packing_of(model, 96), CPU)
    expected = scores_and_gradient(model, batch)
    if not kept:
        model.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    take_fast_paths(model, "auto", 96)
    assert_alike(scores_and_gradient(model, batch), expected)
    assert rows_of_the_last_layer(model, batch) == len(LENGTHS)


def test_a_model_with_adapters_has_them_and_scores_as_without(tmp_path):
    pytest.importorskip("peft", reason="the extra lora")
    engine = Engine(backbone("bert"), "lora", CPU, 4096, tmp_path, Tuning(lora={"r": 2}))
    model = engine.new_model(0)
    assert model.unread
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    found = scores_and_gradient(model, padded())
    model.unread.remove()
    assert_alike(found, scores_and_gradient(model, padded()))


def test_texts_of_one_token_each_keep_their_order():
    model = reward_model("bert")
    how = packing_of(model, 96)
    batch = pack([np.array([n]) for n in (9, 5, 7)], how, CPU)
    expected = scores_and_gradient(model, batch)
    for _ in range(2):  # the second changes nothing
        leave_out_unread(model, 96)
    assert model.unread
    assert_alike(scores_and_gradient(model, batch), expected)


@pytest.mark.parametrize("kind", ["modernbert", "mpnet", "qwen3"])
def test_other_models_are_left_as_they_are(kind):
    model = reward_model(kind)
    assert last_attention(model.model) is None
    leave_out_unread(model, 96)
    assert model.unread is None


class MeanPooler(nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.mean(dim=1)


def test_a_model_that_reads_other_tokens_is_found_out():
    model = reward_model("bert")
    model.model.bert.pooler = MeanPooler()
    expected = scores_and_gradient(model, padded())
    leave_out_unread(model, 96)
    assert model.unread is None
    assert_alike(scores_and_gradient(model, padded()), expected)
    assert rows_of_the_last_layer(model, padded()) == len(LENGTHS) * max(LENGTHS)


def test_a_model_that_fails_without_them_is_left_as_it_is():
    model = reward_model("bert")
    last = model.model.bert.encoder.layer[-1]
    last.register_forward_hook(lambda _module, inputs, output: output + 0 * inputs[0].view(output.shape))
    expected = scores_and_gradient(model, padded())
    leave_out_unread(model, 96)
    assert model.unread is None
    assert_alike(scores_and_gradient(model, padded()), expected)


def test_a_model_that_takes_no_token_ids_at_random_is_left_as_it_is():
    model = reward_model("bert")
    model.model.get_input_embeddings = None  # as CANINE, which hashes characters
    leave_out_unread(model, 96)
    assert model.unread is None


def test_sparse_attention_is_not_turned_off_by_the_short_texts_that_are_tried():
    from transformers import BigBirdConfig, BigBirdForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BigBirdConfig(vocab_size=300, num_labels=1, attention_type="block_sparse", **sizes)
    model = RewardModel(BigBirdForSequenceClassification(config))
    take_fast_paths(model, "auto", 96)
    assert model.model.config.attention_type == model.model.bert.attention_type == "block_sparse"
    assert model.unread is None
