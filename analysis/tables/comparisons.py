"""The declared comparisons: each difference, its interval, and what could have been found."""

from __future__ import annotations

from analysis.exhibits.table import Column, Table
from analysis.inference.comparisons import compare
from analysis.study.study import NothingToShow, Study

_COLUMNS = (
    Column("arm", "arm"),
    Column("reference", "against"),
    Column("verdict", "verdict"),
    Column("difference", "difference, points", "+.1f", 100, interval=True),
    Column("p", "p", "p"),
    Column("p_holm", "adjusted p", "p"),
    Column("detectable", "detectable, points", ".1f", 100),
    Column("bootstrap", "bootstrap interval", "+.1f", 100, interval=True),
    Column("mcnemar_p", "McNemar p", "p"),
    Column("seeds", "seeds", "d"),
    Column("examples", "pairs", ",d"),
    Column("steps", "steps", ",d"),
    Column("reference_steps", "reference's steps", ",d"),
    Column("not_compared", "not compared"),
)


def comparisons(study: Study) -> Table:
    """Raises NothingToShow where no declared pair of arms ran."""
    frame = compare(study)
    if frame.empty:
        raise NothingToShow(
            f"no declared comparison: run {study.focus} beside another arm (-m method=uniform,mars) or name focus=ARM"
        )
    family = int(frame["family"].max())
    caption = (
        "Accuracy on the main test split, arm − reference in points, on the same seeds and test pairs: mean, 95 % "
        "interval and p for new seeds and new pairs. Adjusted p: Holm's, over the study's "
        f"{family} comparison{'' if family == 1 else 's'} with a p; the verdict goes by it, and “inconclusive” is not "
        "“no difference”. Detectable: the smallest difference that a study like this finds four times in five, at the "
        "level the smallest p of the family has to pass. Beside it the percentile bootstrap's interval over seeds × "
        "pairs, too narrow for few seeds, and the exact McNemar p of the seeds' models, combined. Nothing is bold: the "
        "verdict says it."
    )
    if "own_rows" in frame:
        caption += (
            " Where every seed has test pairs of its own, a comparison takes one number a seed: interval and p are "
            "Student's t over seeds, pairs are those of a seed, and the bootstrap draws seeds."
        )
    table = frame.astype({"seeds": "Int64", "examples": "Int64"})
    return Table("comparisons", "Declared comparisons", caption, table, _COLUMNS, ("dataset", "backbone", "split"))
