"""What each arm's pool gave it (`analysis.study.pools` has the numbers and says what they mean)."""

from __future__ import annotations

import pandas as pd

from analysis.exhibits.table import Column, Table
from analysis.study.pools import pool_table
from analysis.study.study import NothingToShow, Study

_COLUMNS = (
    Column("arm", "arm"),
    Column("augmenter", "augmenter"),
    Column("runs", "runs", "d"),
    Column("looked_at", "looked at", ",d"),
    Column("made", "made", ",d"),
    Column("possible", "possible", ",d"),
    Column("unchanged", "unchanged", ",d"),
    Column("refused", "refused"),
    Column("rows", "rows", ",d"),
    Column("known", "rows known", ",d"),
    Column("kept", "preference kept %", ".2f", 100),
    Column("true", "label true %", ".2f", 100),
    Column("calls", "calls", ",d"),
    Column("tokens", "tokens", ",d"),
    Column("cost", "cost", ".4f"),
)


def pools(study: Study) -> Table:
    """Raises NothingToShow where no run recorded its pool."""
    frame = pool_table(study)
    if frame[["looked_at", "rows"]].isna().all(axis=None):
        raise NothingToShow("no run recorded its pool (runs of this version do; force=true runs older ones again)")
    reasons = [c for c in frame.columns if c.startswith("refused_")]
    said = [
        ", ".join(f"{row[c]} {c.removeprefix('refused_')}" for c in reasons if not pd.isna(row[c]) and row[c])
        for row in frame.to_dict("records")
    ]
    caption = (
        "Distinct variants, summed over an arm's runs: looked at; made now (the others were stored); as many as the "
        "whole pool would hold; equal to their source; refused by the gates. Rows are those drawn. Known on planted "
        "data only: of the rows drawn, how many keep their parent's gold preference, and in how many the chosen side "
        "is truly the better one." + (" Calls, tokens and cost are of what was made now." if "cost" in frame else "")
    )
    return Table("pools", "Pools by arm", caption, frame.assign(refused=said), _COLUMNS)
