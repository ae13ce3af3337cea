"""The model card of a finished run, and the checkpoint with it to the hub.

    python -m benchmarks.share model=outputs/quick/RUN
    python -m benchmarks.share model=outputs/quick/RUN push=OWNER/NAME private=true
    python -m benchmarks.share model=RUN push=OWNER/NAME 'licence_note="for research only, as its data"'

What goes up is RUN/model/ and nothing else of the run: scores and selections name rows, and rows are not ours to pass
on. So files are let through by name, those a checkpoint consists of, and one that is none of them stops the upload
rather than being left out: whoever put it there may believe it was shared. Everything that can be refused is refused
before the first request. The card is written anew each time, with the results that are there by then.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from benchmarks.card import Facts, backbone_is_local, facts, restriction, write_card
from mars.config import UserError, build
from mars.files import is_aside
from mars.record.run_directory import RunDirectory

log = logging.getLogger("benchmarks.share")  # also when it runs as __main__

# What a transformers checkpoint, ours included, consists of.
CHECKPOINT = (
    "README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "*.safetensors", "model.safetensors.index.json", "config.json",
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "*.model", "*.jinja",
)  # fmt: skip


@dataclass(frozen=True)
class ShareConfig:
    """conf/share.yaml, checked. push: owner/name on the hub; None writes the card alone."""

    model: str
    push: str | None = None
    licence_note: str | None = None
    private: bool = False
    debug: bool = False

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("model: must name the directory of a run")
        if self.licence_note is not None and not self.licence_note.strip():
            raise ValueError("licence_note: is empty (say what the model may be used for, or leave it away)")
        if self.push is None:
            if self.private:
                raise ValueError("private: has no use without push=OWNER/NAME")
            return
        owner, slash, name = self.push.partition("/")
        if not (owner and slash and name):
            raise ValueError(f'push: "{self.push}" is not of the form OWNER/NAME')
        try:
            validate_repo_id(self.push)
        except HFValidationError as error:
            raise ValueError(f"push: {error}") from None


def share(settings: ShareConfig) -> str:
    """Write the card and, with `push`, upload the checkpoint; returns the card's path, or the model's address.

    Raises UserError for a run that is unfinished or may not go up as it is, a missing token, or a hub that refuses.
    """
    run, note = Path(settings.model).expanduser(), settings.licence_note or ""
    _check_finished(run)
    try:
        if settings.push is None:
            return str(write_card(run, note))
        _check_shareable(run, facts(run), note)
        token = huggingface_hub.get_token()
        if not token:
            raise UserError("push: no hub token is at hand (hf auth login, or the environment variable HF_TOKEN)")
        log.info("%s", write_card(run, note))
    except KeyError as error:
        raise UserError(f"model: {run}: its records lack {error} (made by another version of this package?)") from error
    return push(run / "model", settings.push, settings.private, token)


def _check_finished(run: Path) -> None:
    if not run.is_dir():
        raise UserError(f"model: {run}: no such directory (a run's, as in outputs/quick/RUN)")
    if not RunDirectory(run).finished:
        inside = RunDirectory(run.parent).finished
        hint = "name the run's directory, not its model/" if inside else "finish the run first"
        raise UserError(f"model: {run}: is no finished run ({hint})")


def _check_shareable(run: Path, of: Facts, note: str) -> None:
    """Raises UserError where the licence wants a note, or the directory holds what should not or need not go up."""
    if not note and (reason := restriction(of.manifest)):
        raise UserError(
            f'push: {reason}: say what the model may be used for (licence_note="…", which the card repeats)'
        )
    if of.config["train"]["mode"] == "head" and backbone_is_local(of):
        raise UserError(
            f"push: the backbone of this linear head is a local directory ({of.config['backbone']['source']}), "
            "so nobody else could load it (train on one that is on the hub, or with train=full)"
        )
    checkpoint_files(run / "model")


def checkpoint_files(directory: Path) -> list[str]:
    """The files under `directory`, all of them a checkpoint's. Raises UserError for another, and where weights lack."""
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory (run it again with save_model=true force=true)")
    names = sorted(
        p.relative_to(directory).as_posix() for p in directory.rglob("*") if not (p.is_dir() or is_aside(p.name))
    )
    foreign = [name for name in names if not any(fnmatch.fnmatchcase(name, known) for known in CHECKPOINT)]
    if foreign:
        raise UserError(
            f"push: {directory / foreign[0]} is no file of a checkpoint (move it elsewhere; nothing was sent)"
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise UserError(f"push: {directory} holds no .safetensors file")
    return names


def push(directory: Path, repository: str, private: bool, token: str) -> str:
    """Upload a checkpoint's files in one commit; returns the model's address. Raises UserError where that fails."""
    api = huggingface_hub.HfApi(token=token)
    names = checkpoint_files(directory)
    try:
        # None leaves the choice to the owner's own default, which may be private.
        api.create_repo(repository, private=private or None, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise UserError(f"private: {repository} is there already and public (make it private first)")
        api.upload_folder(
            repo_id=repository, folder_path=directory, allow_patterns=names, commit_message="Reward model and its card"
        )
    except UserError:
        raise
    except Exception as error:  # of a dozen types, from three libraries
        raise UserError(f"push: {repository}: {_reason(error)}") from error
    return f"{api.endpoint}/{repository}"


def _reason(error: Exception) -> str:
    """What the hub says, else the first line of the error."""
    said = getattr(error, "server_message", None) or str(error)
    lines = str(said).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/share.yaml, resolved. Prints where the card, or the model, now is."""
    print(share(build(ShareConfig, cfg, "")))


def main() -> None:
    from mars.cli import command

    command("share", run)()


if __name__ == "__main__":
    main()
