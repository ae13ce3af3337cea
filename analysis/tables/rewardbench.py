"""RewardBench sections by arm, as in v2's table: version 1 on the split `filtered`, v2's draws from `raw`, version 2.

One section of the table a label, since the protocols weigh rows differently and their numbers do not compare. A file
that is not the whole benchmark gives no RewardBench number, and says so beside its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from analysis.exhibits.reference import Published, beside, cited, published
from analysis.exhibits.table import Column, Table
from analysis.study.study import NothingToShow, Study
from analysis.tables.arms import OVER_SEEDS, arm_rows, column, measured, over_seeds, whole
from analysis.tables.records import REWARD_BENCH, benchmark, labels, partial, recorded
from benchmarks.choices import family
from benchmarks.protocol import Measure

_UNKNOWN = "no record: whether these are all its rows is not known"
_PUBLISHED = "reward_bench_raw"  # v2's protocol: a number of another one has nothing published to stand beside


def rewardbench(study: Study, reference: Iterable[Published] | None = None) -> Table:
    """reference: what is published, paper_reference.yaml unless told. Raises NothingToShow where nothing was judged."""
    known = [entry for entry in (published() if reference is None else reference) if entry.table == "rewardbench"]
    rows, judged = [], family(REWARD_BENCH)
    heads = {m.part: m.part.removeprefix("subset/") for one in judged.values() for m in one.measures}
    heads["overall"] = heads.pop("overall")  # the last column
    shown = tuple(dict.fromkeys(heads.values()))  # the Safety of both versions is one column
    for label in labels(study):
        protocol = benchmark(study, label)
        if protocol in judged:
            rows += _rows(study, label, protocol, judged[protocol].measures, shown)
    if not rows:
        raise NothingToShow(
            "no run was judged on RewardBench (python -m benchmarks.evaluate study=DIR benchmark=reward_bench "
            "benchmark.path=filtered.parquet)"
        )
    theirs = [row for row in rows if row["protocol"] == _PUBLISHED]
    for row in theirs:
        row |= {f"{part}_published": beside(known, row, part) for part in shown}
    columns = [Column("arm", "arm")]
    for part in shown:
        head = "overall (Core) %" if part == "overall" else f"{part} %"
        columns.append(Column(part, head, ".1f", 100, interval=True))
        columns.append(Column(f"{part}_published", f"publ. {part}", always=part == "overall"))
    columns += [Column("seeds", "seeds", "d"), Column("not_the_benchmark", "not the benchmark")]
    caption = (
        f"Accuracy in %, {OVER_SEEDS}; of RewardBench 2's Ties its score. Sections by the weights of the protocol that "
        "heads them; overall is the mean of its four sections (Core) or six subsets, absent unless all are there. "
        "Numbers with a remark in the last column are of a part of the benchmark and are no RewardBench numbers. No "
        f"value is tested, so none is bold. {cited(known, theirs)}"
    )
    frame = whole(pd.DataFrame(rows).sort_values(["dataset", "backbone"], kind="stable"), "seeds")
    by = ("dataset", "backbone", "label")
    return Table("rewardbench", "RewardBench by arm", caption, frame, tuple(columns), by)


def _rows(
    study: Study, label: str, protocol: str, measures: Sequence[Measure], shown: Sequence[str]
) -> list[dict[str, object]]:
    """A row for each arm that was judged on a label."""
    rows = []
    for _, group in study.groups():
        found = measured(group, label)
        for _, arm, row in arm_rows(group):
            of_arm = [m for m in measures if (arm, m.part) in found]
            values = {m.part.removeprefix("subset/"): (found[arm, m.part], m.metric) for m in of_arm}
            if not values:
                continue
            row |= {"label": label, "protocol": protocol}
            for name in shown:
                row |= over_seeds(name, column(*values.get(name, (None, ""))), "accuracy")
            seeds = max(len(of_part) for of_part, _ in values.values())
            runs = group.of(arm)
            why = partial(runs, label) or ("" if recorded(runs, label) else _UNKNOWN)
            rows.append(row | {"seeds": seeds, "not_the_benchmark": why})
    return rows
