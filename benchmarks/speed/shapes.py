"""Backbones to be measured, each as a directory of weights with its scalar head, so that every way begins alike.

MiniLM has its own weights. The others have random ones in the published sizes, which cost what trained ones cost, and
MiniLM's tokenizer, since theirs are on a hub: so their texts are as long as MiniLM reads them. `qwen3-tiny` is a causal
model that a CPU trains in seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from mars.config import build, choose
from mars.reward.backbone import BackboneConfig
from mars.reward.model import load_reward_model
from mars.reward.weights import load_tokenizer

LENGTH = 512  # tokens of a text, at most
_CONF = Path(__file__).resolve().parents[2] / "conf" / "backbone"
_OWN = "minilm"  # its weights are at hand


_CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


class Weights(NamedTuple):
    """A shape on disk. products: parameters in matrix products, so all but embeddings."""

    backbone: BackboneConfig
    products: int


_DEBERTA = {
    "vocab_size": 128100,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
}
_QWEN3 = {
    "vocab_size": 151936,
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
}
_QWEN3_TINY = {
    "vocab_size": 30522,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 768,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
_RANDOM: dict[
    str, tuple[str, dict[str, Any]]
] = {  # model type and sizes; where none are said, its defaults are the shape
    "bert-base": ("bert", {}),
    "deberta-v3-base": ("deberta-v2", _DEBERTA),
    "modernbert-base": ("modernbert", {}),
    "qwen3-0.6b": ("qwen3", _QWEN3),
    "qwen3-tiny": ("qwen3", _QWEN3_TINY),
}
SHAPES = (_OWN, *_RANDOM)


def backbone_of(name: str, **changes: Any) -> BackboneConfig:
    """A backbone as conf/backbone has it, with `changes`."""
    return build(BackboneConfig, yaml.safe_load((_CONF / f"{name}.yaml").read_text()) | changes, "backbone")


def minilm() -> BackboneConfig:
    """MiniLM at this module's length."""
    return backbone_of(_OWN, max_length=LENGTH)


def write(shape: str, folder: Path) -> Weights:
    """`shape` under `folder`/`shape`, head and tokenizer included. Raises ConfigError for an unknown shape."""
    choose(dict.fromkeys(SHAPES), shape, "shapes")
    tokenizer, directory = load_tokenizer(minilm()), folder / shape
    torch.manual_seed(0)
    if shape == _OWN:
        model: Any = load_reward_model(minilm(), tokenizer, torch.device("cpu")).model
    else:
        model = AutoModelForSequenceClassification.from_config(_config(shape, tokenizer))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    embedded = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    products = sum(p.numel() for p in model.parameters() if id(p) not in embedded)
    return Weights(BackboneConfig(shape, str(directory), max_length=LENGTH), products)


def write_writer(shape: str, directory: Path) -> None:
    """A causal `shape` that writes, in `directory`: random weights, MiniLM's tokenizer and a chat template."""
    theirs = load_tokenizer(minilm())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=theirs.backend_tokenizer,
        model_input_names=["input_ids", "attention_mask"],  # BERT's third is unknown to a causal model
        model_max_length=4 * LENGTH,
        pad_token=theirs.pad_token,
        unk_token=theirs.unk_token,
        bos_token=theirs.cls_token,
        eos_token=theirs.sep_token,
        chat_template=_CHAT,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(_config(shape, theirs)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _config(shape: str, tokenizer: Any) -> Any:
    kind, sizes = _RANDOM[shape]
    special = {"pad": tokenizer.pad_token_id, "bos": tokenizer.cls_token_id, "eos": tokenizer.sep_token_id}
    special |= {"cls": tokenizer.cls_token_id, "sep": tokenizer.sep_token_id} if kind == "modernbert" else {}
    ids = {f"{name}_token_id": number for name, number in special.items()}
    return AutoConfig.for_model(kind, num_labels=1, **sizes, **ids)
