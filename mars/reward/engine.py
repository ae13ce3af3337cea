"""Pairs to margins: one object for both ways of training, so that the round loop knows neither tokens nor features.

`full` and `lora` train a transformer on token ids; `head` trains θ on cached features of the frozen backbone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from mars import files
from mars.config import ConfigError
from mars.preferences.dialogue import Message, Rendered
from mars.preferences.pair import Pair
from mars.reward.backbone import BackboneConfig, Mode
from mars.reward.batching import micro_batches
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
from mars.reward.scoring import Render, rendering, score
from mars.reward.tokens import CUT_PROMPT, CUT_RESPONSE, Inputs, Tokens


class Engine:
    """Renders pairs, holds their inputs, makes and saves models.

    token_budget: padded tokens of one forward pass. cache: where frozen features live.
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        mode: Mode,
        device: torch.device,
        token_budget: int,
        cache: Path,
        dropout: bool = False,
        gradient_checkpointing: bool = False,
        lora: dict[str, Any] | None = None,
    ):
        self.backbone, self.mode, self.token_budget = backbone, mode, token_budget
        self.device = torch.device("cpu") if mode == "head" else device  # θ is a few hundred numbers
        self._dropout, self._checkpointing, self._lora = dropout, gradient_checkpointing, lora
        self.texts_scored = 0  # forward texts of `scores` and `differences`, training left out
        self.inputs: Inputs
        if mode == "head":
            encoder = frozen_encoder(backbone, cache, device, token_budget)
            self.tokenizer = encoder.tokenizer
            self.inputs = Features(encoder)
        else:
            self.tokenizer = load_tokenizer(backbone)
            self.inputs = Tokens(text_encoder(backbone, self.tokenizer), device)

    def add(self, pairs: Sequence[Pair]) -> np.ndarray:
        """[len(pairs), 2] text numbers of the chosen and rejected sides; new texts are tokenised or encoded."""
        return self.add_texts([(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]).reshape(
            -1, 2
        )

    def add_texts(self, texts: Sequence[tuple[Sequence[Message], str]]) -> np.ndarray:
        """[len(texts)] text numbers of (prompt, response); a text seen before keeps its number."""
        render = self._rendering()
        return self.inputs.add([render(prompt, response) for prompt, response in texts])

    def render(self, prompt: Sequence[Message], response: str) -> Rendered:
        """Model input for one response. Raises ConfigError where the tokenizer has no such template."""
        return self._rendering()(prompt, response)

    def _rendering(self) -> Render:
        return rendering(self.backbone.template, self.tokenizer, "backbone.template")

    def new_model(self, seed: int) -> nn.Module:
        """The study's starting point: the backbone as published and a fresh head drawn from `seed`.

        In head mode call it after the first `add`, which fixes the feature dimension.
        """
        torch.manual_seed(seed)
        if isinstance(self.inputs, Features):
            return LinearReward(self.inputs.dimension)
        reward = load_reward_model(self.backbone, self.tokenizer, self.device, self._dropout)
        if self._lora is not None:
            reward.adapter = _with_lora(reward, self._lora)
        if self._checkpointing:
            reward.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return reward

    def scores(self, model: nn.Module, numbers: np.ndarray) -> np.ndarray:
        """[N, 2] scores of [N, 2] text numbers, each distinct text scored once."""
        self.texts_scored += len(np.unique(numbers))
        return score(model, self.inputs, numbers.ravel(), self.token_budget).reshape(numbers.shape)

    def margins(self, model: nn.Module, numbers: np.ndarray) -> np.ndarray:
        """[N] float64 r(chosen) − r(rejected)."""
        scores = self.scores(model, numbers).astype(np.float64)
        return scores[:, 0] - scores[:, 1]

    def differences(self, model: nn.Module, numbers: np.ndarray) -> np.ndarray:
        """[N, d] float64 δ = φ(chosen) − φ(rejected) of [N, 2] text numbers, each distinct text passed through once.

        φ is what the scalar head reads, in eval mode: margins are δ times the head's weight, its bias cancels.
        """
        if isinstance(self.inputs, Features):
            chosen, rejected = (self.inputs.batch(side)["features"].double() for side in numbers.T)
            return (chosen - rejected).numpy()
        unique, where = np.unique(numbers, return_inverse=True)
        self.texts_scored += len(unique)
        assert isinstance(model, RewardModel)
        features = _head_inputs(model, self.inputs, unique, self.token_budget)
        chosen, rejected = where.reshape(numbers.shape).T
        return features[chosen] - features[rejected]

    def truncated(self, numbers: np.ndarray) -> dict[str, int]:
        """How many of these texts lost prompt or response tokens to `max_length`."""
        cuts = self.inputs.cuts[numbers]
        return {"prompt": int((cuts & CUT_PROMPT > 0).sum()), "response": int((cuts & CUT_RESPONSE > 0).sum())}

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


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, every module is in eval mode; afterwards each is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.inference_mode()
def _head_inputs(model: RewardModel, inputs: Inputs, numbers: np.ndarray, token_budget: int) -> np.ndarray:
    """[len(numbers), d] float64, what the scalar head reads of each text, behind a classifier's dense layer.

    In fp32 also where the model runs under bf16, whose rounding fills every direction in which differences are small.
    """
    head = scalar_head(model)
    read: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _module, arguments: read.append(arguments[0]))
    features = np.empty((len(numbers), head.in_features))
    autocast, model.autocast = model.autocast, None
    try:
        with evaluating(model):
            for batch in micro_batches(np.arange(len(numbers)), inputs.lengths[numbers], token_budget, 1):
                model(**inputs.batch(numbers[batch]))
                features[batch] = read.pop().double().cpu().numpy()
    finally:
        hook.remove()
        model.autocast = autocast
    return features


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
