"""Random two-layer models with a byte tokenizer: every code path of a real backbone in milliseconds, from no file.

`random:bert` is an encoder, `random:qwen3` a causal model, `random:t5` (to write text with, no backbone) a seq2seq one.
transformers is imported by what needs it, as in `mars.reward.model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from mars.config import choose

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

_SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, [CLS] … [SEP] around a text: any text, no vocabulary file."""
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate([*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )


_ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_DEBERTA_V3 = {
    "relative_attention": True,
    "position_buckets": 16,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
}
_SHAPES: dict[str, dict[str, Any]] = {
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "deberta-v2": {**_ENCODER, **_DEBERTA_V3},
    "mpnet": _ENCODER,
    "modernbert": {**_ENCODER, "num_hidden_layers": 4, "local_attention": 16},
    "llama": {**_ENCODER, "num_key_value_heads": 1},
    "qwen2": {
        **_ENCODER,
        "num_key_value_heads": 1,
        "use_sliding_window": True,
        "sliding_window": 16,
        "max_window_layers": 1,
    },
    "qwen3": {**_ENCODER, "num_key_value_heads": 1, "head_dim": 16},
}


def shape(kind: str) -> dict[str, Any]:
    """The sizes of a random model. Raises ConfigError for an unknown kind."""
    return choose(_SHAPES, kind, "backbone.source=random:…")


def random_config(kind: str, tokenizer: Any) -> PretrainedConfig:
    """The transformers config of a two-layer model of `kind`; a model built from it has random weights."""
    from transformers import AutoConfig

    ids = {"pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)}
    return AutoConfig.for_model(kind, **shape(kind), **ids, max_position_embeddings=520)


_WRITERS: dict[str, dict[str, Any]] = {
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "initializer_factor": 3.0},
    "qwen3": {**_SHAPES["qwen3"], "max_position_embeddings": 4096},
}


def writer_shape(kind: str) -> dict[str, Any]:
    """The sizes of a random model that writes. Raises ConfigError for an unknown kind."""
    return choose(_WRITERS, kind, "augmenter.source=random:…")


def random_writer(kind: str, tokenizer: Any) -> Any:
    """A model of `kind` that generates: seeded weights large enough for what it writes to depend on what it reads."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    sizes = writer_shape(kind)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.sep_token_id, "vocab_size": len(tokenizer)}
    if kind == "t5":
        config = AutoConfig.for_model(kind, **sizes, **ids, decoder_start_token_id=tokenizer.pad_token_id)
    else:
        config = AutoConfig.for_model(kind, **sizes, **ids, initializer_range=0.5)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return auto.from_config(config)
