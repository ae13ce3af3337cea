"""The models of one run: how they are made and saved, and the texts they share.

`full` and `lora` train a transformer on token ids; `head` trains θ on cached features of the frozen backbone. The round
loop knows neither tokens nor features.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import nn

from mars import files
from mars.config import ConfigError
from mars.process.ranks import here
from mars.reward import sharding
from mars.reward.backbone import BackboneConfig, Mode
from mars.reward.determinism import Determinism
from mars.reward.encoder import frozen_encoder
from mars.reward.fast_paths import Wanted, take_fast_paths
from mars.reward.features import Features
from mars.reward.leading import LeadingScorer
from mars.reward.lookups import order_lookups
from mars.reward.memory import Budget
from mars.reward.model import LINEAR, LinearReward, RewardModel, autocast_dtype, load_reward_model, scalar_head
from mars.reward.scoring import Journal, ModelScorer
from mars.reward.texts import Texts, rendering
from mars.reward.tokens import Inputs, Tokens
from mars.reward.weights import load_tokenizer, text_encoder, weights_id

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuning:
    """How a transformer is made ready to train.

    lora: settings of its adapters, None trains every weight. packing: texts without padding
    (`mars.reward.fast_paths.take_fast_paths`). deterministic: on a GPU by deterministic operations. shard: each process
    of the run holds a part of the model (`mars.reward.sharding`); of one process there is nothing to share out.
    """

    dropout: bool = False
    gradient_checkpointing: bool = False
    lora: dict[str, Any] | None = None
    packing: Wanted = "auto"
    deterministic: bool = False
    shard: bool = False


class Engine:
    """Makes, scores with and saves models over one backbone.

    token_budget: tokens of one pass to begin with, `auto` where they may be measured; `budget` has them as they stand.
    cache: where frozen features live. texts: what its models have read, `inputs` as they take it. ranks: the processes
    that train and score together. journal: keeps what long passes find, for a run that may be killed in one.
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        mode: Mode,
        device: torch.device,
        token_budget: int | Literal["auto"],
        cache: Path,
        tuning: Tuning | None = None,
    ):
        self.backbone, self.mode, self.budget = backbone, mode, Budget.of(token_budget)
        self.device = torch.device("cpu") if mode == "head" else device  # θ is a few hundred numbers
        self._tuning, self.ranks = tuning or Tuning(), here()
        self.journal: Journal | None = None
        self.determinism = Determinism(self._tuning.deterministic and self.device.type == "cuda")
        self.inputs: Inputs
        self.tokenizer: Any = None
        if mode == "head":
            encoder = frozen_encoder(backbone, cache, device, self.token_budget)
            if backbone.template == "chat":  # plain texts whose features are cached need none
                self.tokenizer = encoder.tokenizer
            self.inputs = Features(encoder)
        else:
            self.tokenizer = load_tokenizer(backbone)
            self.inputs = Tokens(text_encoder(backbone, self.tokenizer), device)
        self.texts = Texts(self.inputs, rendering(backbone.template, self.tokenizer, "backbone.template"))

    @property
    def token_budget(self) -> int:
        """Tokens of one pass, as they stand."""
        return self.budget.tokens

    def scorer(self, model: nn.Module) -> ModelScorer:
        """What scores the engine's texts under `model`."""
        return ModelScorer(model, self.texts, self.budget, self.ranks, journal=self.journal)

    def leading_scorer(self, model: nn.Module) -> ModelScorer:
        """What scores texts under `model` that the other ranks, which are to `follow`, do not know."""
        if self.ranks.count == 1:
            return self.scorer(model)
        return LeadingScorer(model, self.texts, self.budget, self.ranks, journal=self.journal)

    def new_model(self, seed: int) -> nn.Module:
        """The study's starting point: the backbone as published and a fresh head drawn from `seed`.

        In head mode call it after the first texts are added, which fixes the feature dimension.
        """
        torch.manual_seed(seed)
        if isinstance(self.inputs, Features):
            return LinearReward(self.inputs.dimension)
        shared_out = self._tuning.shard and self.ranks.count > 1
        reward = self._transformer(torch.device("cpu") if shared_out else self.device)
        if shared_out:
            sharding.shard(reward, self.device)
        take_fast_paths(reward, self._tuning.packing, self.backbone.max_length, self._tuning.dropout)
        return reward

    def _transformer(self, device: torch.device) -> RewardModel:
        reward = load_reward_model(self.backbone, self.tokenizer, device, self._tuning.dropout)
        reward.autocast = autocast_dtype(self.backbone, self.device)
        order_lookups(reward)
        if self._tuning.lora is not None:
            reward.adapter = _with_lora(reward, self._tuning.lora)
        if self._tuning.gradient_checkpointing:
            _keep_no_activations(reward)
        return reward

    def checkpoint(self, model: nn.Module) -> bool:
        """Whether `model`, and every model made later, from now on recomputes its activations instead of keeping them.

        False where it did already, or where the backbone has no way to.
        """
        able = isinstance(model, RewardModel) and not model.sharded and model.model.supports_gradient_checkpointing
        if self._tuning.gradient_checkpointing or not able:
            return False
        log.warning("out of memory with one pair: from here on with gradient checkpointing, which takes longer")
        assert isinstance(model, RewardModel)
        self._tuning = replace(self._tuning, gradient_checkpointing=True)
        _keep_no_activations(model)
        return True

    def memory(self) -> dict[str, Any]:
        """What the run found out about the memory, for its record; `recall` takes it up again."""
        return {
            "token_budget": self.budget.tokens,
            "bytes_per_token": self.budget.bytes_per_token,
            "halved": self.budget.halved,
            "gradient_checkpointing": self._tuning.gradient_checkpointing,
        }

    def recall(self, memory: dict[str, Any]) -> None:
        """Goes on as an interrupted run left off, so that a resumed one cuts its steps alike."""
        self._tuning = replace(self._tuning, gradient_checkpointing=memory["gradient_checkpointing"])
        self.budget = Budget(memory["token_budget"], halved=memory["halved"], bytes_per_token=memory["bytes_per_token"])

    def save(self, model: nn.Module, directory: Path) -> None:
        """The trained model under `directory`: safetensors and a config that says how to load it.

        Called on every rank, and rank 0 writes. Raises UserError where the disk does not take it.
        """
        if isinstance(model, RewardModel) and model.sharded:
            state = sharding.state_of(model)
            if self.ranks.first:
                model = self._transformer(torch.device("cpu"))
                sharding.load_state(model, state)
        if not self.ranks.first:
            return
        with files.writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._save(model, directory)

    def _save(self, model: nn.Module, directory: Path) -> None:
        if isinstance(model, RewardModel):
            self.tokenizer.model_max_length = self.backbone.max_length
            self.tokenizer.truncation_side = self.backbone.truncation
            how = ("template", "max_length", "truncation")  # weights alone do not say how text reached them
            model.model.config.reward_model = {key: getattr(self.backbone, key) for key in how}
            model.save(directory, self.tokenizer)
            return
        save_file({"theta": model.state_dict()["theta"]}, directory / "model.safetensors")
        files.write_json(
            directory / "config.json",
            {
                "model_type": LINEAR,
                "backbone": files.as_json(self.backbone),
                "weights": weights_id(self.backbone),
            },
        )


def _keep_no_activations(reward: RewardModel) -> None:
    reward.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


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
