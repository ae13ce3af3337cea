"""The reward model: a transformers backbone with one scalar head, or a linear head over frozen features.

A full fine-tune *is* an `AutoModelForSequenceClassification` with one label and is saved as one, so anybody can load it
without this package. Two things are ours: the scored position of a causal model comes from the attention mask (the
usual "last token that is not padding" reads the wrong token where pad equals eos), and the head computes in fp32 even
under bf16 autocast, because a margin is a small difference of two scores.

transformers is imported by what loads a model or a tokenizer: it takes as long as a run over cached features.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from mars.config import ConfigError, build
from mars.reward import tiny
from mars.reward.backbone import BackboneConfig
from mars.reward.last_layer import Unread
from mars.reward.packing import Layout, Packing, texts_as_rows
from mars.reward.weights import BackboneError, locate, safetensors_of, unavailable, weights_id


class ScalarHead(nn.Linear):
    """A one-output linear layer in fp32, whatever autocast says around it."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[…, 1] float32: the scores of […, d] `features` of any dtype."""
        with torch.autocast(features.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return F.linear(features.float(), self.weight.float(), bias)


class RewardModel(nn.Module):
    """A sequence classifier with one label, read as r(x, y)."""

    def __init__(self, model: Any, autocast: torch.dtype | None = None):
        super().__init__()
        self.model, self.autocast = model, autocast
        self.causal = hasattr(model, "score")
        self.adapter: Any = None  # the PEFT wrapper of `model`, whose layers then carry the adapters
        self.sharded = False  # whether this process holds a part of it (`mars.reward.sharding`)
        self.packing: Packing | None = None  # how it takes texts without padding, where it does
        self.unread: Unread | None = None  # drops the tokens of the last layer that no score reads, where it may
        # Same parameters and names, so saving and loading see a plain Linear.
        scalar_head(model).__class__ = ScalarHead

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        layout: Layout | None = None,
    ) -> torch.Tensor:
        """[B, L] ids and mask, or [1, T] ids and the layout of B texts → [B] fp32 scores.

        noise: [B] α of NEFTune noise on embeddings, over a layout that shares nothing. Padded on either side in eval
        mode; in training on the right, as `mars.reward.tokens` pads.
        """
        if noise is not None:
            with _noisy_embeddings(self.model.get_input_embeddings(), noise, attention_mask, layout):
                return self.forward(input_ids, attention_mask, layout=layout)
        if layout is not None:
            return self._packed(input_ids, layout)
        assert attention_mask is not None
        if not self.training and not attention_mask[:, 0].all():
            input_ids, attention_mask = padded_right(input_ids, attention_mask)
        with torch.autocast(input_ids.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            if not self.causal:
                return self.model(input_ids=input_ids, attention_mask=attention_mask).logits[:, 0].float()
            hidden = self.model.base_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            rows = torch.arange(len(hidden), device=hidden.device)
            return self.model.score(hidden[rows, last_position(attention_mask)])[:, 0]

    def _packed(self, input_ids: torch.Tensor, layout: Layout) -> torch.Tensor:
        """[B] fp32 scores of the texts in one row."""
        row = {"input_ids": input_ids, "position_ids": layout.positions, "layout": layout}
        with torch.autocast(input_ids.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            if not self.causal:
                with texts_as_rows(self.model, layout):
                    return self.model(**row).logits[:, 0].float()
            # Four dimensions: a mask of the model's own making would cost T², and a look at the device.
            no_mask = input_ids.new_empty(1, 1, 1, 0)
            hidden = self.model.base_model(**row, attention_mask=no_mask, use_cache=False).last_hidden_state
            return self.model.score(hidden[0, layout.scored])[:, 0]

    def save(self, directory: Path, tokenizer: Any) -> None:
        """transformers format, safetensors; a LoRA model is merged, so that its head cannot be lost."""
        model = self.adapter.merge_and_unload() if self.adapter is not None else self.model
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)


@contextmanager
def _noisy_embeddings(
    embeddings: nn.Module, noise: torch.Tensor, attention_mask: torch.Tensor | None, layout: Layout | None
) -> Iterator[None]:
    """Inside, each text's L token embeddings of dimension d get U(−1, 1)·α/√(L·d) added (NEFTune, 2310.05914)."""

    def add(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if layout is None:
            assert attention_mask is not None
            return output + _uniform_noise(output, (noise / (attention_mask.sum(1) * output.shape[-1]).sqrt())[:, None])
        scale = noise / (layout.lengths * output.shape[-1]).sqrt()
        return output + _uniform_noise(output, scale.repeat_interleave(layout.lengths, output_size=output.shape[1]))

    hook = embeddings.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()


def _uniform_noise(like: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """U(−1, 1)·scale in the shape of `like`, [..., d]; scale: [...].

    From the generator of the device, which a round seeds as it does the CPU's: numbers drawn on a CPU would have to be
    copied, one for every number of every embedding. So a GPU's noise repeats on a GPU, and is not a CPU's.
    """
    return torch.empty_like(like).uniform_(-1, 1) * scale[..., None].to(like.dtype)


def padded_right(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same rows, [B, L] each, with their padding at the end: an encoder counts its positions from the left."""
    order = attention_mask.argsort(dim=1, descending=True, stable=True)
    return input_ids.gather(1, order), attention_mask.gather(1, order)


def last_position(attention_mask: torch.Tensor) -> torch.Tensor:
    """[B] index of each row's last attended token; [B, L] mask of ones and zeros, padded on either side."""
    steps = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return (attention_mask * steps).argmax(dim=1)


def scalar_head(model: nn.Module) -> nn.Linear:
    """The model's final one-output layer. Raises BackboneError for a model with another number of outputs."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 1]
    if not layers:  # PEFT keeps the original beside its trained copy, which comes last
        raise BackboneError("the model has no scalar head: a reward model needs exactly one label")
    return layers[-1]


def load_transformer(auto: Any, cfg: BackboneConfig, tokenizer: Any, dropout: bool = False) -> Any:
    """`cfg`'s weights in fp32 under the transformers class `auto`; parts the checkpoint lacks come from torch's RNG."""
    from transformers import AutoConfig
    from transformers.utils import logging

    attention = {} if cfg.attention == "auto" else {"attn_implementation": cfg.attention}
    if cfg.source.startswith("random:"):
        config = tiny.random_config(cfg.source.removeprefix("random:"), tokenizer)
        source = None
    else:
        source, revision = locate(cfg)
    try:
        if source:
            config = AutoConfig.from_pretrained(source, revision=revision)
        config.num_labels = 1
        if not dropout:
            disable_dropout(config)
        if not source:
            return auto.from_config(config, **attention)
        logging.set_verbosity_error()  # a fresh head is expected, and the run's log says so itself
        how: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": safetensors_of(source), **attention}
        return auto.from_pretrained(source, revision=revision, config=config, **how)
    except (OSError, ValueError, ImportError) as error:
        raise unavailable(cfg, source or cfg.source, error) from error


def load_reward_model(cfg: BackboneConfig, tokenizer: Any, device: torch.device, dropout: bool = False) -> RewardModel:
    """A backbone with a scalar head; a head the checkpoint lacks is drawn from torch's generator (seed it first).

    Raises BackboneError, and ConfigError for a length beyond the model's positions.
    """
    from transformers import AutoModelForSequenceClassification

    model = load_transformer(AutoModelForSequenceClassification, cfg, tokenizer, dropout)
    if (rows := positions(model)) and cfg.max_length > rows:
        raise ConfigError(f"backbone.max_length: {cfg.max_length} tokens, but the model has {rows} positions")
    model.config.pad_token_id = tokenizer.pad_token_id
    return RewardModel(model.to(device), autocast_dtype(cfg, device))


# Tables of absolute positions, by attribute.
_POSITIONS = ("position_embeddings", "wpe", "embed_positions", "positions_embed")


def positions(model: nn.Module) -> int | None:
    """Rows of the table of absolute positions, less those that RoBERTa, BART and their kind keep for padding."""
    for name, table in model.named_modules():
        if name.rpartition(".")[2] in _POSITIONS and isinstance(table, nn.Embedding):
            kept = 0 if table.padding_idx is None else table.padding_idx + 1
            return table.num_embeddings - int(getattr(table, "offset", kept))
    return None


def disable_dropout(config: Any) -> None:
    """Every dropout probability of a transformers config to zero, before the model is built from it."""
    for name, value in config.to_dict().items():
        if ("dropout" in name or "pdrop" in name) and isinstance(value, float):
            setattr(config, name, 0.0)


def autocast_dtype(cfg: BackboneConfig, device: torch.device) -> torch.dtype | None:
    """bf16 on a GPU, none (fp32) on a CPU, or what `backbone.dtype` asks for."""
    if cfg.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else None
    return torch.bfloat16 if cfg.dtype == "bfloat16" else None


LINEAR = "mars_linear"  # model_type of a saved linear head


class LinearReward(nn.Module):
    """r(x, y) = θᵀφ(x, y) over frozen features: the linear reward model of the paper's theory."""

    def __init__(self, dimension: int, initial_sd: float = 0.02):
        super().__init__()
        self.theta = nn.Parameter(torch.empty(dimension).normal_(0.0, initial_sd))

    def forward(self, features: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """[B, d] features → [B] scores; noise: [B] α of NEFTune noise on them."""
        if noise is not None:
            features = features + _uniform_noise(features, noise / features.shape[-1] ** 0.5)
        return features @ self.theta


def load_linear(directory: Path) -> tuple[LinearReward, BackboneConfig]:
    """A head-mode run's `model/` and the backbone its features come from. Raises BackboneError for another's."""
    config = directory / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    if settings.get("model_type") != LINEAR:
        raise BackboneError(f"{directory}: no linear reward model (its config.json lacks model_type {LINEAR})")
    backbone = build(BackboneConfig, settings["backbone"], str(config))
    if weights_id(backbone) != settings["weights"]:
        raise BackboneError(f"{directory}: was trained on the features of another backbone than {backbone.source}")
    theta = load_file(directory / "model.safetensors")["theta"]
    model = LinearReward(len(theta))
    model.load_state_dict({"theta": theta})
    return model, backbone
