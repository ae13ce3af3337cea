"""The data report: where rows came from, what was dropped and why, what the test shares with training, what was cut.

A row a fact. A fact that differs between runs, as with subsets drawn by the seed, is shown as a range. Manifests carry
the whole report, with ids and examples; this is what a reader of the results has to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from analysis.exhibits.exhibit import Exhibit
from analysis.exhibits.table import Column
from analysis.study.study import NothingToShow, Study

_SHARED = {
    "prompt": "the same prompt as a training pair",
    "prompt_response": "the same prompt and one of its responses",
    "any_ngram": "{ngram} words in a row with a training pair",
}


_SUBSET = {
    "size": "base pairs",
    "validation": "validation pairs",
    "test": "test pairs",
    "test_available": "test pairs there were",
    "beside_validation": "set aside, prompt of a validation pair",
    "beside_test": "set aside, prompt of a test pair",
}


_ZERO_IS_SILENT = {"beside_validation", "beside_test"}


_CUT = "cut"
Key = tuple[str, str, str]  # dataset, about, what


class Fact(NamedTuple):
    """One thing a run's manifest says of its data. of: what a count is out of, None where it is out of nothing."""

    about: str
    what: str
    value: float | str
    of: int | None = None


class Data(Exhibit):
    """A row a fact of the data, over all runs."""

    name, title, by = "data", "Data", ("dataset",)
    caption = (
        "Rows as their files have them, pairs as they were used; “a to b” where runs differ, as when the seed draws "
        "the subset. Nothing found in common with training was removed. Cut: of the distinct texts, how many lost "
        "tokens to the length limit."
    )
    columns = (Column("about", "about"), Column("what", "what"), Column("value", "value"))

    def frame(self, study: Study) -> pd.DataFrame:
        found: dict[Key, list[Fact]] = {}
        for dataset, runs in study.runs.groupby("dataset", sort=True):
            for name in runs["run"]:
                for fact in facts(study.members[name].manifest):
                    found.setdefault((str(dataset), fact.about, fact.what), []).append(fact)
        found = _without_zero_cuts(found)
        if not found:
            raise NothingToShow("no run recorded its data (were they written by another version?)")
        frame = pd.DataFrame(
            [dict(zip(("dataset", "about", "what"), key, strict=True)) | _row(same) for key, same in found.items()]
        )
        order = {about: place for place, about in enumerate(dict.fromkeys(frame["about"]))}
        return frame.sort_values(
            ["dataset", "about"], key=lambda c: c.map(order) if c.name == "about" else c, kind="stable"
        )


def facts(manifest: Mapping[str, Any]) -> Iterator[Fact]:
    """What one manifest says of its data, in the order of a report."""
    report = manifest.get("data") or {}
    for key in ("licence", "rule"):
        if report.get(key):
            yield Fact("source", key, str(report[key]))
    for split, sources in (report.get("sources") or {}).items():
        yield from _read(split, sources)
    yield from _generated(report)
    yield from _subset(report.get("subset") or {})
    for split, share in (report.get("length_baseline") or {}).items():
        yield Fact("length", f"{split}: the longer response is the chosen one, %", round(100 * share, 1))
    for split, shared in (report.get("contamination") or {}).items():
        for kind, what in _SHARED.items():
            if kind in shared:
                said = f"{split}: {what.format(ngram=shared.get('ngram', 13))}"
                yield Fact("in common", said, shared[kind]["count"], shared["pairs"])
    yield from _cut(manifest)


def _read(split: str, sources: list[Mapping[str, Any]]) -> Iterator[Fact]:
    """The files of a split, together."""
    yield Fact("source", f"{split} from", ", ".join(map(_named, sources)))
    rows = sum(source.get("rows", 0) for source in sources)
    yield Fact("rows", f"{split}: read", rows)
    pairs = sum(source.get("pairs", source.get("rows", 0)) for source in sources)  # a row may have several
    yield Fact("rows", f"{split}: kept", sum(source.get("kept", 0) for source in sources), pairs)
    for key, what in (("dropped", "dropped"), ("kept_despite", "kept although")):
        kinds = sorted({kind for source in sources for kind in source.get(key) or {}})
        for kind in kinds:
            total = sum((source.get(key) or {}).get(kind, 0) for source in sources)
            yield Fact("rows", f"{split}: {what} {kind.replace('_', ' ')}", total)


def _named(source: Mapping[str, Any]) -> str:
    """A file by its name and digest, rows of the hub by id and revision."""
    if source.get("file"):
        read_as = f", read as {source['read_as']}" if source.get("read_as") else ""
        return f"{source['file']} (sha256 {str(source.get('sha256', ''))[:8]}{read_as})"
    return f"{source.get('hub', 'unknown')}@{str(source.get('revision') or 'unknown')[:8]}"


def _generated(report: Mapping[str, Any]) -> Iterator[Fact]:
    """Of planted data: how it was made."""
    settings = report.get("settings") or {}
    left = {key: value for key, value in settings.items() if key not in ("name", "seed")}
    if left:
        yield Fact("source", "generated with", ", ".join(f"{key} {value}" for key, value in left.items()))
    for split, number in (report.get("generated") or {}).items():
        labels = (report.get("labels") or {}).get(split)
        yield Fact("pairs", f"{split} pairs" + (f", labels {labels.replace('_', ' ')}" if labels else ""), number)


def _subset(subset: Mapping[str, Any]) -> Iterator[Fact]:
    for key, what in _SUBSET.items():
        if subset.get(key) is not None and (subset[key] or key not in _ZERO_IS_SILENT):
            yield Fact("pairs", what, subset[key])
    if subset.get("test_from_train"):
        yield Fact("pairs", "the test pairs were held out of", "the train split")


def _cut(manifest: Mapping[str, Any]) -> Iterator[Fact]:
    """What the length limit took, by backbone: tokenizers differ."""
    limit = f"{manifest.get('backbone')}, {manifest.get('max_length')} tokens"
    for split, lost in (manifest.get("truncated") or {}).items():
        for side in ("prompt", "response"):
            if side in (lost or {}):
                yield Fact(f"{_CUT} ({limit})", f"{split}: {side}s cut", lost[side])


def _without_zero_cuts(found: Mapping[Key, list[Fact]]) -> dict[Key, list[Fact]]:
    """One row for all splits of which nothing was cut."""
    zero = {key for key, same in found.items() if key[1].startswith(_CUT) and not any(fact.value for fact in same)}
    kept = {key: same for key, same in found.items() if key not in zero}
    for dataset, about in dict.fromkeys(key[:2] for key in found if key in zero):
        others = any(key[:2] == (dataset, about) for key in kept)
        kept[dataset, about, "all other texts" if others else "all texts"] = [Fact(about, "", "whole")]
    return kept


def _row(found: list[Fact]) -> dict[str, Any]:
    """The fact over all runs that state it: value, for a reader, and the least and most of a number."""
    if any(isinstance(fact.value, str) for fact in found):
        return {"value": "; ".join(dict.fromkeys(str(fact.value) for fact in found)), "least": None, "most": None}
    values = [float(fact.value) for fact in found]
    least, most = min(values), max(values)
    text = _range(f"{least:g}", f"{most:g}")
    of = sorted({fact.of for fact in found if fact.of})
    if of:
        shares = [100 * float(fact.value) / fact.of for fact in found if fact.of]
        share = _range(f"{min(shares):.1f}", f"{max(shares):.1f}")
        text += f" of {_range(str(of[0]), str(of[-1]))} ({share} %)"
    return {"value": text, "least": least, "most": most}


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"
