"""A model card for a finished run, model/README.md: what it is, what it learnt from, its numbers and its limits.

A pure function of the run directory, so the same run gives the same bytes and every number can be looked up in
metrics.json and evaluations/. Two things are left out on purpose. There is no `model-index`: it has no place for an
interval, and a bare number is what this project argues against. And there is no `license` but a non-commercial one of
the data, or the note of who shares the model: what a model may be used for follows from its data *and* its backbone,
and a card cannot grant it.

    python -m benchmarks.share model=outputs/quick/RUN
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.card_findings import limits, pairs_by_split, restriction, sentence, trained_on
from benchmarks.card_results import grouped, results
from benchmarks.card_text import LINEAR_HEAD, cell, classifier_code, public, settings, table
from mars import files
from mars.config import WITHOUT_EFFECT, UserError
from mars.record.run_directory import DONE, ROUNDS, RunDirectory

_WITHOUT_INTEREST = ("token_budget", "gradient_checkpointing", "window")  # of the training settings: speed, memory
_HUB_NON_COMMERCIAL = re.compile(r"cc-by-nc(-nd|-sa)?-[234]\.0")  # as the hub spells them
_PATHS = ("dataset.path", "dataset.train", "dataset.test")
_SCORE_OF = {"plain": "in the plain `Human: … Assistant: …` template", "chat": "in the tokenizer's own chat template"}


@dataclass(frozen=True)
class Facts:
    """What a run directory says of itself. evaluations: {label: record}."""

    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    evaluations: Mapping[str, Mapping[str, Any]]


def write_card(run: Path, licence_note: str = "") -> Path:
    """model/README.md of the finished run directory `run`; returns its path. licence_note: the owner's own words, kept
    in RUN/licence_note.txt for the next time.

    Raises UserError where the directory lacks what a run leaves behind.
    """
    path, kept = run / "model" / "README.md", run / "licence_note.txt"
    if not path.parent.is_dir():
        raise UserError(f"{run}: has no model/ (run it again with save_model=true force=true)")
    if licence_note:
        files.write_text(kept, licence_note)
    elif kept.exists():
        licence_note = kept.read_text(encoding="utf-8")
    files.write_text(path, card(facts(run), licence_note))
    return path


def facts(run: Path) -> Facts:
    """Raises UserError for a file that is missing or cannot be read."""
    found, problems = RunDirectory(run).read()
    for problem in problems:
        if problem.file not in (DONE, ROUNDS):  # the runner writes the card before it ends, and no card needs a curve
            raise UserError(f"{run}: {problem} (model=RUN is the directory of a run)")
    return Facts(found.config, found.manifest, found.records)


def card(of: Facts, licence_note: str = "") -> str:
    """The whole card: front matter and sections."""
    evaluations = grouped(of.evaluations)
    parts = {
        "Use": _use(of),
        "Data": _data(of),
        "Training": _training(of),
        "Results": results(evaluations),
        "Limits": _bullets(limits(of.config, of.manifest, evaluations)),
        "Licence": _licence(of, licence_note),
        "Reproduce": _reproduce(of.manifest),
    }
    head = yaml.safe_dump(front_matter(of, licence_note), sort_keys=False, allow_unicode=True)
    sections = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts.items())
    return f"---\n{head}---\n\n# Reward model {of.manifest['run_id']}\n\n{_what(of)}\n\n{sections}\n"


def front_matter(of: Facts, licence_note: str = "") -> dict[str, Any]:
    """The hub's metadata; what is not known is not there."""
    linear = of.config["train"]["mode"] == "head"
    licence = str(of.manifest["data"].get("licence") or "").lower()
    sources = [s for split in of.manifest["data"].get("sources", {}).values() for s in split]
    stated: dict[str, Any] = {}
    if licence_note:
        stated = {"license": "other", "license_name": "see-licence-section"}
    elif _HUB_NON_COMMERCIAL.fullmatch(licence):
        stated = {"license": licence}
    made = {
        **stated,
        "base_model": base_model(of),
        "datasets": sorted({s["hub"] for s in sources if s.get("hub")}),
        "pipeline_tag": "text-classification",
        "library_name": "mars-reward" if linear else "transformers",
        "tags": ["reward-model", "preference", of.manifest["method"]],
    }
    return {key: value for key, value in made.items() if value}


