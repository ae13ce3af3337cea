"""Arms on further benchmarks: RewardBench by section, and the headlines of everything else.

What a benchmark's numbers are called and which of them head a table is here, and nowhere else among the exhibits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from analysis.exhibits.by_arm import EACH_REPLICATE, Shares
from analysis.exhibits.exhibit import Exhibit, in_panels
from analysis.exhibits.measures import (
    OVER_REPLICATES,
    REWARD_BENCH,
    arm_rows,
    by_replicate,
    column,
    has_records,
    over_replicates,
    partial,
    values_by_arm,
    whole,
)
from analysis.exhibits.reference import Published, citation, load_published, published_value
from analysis.exhibits.table import Column, records
from analysis.inference.downstream import BENCHMARKS as DOWNSTREAM
from analysis.study.labels import benchmark, labels
from analysis.study.study import NothingToShow, Study
from benchmarks.protocol import Benchmark, Measure
from benchmarks.registry import family

_UNKNOWN = "no record: whether these are all its rows is not known"


_PUBLISHED = "reward_bench_raw"  # v2's protocol: a number of another one has nothing published to stand beside


_HEADLINE = {  # as benchmarks/card_results.py has them; the scale is 100 where a share is shown in %
    "score": ("score %", ".1f", 100.0),
    "accuracy": ("accuracy %", ".1f", 100.0),
    "macro_accuracy": ("macro accuracy %", ".1f", 100.0),
    "length_controlled_accuracy": ("length-contr. %", ".1f", 100.0),
    "worst_case_accuracy": ("worst case %", ".1f", 100.0),
    "worst_case_change": ("change, points", "+.1f", 100.0),
    "auc": ("AUC", ".3f", 1.0),
    "snr": ("SNR", ".2f", 1.0),
}


_ENDS = ("_lo", "_hi", "_half_width")


class RewardBenchTable(Exhibit):
    """RewardBench sections by arm, as in v2's table: version 1 on the split `filtered`, v2's draws, version 2.

    One section of the table a label, since the protocols weigh rows differently and their numbers do not compare. A
    file that is not the whole benchmark gives no RewardBench number, and says so beside its numbers. reference: what is
    published, paper_reference.yaml unless told.
    """

    name, title = "rewardbench", "RewardBench by arm"
    by = ("dataset", "backbone", "label")

    def __init__(self, reference: Iterable[Published] | None = None) -> None:
        known = load_published() if reference is None else reference
        self.known = [entry for entry in known if entry.table == self.name]

    def frame(self, study: Study) -> pd.DataFrame:
        rows, judged = [], family(REWARD_BENCH)
        for label in labels(study):
            protocol = benchmark(study, label)
            if protocol in judged:
                rows += _section_rows(study, label, protocol, judged[protocol].measures)
        if not rows:
            raise NothingToShow(
                "no run was judged on RewardBench (python -m benchmarks.evaluate study=DIR benchmark=reward_bench "
                "benchmark.path=filtered.parquet)"
            )
        for row in rows:
            if row["protocol"] == _PUBLISHED:
                row |= {f"{part}_published": published_value(self.known, row, part) for part in _sections()}
        return whole(pd.DataFrame(rows).sort_values(["dataset", "backbone"], kind="stable"), "replicates")

    def table_caption(self, study: Study, frame: pd.DataFrame) -> str:
        theirs = records(frame[frame["protocol"] == _PUBLISHED])
        return (
            f"Accuracy in %, {OVER_REPLICATES}; of RewardBench 2's Ties its score. Sections by the weights of the "
            "protocol that heads them; overall is the mean of its four sections (Core) or six subsets, absent "
            "unless all are there. Numbers with a remark in the last column are of a part of the benchmark and are no "
            f"RewardBench numbers. No value is tested. {citation(self.known, theirs)}"
        )

    def table_columns(self, study: Study, frame: pd.DataFrame) -> tuple[Column, ...]:
        columns = [Column("arm", "arm")]
        for part in _sections():
            head = "overall (Core) %" if part == "overall" else f"{part} %"
            columns.append(Column(part, head, ".1f", 100, interval=True))
            columns.append(Column(f"{part}_published", f"publ. {part}", always=part == "overall"))
        return (*columns, Column("replicates", "replicates", "d"), Column("not_the_benchmark", "not the benchmark"))


def _sections() -> tuple[str, ...]:
    """The sections of all protocols, `overall` last; the Safety of both versions is one."""
    heads = {m.part: m.part.removeprefix("subset/") for one in family(REWARD_BENCH).values() for m in one.measures}
    heads["overall"] = heads.pop("overall")
    return tuple(dict.fromkeys(heads.values()))


def _section_rows(study: Study, label: str, protocol: str, measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """A row for each arm that was judged on a label."""
    rows = []
    for _, group in study.groups():
        found = values_by_arm(group, label)
        for _, arm, row in arm_rows(group):
            of_arm = [m for m in measures if (arm, m.part) in found]
            values = {m.part.removeprefix("subset/"): (found[arm, m.part], m.metric) for m in of_arm}
            if not values:
                continue
            row |= {"label": label, "protocol": protocol}
            for name in _sections():
                row |= over_replicates(name, column(*values.get(name, (None, ""))), "accuracy")
            replicates = max(len(of_part) for of_part, _ in values.values())
            runs = group.of(arm)
            why = partial(runs, label) or ("" if has_records(runs, label) else _UNKNOWN)
            rows.append(row | {"replicates": replicates, "not_the_benchmark": why})
    return rows


class Sections(Shares):
    """A row of panels per dataset × backbone × RewardBench protocol, a panel per section."""

    name, title, wide = "sections", "RewardBench by section", 1.7
    see = "How the models do on pairs from elsewhere; further right is better."
    caption = f"{EACH_REPLICATE} Ties lose, officially. Chance is ½ for pairs and ¼ for the best of four."

    def frame(self, study: Study) -> pd.DataFrame:
        parts: list[tuple[str, pd.DataFrame]] = []
        row = 0
        for title, group in study.groups():
            for label, judged in family(REWARD_BENCH).items():
                own = _section_panels(group, title, label, judged)
                parts += [(heading, rows.assign(row=row)) for heading, rows in own]
                row += bool(own)
        if not parts:
            raise NothingToShow(
                "no run was judged on RewardBench (python -m benchmarks.evaluate study=DIR benchmark=reward_bench)"
            )
        return in_panels(parts)


def _section_panels(group: Study, title: str, label: str, judged: type[Benchmark]) -> list[tuple[str, pd.DataFrame]]:
    """(title, rows) of the panels of a protocol; none where the group was not judged on it."""
    if label not in set(group.metrics["benchmark"]):
        return []
    incomplete = ", not all rows" if partial([run for arm in group.arms for run in group.of(arm)], label) else ""
    found = []
    for measure in judged.measures:
        chance = float("nan") if measure.chance is None else measure.chance
        rows = by_replicate(group, measure.part, measure.metric, label).assign(label=measure.metric, chance=chance)
        if rows["value"].notna().any():
            found.append((f"{title}, {label}{incomplete}: {measure.part.removeprefix('subset/')}", rows))
    return found


class Further(Exhibit):
    """The headlines of every further evaluation by arm: robustness, local files, and whatever a plug-in measured.

    A section a label. Shown are known headline metrics of its main part, and how often each edit turned an order round;
    of a benchmark nobody here knows, every metric of that part. All parts with all metrics are in results.parquet.
    """

    name, title = "benchmarks", "Further evaluations by arm"
    by = ("dataset", "backbone", "label")
    caption = (
        f"{OVER_REPLICATES[0].upper()}{OVER_REPLICATES[1:]}; a section a label of metrics.json. Worst case: right as "
        "it is and under every edit that keeps the label, and what that changes. Flips: how often an edit turned an "
        "order round, of the pairs whose text it changed. The intervals of flips are in the csv. No value is tested."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        elsewhere = (*family(REWARD_BENCH), *DOWNSTREAM)
        others = [label for label in labels(study) if benchmark(study, label) not in elsewhere]
        rows = []
        for label in others:
            for _, group in study.groups():
                found = values_by_arm(group, label)
                for _, arm, row in arm_rows(group):
                    parts = {part: values for (of_arm, part), values in found.items() if of_arm == arm}
                    if parts:
                        replicates = max(len(values) for values in parts.values())
                        row |= {
                            "label": label,
                            "replicates": replicates,
                            "not_the_benchmark": partial(group.of(arm), label),
                        }
                        metrics = _headline_values(parts)
                        rows.append(
                            row | {k: v for key, of in metrics.items() for k, v in over_replicates(key, of).items()}
                        )
        if not rows:
            raise NothingToShow(
                "the runs were judged on their own test splits only (python -m benchmarks.evaluate study=DIR "
                "benchmark=robustness, or benchmark=files benchmark.path=F)"
            )
        return whole(pd.DataFrame(rows).sort_values(["dataset", "backbone"], kind="stable"), "replicates")

    def table_columns(self, study: Study, frame: pd.DataFrame) -> tuple[Column, ...]:
        own = {"dataset", "backbone", "arm", "label", "replicates", "not_the_benchmark"}
        shown = dict.fromkeys([*_HEADLINE, *(k for k in map(str, frame) if k not in own and f"{k}_lo" in frame)])
        columns = [Column("arm", "arm")]
        for metric in shown:
            flips = metric.removesuffix(" flip_rate")
            head, spec, scale = _HEADLINE.get(metric, (metric, ".3g", 1.0))
            if flips != metric:
                columns.append(Column(metric, f"flips: {flips} %", ".1f", 100))
            else:
                columns.append(Column(metric, head, spec, scale, interval=True))
        return (*columns, Column("replicates", "replicates", "d"), Column("not_the_benchmark", "remark"))


def _headline_values(parts: dict[str, pd.DataFrame]) -> dict[str, pd.Series]:
    """{metric: [S] by seed} of the main part's headlines, and of the other parts' flips, as `PART flip_rate`."""
    main = parts["overall"] if "overall" in parts else next(iter(parts.values()))
    names = [metric for metric in _HEADLINE if metric in main]
    found = {
        metric: main[metric]
        for metric in names or sorted({str(name) for name in main} - {"n"})
        if not metric.endswith(_ENDS)
    }
    flips = {f"{part} flip_rate": column(values, "flip_rate") for part, values in parts.items()}
    return found | {name: values for name, values in flips.items() if values is not None}
