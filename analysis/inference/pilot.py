"""How much a replicate's difference varies: seen in a pilot study, or measured on this project's own studies before.

`measured.yaml` beside this file keeps the second kind, so that a first plan needs no run. Its rows are printed by

    python -m analysis.inference.pilot outputs/settle

A plan is made with the median of the comparisons' spreads, and with the widest.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from analysis.inference.comparisons import compare
from analysis.inference.design import design
from analysis.inference.difference import Draws, Spread
from analysis.inference.pairing import ENDPOINTS, paired_difference
from analysis.inference.power import of_differences, predicted
from analysis.study.loading import load
from analysis.study.study import Study
from mars.config import UserError

MEASURED = Path(__file__).with_name("measured.yaml")


class Named(NamedTuple):
    """One comparison's spread. name: `ARM − REFERENCE`."""

    name: str
    spread: Spread


Spreads = Mapping[str, Sequence[Named]]  # by endpoint, the widest last


def of_study(study: Study) -> Spreads:
    """The spreads of a study's comparisons.

    Raises UserError for a study without comparisons, or with one replicate.
    """
    groups = dict(study.groups())
    table = compare(study)
    found: dict[str, list[Named]] = {}
    for endpoint in ENDPOINTS:
        for row in table[table["endpoint"] == endpoint.metric].to_dict("records"):
            group = groups[f"{row['dataset']} / {row['backbone']}"]
            if row["not_compared"] and not row["replicates"] >= 2:
                continue
            ours, theirs = (group.pairs(row[arm], row["split"]) for arm in ("arm", "reference"))
            pair = paired_difference(ours, theirs, endpoint, design(group).overlap)
            draws = pair.result.spread.draws if pair.result.spread else Draws()
            spread = of_differences(pair.differences, pair.own_rows, draws)
            if spread:
                found.setdefault(endpoint.metric, []).append(Named(f"{row['arm']} − {row['reference']}", spread))
    if len(found) < len(ENDPOINTS):
        raise UserError(f"pilot: {study.name}: {_why_none(study, table['not_compared'].tolist())}")
    return {endpoint: _by_width(named) for endpoint, named in found.items()}


def _why_none(study: Study, reasons: Sequence[str]) -> str:
    if not reasons:
        return f"no comparison in it ({study.focus} beside another arm makes one; arms: {', '.join(study.arms)})"
    if study.runs["replicate"].nunique() < 2:
        return "one replicate only, which shows no spread (run it with replicate=0,1,2 or more)"
    return f"no comparison with a spread in it ({'; '.join(dict.fromkeys(filter(None, reasons)))})"


def _by_width(named: Sequence[Named]) -> list[Named]:
    """By what varies between replicates of as many examples as the first has."""
    examples = named[0].spread.examples
    return sorted(named, key=lambda one: predicted(one.spread, 1, examples).se)


def median_and_widest(named: Sequence[Named]) -> tuple[Named, Named]:
    """Of comparisons in the order of their width; of an even number the first of the two in the middle."""
    return named[(len(named) - 1) // 2], named[-1]


# ---- measured


@functools.cache
def _rows() -> list[dict[str, Any]]:
    return list(yaml.safe_load(MEASURED.read_text(encoding="utf-8")))


def measured(dataset: str, backbone: str, train: str) -> tuple[Spreads, dict[str, Any]]:
    """The spreads that were measured with these, and the row that says how: its size, date and command.

    Raises UserError where nothing was measured.
    """
    asked = {"dataset": dataset, "backbone": backbone, "train": train}
    rows = [row for row in _rows() if asked.items() <= row.items()]
    if not rows:
        known = ", ".join(dict.fromkeys(f"{r['dataset']} / {r['backbone']} / {r['train']}" for r in _rows()))
        raise UserError(
            f"pilot: nothing was measured of {dataset} / {backbone} / {train} (run two replicates or more and give "
            f"their directory as pilot=DIR; measured: {known})"
        )
    spreads = {row["endpoint"]: [_named(name, numbers, row) for name, numbers in row["sd"].items()] for row in rows}
    return {endpoint: _by_width(named) for endpoint, named in spreads.items()}, rows[0]


def _named(name: str, sd: Mapping[str, float], row: Mapping[str, Any]) -> Named:
    """The mean squares behind the standard deviations of a row's entry (`as_rows`)."""
    replicates, examples = row["replicates"], row["test_pairs"]
    between, rest = examples * sd["observed"] ** 2, examples * sd["pairs"] ** 2
    draws = Draws(row.get("overlap", 0.0), sd.get("seeds", 0.0) ** 2, row.get("seeds_df", 0))
    return Named(
        name, Spread(replicates, examples, between, rest + replicates * examples * sd["shared"] ** 2, rest, draws)
    )


def as_rows(spreads: Spreads) -> list[dict[str, Any]]:
    """What `measured.yaml` keeps of a study, without where it is from.

    Standard deviations of a replicate's difference on so many test pairs. observed: between replicates. pairs: what
    its own draw of pairs alone would make it vary by. shared: what pairs that all replicates share would, which more
    replicates do not average out. seeds: what its training seeds would, where it has several. overlap, seeds_df: of
    base pairs that are subsamples (`analysis.inference.difference.Draws`).
    """
    rows = []
    for endpoint, named in spreads.items():
        first = named[0].spread
        row: dict[str, Any] = {"endpoint": endpoint, "replicates": first.replicates, "test_pairs": first.examples}
        if first.draws.overlap:
            row |= {"overlap": round(first.draws.overlap, 3), "seeds_df": first.draws.within_df}
        rows.append(row | {"sd": {name: _deviations(spread) for name, spread in named}})
    return rows


def _deviations(spread: Spread) -> dict[str, float]:
    shared = max(0.0, spread.between_examples - spread.rest) / spread.replicates
    squares = {"observed": spread.between_replicates, "pairs": spread.rest, "shared": shared}
    seeds = {"seeds": spread.draws.within * spread.examples} if spread.draws.within_df else {}
    return {key: float(f"{math.sqrt(s / spread.examples):.3g}") for key, s in (squares | seeds).items()}


def main() -> None:
    """Print a study's rows, to be put into measured.yaml."""
    print(yaml.safe_dump(as_rows(of_study(load(*sys.argv[1:]))), sort_keys=False, allow_unicode=True, width=120))


if __name__ == "__main__":
    main()
