"""Every pair of replies shown to a judge in both orders, and what it said: one table, a row for each showing.

    table = verdicts(judge, comparisons)     # `COLUMNS`
    Units.of(table)                          # for the arithmetic

A pair that needs no judge (`Comparison.ruled`) has its two rows too, with the verdict and without a `said`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmarks.judges.generations import Comparison
from benchmarks.judges.judge import Answer, Judge, Showing

RECORD, VERDICTS = "judgement.json", "verdicts.parquet"  # the files of one judge's: its record, and this table
COLUMNS = {
    "replicate": "which pair of files, from 0",
    "prompt": "16 hex digits of the prompt",
    "occurrence": "from 0, of a prompt that repeats",
    "order": "ours_first or theirs_first",
    "said": "what the judge said of what it was shown: A (the first), B, tie, unparsable; null where it was not asked",
    "verdict": "the order undone: ours, theirs, tie, unparsable",
    "reason": "why a verdict is unparsable, or why no judge was asked (identical, empty)",
    "reply": "the judge's own words, or scores",
    "model": "what answered, dated where the endpoint says so",
    "wording": "the version of the question",
    "date": "when it answered, UTC",
    "prompt_tokens": "of the question, where counted",
    "completion_tokens": "of the answer, where counted",
    "ours_length": "characters of ours",
    "theirs_length": "characters of theirs",
}
ORDERS = ("ours_first", "theirs_first")


def showings(comparisons: Sequence[Comparison]) -> list[Showing]:
    """Those that a judge has to see: two for each pair, ours shown first in the first."""
    return [showing for one in comparisons if not one.ruled for showing in both_orders(one)]


def both_orders(one: Comparison) -> tuple[Showing, Showing]:
    """The pair with ours first, and with theirs first."""
    return Showing(one.prompt, one.ours, one.theirs, one.id), Showing(one.prompt, one.theirs, one.ours, one.id)


def verdicts(judge: Judge, comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """`COLUMNS`, two rows a pair in the order of `comparisons`. Raises UserError as the judge does."""
    answers = iter(judge.ask(showings(comparisons)))
    rows = []
    for one in comparisons:
        for order in ORDERS:
            answer = _ruling(one) if one.ruled else next(answers)
            rows.append(_row(one, order, answer, judge.wording))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"said": "string", "prompt_tokens": "Int64", "completion_tokens": "Int64"})


def undone(said: str, order: str) -> str:
    """The verdict behind what was said of replies shown in `order`: ours, theirs, tie or unparsable."""
    if said not in ("A", "B"):
        return said
    return "ours" if (said == "A") == (order == "ours_first") else "theirs"


def _ruling(one: Comparison) -> Answer:
    return Answer("", reason=one.ruled)


def _row(one: Comparison, order: str, answer: Answer, wording: str) -> dict[str, object]:
    if one.ruled:
        verdict = "tie" if one.ruled == "identical" else "ours" if one.ours.strip() else "theirs"
    else:
        verdict = undone(answer.said, order)
    return {
        "replicate": one.replicate,
        "prompt": one.prompt_id,
        "occurrence": one.occurrence,
        "order": order,
        "said": answer.said or None,
        "verdict": verdict,
        "reason": answer.reason,
        "reply": answer.reply,
        "model": answer.model,
        "wording": wording if answer.said else "",
        "date": answer.date,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "ours_length": len(one.ours),
        "theirs_length": len(one.theirs),
    }
