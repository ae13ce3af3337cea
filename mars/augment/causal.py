"""A causal model of transformers that writes: what loads it, and what ends its texts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from mars.config import ConfigError
from mars.reward.backbone import BackboneConfig
from mars.reward.model import autocast_dtype
from mars.reward.weights import BackboneError, load_tokenizer, locate, safetensors_of, weights_id

Made = Callable[[str, Any], Any]  # (kind, tokenizer) → a random model, for a source `random:KIND`


class CausalModel:
    """Weights and tokenizer of `cfg`, each loaded when it is first asked for.

    setting: the config key that errors name. Raises ConfigError for a model that cannot be found, and where it is
    asked for one that cannot be loaded.
    """

    def __init__(self, cfg: BackboneConfig, setting: str, device: torch.device, made: Made):
        self.cfg, self.device, self._setting, self._made = cfg, device, setting, made
        self._dtype: Any = autocast_dtype(cfg, device) or torch.float32
        self.dtype = str(self._dtype).removeprefix("torch.")
        try:
            self.weights = weights_id(cfg)
        except BackboneError as error:
            raise self._unavailable(error) from None

    @functools.cached_property
    def tokenizer(self) -> Any:
        """With a padding token."""
        try:
            return load_tokenizer(self.cfg)
        except BackboneError as error:
            raise self._unavailable(error) from None

    @functools.cached_property
    def ends(self) -> list[int]:
        """Token ids that end a text."""
        tokenizer = self.tokenizer
        for ends in (self.model.generation_config.eos_token_id, tokenizer.eos_token_id, tokenizer.sep_token_id):
            if ends is not None:
                return list(ends) if isinstance(ends, list | tuple) else [ends]
        raise ConfigError(f'{self._setting}: "{self.cfg.source}" has no token that ends a reply')

    @functools.cached_property
    def model(self) -> Any:
        """In eval mode, on the device."""
        source = self.cfg.source
        try:
            if source.startswith("random:"):
                model = self._made(source.removeprefix("random:"), self.tokenizer)
            else:
                found, revision = locate(self.cfg)
                how = {"revision": revision, "dtype": self._dtype, "use_safetensors": safetensors_of(found)}
                model = AutoModelForCausalLM.from_pretrained(found, **how)
        except (OSError, ValueError, ImportError, RuntimeError, SafetensorError, BackboneError) as error:
            raise self._unavailable(error) from None
        return model.to(self.device, self._dtype).eval()

    def _unavailable(self, error: Exception) -> ConfigError:
        error = error.__cause__ if isinstance(error.__cause__, Exception) else error  # which names no other setting
        return ConfigError(
            f'{self._setting}: "{self.cfg.source}" cannot be loaded as a causal model (offline? give a local '
            f"directory): {(str(error).splitlines() or [type(error).__name__])[0]}"
        )
