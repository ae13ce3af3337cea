"""A reward model somebody made, loaded and ready to score, and the record of how text reaches it.

Any `AutoModelForSequenceClassification` with one label will do, encoder or causal, and a linear head of ours. What goes
wrong here goes wrong silently, so it is looked for: a backbone without a trained head scores noise, a template that
leaves the reply out makes every pair a tie, a score read at a fixed end of the row depends on the batch. How text
reaches the model is never guessed from its name: a setting wins, then what its config.json records (ours does), then
the tokenizer's chat template where it has one, then the plain template.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from benchmarks.models.model_files import Found, ModelError, weights
from mars.config import ConfigError
from mars.preferences.dialogue import Message, Rendered, Template
from mars.reward.backbone import Truncation
from mars.reward.encoder import frozen_encoder
from mars.reward.fast_paths import take_fast_paths
from mars.reward.features import Features
from mars.reward.model import LINEAR, RewardModel, load_linear, positions
from mars.reward.packed_linear import pack_linears
from mars.reward.texts import Texts, rendering
from mars.reward.tokens import Encoder, Tokens

log = logging.getLogger(__name__)

LONGEST = 2048  # tokens where neither model nor settings say less: RewardBench's own limit


@dataclass(frozen=True)
class Options:
    """How a model is to be used; None leaves the choice to the model."""

    template: Template | None = None
    max_length: int | None = None
    truncation: Truncation | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    trust_remote_code: bool = False
    token_budget: int = 4096

    @property
    def unusual(self) -> dict[str, Any]:
        """What is not at its default and may change a score."""
        usual = Options(token_budget=self.token_budget)
        return {key: value for key, value in vars(self).items() if value != getattr(usual, key)}


@dataclass(frozen=True)
class Judged:
    """A model ready to score, and for the record how text reaches it."""

    model: nn.Module
    texts: Texts
    tokenizer: Any
    template: Template
    about: dict[str, Any]  # JSON: source, weights, template and where it comes from, lengths, precision


def load(found: Found, options: Options, cache: Path, device: torch.device) -> Judged:
    """Weights, tokenizer and rendering. cache: of a linear head's frozen features. Raises ModelError, ConfigError."""
    if found.settings.get("model_type") == LINEAR:
        return _load_linear(found, options, cache, device)
    tokenizer = _load_tokenizer(found, options.trust_remote_code)
    recorded = _recorded(found)
    template, chosen_by = _template(options, recorded, tokenizer)
    reward, stored = _load_weights(found, options, device)
    max_length = _max_length(options, recorded, tokenizer, reward.model)
    truncation = options.truncation or recorded.get("truncation") or "left"
    try:
        encoder = Encoder(tokenizer, max_length, truncation, special_tokens=template == "plain")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    encoder.pad = _padding(found, tokenizer, reward.model)
    _check_template(found, template, tokenizer)
    if options.token_budget > 1:
        _check_padding(found, reward, Tokens(encoder, device))
        take_fast_paths(reward, "auto", max_length)
    about = {
        "weights": weights(found),
        "architecture": type(reward.model).__name__,
        "template": template,
        "template_from": chosen_by,
        "max_length": max_length,
        "truncation": truncation,
        "dtype": stored + (f", autocast {str(reward.autocast).removeprefix('torch.')}" if reward.autocast else ""),
    }
    log.info("%s: %s template (%s), %d tokens, %s", found.name, template, chosen_by, max_length, about["dtype"])
    texts = Texts(Tokens(encoder, device), rendering(template, tokenizer))
    return Judged(reward, texts, tokenizer, template, about)


def _recorded(found: Found) -> dict[str, Any]:
    """How text reached the model, where its config.json says so (`mars.reward.engine.Engine.save`)."""
    told = found.settings.get("reward_model") or {}
    choices: dict[str, Any] = {"template": get_args(Template), "truncation": get_args(Truncation)}
    known = isinstance(told, dict) and all(told.get(key) in (None, *values) for key, values in choices.items())
    if not known or not isinstance(told.get("max_length", 1), int):
        raise ModelError(f"model: {found.name}: the reward_model of its config.json cannot be read: {told}")
    return told


def _load_tokenizer(found: Found, trust_remote_code: bool) -> Any:
    try:
        return AutoTokenizer.from_pretrained(found.directory, trust_remote_code=trust_remote_code)
    except Exception as error:  # a dozen types, by tokenizer
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"model: {found.name} has no tokenizer that loads: {reason}") from error


def _padding(found: Found, tokenizer: Any, model: nn.Module) -> int:
    """An id to pad with that the model has a row for; which one does not matter, since attention follows the mask."""
    if tokenizer.pad_token_id is None:
        log.info("%s: the tokenizer has no padding token; another one is used, and masked", found.name)
    rows = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    wanted = (tokenizer.pad_token_id, found.settings.get("pad_token_id"), tokenizer.eos_token_id, 0)
    return next(i for i in wanted if isinstance(i, int) and 0 <= i < rows)


