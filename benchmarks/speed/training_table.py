"""The records of `benchmarks.speed.training` as a table to be read, with what it was measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HEADS = (
    "shape",
    "work",
    "pairs a step",
    "way",
    "pairs/s",
    "min – max",
    "ours faster by",
    "tokens/s",
    "of peak",
    "memory, GiB",
    "first losses, or margin off ours",
)


def markdown(about: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """The machine in a line, why a way is missing, and a row for each record."""
    peaks = {f"{record['peak_flops'] / 1e12:.3g} TFLOP/s in {record['dtype']}" for record in records}
    trl = f"Without TRL: {about['without_trl']}.\n\n" if about["without_trl"] else ""
    head = (
        f"{about['machine']}; torch {about['torch']}, transformers {about['transformers']}; {about['steps']} steps, "
        f"medians of {about['repeats']}; matrix products reach {', '.join(sorted(peaks))}.\n\n{trl}"
    )
    lines = [_line(_HEADS), _line(["---"] * len(_HEADS)), *(_line(_row(record)) for record in records)]
    return head + "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(record: Mapping[str, Any]) -> list[str]:
    batch = record["pairs_a_step"]
    cells = [record["shape"], record["work"], "" if batch is None else str(batch), record["way"]]
    if "failed" in record:
        return [*cells, record["failed"], *[""] * (len(_HEADS) - len(cells) - 1)]
    memory, ratio = record["peak_memory_bytes"], record["ours_is_faster_by"]
    return [
        *cells,
        f"{record['pairs_per_second']:,.2f}",
        f"{record['pairs_per_second_min']:,.2f} – {record['pairs_per_second_max']:,.2f}",
        "" if record["way"] == "ours" or ratio is None else f"{ratio:.2f}",
        f"{record['tokens_per_second']:,.0f}",
        f"{100 * record['share_of_peak']:.1f} %",
        "" if memory is None else f"{memory / 2**30:.2f}",
        _checked(record),
    ]


def _checked(record: Mapping[str, Any]) -> str:
    if record.get("losses"):
        return " ".join(f"{loss:.4f}" for loss in record["losses"])
    difference = record.get("largest_difference")
    return "" if difference is None or record["way"] == "ours" else f"{difference:.1e}"
