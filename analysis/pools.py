"""What each arm's pool gave it: variants looked at and made, what the gates refused, rows drawn and what they cost, and
how many labels still hold.

One row an arm. Counts are summed over its runs, shares are of all rows those drew. Only planted data can know whether a
label still holds, elsewhere those cells are empty; so are those that older runs did not record. Calls, tokens and cost
have columns where an endpoint was asked, by the pool or by the writer of the semantic layer.

    python -m analysis.report study=outputs/quick   # tables/pools.csv and .md
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.results import Study

_COUNTS = ("looked_at", "made", "possible", "unchanged")
_REFUSED = "refused."
_USAGE = ("usage", "writer.usage")
_TOKENS = ("prompt_tokens", "completion_tokens")


def pool_table(study: Study) -> pd.DataFrame:
    """dataset, backbone, arm, augmenter, runs, looked_at, made, possible, unchanged, refused_…, rows, known, kept,
    true; where any run asked an endpoint, also calls, tokens, cost.

    rows: drawn synthetic pairs. known: those whose truth is known. kept: share of them, of those that inherit a label,
    on which gold says what it says of the parent. true: share whose chosen side is the better one by gold. cost: in the
    currency of the prices, empty where a part of it is not known.
    """
    paid = any(numbers(study.pools, f"{part}.calls").notna().any() for part in _USAGE)
    reasons = sorted(c for c in study.pools.columns if c.startswith(_REFUSED))
    table = []
    for _, group in study.groups():
        for arm in group.arms:
            runs = group.pools[group.pools["arm"] == arm]
            names = sorted(runs["augmenter"].dropna().unique()) if "augmenter" in runs else []
            table.append(
                {
                    **runs[["dataset", "backbone", "arm"]].iloc[0],
                    "augmenter": ", ".join(names),
                    "runs": len(runs),
                    **{name: _total(runs, name) for name in _COUNTS},
                    **{f"refused_{c.removeprefix(_REFUSED)}": _total(runs, c) for c in reasons},
                    "rows": _total(runs, "rows"),
                    "known": _total(runs, "preservation.rows"),
                    **{share: _mean(runs, f"preservation.{share}") for share in ("kept", "true")},
                    **(_paid(runs) if paid else {}),
                }
            )
    frame = pd.DataFrame(table)
    counts = (*_COUNTS, "rows", "known", "calls", "tokens")
    return frame.astype({c: "Int64" for c in frame.columns if c in counts or c.startswith("refused_")})


def changed_labels(table: pd.DataFrame) -> list[str]:
    """One line if drawn rows of any arm in `table` carry a label that no longer holds, else none."""
    changed = table[table["kept"] < 1]
    listed = [f"{arm} {_percent(1 - kept)}" for arm, kept in zip(changed["arm"], changed["kept"], strict=True)]
    return [f"share of drawn rows that changed the gold preference: {', '.join(listed)}"] if listed else []


def write(table: pd.DataFrame, directory: Path) -> None:
    """pools.csv and pools.md in `directory`, the same bytes for the same study."""
    directory.mkdir(parents=True, exist_ok=True)
    csv = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    (directory / "pools.csv").write_text(csv, encoding="utf-8", newline="\n")
    (directory / "pools.md").write_text(_markdown(table), encoding="utf-8", newline="\n")


def _markdown(table: pd.DataFrame) -> str:
    header = [
        "arm",
        "augmenter",
        "runs",
        *(c.replace("_", " ") for c in _COUNTS),
        "refused",
        "rows",
        "rows known",
        "preference kept",
        "label true",
        *(c for c in ("calls", "tokens", "cost") if c in table),
    ]
    reasons = [c for c in table.columns if c.startswith("refused_")]
    parts = ["# Pools"]
    for (dataset, backbone), rows in table.groupby(["dataset", "backbone"], sort=False):
        lines = [header, ["---"] * len(header)]
        for row in rows.to_dict("records"):
            refused = [f"{row[c]} {c.removeprefix('refused_')}" for c in reasons if not pd.isna(row[c]) and row[c]]
            counts = [_cell(row[c], "d") for c in ("runs", *_COUNTS)]
            drawn = [_cell(row[c], "d") for c in ("rows", "known")]
            shares = [_cell(row[c], ".2%").replace("%", " %") for c in ("kept", "true")]
            paid = [_cell(row[c], spec) for c, spec in (("calls", "d"), ("tokens", "d"), ("cost", ".4f")) if c in row]
            cells = [row["arm"], row["augmenter"], *counts, ", ".join(refused), *drawn, *shares, *paid]
            lines.append([cell.replace("|", "\\|") for cell in cells])
        parts += [f"## {dataset} / {backbone}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    parts.append(
        "Distinct variants, summed over an arm's runs: looked at; made now (the others were stored); as many as "
        "the whole pool would hold; equal to their source; refused by the gates. Rows are those drawn. Known on "
        "planted data only: of the rows drawn, how many keep their parent's gold preference, and in how many the "
        "chosen side is truly the better one."
        + (" Calls, tokens and cost are of the variants and rewrites made now." if "cost" in table else "")
    )
    return "\n\n".join(parts) + "\n"


def numbers(runs: pd.DataFrame, name: str) -> pd.Series:
    """[S] a column of numbers, NaN where a run lacks one."""
    return pd.to_numeric(runs[name], errors="coerce") if name in runs else pd.Series(float("nan"), runs.index)


def _total(runs: pd.DataFrame, name: str) -> int | None:
    """The sum over runs; None where no run has it."""
    column = numbers(runs, name)
    return round(column.sum()) if column.notna().any() else None


def _mean(runs: pd.DataFrame, name: str) -> float:
    """A share over all rows that the runs drew; NaN where none drew any."""
    shares, rows = numbers(runs, name), numbers(runs, "preservation.rows")
    known = shares.notna() & (rows > 0)
    return float((shares[known] * rows[known]).sum() / rows[known].sum()) if known.any() else float("nan")


def _paid(runs: pd.DataFrame) -> dict[str, float | None]:
    """Calls, tokens and cost of pool and writer together; no cost where calls were made at an unknown one."""
    used = pd.concat(
        [pd.DataFrame({key: numbers(runs, f"{part}.{key}") for key in ("calls", *_TOKENS, "cost")}) for part in _USAGE]
    )
    calls, cost = used["calls"], used["cost"]
    known = cost.notna().any() and not (cost.isna() & (calls > 0)).any()
    return {
        "calls": round(calls.sum()) if calls.notna().any() else None,
        "tokens": round(used[list(_TOKENS)].sum().sum()) if calls.notna().any() else None,
        "cost": float(cost.sum()) if known else float("nan"),
    }


def _cell(value: float | None, spec: str) -> str:
    return "" if pd.isna(value) else format(value, spec)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