def base_model(of: Facts) -> str | None:
    """The hub id of the backbone; None for random weights and those of a local directory."""
    backbone, weights = of.config["backbone"], of.manifest["weights"]
    if backbone["source"].startswith("package:") and backbone.get("sha256"):
        return backbone["hub"]
    hub = weights.rpartition("@")[0]
    return None if weights.startswith(("random:", "sha256:")) or public(hub) != hub else hub


def backbone_is_local(of: Facts) -> bool:
    """Whether the backbone came from a directory of this machine, which nobody else has."""
    source = of.config["backbone"]["source"]
    return base_model(of) is None and not source.startswith(("random:", "package:"))


def _backbone(of: Facts) -> str:
    weights, name = of.manifest["weights"], of.config["backbone"]["name"]
    if weights.startswith("random:"):
        return f"{name} (random weights: a test of the code, of no other use)"
    if _without_model(of):
        return f"{name} (`{weights}`: features without a model, of no use outside their world)"
    hub = base_model(of)
    where = f"[{hub}](https://huggingface.co/{hub})" if hub else "not from the hub"
    return f"{name} ({where}; `{public(weights)}`)"


def _without_model(of: Facts) -> bool:
    return of.manifest["weights"].startswith("features:")


def _what(of: Facts) -> str:
    manifest = of.manifest
    kind = {
        "full": "Every weight was fine-tuned.",
        "lora": "LoRA adapters and the head were trained and merged.",
        "head": "Only the linear head θ was trained, on frozen unit-length features.",
    }[of.config["train"]["mode"]]
    if _without_model(of):
        kind = "Only the linear head θ was trained; its features are given numbers that no text has."
    return (
        f"A scalar reward r(prompt, reply) on the backbone {_backbone(of)}, trained on {trained_on(manifest)} "
        f"with the Bradley–Terry loss by the arm `{manifest['method']}`. {kind} A reward alone "
        "means nothing; of two for one prompt, σ(r(a) − r(b)) is the modelled probability that a is preferred to b."
    )


def _use(of: Facts) -> str:
    manifest, mode = of.manifest, of.config["train"]["mode"]
    length, side = manifest["max_length"], manifest["truncation"]
    cut = {
        "left": "its oldest prompt tokens, and the end of a reply that takes more than three quarters of the room",
        "right": "its end",
    }[side]
    notes = [
        f"Text was rendered {_SCORE_OF[manifest['template']]}, at most {length} tokens; a longer text lost {cut} "
        f"(truncation {side})."
    ]
    if mode == "head":
        notes.append("The checkpoint is θ alone: the package mars-reward and the same backbone are needed to load it.")
        code = LINEAR_HEAD
    else:
        code = classifier_code(manifest["template"], side, length)
    return " ".join(notes) + f"\n\n```python\n{code}```"


def _data(of: Facts) -> str:
    manifest, data = of.manifest, of.manifest["data"]
    rows = [("dataset", manifest["dataset"]), ("rule of the label", data.get("rule"))]
    if "generated" in data:
        rows = [("dataset", f"{manifest['dataset']}: generated, so that the true reward is known")]
        rows += [(name, settings(data[name])) for name in ("labels", "settings") if name in data]
    if flips := data.get("flips"):
        rows.append(("labels turned round on purpose", settings(flips)))
    rows.append(("licence", data.get("licence")))
    rows.append(("pairs", settings(pairs_by_split(manifest))))
    rows += [(f"source, {split}", _source(one)) for split, all_ in data.get("sources", {}).items() for one in all_]
    digests = {"base": "base pairs", "validation": "validation pairs", "test": "all test splits together"}
    rows += [(f"sha256, {what}", f"`{manifest[f'{split}_sha256']}`") for split, what in digests.items()]
    return table(("property", "value"), ((name, text) for name, text in rows if text))


