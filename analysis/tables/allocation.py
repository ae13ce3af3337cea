"""Where each round spent its budget: the first thing to look at when two arms tie.

With small margins or a small τ the budgets of MARS are those of stratified sampling, and no accuracy can tell the two
apart (protocol.md, section 2). Steering says in how many runs any pair got more than one row above or below B/N.
"""

from __future__ import annotations

import pandas as pd

from analysis.exhibits.table import Column, Table
from analysis.study.study import NothingToShow, Study
from analysis.tables.arms import arm_rows

_BUDGETS = (
    Column("budget_min", "least", ".1f"),
    Column("budget_max", "most", ".1f"),
    Column("share_none", "none %", ".1f", 100),
    Column("top_decile_share", "top tenth gets %", ".1f", 100),
    Column("effective_pairs", "effective pairs", ".0f"),
    Column("steering", "steering %", ".0f", 100),
)
_MARGINS = (
    Column("margin_mean", "margin", ".3f"),
    Column("margin_sd", "sd", ".3f"),
    *(Column(f"margin_q{p:02d}", f"{p} %", ".3f") for p in (5, 25, 50, 75, 95)),
    Column("margin_negative_share", "mis-ranked %", ".1f", 100),
)


def allocation(study: Study) -> Table:
    """Raises NothingToShow where no arm drew rows or took margins."""
    names = [c.key for c in (*_BUDGETS, *_MARGINS) if c.key in study.rounds]
    parts = []
    for group, arm, row in arm_rows(study):
        rounds = group.rounds[group.rounds["arm"] == arm].dropna(subset=names, how="all")
        if names and len(rounds):
            by_round = rounds.groupby("round")
            means = by_round[names].mean().assign(seeds=by_round["seed"].nunique()).reset_index()
            parts.append(means.assign(**row))
    if not parts:
        raise NothingToShow("no arm drew rows or took margins (method=uniform draws, method=mars does both)")
    caption = (
        "Of each round, mean over seeds; only where rows were drawn or margins taken. Rows a base pair got, least "
        "and most; share of pairs with none; share of the rows that the tenth with most got (10 if all got as many); "
        "effective pairs: exp of the entropy of the shares; steering: share of the runs in which any pair got more "
        "than one row above or below the mean, without which this is stratified sampling. Margins of the base pairs as "
        "the round began: mean, population sd, quantiles, and the share below zero."
    )
    frame = pd.concat(parts, ignore_index=True)
    frame = frame[["dataset", "backbone", "arm", "round", "seeds", *names]]
    columns = (Column("arm", "arm"), Column("round", "round", "d"), Column("seeds", "seeds", "d"), *_BUDGETS, *_MARGINS)
    return Table("allocation", "Budgets and margins by round", caption, frame, columns)
