"""Settings of a backbone: where its weights come from, and how text reaches them. Read without loading torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mars.preferences.dialogue import Template

Mode = Literal["full", "head", "lora"]  # what is trained: all weights, a head on frozen features, adapters and a head
Truncation = Literal["left", "right"]  # which end of a text that is too long is cut


@dataclass(frozen=True)
class BackboneConfig:
    """Where the weights come from and how text reaches them (conf/backbone/*.yaml).

    source: a hub id, a local directory, `package:NAME/SUBFOLDER` (weights carried by an installed Python package), or
    `random:TYPE` (a two-layer random model with a byte tokenizer), or `features:gaussian` (the vectors of
    `mars.worlds.gaussian`: no model, features alone). hub: the hub id to use where that package is absent.
    """

    name: str
    source: str
    revision: str | None = None
    hub: str | None = None
    sha256: str | None = None  # of model.safetensors; checked when given
    template: Template = "plain"
    max_length: int = 512  # tokens, special ones included
    truncation: Truncation = "left"
    pooling: Literal["mean", "first", "last"] = "mean"  # the frozen feature of train=head
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of the matrix products: bf16 on a GPU, fp32 on a CPU
    lr: float = 2e-5  # that suits a full fine-tune of it: the default of train=full
