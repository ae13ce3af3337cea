"""The map of `analysis.inference.regimes` as a table: a row for each kind of data, of variants and arm."""

from __future__ import annotations

from analysis.exhibits.table import Column, Table
from analysis.inference.regimes import GOLD, regimes
from analysis.inference.stats import ALPHA
from analysis.study.study import Study


def table(study: Study) -> Table:
    """Raises NothingToShow for a study of one kind of data and variants."""
    frame = regimes(study)
    tested = int(frame["p"].notna().sum())
    gold = frame["measure"].eq(GOLD)
    right = "agreement with the true reward" if gold.all() else "label accuracy"
    if gold.any() and not gold.all():
        right = "agreement with the true reward where it is known, else label accuracy"
    counts = frame["outcome"].value_counts()
    low, better = frame["p"] < ALPHA, frame["difference"] > 0
    caption = (
        f"Arm − {study.reference} of the same data and variants, at equal steps, on the same seeds and test pairs: "
        f"{right} on the main test split, in points, with a 95 % interval and p for new seeds and new pairs. Adjusted "
        f"p: Holm's, over the {tested} differences of the map; win and loss go by it, and a tie is not “no "
        f"difference”. {counts.get('win', 0)} wins, {counts.get('tie', 0)} ties, {counts.get('loss', 0)} losses; at an "
        f"unadjusted p below .05 {int((low & better).sum())} differences are above 0 and {int((low & ~better).sum())} "
        "below, which is what to look at for whether an arm is ever worse."
    )
    columns = (
        Column("dataset", "data"),
        Column("variants", "variants"),
        Column("strategy", "arm"),
        Column("outcome", "outcome"),
        Column("difference", f"− {study.reference}, points", "+.1f", 100, interval=True),
        Column("p", "p", "p"),
        Column("p_holm", "adjusted p", "p"),
        Column("value", "accuracy %", ".1f", 100),
        Column("reference_value", f"{study.reference} %", ".1f", 100),
        Column("seeds", "seeds", "d"),
        Column("examples", "pairs", ",d"),
        Column("not_compared", "not compared"),
    )
    return Table("regimes", "Where arms win, tie and lose", caption, frame, columns, ("backbone",))
