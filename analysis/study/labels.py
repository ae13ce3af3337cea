"""What the runs of a study were judged on beside their test pairs: labels, and the benchmark that each is of."""

from __future__ import annotations

from analysis.study.study import BENCHMARK, Study
from benchmarks.registry import names


def labels(study: Study) -> list[str]:
    """Every label of the study but that of the in-distribution test, in the order of the alphabet."""
    return sorted(set(study.metrics["benchmark"].unique()) - {BENCHMARK})


def labels_of(study: Study, name: str) -> list[str]:
    """Those of one benchmark."""
    return [label for label in labels(study) if benchmark(study, label) == name]


def benchmark(study: Study, label: str) -> str:
    """The protocol a label is of, by its first record; without a record, what the label begins with."""
    runs = (run for name in study.runs["run"] if label in (run := study.members[name]).metrics)
    named = next((str(r["benchmark"]) for run in runs if (r := run.record(label)).get("benchmark")), "")
    longest_first = sorted(names(), key=len, reverse=True)  # a name may begin with another
    return named or next((name for name in longest_first if label.startswith(name)), label.partition("-")[0])
