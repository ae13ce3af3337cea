"""A sweep that adds replicates until its comparisons are settled, by a rule that is fixed before the first of them.

    python -m mars.run experiment=settle until=settled max_replicates=40
    python -m mars.run experiment=settle until=settled max_replicates=40 look_every=4 dataset=hh_rlhf dataset.path=DIR …

After each batch of replicates every comparison that is open is looked at: different, equivalent, or neither yet. The
levels of the looks spend α as O'Brien and Fleming do (`analysis.inference.sequential`), so that ten looks find no more
than one would where there is nothing. An arm is run no further once its comparisons are settled, or as good as sure to
stay open. `looks.json` in the study's directory keeps the rule and what each look settled; the same command goes on
from there, another rule is refused.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd

from analysis.inference.comparisons import compare
from analysis.inference.sequential import (
    STUDENT,
    conditional_power,
    levels,
    one_sided_conditional_power,
    one_sided_levels,
)
from analysis.inference.stats import ALPHA
from analysis.inference.verdicts import BETTER, EQUIVALENT, WORSE
from analysis.planned_sweep import choices_of, is_of
from analysis.study import loading
from analysis.study.looks import FUTILE, Looks, Rule, key_of, read
from analysis.study.study import MARGINS, REFERENCE
from mars.cli import command, composed, swept
from mars.config import UserError
from mars.progress import counted
from mars.run import execute

_NORMAL = NormalDist()
_OURS = {"max_replicates": "40", "look_every": "4"}  # settings of this command, and what they are unless told
log = logging.getLogger("analysis.settle")


def settle(arguments: Sequence[str], rule: Rule) -> Looks:
    """Run the sweep of `arguments` (as of `mars.run`) under the rule; returns what was settled at which look.

    Raises UserError for another rule than the study began with.
    """
    place, _ = _study_of(arguments)
    found = read(place) or Looks(rule)
    if found.rule != rule:
        raise UserError(f"until: {place} began with another rule, {found.rule} (repeat it, or name another study=DIR)")
    found.write(place)
    methods_of = choices(arguments)
    methods = _still_open(_compared(place, rule), found, methods_of) if found.looks else []
    for look in range(len(found.looks) + 1, rule.looks + 1):
        if found.looks and not methods:
            break
        _sweep(arguments, range((look - 1) * rule.look_every, look * rule.look_every), methods)
        table = _compared(place, rule)
        found.family = found.family or int(table["difference"].notna().sum())
        if not found.family:
            raise UserError(f"until: nothing to settle in {place}: {_why_nothing(table)}")
        found.looks.append(look_at(table, found, look))
        found.write(place)
        methods = _still_open(table, found, methods_of)
        _say(found, look)
    return found


def _compared(place: Path, rule: Rule) -> pd.DataFrame:
    study = loading.load(place).judged(focus=rule.focus, reference=rule.reference, margins=rule.margins)
    return compare(study)


def choices(arguments: Sequence[str]) -> dict[str, dict[str, str]]:
    """`choices_of` of the sweep, in which some arms may lack a setting of others (`method.tau=1`)."""
    own = [argument for argument in arguments if argument.startswith("method.")]
    config, axes = swept("config", [argument for argument in arguments if argument not in own])
    return choices_of(config, axes | {argument.partition("=")[0]: [] for argument in own})


def _still_open(table: pd.DataFrame, found: Looks, choices: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The choices of `method` whose arms take part in a comparison that is open."""
    rows = [row for row in table.to_dict("records") if _open(row, found)]
    arms = {str(row[arm]) for row in rows for arm in ("arm", "reference")}
    return [choice for choice, settings in choices.items() if any(is_of(arm, settings) for arm in arms)]


