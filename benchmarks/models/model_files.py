"""A reward model's files: found in a run, a directory or on the hub, and checked before anything of them is loaded.

A pickle runs code, an adapter is no model, a backbone with two labels has no score: what a look at the files can tell
is told here, in one line, before gigabytes are read. From the hub come safetensors, configs and tokenizers and nothing
else, unless the user allows code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mars.config import UserError
from mars.record.run_directory import RunDirectory, finished_runs
from mars.reward.backbone import BackboneConfig
from mars.reward.model import LINEAR
from mars.reward.weights import weights_id

_FETCHED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")  # never a pickle
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class ModelError(UserError):
    """A model that cannot be judged; the message says what it is and what would help."""


@dataclass(frozen=True)
class Found:
    """Where a model's files are, and its config.json. run: the run directory they belong to, if they do."""

    directory: Path
    name: str
    revision: str | None = None  # the commit on the hub
    run: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def find(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Found:
    """The files of a run directory, a model directory or a hub id; from the hub no pickle and, unless allowed, no code.

    Raises ModelError where there is none, or one that cannot or, for what its files would run, should not be loaded.
    """
    found = _located(model, revision, trust_remote_code)
    settings = _config_json(found)
    if settings.get("model_type") != LINEAR:
        _check_files(found, settings, trust_remote_code)
    return replace(found, settings=settings)


def _located(model: str, revision: str | None, trust_remote_code: bool) -> Found:
    path = Path(model).expanduser()
    if path.is_dir():
        run = RunDirectory(path)
        if not run.is_run or (path / "config.json").exists():
            if finished_runs(path):
                raise ModelError(f"model: {model} is a study, not a model (study={model} judges each of its runs)")
            return Found(path, path.resolve().name)
        if not run.finished:
            raise ModelError(f"model: {model} is an unfinished run (the command that started it resumes it)")
        if not run.model.is_dir():
            raise ModelError(f"model: {model} kept no model (run it with save_model=true force=true)")
        return Found(run.model, path.resolve().name, run=path)
    if path.exists():
        raise ModelError(f"model: {model} is a file (name the directory that holds the model)")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model) or model.startswith("."):
        raise ModelError(f"model: no such directory {model}")
    return _fetch(model, revision, trust_remote_code)


def _fetch(hub_id: str, revision: str | None, trust_remote_code: bool) -> Found:
    from huggingface_hub import snapshot_download

    patterns = [*_FETCHED, *(["*.py"] if trust_remote_code else [])]
    try:
        directory = Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except Exception as error:  # of a dozen types: no such model, gated, offline, a broken connection
        reason = " ".join(str(error).split()).split(". ")[0]
        raise ModelError(f"model: {hub_id} is no directory here and cannot be had from the hub: {reason}") from error
    return Found(directory, hub_id, revision=directory.name)


def weights(found: Found) -> str:
    """What names the model exactly: its commit on the hub, or a sha256 over its files."""
    if found.revision:
        return f"{found.name}@{found.revision}"
    return weights_id(BackboneConfig(found.name, str(found.directory)))


def _config_json(found: Found) -> dict[str, Any]:
    path = found.directory / "config.json"
    if (found.directory / "adapter_config.json").exists():
        raise ModelError(
            f"model: {found.name} is a LoRA adapter without its base (merge it with peft's merge_and_unload and save "
            "that; train=lora saves merged models)"
        )
    if not path.exists():
        raise ModelError(f"model: {found.name} has no config.json, so it is no transformers model")
    settings = _json_object(path)
    if settings.get("model_type") == LINEAR and not isinstance(settings.get("backbone"), dict):
        raise ModelError(f"model: {path}: names no backbone for its linear head")
    return settings


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"model: {path}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"model: {path}: is not a JSON object")
    return value


def _check_files(found: Found, settings: dict[str, Any], trust_remote_code: bool) -> None:
    """Refuses, before a weight is read: another number of labels, pickles, remote code that was not allowed."""
    labels = settings.get("num_labels") or len(settings.get("id2label") or (0, 1))  # transformers' default is two
    if labels != 1:
        raise ModelError(f"model: {found.name} has {labels} labels; a reward model has one score")
    if not any(found.directory.glob("*.safetensors")):
        pickled = sorted(p.name for pattern in _PICKLED for p in found.directory.glob(pattern))
        if pickled or found.revision:
            raise ModelError(
                f"model: {found.name} has no safetensors{f', only {pickled[0]}' if pickled else ''}: a pickle can run "
                "any code, so none is read (save it again with safetensors)"
            )
        raise ModelError(f"model: {found.name} holds no weights (no *.safetensors)")
    tokenizer = found.directory / "tokenizer_config.json"
    of_tokenizer = _json_object(tokenizer) if tokenizer.exists() else {}
    code = {name for told in (settings, of_tokenizer) for name in told.get("auto_map") or ()}
    needed = {"AutoConfig", "AutoModelForSequenceClassification", "AutoTokenizer"} & code
    if needed and not trust_remote_code:
        raise ModelError(
            f"model: {found.name} brings its own code ({', '.join(sorted(needed))}): read it, then allow it with "
            "trust_remote_code=true"
        )
