"""The models of one run: how they are made and saved, and the texts they share.

`full` and `lora` train a transformer on token ids; `head` trains θ on cached features of the frozen backbone. The round
loop knows neither tokens nor features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from mars import files
from mars.config import ConfigError
from mars.reward.backbone import BackboneConfig, Mode
from mars.reward.features import Features, frozen_encoder
from mars.reward.model import (
    LINEAR,
    LinearReward,
    RewardModel,
    load_reward_model,
    load_tokenizer,
    scalar_head,
    text_encoder,
    weights_id,
)
from mars.reward.packing_probe import Wanted, set_packing
from mars.reward.scoring import ModelScorer
from mars.reward.texts import Texts, rendering
from mars.reward.tokens import Inputs, Tokens


@dataclass(frozen=True)
class Tuning:
    """How a transformer is made ready to train; lora: settings of its adapters, None trains every weight.

    packing: texts without padding (`mars.reward.packing_probe.set_packing`).
    """

    dropout: bool = False
    gradient_checkpointing: bool = False
    lora: dict[str, Any] | None = None
    packing: Wanted = "auto"


class Engine:
    """Makes, scores with and saves models over one backbone.

    token_budget: tokens of one forward pass. cache: where frozen features live. texts: what its models have
    read, `inputs` as they take it.
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        mode: Mode,
        device: torch.device,
        token_budget: int,
        cache: Path,
        tuning: Tuning | None = None,
    ):
        self.backbone, self.mode, self.token_budget = backbone, mode, token_budget
        self.device = torch.device("cpu") if mode == "head" else device  # θ is a few hundred numbers
        self._tuning = tuning or Tuning()
        self.inputs: Inputs
        if mode == "head":
            encoder = frozen_encoder(backbone, cache, device, token_budget)
            self.tokenizer = encoder.tokenizer
            self.inputs = Features(encoder)
        else:
            self.tokenizer = load_tokenizer(backbone)
            self.inputs = Tokens(text_encoder(backbone, self.tokenizer), device)
        self.texts = Texts(self.inputs, rendering(backbone.template, self.tokenizer, "backbone.template"))

    def scorer(self, model: nn.Module) -> ModelScorer:
        """What scores the engine's texts under `model`."""
        return ModelScorer(model, self.texts, self.token_budget)

    def new_model(self, seed: int) -> nn.Module:
        """The study's starting point: the backbone as published and a fresh head drawn from `seed`.

        In head mode call it after the first texts are added, which fixes the feature dimension.
        """
        torch.manual_seed(seed)
        if isinstance(self.inputs, Features):
            return LinearReward(self.inputs.dimension)
        reward = load_reward_model(self.backbone, self.tokenizer, self.device, self._tuning.dropout)
        if self._tuning.lora is not None:
            reward.adapter = _with_lora(reward, self._tuning.lora)
        if self._tuning.gradient_checkpointing:
            reward.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        set_packing(reward, self._tuning.packing, self.backbone.max_length, self._tuning.dropout)
        return reward

    def save(self, model: nn.Module, directory: Path) -> None:
        """The trained model under `directory`: safetensors and a config that says how to load it."""
        if isinstance(model, RewardModel):
            self.tokenizer.model_max_length = self.backbone.max_length
            self.tokenizer.truncation_side = self.backbone.truncation
            how = ("template", "max_length", "truncation")  # weights alone do not say how text reached them
            model.model.config.reward_model = {key: getattr(self.backbone, key) for key in how}
            model.save(directory, self.tokenizer)
            return
        directory.mkdir(parents=True, exist_ok=True)
        save_file({"theta": model.state_dict()["theta"]}, directory / "model.safetensors")
        files.write_json(
            directory / "config.json",
            {
                "model_type": LINEAR,
                "backbone": files.as_json(self.backbone),
                "weights": weights_id(self.backbone),
            },
        )


def _with_lora(reward: RewardModel, settings: dict[str, Any]) -> Any:
    """PEFT adapters on every linear layer of the backbone; the scalar head is trained whole and saved."""
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise ConfigError("train=lora needs peft (pip install 'mars-reward[lora]')") from error
    head = scalar_head(reward.model)
    name = next(n for n, module in reward.model.named_modules() if module is head)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, target_modules="all-linear", modules_to_save=[name.split(".")[0]], **settings
    )
    return get_peft_model(reward.model, config)
