"""Win, tie and lose of policies trained on the arms' reward models, as a judge decided.

Nothing of this project writes such numbers yet. A judged downstream run is expected in metrics.json of the run whose
reward model it used, under any label:

    {"downstream-tinyllama": {"against uniform": {"win": 0.41, "tie": 0.2, "lose": 0.39, "n": 100}}}

A part is the opponent. win, tie and lose are shares of the judged prompts and sum to one, a tie being a verdict that
the judge gave or one that turned round with the order of the two replies; n is the number of prompts. The label should
name the policy and, where there are several, the judge.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.exhibits.reference import Published, beside, cited, published
from analysis.exhibits.table import Column, Table
from analysis.study.study import NothingToShow, Study
from analysis.tables.arms import OVER_SEEDS, arm_rows, column, measured, over_seeds, whole
from analysis.tables.records import judged_parts

_VERDICTS = ("win", "tie", "lose")
_COLUMNS = (
    Column("arm", "arm"),
    Column("win", "win %", ".1f", 100, interval=True),
    Column("win_published", "publ. win", always=True),
    Column("tie", "tie %", ".1f", 100, interval=True),
    Column("lose", "lose %", ".1f", 100, interval=True),
    Column("seeds", "seeds", "d"),
    Column("prompts", "prompts", ",d"),
)


def win_rates(study: Study, reference: Iterable[Published] | None = None) -> Table:
    """reference: what is published, paper_reference.yaml unless told. Raises NothingToShow where nothing was judged."""
    known = [entry for entry in (published() if reference is None else reference) if entry.table == "win_rates"]
    rows = []
    for label, part in judged_parts(study):
        for _, group in study.groups():
            found = measured(group, label)
            for _, arm, row in arm_rows(group):
                if (values := found.get((arm, part))) is None:
                    continue
                row |= {"label": label, "opponent": part, "win_published": beside(known, row, "win")}
                for verdict in _VERDICTS:
                    row |= over_seeds(verdict, column(values, verdict))
                prompts = column(values, "n")
                rows.append(row | {"seeds": len(values), "prompts": None if prompts is None else prompts.mean()})
    if not rows:
        raise NothingToShow(
            "no downstream policy was judged: no label of metrics.json has a part with win, tie and lose "
            "(analysis/tables/win_rates.py describes the form)"
        )
    frame = whole(pd.DataFrame(rows).sort_values(["dataset", "backbone"], kind="stable"), "seeds", "prompts")
    caption = (
        f"Shares of the judged prompts in %, {OVER_SEEDS}; headed by label and opponent. No value is tested, so none "
        f"is bold. {cited(known, rows)}"
    )
    by = ("dataset", "backbone", "label", "opponent")
    return Table("win_rates", "Judged downstream runs", caption, frame, _COLUMNS, by)
