"""What else than its own test splits a study's runs were judged on: labels of metrics.json, and their records.

The record under evaluations/ says which protocol a label is of and whether the rows were all of it; runs that came
through W&B have none, and their label alone has to do.
"""

from __future__ import annotations

from analysis.study.study import BENCHMARK, Run, Study
from benchmarks.choices import names

REWARD_BENCH = "RewardBench"  # the family of benchmarks that share a table and a figure
_JUDGED = {"win", "tie", "lose"}


def labels(study: Study) -> list[str]:
    """Every label of the study but that of the in-distribution test, in the order of the alphabet."""
    return sorted(set(study.metrics["benchmark"]) - {BENCHMARK})


def benchmark(study: Study, label: str) -> str:
    """The protocol a label is of, by its first record; without a record, what the label begins with."""
    named = next((str(r["benchmark"]) for run in _with(study, label) if (r := run.record(label)).get("benchmark")), "")
    longest_first = sorted(names(), key=len, reverse=True)  # a name may begin with another
    return named or next((name for name in longest_first if label.startswith(name)), label.partition("-")[0])


def partial(runs: list[Run], label: str) -> str:
    """Why numbers of these runs are not the benchmark's, in a line; empty where no record says so."""
    protocols = [run.record(label).get("protocol") for run in runs if label in run.metrics]
    why = [str(protocol["partial"]) for protocol in protocols if isinstance(protocol, dict) and protocol.get("partial")]
    return "; ".join(dict.fromkeys(why))


def recorded(runs: list[Run], label: str) -> bool:
    """Whether every number of these runs under a label has its record."""
    return all(run.record(label) for run in runs if label in run.metrics)


def judged_parts(study: Study) -> list[tuple[str, str]]:
    """(label, part) of every part that has win, tie and lose."""
    m = study.metrics
    counted = m[m["metric"].isin(_JUDGED)].groupby(["benchmark", "split"], sort=False)["metric"].nunique()
    return [(str(label), str(part)) for label, part in counted[counted == len(_JUDGED)].index]


def _with(study: Study, label: str) -> list[Run]:
    return [run for name in study.runs["run"] if label in (run := study.members[name]).metrics]
