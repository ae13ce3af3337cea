"""The headlines of every further evaluation by arm: robustness, local files, and whatever a plug-in measured.

A section a label. Shown are known headline metrics of its main part, and how often each edit turned an order round; of
a benchmark nobody here knows, every metric of that part. All parts with all metrics are in results.parquet.
"""

from __future__ import annotations

import pandas as pd

from analysis.exhibits.table import Column, Table
from analysis.study.study import NothingToShow, Study
from analysis.tables.arms import OVER_SEEDS, arm_rows, column, measured, over_seeds, whole
from analysis.tables.records import REWARD_BENCH, benchmark, judged_parts, labels, partial
from benchmarks.choices import family

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


def further(study: Study) -> Table:
    """Raises NothingToShow where the runs were judged on nothing further."""
    judged, elsewhere = {label for label, _ in judged_parts(study)}, family(REWARD_BENCH)
    rows, shown = [], dict.fromkeys(_HEADLINE)
    for label in labels(study):
        if label in judged or benchmark(study, label) in elsewhere:
            continue
        for _, group in study.groups():
            found = measured(group, label)
            for _, arm, row in arm_rows(group):
                parts = {part: values for (of_arm, part), values in found.items() if of_arm == arm}
                if parts:
                    metrics = _metrics(parts)
                    shown |= dict.fromkeys(metrics)
                    seeds = max(len(values) for values in parts.values())
                    row |= {"label": label, "seeds": seeds, "not_the_benchmark": partial(group.of(arm), label)}
                    rows.append(row | {k: v for name, of in metrics.items() for k, v in over_seeds(name, of).items()})
    if not rows:
        raise NothingToShow(
            "the runs were judged on their own test splits only (python -m benchmarks.evaluate study=DIR "
            "benchmark=robustness, or benchmark=files benchmark.path=F)"
        )
    return _table(rows, list(shown))


def _table(rows: list[dict[str, object]], shown: list[str]) -> Table:
    columns = [Column("arm", "arm")]
    for metric in shown:
        flips = metric.removesuffix(" flip_rate")
        head, spec, scale = _HEADLINE.get(metric, (metric, ".3g", 1.0))
        if flips != metric:
            columns.append(Column(metric, f"flips: {flips} %", ".1f", 100))
        else:
            columns.append(Column(metric, head, spec, scale, interval=True))
    columns += [Column("seeds", "seeds", "d"), Column("not_the_benchmark", "remark")]
    caption = (
        f"{OVER_SEEDS[0].upper()}{OVER_SEEDS[1:]}; a section a label of metrics.json. Worst case: right as it is and "
        "under every edit that keeps the label, and what that changes. Flips: how often an edit turned an order round, "
        "of the pairs whose text it changed. The intervals of flips are in the csv. No value is tested, so "
        "none is bold."
    )
    frame = whole(pd.DataFrame(rows).sort_values(["dataset", "backbone"], kind="stable"), "seeds")
    return Table(
        "benchmarks", "Further evaluations by arm", caption, frame, tuple(columns), ("dataset", "backbone", "label")
    )


def _metrics(parts: dict[str, pd.DataFrame]) -> dict[str, pd.Series]:
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
