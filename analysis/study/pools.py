"""What each arm's pool gave it: variants looked at and made, what the gates refused, rows drawn and what they cost, and
how many labels still hold.

Numbers only: `analysis.exhibits.runs` shows them, the ranking warns of them. They stand apart from the tables because
what may be compared hangs on pools too, and the tables hang on that. Only planted data can know whether a label still
holds; elsewhere that is unknown.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.study.study import Study, once_a_study

COUNTS = ("looked_at", "made", "possible", "unchanged")
REASONS = ("unchanged_by", "refused")  # counts by reason
_USAGE = ("usage", "writer.usage")
_TOKENS = ("prompt_tokens", "completion_tokens")


@once_a_study
def pool_table(study: Study) -> pd.DataFrame:
    """dataset, backbone, arm, augmenter, runs, looked_at, made, possible, unchanged, unchanged_by_…, refused_…, rows,
    repeats, known, kept, true; where any run asked an endpoint, also calls, tokens, cost.

    One row an arm; counts are summed over its runs, shares are of all rows those drew. rows: drawn synthetic pairs.
    repeats: those that say what their base pair says, because no variant differs. known: those whose truth is known.
    kept: share of them, of those that inherit a label, on which gold says what it says of the parent. true: share whose
    chosen side is the better one by gold. cost: in the currency of the prices, NaN where a part of it is not known.
    """
    asked = any_paid(study)
    reasons = {
        f"{what}_{column.removeprefix(f'{what}.')}": column
        for what in REASONS
        for column in sorted(study.pools.columns)
        if column.startswith(f"{what}.")
    }
    parts = ("preservation.rows", "preservation.kept", "preservation.true")
    counted = [*COUNTS, *reasons.values(), "rows", "repeats", *parts]
    named = [
        c for c in map(str, study.pools) if c in ("dataset", "backbone", "arm", "augmenter") or c.startswith(_USAGE)
    ]
    table = []
    for _, group in study.groups():
        values = {name: numbers(group.pools, name).to_numpy(float) for name in counted}
        by_arm, plain = group.pools.groupby("arm").indices, group.pools[named]
        for arm in group.arms:
            runs, of_arm = plain.iloc[by_arm[arm]], {name: of[by_arm[arm]] for name, of in values.items()}
            names = sorted(runs["augmenter"].dropna().unique()) if "augmenter" in runs else []
            table.append(
                {
                    **runs[["dataset", "backbone", "arm"]].iloc[0],
                    "augmenter": ", ".join(names),
                    "runs": len(runs),
                    **{name: _total(of_arm[name]) for name in COUNTS},
                    **{name: _total(of_arm[column]) for name, column in reasons.items()},
                    "rows": _total(of_arm["rows"]),
                    "repeats": _total(of_arm["repeats"]),
                    "known": _total(of_arm["preservation.rows"]),
                    **{s: _mean(of_arm[f"preservation.{s}"], of_arm["preservation.rows"]) for s in ("kept", "true")},
                    **(paid(runs) if asked else {}),
                }
            )
    frame = pd.DataFrame(table)
    counts = {*COUNTS, *reasons, "rows", "repeats", "known", "calls", "tokens"}
    return frame.astype({c: "Int64" for c in frame.columns if c in counts})


def by_reason(table: pd.DataFrame, what: str) -> list[str]:
    """[arms] the counts of `pool_table`'s columns `what`_…, as `3 blank, 5 too long`."""
    columns = [c for c in table.columns if c.startswith(f"{what}_")]
    return [
        ", ".join(f"{row[c]} {c.removeprefix(f'{what}_')}" for c in columns if not pd.isna(row[c]) and row[c])
        for row in table.to_dict("records")
    ]


def changed_labels(table: pd.DataFrame) -> list[str]:
    """One line if drawn rows of any arm in `table` carry a label that no longer holds, else none."""
    changed = table[table["kept"] < 1]
    listed = [f"{arm} {_percent(1 - kept)}" for arm, kept in zip(changed["arm"], changed["kept"], strict=True)]
    return [f"share of drawn rows that changed the gold preference: {', '.join(listed)}"] if listed else []


def numbers(runs: pd.DataFrame, name: str) -> pd.Series:
    """[S] a column of numbers, NaN where a run lacks one."""
    if name not in runs:
        return pd.Series(float("nan"), runs.index)
    found = pd.to_numeric(runs[name], errors="coerce")
    return found.where(np.isfinite(found)) if found.dtype.kind == "f" else found  # somebody may have stated infinity


def any_paid(study: Study) -> bool:
    """Whether any run asked an endpoint, for its pool or for the writer of the semantic layer."""
    return any(numbers(study.pools, f"{part}.calls").notna().any() for part in _USAGE)


def paid(runs: pd.DataFrame) -> dict[str, float]:
    """calls, tokens and cost of pool and writer together, NaN where unknown: calls at no price have no cost."""
    used = {
        key: np.concatenate([numbers(runs, f"{part}.{key}").to_numpy(float) for part in _USAGE])
        for key in ("calls", *_TOKENS, "cost")
    }
    calls, cost = used["calls"], used["cost"]
    asked, priced = ~np.isnan(calls), ~np.isnan(cost)
    known = priced.any() and not (~priced & (calls > 0)).any()
    return {
        "calls": float(calls[asked].sum()) if asked.any() else float("nan"),
        "tokens": float(sum(np.nansum(used[key]) for key in _TOKENS)) if asked.any() else float("nan"),
        "cost": float(cost[priced].sum()) if known else float("nan"),
    }


def _total(counts: np.ndarray) -> int | None:
    """The sum over runs [S]; None where no run has it."""
    known = counts[~np.isnan(counts)]
    return round(known.sum()) if len(known) else None


def _mean(shares: np.ndarray, rows: np.ndarray) -> float:
    """A share over all rows that the runs [S] drew; NaN where none drew any."""
    known = ~np.isnan(shares) & (rows > 0)
    return float((shares[known] * rows[known]).sum() / rows[known].sum()) if known.any() else float("nan")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