def look_at(table: pd.DataFrame, found: Looks, look: int) -> dict[str, str]:
    """{comparison: verdict} of those that this look settles or gives up. table: of `comparisons.compare`."""
    rule = found.rule
    alpha = STUDENT * ALPHA / max(1, found.family)
    every = rule.fractions(rule.looks)
    different, equal = levels(every, alpha), one_sided_levels(every, alpha)
    settled = {}
    for row in table.to_dict("records"):
        if not _open(row, found):
            continue
        if pd.isna(row["p"]):  # nothing varied yet
            continue
        if row["p"] <= different[look - 1]:
            settled[key_of(row)] = BETTER if row["difference"] > 0 else WORSE
        elif row["equivalence_p"] <= equal[look - 1]:
            settled[key_of(row)] = EQUIVALENT
        elif 0.5 <= every[look - 1] < 1 and _chance(row, every[look - 1], different[-1], equal[-1]) < rule.chance:
            settled[key_of(row)] = FUTILE
    return settled


def _chance(row: dict[Any, Any], fraction: float, different: float, equal: float) -> float:
    """How probably the last look settles it, if things go on as they did."""
    if row["more_replicates"] == float("inf"):
        return 0.0
    z = -_NORMAL.inv_cdf(max(row["p"], 1e-300) / 2)
    inside = -_NORMAL.inv_cdf(min(max(row["equivalence_p"], 1e-300), 1 - 1e-15))
    return max(
        conditional_power(z, fraction, different),
        one_sided_conditional_power(inside, fraction, equal),
    )


def _open(row: dict[Any, Any], found: Looks) -> bool:
    """Whether a comparison can be made and is neither settled nor given up."""
    return not pd.isna(row["difference"]) and key_of(row) not in found.settled


def _why_nothing(table: pd.DataFrame) -> str:
    reasons = list(dict.fromkeys(table["not_compared"]))
    return "; ".join(reasons) if reasons else "the arm in focus did not run beside another one"


def _say(found: Looks, look: int) -> None:
    rule, new = found.rule, found.looks[-1]
    log.info(
        "look %d of %d, %d replicates: %d of %d comparisons settled or given up",
        look, rule.looks, look * rule.look_every, len(found.settled), found.family,
    )  # fmt: skip
    for key, verdict in new.items():
        log.info("  %s: %s", key, verdict)


def _sweep(arguments: Sequence[str], replicates: range, methods: Sequence[str]) -> None:
    """One batch as `mars.run` would run it; runs that are finished are skipped."""
    only = [f"method={','.join(methods)}"] if methods else []
    kept = [a for a in arguments if not (methods and a.startswith("method=")) and not a.startswith("replicate=")]
    sys.argv = [sys.argv[0], "-m", *kept, f"replicate={','.join(map(str, replicates))}", *only]
    command("config", execute, "the same command goes on from the last checkpoint", "mars.run:execute_in_sweep")()


def _study_of(arguments: Sequence[str]) -> tuple[Path, str]:
    """The directory that the sweep writes into, and the arm in focus."""
    naming = ("experiment=", "study=", "name=", "scale=", "focus=")
    config = composed("config", [a for a in arguments if a.startswith(naming)])
    return Path(config["study"]), config["focus"]


def _rule(settings: dict[str, str], focus: str) -> Rule:
    """Raises UserError for settings that make no rule."""
    numbers = {}
    for key, value in settings.items():
        if not value.isdecimal() or int(value) < 2:
            raise UserError(f"{key}: must be a whole number of at least 2, not {value}")
        numbers[key] = int(value)
    if numbers["max_replicates"] % numbers["look_every"]:
        raise UserError(
            f"look_every: max_replicates={numbers['max_replicates']} is no multiple of {numbers['look_every']}"
        )
    return Rule(**numbers, margins=dict(MARGINS), focus=focus, reference=REFERENCE)


def main() -> None:
    """`mars.run … until=settled`: the sweep's own arguments, max_replicates and look_every."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
    log.setLevel(logging.INFO)
    given = dict(a.split("=", 1) for a in sys.argv[1:] if a.split("=", 1)[0] in {*_OURS, "until"} and "=" in a)
    rest = [a for a in sys.argv[1:] if a.split("=", 1)[0] not in {*_OURS, "until"} and a not in ("-m", "--multirun")]
    try:
        if given.pop("until") != "settled":
            raise UserError("until: settled is the only thing to wait for")
        place, focus = _study_of(rest)
        found = settle(rest, _rule(_OURS | given, focus))
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"{counted(len(found.looks), 'look')}; python -m analysis.report study={place} says what came out")