def _template(options: Options, recorded: dict[str, Any], tokenizer: Any) -> tuple[Template, str]:
    """(template, who chose it)."""
    own = bool(getattr(tokenizer, "chat_template", None))
    if options.template == "chat" and not own:
        raise ConfigError("template: this tokenizer has no chat template (set template=plain)")
    if options.template:
        return options.template, "set"
    if recorded.get("template"):
        return recorded["template"], "recorded with the model"
    return ("chat", "the tokenizer's") if own else ("plain", "the tokenizer has none")


def _max_length(options: Options, recorded: dict[str, Any], tokenizer: Any, model: nn.Module) -> int:
    """Tokens of a text at most: as set, as recorded, else what tokenizer and position table allow, up to LONGEST."""
    rows = positions(model)
    chosen = options.max_length or recorded.get("max_length")
    if chosen and rows and chosen > rows:
        raise ConfigError(f"max_length: {chosen} tokens, but the model has {rows} positions")
    if chosen:
        return int(chosen)
    trained = getattr(model.config, "max_position_embeddings", None) or getattr(model.config, "n_positions", None)
    return min(limit for limit in (tokenizer.model_max_length, rows, trained, LONGEST) if limit and limit > 0)


def _load_weights(found: Found, options: Options, device: torch.device) -> tuple[RewardModel, str]:
    """(the model in eval mode, the precision its weights are held in). A head that is not in the files is refused.

    On a GPU weights stored in bf16 stay so and products are bf16; on a CPU all is fp32.
    """
    attention = {} if options.attention == "auto" else {"attn_implementation": options.attention}
    bf16 = options.dtype == "bfloat16" or (options.dtype == "auto" and device.type == "cuda")
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # missing weights are reported below, in one line
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(found.directory, trust_remote_code=options.trust_remote_code)
        kept = torch.bfloat16 if bf16 and config.dtype == torch.bfloat16 else torch.float32
        model, report = AutoModelForSequenceClassification.from_pretrained(
            found.directory,
            config=config,
            dtype=kept,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=options.trust_remote_code,
            **attention,
        )
        model = model.to(device)
    except Exception as error:  # of a dozen types, from four libraries and the model's own code
        raise ModelError(f"model: {found.name} cannot be loaded: {' '.join(str(error).split())[:200]}") from error
    finally:
        transformers_logging.set_verbosity(level)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        some = f"{missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}"
        raise ModelError(f"model: {found.name} lacks weights ({some}): a backbone without a trained reward head?")
    reward = RewardModel(model, torch.bfloat16 if bf16 else None).eval()
    if device.type == "cpu" and not bf16 and not options.trust_remote_code:
        pack_linears(reward.model)
    return reward, str(kept).removeprefix("torch.")


def _check_template(found: Found, template: Template, tokenizer: Any) -> None:
    """Refuses a chat template that leaves the reply out, under which every pair would be a tie."""
    show = rendering(template, tokenizer)
    one, other = (show((Message("user", "Is it so?"),), reply) for reply in ("Yes.", "No."))
    if one == other:
        raise ModelError(f"model: {found.name}'s chat template does not show the reply (set template=plain)")


def _check_padding(found: Found, reward: RewardModel, inputs: Tokens) -> None:
    """Refuses a model that reads its score at a fixed end of the row (XLNet does): its scores depend on the batch."""
    alone, beside = [Rendered("", "Yes.")], Rendered("", "Yes, and this is why it is so. " * 4)
    text, longer = inputs.add([*alone, beside])
    with torch.inference_mode():
        one = reward(**inputs.batch(np.array([text])))[0].item()
        two = reward(**inputs.batch(np.array([text, longer])))[0].item()
    if abs(one - two) > (1e-4 if reward.autocast is None else 0.05) * max(1.0, abs(one)):
        raise ModelError(
            f"model: {found.name} scores a text {one:.4f} alone and {two:.4f} beside a longer one: its score depends "
            "on the batch (token_budget=1 scores each text on its own)"
        )


def _load_linear(found: Found, options: Options, cache: Path, device: torch.device) -> Judged:
    """A linear head of ours over its frozen backbone, which fixes how text is read."""
    for name in ("template", "max_length", "truncation"):
        asked, trained = getattr(options, name), found.settings["backbone"][name]
        if asked is not None and asked != trained:
            raise ConfigError(
                f"{name}: {found.name} is a linear head trained on features with {trained} (leave it null)"
            )
    model, backbone = load_linear(found.directory)
    encoder = frozen_encoder(backbone, cache, device, options.token_budget)
    about = {
        "weights": weights(found),
        "architecture": f"linear head on frozen {backbone.name}",
        "template": backbone.template,
        "template_from": "recorded with the model",
        "max_length": backbone.max_length,
        "truncation": backbone.truncation,
        "dtype": "float32",
    }
    texts = Texts(Features(encoder), rendering(backbone.template, encoder.tokenizer))
    return Judged(model, texts, encoder.tokenizer, backbone.template, about)