def _source(one: Mapping[str, Any]) -> str:
    """A file or hub split, and what became of its rows."""
    place = f"{public(one.get('file'))} (sha256 `{one.get('sha256')}`)"
    if one.get("hub"):
        inner = settings({key: one.get(key) for key in ("config", "data_dir", "split")})
        place = f"{one['hub']}@{one['revision']} ({inner})"
    dropped = ", ".join(f"{count} {kind}" for kind, count in one["dropped"].items())
    return f"{place}: {one['kept']} of {one['rows']} rows usable" + (f"; dropped {dropped}" if dropped else "")


def _training(of: Facts) -> str:
    config, manifest, pool = of.config, of.manifest, of.manifest["pool"]
    train = {key: value for key, value in config["train"].items() if key not in _WITHOUT_INTEREST}
    if train["mode"] != "lora":
        train = {key: value for key, value in train.items() if not key.startswith("lora")}
    gates = {key: value for key, value in pool["config"]["gates"].items() if value and key != "encoder"}
    shape = {key: pool["config"][key] for key in ("width", "rows", "prompts")} | gates
    drawn = f"{pool['augmenter']} ({settings(pool['settings'])}); {settings(shape)}; {pool['rows']} rows drawn in all"
    rows = [
        ("arm", manifest["method"]),
        ("its settings", settings(manifest["strategy"])),
        ("rounds", settings(config["rounds"])),
        ("augmenter", "none" if pool["augmenter"] == "none" else drawn),
        ("semantic layer", manifest["semantic_layer"]),
        ("optimisation", settings({**train, "batch_size": manifest["batch_size"]})),
        ("optimiser steps", f"{manifest['steps']} ({manifest['pairs_trained']} pairs, repeats counted)"),
        ("seed", manifest["seed"]),
    ]
    return table(("setting", "value"), ((name, text) for name, text in rows if text != ""))


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _licence(of: Facts, note: str) -> str:
    data, hub = of.manifest["data"], base_model(of)
    lines = [f"Stated by who shares this model: {cell(note)}"] if note else []
    if "generated" in data:
        lines.append("The training data is generated and carries no licence of its own.")
    else:
        lines.append(f"Training data: {of.manifest['dataset']}, licence {cell(data.get('licence') or 'unknown')}.")
    if reason := restriction(of.manifest):
        lines.append(f"**{sentence(reason)}.** Settle what that allows before using or passing on this model.")
    if writers := _writers(of.manifest):
        lines.append(f"Synthetic text was written by {' and '.join(writers)}, which may have terms of its own.")
    if not of.manifest["weights"].startswith("random:") and not _without_model(of):
        lines.append(f"The backbone comes under its own licence{f': see {hub}' if hub else ''}.")
    lines.append("This directory holds no rows of data.")
    return "\n\n".join(lines)


def _writers(manifest: Mapping[str, Any]) -> list[str]:
    """The models that wrote synthetic text, where models did."""
    makers = (manifest["pool"], (manifest.get("semantic") or {}).get("writer") or {})
    named = [(maker.get("settings") or {}) for maker in makers]
    return [f"`{public(given[key])}`" for given in named for key in ("source", "model") if given.get(key)]


def _reproduce(manifest: Mapping[str, Any]) -> str:
    git = manifest.get("git") or {}
    packages = settings({name: manifest["packages"].get(name) for name in ("mars-reward", "torch", "transformers")})
    commit = f", commit `{git['commit']}`" + (" with uncommitted changes" if git.get("dirty") else "") if git else ""
    overrides = [shown for override in manifest["overrides"] if (shown := _override(override))]
    command = " ".join(["python -m mars.run", *map(shlex.quote, overrides)])
    local = "\n\nLOCAL stands for a path or an address of the machine it ran on." if "=LOCAL" in command else ""
    return (
        f"Config hash `{manifest['config_hash']}`{commit}; python {manifest['python']}, {packages}.\n\n"
        f"```bash\n{command}\n```{local}"
    )


def _override(override: str) -> str:
    """An override as the card shows it; empty where it changed no result."""
    key, _, value = override.partition("=")
    name = key.lstrip("+~")
    if name.split(".")[0] in WITHOUT_EFFECT - {"scale"}:
        return ""
    return f"{key}={'LOCAL' if name in _PATHS else public(value)}"
