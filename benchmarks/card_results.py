"""The results on a model card: one table of headlines, and folded up behind it every metric with its protocol.

Two hundred rows hide the six that matter, so the headline has a fixed list of metrics, and of the parts only those that
are no subset; nothing is left out of the card for that, only folded. What would mislead is not folded: a file that is
not the whole benchmark is named in bold above the table, and a flip rate says which share of its edits moved no score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.align.outcome import STEP
from benchmarks.card_text import cell, number, plain, public, table
from benchmarks.picks import CURVE
from benchmarks.registry import find, names
from mars import files

# In the order of the table, under the field's names.
_HEADLINE = {
    "score": "score",
    "accuracy": "accuracy",
    "macro_accuracy": "macro accuracy",
    "tie_rate": "tie rate",
    "length_controlled_accuracy": "length-controlled accuracy",
    "auc": "AUC",
    "ece": "ECE",
    "worst_case_accuracy": "worst-case accuracy",
    "flip_rate": "flip rate",
    "gold_gain": "gold gain, sd",
    "gold_win_rate": "gold win rate",
}
# Of a protocol: the title has it, the rows' line has it, or it is too long to be read.
_ELSEWHERE = ("name", "file", "partial", "missing_subsets", "rows_that_differ", "weights", "on", "temperature")
_DETAILS = ("subset/", CURVE, STEP)  # begin parts that are a headline only where the benchmark says so
_NOT_A_ROW = ("length_accuracy", "temperature")  # the column length only; said once with the protocol
_IN_UNITS = ("margin", "log_loss", "brier", "ece", "temperature")  # in units of a score: not a baseline's


@dataclass(frozen=True)
class Evaluation:
    """A record under the labels it stands under: the same one may have been asked for twice."""

    benchmark: str
    labels: tuple[str, ...]
    record: Mapping[str, Any]

    @property
    def title(self) -> str:
        """`files`, `files (label mine)`, `files (labels files, mine)`."""
        if self.labels == (self.benchmark,):
            return self.benchmark
        return f"{self.benchmark} (label{'s' if len(self.labels) > 1 else ''} {', '.join(self.labels)})"

    @property
    def partial(self) -> str:
        """Why the numbers are not the benchmark's; empty where they are."""
        why = (self.record.get("protocol") or {}).get("partial")
        data = self.record.get("data") or {}
        return f"{self.title}, {data.get('file') or data.get('hub')}: {why}" if why else ""


def grouped(records: Mapping[str, Mapping[str, Any]]) -> list[Evaluation]:
    """The evaluations by label, those that differ in their label alone as one. records: by label."""
    found: dict[str, Evaluation] = {}
    for label, record in records.items():
        benchmark = record["benchmark"]
        key = files.digest([benchmark, *(record.get(part) for part in ("protocol", "metrics", "data"))])
        before = found[key].labels if key in found else ()
        found[key] = Evaluation(benchmark, (*before, label), record)
    return list(found.values())


def on_own_data(evaluations: list[Evaluation], dataset: str) -> tuple[list[Evaluation], list[Evaluation]]:
    """(those on the run's own held-out pairs, all others). dataset: the one it was trained on.

    Own pairs have the digest of the run's test pairs or, where that is not known, are no dataset that was named anew.
    """
    own = next((e.record for e in evaluations if "in_distribution" in e.labels), {})
    known = (own.get("data") or {}).get("sha256")

    def held_out(evaluation: Evaluation) -> bool:
        benchmark, data = evaluation.benchmark, evaluation.record.get("data") or {}
        if not (benchmark in names() and find(benchmark).needs_dataset) or data.get("name", dataset) != dataset:
            return False
        if known and (digests := data.get("sha256")):
            return all(known.get(split) == digest for split, digest in digests.items())
        return f"{benchmark}-{dataset}" not in evaluation.labels

    return [e for e in evaluations if held_out(e)], [e for e in evaluations if not held_out(e)]


def named(evaluations: list[Evaluation]) -> str:
    """Their labels: `a, b and c`."""
    labels = [label for evaluation in evaluations for label in evaluation.labels]
    return f"{', '.join(labels[:-1])} and {labels[-1]}" if len(labels) > 1 else "".join(labels)


def results(evaluations: list[Evaluation]) -> str:
    """Lead, headlines and folded tables, in Markdown."""
    rows = [row for evaluation in evaluations for row in _headlines(evaluation)]
    shown = {metric for _, _, metric, *_ in rows}
    notes = [
        "Brackets hold 95 % intervals over the examples of this one trained model, n is how many there are. *Length "
        "only* is a score that sees nothing but the length of a reply in characters, *random* one that sees nothing."
    ]
    if "ECE" in shown:
        notes.append(
            "The interval of an ECE lies too high and may lie above its value, for resampling adds noise to every bin."
        )
    if any("unseen" in metric for metric in shown):
        notes.append(
            "*Unseen* is the share of edited pairs of which no score moved: tokenizer or truncation dropped the edit, "
            "or, under padding, the model is right to ignore it."
        )
    partial = [f"**{cell(evaluation.partial)}.**" for evaluation in evaluations if evaluation.partial]
    header = ("benchmark", "part", "metric", "value [95 %]", "n", "length only", "random")
    folded = [_folded(evaluation) for evaluation in evaluations]
    return "\n\n".join([" ".join(notes), *partial, table(header, rows), *folded])


