"""What a model card warns of: limits of the numbers, restrictions of the data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.card_results import Evaluation
from benchmarks.card_text import cell
from benchmarks.choices import find, names
from mars.preferences import contamination

_NON_COMMERCIAL = re.compile(r"(?<![a-z])nc(?![a-z])|non[- ]?commercial", re.IGNORECASE)
_UNSTATED = {"", "unknown", "none", "other", "null"}


def restriction(manifest: Mapping[str, Any]) -> str:
    """Why a model trained on this data wants a licence note before it is shared; empty where it needs none."""
    data, name = manifest["data"], manifest["dataset"]
    licence = str(data.get("licence") or "").strip()
    if _NON_COMMERCIAL.search(licence):
        return f"the licence of the data ({name}: {licence}) is non-commercial"
    if licence.lower() in _UNSTATED and "generated" not in data:
        return f"the licence of the data ({name}) is unknown"
    return ""


def limits(config: Mapping[str, Any], manifest: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> list[str]:
    """What a reader must not conclude from the numbers, a line each."""
    data = manifest["data"]
    lines = [
        f"One training run, of seed {manifest['seed']}: the intervals leave out what another seed would change.",
        f"Trained on {trained_on(manifest)} alone.{_same_data(evaluations, manifest['dataset'])}",
        *_other_data(evaluations, manifest["dataset"]),
        "Not a safety filter, and no judge of truth: it ranks replies the way its labels did, and a policy optimised "
        "against it will find where it is wrong.",
        *_contamination(data.get("contamination", {})),
        *_truncated(manifest),
        _label_noise(data),
        *_variant_labels(manifest["pool"]),
    ]
    if manifest["drop_prompt"]:
        lines.append("Synthetic rows were trained on without their prompts, as in the authors' code.")
    if config["scale"] == "tiny":
        lines.append("Trained at toy size (`scale=tiny`), to test the code.")
    if reason := restriction(manifest):
        lines.append(f"{sentence(reason)}: see Licence.")
    return lines


def trained_on(manifest: Mapping[str, Any]) -> str:
    """How many pairs of what; a local copy is not called the dataset, for it may be a part of it."""
    name, data, count = manifest["dataset"], manifest["data"], len(manifest["base_ids"])
    if "generated" in data:
        return f"{count} generated preference pairs ({name})"
    if all(source.get("hub") for source in data.get("sources", {}).get("train", [])):
        return f"{count} preference pairs of {name}"
    return f"{count} preference pairs of a local {'file' if name == 'files' else f'copy of {name}'}"


def _same_data(evaluations: Sequence[Evaluation], dataset: str) -> str:
    own = _named([evaluation for evaluation in evaluations if _held_out(evaluation, evaluations, dataset)])
    return (
        f" Results under {own} are on held-out pairs of the same data and say nothing of other prompts, languages or "
        "models' replies."
        if own
        else ""
    )


def _other_data(evaluations: Sequence[Evaluation], dataset: str) -> list[str]:
    """That rows from elsewhere were not compared with the training data; nothing where there are none."""
    others = [evaluation for evaluation in evaluations if not _held_out(evaluation, evaluations, dataset)]
    if not others:
        return []
    return [f"Results under {_named(others)} are on other rows: whether training saw some of them was not checked."]


def _held_out(evaluation: Evaluation, evaluations: Sequence[Evaluation], dataset: str) -> bool:
    """Whether its rows are the test pairs of the run: of the same digest, or, without one, not a dataset named anew."""
    data = evaluation.record.get("data") or {}
    if not _on_a_dataset(evaluation.benchmark) or data.get("name", dataset) != dataset:
        return False
    own = next((e.record for e in evaluations if "in_distribution" in e.labels), {})
    known, digests = (of.get("sha256") for of in (own.get("data") or {}, data))
    if known and digests:
        return all(known.get(split) == digest for split, digest in digests.items())
    return f"{evaluation.benchmark}-{dataset}" not in evaluation.labels


def _on_a_dataset(benchmark: str) -> bool:
    return benchmark in names() and find(benchmark).needs_dataset


def _named(evaluations: Sequence[Evaluation]) -> str:
    labels = [label for evaluation in evaluations for label in evaluation.labels]
    return f"{', '.join(labels[:-1])} and {labels[-1]}" if len(labels) > 1 else "".join(labels)


def _contamination(report: Mapping[str, Any]) -> list[str]:
    tests = {split: found for split, found in report.items() if split != "validation"}
    if not tests:
        return ["Whether the training data holds test pairs was not checked."]
    kinds = ("prompt", "prompt_response", "any_ngram")
    if not any(found[kind]["count"] for found in tests.values() for kind in kinds):
        run = next(iter(tests.values()))["ngram"]
        return [f"Contamination: no test pair shares its prompt, or {run} words in a row, with a training pair."]
    return [f"Contamination, {line}." for line in contamination.summary(tests)]


def _truncated(manifest: Mapping[str, Any]) -> list[str]:
    """How many of a split's texts, two a pair, were cut; one line."""
    pairs = pairs_by_split(manifest)
    cut = [
        f"{split} {lost['prompt']} in the prompt, {lost['response']} in the reply"
        + (f", of {2 * pairs[split]}" if split in pairs else "")
        for split, lost in manifest["truncated"].items()
        if lost["prompt"] or lost["response"]
    ]
    if not cut:
        return [f"No text was longer than {manifest['max_length']} tokens."]
    return [f"Texts cut to {manifest['max_length']} tokens: {'; '.join(cut)}."]


def _label_noise(data: Mapping[str, Any]) -> str:
    if "generated" not in data:
        flips = data.get("flips")
        turned = f" A share of {flips['rate']} of those trained on was turned round on purpose." if flips else ""
        return f"What share of the labels is wrong is not known; no label was checked.{turned}"
    world = data.get("settings", {})
    if "noise" not in world:
        return "The data is generated: it is no human preference."
    noise = {
        "bradley_terry": "drawn from Bradley–Terry around a known reward, so some contradict it (temperature "
        f"{world['temperature']})",
        "flip": f"those of a known reward, a share of {world['flip_rate']} turned round",
        "none": "those of a known reward, without error",
    }[world["noise"]]
    return f"The world is generated: it is no human preference. Training labels are {noise}."


def _variant_labels(pool: Mapping[str, Any]) -> list[str]:
    if not pool["rows"]:
        return []
    known = pool.get("preservation")
    if known:
        return [f"Of the synthetic rows drawn, {known['true']:.1%} carry the label that the known reward gives."]
    return ["Whether the label of a synthetic row still fits its rewritten texts was not checked."]


def sentence(words: str) -> str:
    """`words` with a capital, safe in Markdown."""
    return cell(words[0].upper() + words[1:])


def pairs_by_split(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Of base, validation and the test splits whose number of pairs is on record."""
    checked = manifest["data"].get("contamination", {}).items()
    tests = {split: found["pairs"] for split, found in checked if split != "validation"}
    return {"base": len(manifest["base_ids"]), "validation": len(manifest["validation_ids"]), **tests}
