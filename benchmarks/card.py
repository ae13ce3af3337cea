"""A model card for a finished run, model/README.md: what it is, what it learnt from, its numbers and its limits.

A pure function of the run directory, so the same run gives the same bytes and every number can be looked up in
metrics.json and evaluations/. card_files/ has the words, here are the facts they are filled with. Two things are left
out on purpose. There is no `model-index`: it has no place for an interval, and a bare number is what this project
argues against. And there is no `license` but a non-commercial one of the data, or the note of who shares the model:
what a model may be used for follows from its data *and* its backbone, and a card cannot grant it.

    python -m benchmarks.share model=outputs/quick/RUN
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from benchmarks.card_results import grouped, named, on_own_data, results
from benchmarks.card_text import cell, public, settings
from mars import files
from mars.config import WITHOUT_EFFECT, UserError
from mars.preferences import contamination
from mars.record.layout import DONE, ROUNDS
from mars.record.run_directory import RunDirectory

# Of the training settings: speed and memory.
_WITHOUT_INTEREST = ("token_budget", "packing", "gradient_checkpointing", "window")
_HUB_NON_COMMERCIAL = re.compile(r"cc-by-nc(-nd|-sa)?-[234]\.0")  # as the hub spells them
_NON_COMMERCIAL = re.compile(r"(?<![a-z])nc(?![a-z])|non[- ]?commercial", re.IGNORECASE)
_UNSTATED = {"", "unknown", "none", "other", "null"}
_PATHS = ("dataset.path", "dataset.train", "dataset.test")


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
    manifest, evaluations = of.manifest, grouped(of.evaluations)
    own, others = on_own_data(evaluations, manifest["dataset"])
    reason = restriction(manifest)
    return _template().render(
        config=of.config,
        manifest=manifest,
        front_matter=yaml.safe_dump(front_matter(of, licence_note), sort_keys=False, allow_unicode=True),
        backbone=_backbone(of),
        base_model=base_model(of),
        without_model=_without_model(of),
        trained_on=_trained_on(manifest),
        pairs=_pairs_by_split(manifest),
        shape=_shape(manifest["pool"]),
        optimisation=_optimisation(of),
        results=results(evaluations),
        held_out=named(own),
        others=named(others),
        contamination=_contamination(manifest["data"].get("contamination", {})),
        cut=_cut(manifest),
        restriction=reason and cell(reason[0].upper() + reason[1:]),
        licence_note=licence_note,
        writers=_writers(manifest),
        packages={name: manifest["packages"].get(name) for name in ("mars-reward", "torch", "transformers")},
        command=_command(manifest["overrides"]),
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("benchmarks", "card_files"),
        autoescape=False,  # Markdown, not HTML: `cell` makes a value safe
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": cell, "settings": settings, "rows_read": _rows_read}
    return environment.get_template("card.md.jinja")


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


def restriction(manifest: Mapping[str, Any]) -> str:
    """Why a model trained on this data wants a licence note before it is shared; empty where it needs none."""
    data, name = manifest["data"], manifest["dataset"]
    licence = str(data.get("licence") or "").strip()
    if _NON_COMMERCIAL.search(licence):
        return f"the licence of the data ({name}: {licence}) is non-commercial"
    if licence.lower() in _UNSTATED and "generated" not in data:
        return f"the licence of the data ({name}) is unknown"
    return ""


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


def _trained_on(manifest: Mapping[str, Any]) -> str:
    """How many pairs of what; a local copy is not called the dataset, for it may be a part of it."""
    name, data, count = manifest["dataset"], manifest["data"], len(manifest["base_ids"])
    if "generated" in data:
        return f"{count} generated preference pairs ({name})"
    if all(source.get("hub") for source in data.get("sources", {}).get("train", [])):
        return f"{count} preference pairs of {name}"
    return f"{count} preference pairs of a local {'file' if name == 'files' else f'copy of {name}'}"


def _pairs_by_split(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Of base, validation and the test splits whose number of pairs is on record."""
    checked = manifest["data"].get("contamination", {}).items()
    tests = {split: found["pairs"] for split, found in checked if split != "validation"}
    return {"base": len(manifest["base_ids"]), "validation": len(manifest["validation_ids"]), **tests}


def _rows_read(one: Mapping[str, Any]) -> str:
    """A file or hub split, and what became of its rows."""
    place = f"{public(one.get('file'))} (sha256 `{one.get('sha256')}`)"
    if one.get("hub"):
        inner = settings({key: one.get(key) for key in ("config", "data_dir", "split")})
        place = f"{one['hub']}@{one['revision']} ({inner})"
    found = {
        what: ", ".join(f"{count} {kind}" for kind, count in (one.get(key) or {}).items())
        for key, what in (("dropped", "dropped"), ("kept_despite", "kept all the same"))
    }
    told = [f"{what} {kinds}" for what, kinds in found.items() if kinds]
    read = f"{one['pairs']} pairs" if "pairs" in one else f"{one['rows']} rows"
    return "; ".join([f"{place}: {one['kept']} of {read} usable", *told])


def _shape(pool: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the pool, gates that are shut excluded."""
    gates = {key: value for key, value in pool["config"]["gates"].items() if value and key != "encoder"}
    return {key: pool["config"][key] for key in ("width", "rows", "prompts")} | gates


def _optimisation(of: Facts) -> dict[str, Any]:
    train = {key: value for key, value in of.config["train"].items() if key not in _WITHOUT_INTEREST}
    if train["mode"] != "lora":
        train = {key: value for key, value in train.items() if not key.startswith("lora")}
    return {**train, "batch_size": of.manifest["batch_size"]}


def _contamination(report: Mapping[str, Any]) -> list[str]:
    tests = {split: found for split, found in report.items() if split != "validation"}
    if not tests:
        return ["Whether the training data holds test pairs was not checked."]
    kinds = ("prompt", "prompt_response", "any_ngram")
    if not any(found[kind]["count"] for found in tests.values() for kind in kinds):
        run = next(iter(tests.values()))["ngram"]
        return [f"Contamination: no test pair shares its prompt, or {run} words in a row, with a training pair."]
    return [f"Contamination, {line}." for line in contamination.summary(tests)]


def _cut(manifest: Mapping[str, Any]) -> str:
    """How many of each split's texts, two a pair, were cut; empty where none was."""
    pairs = _pairs_by_split(manifest)
    return "; ".join(
        f"{split} {lost['prompt']} in the prompt, {lost['response']} in the reply"
        + (f", of {2 * pairs[split]}" if split in pairs else "")
        for split, lost in manifest["truncated"].items()
        if lost["prompt"] or lost["response"]
    )


def _writers(manifest: Mapping[str, Any]) -> list[str]:
    """The models that wrote synthetic text, where models did."""
    makers = (manifest["pool"], (manifest.get("semantic") or {}).get("writer") or {})
    given = [(maker.get("settings") or {}) for maker in makers]
    return [f"`{public(one[key])}`" for one in given for key in ("source", "model") if one.get(key)]


def _command(overrides: list[str]) -> str:
    """What makes the run again, without what changed no result; LOCAL for a path or address of this machine."""
    shown = []
    for override in overrides:
        key, _, value = override.partition("=")
        name = key.lstrip("+~")
        if name.split(".")[0] not in WITHOUT_EFFECT - {"scale", "replicate"}:
            shown.append(f"{key}={'LOCAL' if name in _PATHS else public(value)}")
    return " ".join(["python -m mars.run", *map(shlex.quote, shown)])