def _headlines(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """Rows of the headline table; a subset has none but where the benchmark declares it as a measure."""
    known = evaluation.benchmark in names()
    shown = {measure.part for measure in find(evaluation.benchmark).measures} if known else set()
    for part, values in evaluation.record["metrics"].items():
        if part.startswith("draw_") or (part.startswith(_DETAILS) and part not in shown):
            continue
        for metric in _HEADLINE:
            if values.get(metric) is None or (metric == "tie_rate" and not values[metric]):
                continue
            name = _HEADLINE[metric]
            if metric == "flip_rate" and values.get("unseen"):
                name += f" ({100 * values['unseen']:.0f} % unseen)"
            told = _interval(values, metric), _n(values), *_beside(evaluation, part, metric)
            yield evaluation.title, part, name, *told


def _folded(evaluation: Evaluation) -> str:
    """Protocol and every metric. Markdown within HTML needs the blank lines."""
    rows = [
        (part, metric, _interval(values, metric), _n(values), *_beside(evaluation, part, metric))
        for part, values in evaluation.record["metrics"].items()
        for metric in _metrics(values)
    ]
    told = table(("part", "metric", "value [95 %]", "n", "length only", "random"), rows)
    bullets = "\n".join(f"- {line}" for line in _protocol(evaluation.record))
    inner = f"{bullets}\n\n{told}" if bullets else told
    return f"<details>\n<summary>{cell(evaluation.title)}: protocol and every metric</summary>\n\n{inner}\n\n</details>"


def _protocol(record: Mapping[str, Any]) -> Iterator[str]:
    """What was judged and how, a line each."""
    protocol, data = record.get("protocol") or {}, record.get("data") or {}
    if rows := _rows(data):
        yield f"judged on: {rows}"
    for key, value in protocol.items():
        if key not in _ELSEWHERE and value not in (None, "", [], {}):
            yield f"{key.replace('_', ' ')}: {cell(public(plain(value)))}"
    values: Mapping[str, Any] = next(iter(record["metrics"].values()), {})
    if values.get("temperature") is not None:
        note = ((record.get("details") or {}).get("temperature") or {}).get("note") or protocol.get("temperature")
        yield f"temperature: {number(values['temperature'])}" + (f" ({cell(note)})" if note else "")


def _rows(data: Mapping[str, Any]) -> str:
    """The rows a benchmark judged on: files with their digest, or a dataset's splits; empty where nothing is known."""
    if "name" in data:
        counts = data["rows"] if isinstance(data["rows"], Mapping) else {data["split"]: data["rows"]}
        return f"{cell(data['name'])} ({', '.join(f'{split} {count}' for split, count in counts.items())})"
    sources = data.get("sources") or ([data] if data else [])
    return "; ".join(_source(one) for one in sources)


def _source(one: Mapping[str, Any]) -> str:
    kept = one.get("kept", one["rows"])
    count = f"{one['rows']} rows" if kept == one["rows"] else f"{kept} of {one['rows']} rows"
    if one.get("hub"):
        return f"{one['hub']}@{str(one.get('revision'))[:12]}, split {one.get('split')}, {count}"
    return f"{cell(public(one.get('file')))}, {count}, sha256 `{str(one.get('sha256'))[:12]}`"


def _metrics(values: Mapping[str, Any]) -> list[str]:
    """The names that stand for a metric, and not for the end of an interval, its half-width or a count."""
    parts = ("_lo", "_hi", "_half_width")
    beside = {f"{name}{part}" for name in values for part in parts} | {"n", *_NOT_A_ROW}
    return [name for name, value in values.items() if name not in beside and isinstance(value, int | float)]


def _interval(values: Mapping[str, Any], metric: str) -> str:
    """`value [low, high]`, or the value alone where there is no interval."""
    value, low, high = (values.get(f"{metric}{end}") for end in ("", "_lo", "_hi"))
    if value is None or low is None or high is None:
        return number(value)
    if abs(value) >= 0.001:  # an end near zero then needs no more decimals than the value
        low, high = (round(end, 3) if abs(end) < 0.001 else end for end in (low, high))
    return f"{number(value)} [{number(low)}, {number(high)}]"


def _n(values: Mapping[str, Any]) -> str:
    return f"{values['n']:.0f}" if values.get("n") is not None else ""


def _beside(evaluation: Evaluation, part: str, metric: str) -> list[str]:
    """What length alone and chance get; empty where that is not known, or in another unit."""
    baselines = (evaluation.record.get("details") or {}).get("baselines") or {}
    values = [((baselines.get(base) or {}).get(part) or {}).get(metric) for base in ("length_only", "random")]
    foreign = any(unit in metric for unit in _IN_UNITS)
    return ["" if value is None or foreign else number(value) for value in values]
