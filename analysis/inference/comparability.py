"""May the arms of a group be ranked? Whatever they differ in beside their strategy, found in what their runs recorded.

    python -m analysis.report study=outputs/quick                        # confounded arms are shown, not ranked
    python -m analysis.report study=outputs/quick allow_confounded=true  # ranked all the same, with the notes

Manifests are compared seed by seed: a head drawn by the seed, or a subset drawn by it, differs between seeds and is the
same for all arms, which is how it should be. Only what a run recorded of itself counts, not what its config asked for:
weights, rows and steps are compared by what they were. Settings of an arm (τ, budget, history, augmenter) are no
confounds; where they change the number of steps, the steps say so. The trade-off: two methods run at different learning
rates, batch sizes or from different pools are ranked, with a note, since no manifest can tell a setting that was meant
from one that was not.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from analysis.inference.lengths import kept_steps
from analysis.study.arm_names import method_of
from analysis.study.pools import numbers
from analysis.study.study import Study


@dataclass(frozen=True)
class Confound:
    """Something that arms of one group differ in beside their strategy."""

    field: str  # of the manifest
    noun: str  # the same for a reader: what the arms differ in
    text: str  # one line: which arms, which values, what follows
    blocks: bool  # whether ranking would mislead; the others are for the reader to weigh


class _Check(NamedTuple):
    noun: str
    what: str  # completes "arms …"
    so: str
    blocks: bool


_NOT_THE_STRATEGY = "so their differences are not the strategy's"
_LONGER = "so differences mix the strategy with training length"
_CHECKS = {
    "start": _Check("starting weights", "started from different weights", _NOT_THE_STRATEGY, True),
    "weights": _Check("backbone weights", "have different backbones under one name", _NOT_THE_STRATEGY, True),
    "template": _Check("template", "wrote dialogues in different templates", _NOT_THE_STRATEGY, True),
    "max_length": _Check("maximum length", "cut texts at different lengths", _NOT_THE_STRATEGY, True),
    "truncation": _Check("truncation", "cut texts at different ends", _NOT_THE_STRATEGY, True),
    "base_sha256": _Check("base pairs", "trained on different base pairs", _NOT_THE_STRATEGY, True),
    "test_sha256": _Check("test pairs", "were judged on different test pairs", _NOT_THE_STRATEGY, True),
    # The last model is the one judged, unless a run kept its best (`_CHOSEN`).
    "validation_sha256": _Check(
        "validation pairs", "were validated on different pairs", "so their curves cannot be compared", False
    ),
    "commit": _Check("commits", "ran different commits of the code", "so a difference may be the code's", False),
    "steps": _Check(
        "optimiser steps",
        "took different numbers of optimiser steps",
        f"{_LONGER} (method=none_matched or rounds.steps=N makes them equal)",
        True,
    ),
    "batch_size": _Check(
        "batch size", "trained at different batch sizes", "so equal steps are not equal numbers of pairs", False
    ),
    "train_sha256": _Check(
        "training settings", "have different training settings (lr, schedule, …)", _NOT_THE_STRATEGY, False
    ),
}
_MEANT = _CHECKS["steps"]._replace(so=f"{_LONGER}, as this study means to", blocks=False)
_CHOSEN = _Check("validation pairs", "chose their models on different validation pairs", _NOT_THE_STRATEGY, True)
MANY_GROUPS = 6  # beyond so many a line names none of those it is said of
_SPENT = 95  # percent of its budget an arm has to draw to pass without a note


def confounds(group: Study) -> list[Confound]:
    """What the arms of one dataset × backbone group differ in, those that block ranking first.

    Steps block unless every run of the group says `steps_may_differ: true`. A value that some runs recorded and others
    did not counts as different: an unknown start is not known to be the same.
    """
    return list(_confounds(group))


@functools.lru_cache(maxsize=64)  # asked for a group by every table
def _confounds(group: Study) -> tuple[Confound, ...]:
    runs, arms = group.runs, group.arms
    checks = dict(_CHECKS)
    if "steps_may_differ" in runs and runs["steps_may_differ"].eq(True).all():
        checks["steps"] = _MEANT
    if runs.get("kept_step", pd.Series(dtype=float)).notna().any():
        checks["validation_sha256"] = _CHOSEN
    recorded = [field for field in checks if field in runs and runs[field].notna().any()]
    found = [
        Confound(field, noun, f"arms {what} {_where(unlike, runs['seed'].nunique())}, {so}", blocks)
        for field, (noun, what, so, blocks) in checks.items()
        if field in recorded and (unlike := _unlike(runs, arms, field))
    ]
    found += [*_lengths(group), *_prompts(runs, arms), *_pools(group), *_undrawn(group), *_seeds(runs, arms)]
    missing = [checks[field].noun for field in checks if field not in recorded and field != "commit"]
    if missing and len(arms) > 1:
        found.append(Confound("", "", f"not recorded by any run, so not compared: {', '.join(missing)}", False))
    dirty = _with(runs, arms, "dirty")
    if dirty:
        whose = "all arms" if dirty == arms else ", ".join(dirty)
        text = f"run from code with uncommitted changes, which no commit names: {whose}"
        found.append(Confound("dirty", "uncommitted changes", text, False))
    return tuple(sorted(found, key=lambda confound: not confound.blocks))


def blocking(group: Study) -> str:
    """What forbids ranking the arms of a group, as `steps, base pairs`; empty where nothing does."""
    return ", ".join(confound.noun for confound in confounds(group) if confound.blocks)


def why_not_comparable(group: Study) -> str:
    """As `blocking`, but empty where the study is to be judged all the same."""
    return "" if group.allow_confounded else blocking(group)


def say_once(lines: Iterable[tuple[str, str]], groups: int) -> list[str]:
    """`title: line` of what is said of groups by their titles; what is said of several alike, once.

    groups: how many there are.
    """
    titles: dict[str, dict[str, None]] = {}
    for title, line in lines:
        titles.setdefault(line, {})[title] = None
    return [
        f"{', '.join(of) if len(of) <= MANY_GROUPS else f'{len(of)} of {groups} groups'}: {line}"
        for line, of in titles.items()
    ]


def _unlike(runs: pd.DataFrame, arms: list[str], field: str) -> dict[int, str]:
    """Of each seed for which arms differ in `field`: `80: none; 235: uniform, mars`."""
    return {
        seed: "; ".join(f"{_shown(value)}: {', '.join(same)}" for value, same in alike.items())
        for seed, alike in _by_value(runs, arms, field).items()
    }


def _by_value(runs: pd.DataFrame, arms: list[str], field: str) -> dict[int, dict[Any, list[str]]]:
    """Of each seed for which arms differ in `field`, the arms that have each value."""
    by_seed: dict[int, dict[str, Any]] = {}
    for seed, arm, value in zip(*(runs[name].tolist() for name in ("seed", "arm", field)), strict=True):
        by_seed.setdefault(seed, {})[arm] = None if pd.isna(value) else value
    unlike = {}
    for seed, value_of in sorted(by_seed.items()):
        alike: dict[Any, list[str]] = {}
        for arm in arms:
            if arm in value_of:
                alike.setdefault(value_of[arm], []).append(arm)
        if len(alike) > 1:
            unlike[seed] = alike
    return unlike


def _where(listings: dict[int, str], seeds: int) -> str:
    """What the unlike seeds show, of several kinds the first; which they are, unless it is all of a group's `seeds`."""
    (first, listing), which = next(iter(listings.items())), ", ".join(map(str, listings))
    if len(set(listings.values())) > 1:
        return f"for seed {which} (seed {first}: {listing})"
    return f"({listing})" if len(listings) == seeds else f"for seed {which} ({listing})"


def _with(runs: pd.DataFrame, arms: list[str], field: str) -> list[str]:
    """The arms of which any run says yes to `field`."""
    found = set(runs.loc[runs[field].eq(True), "arm"]) if field in runs else set()
    return [arm for arm in arms if arm in found]


def _prompts(runs: pd.DataFrame, arms: list[str]) -> list[Confound]:
    """Arms whose drawn rows lose their prompt, beside arms whose rows keep it."""
    if "drop_prompt" not in runs or not runs["drop_prompt"].eq(False).any():
        return []
    dropping = _with(runs, arms, "drop_prompt")
    text = f"drawn rows lose their prompt in: {', '.join(dropping)}"
    return [Confound("drop_prompt", "prompts", text, False)] if dropping else []


def _pools(group: Study) -> list[Confound]:
    """Arms that drew from different pools: another augmenter or version of it, semantic layer, width or gate."""
    if "pool_sha256" not in group.runs:
        return []
    drawn = {"rows": numbers(group.pools, "rows"), "version": numbers(group.pools, "settings.version")}
    known = [name for name in ("arm", "seed", "pool_sha256", "semantic_layer") if name in group.runs]
    runs = group.runs[known].assign(augmenter=_augmenters(group), **drawn)
    runs = runs[(runs["rows"] > 0) & (runs["augmenter"] != "none") & runs["pool_sha256"].notna()]
    layers = runs["semantic_layer"].fillna("off") if "semantic_layer" in runs else pd.Series("off", runs.index)
    names = runs["augmenter"] + layers.map(lambda layer: "" if layer in ("off", "") else f", semantic layer {layer}")
    namesakes = runs.groupby([names, runs["seed"]])["pool_sha256"].transform("nunique") > 1
    names = names.where(~namesakes, names + " " + runs["pool_sha256"].str[:8])
    revised = runs.groupby([names, runs["seed"]])["version"].transform("nunique") > 1
    told = [f"{name}, version {version:g}" for name, version in zip(names, runs["version"], strict=True)]
    names = names.where(~revised, told)
    unlike = _by_value(runs.assign(pool=names), group.arms, "pool")
    if not unlike:
        return []
    seed, alike = next(iter(unlike.items()))
    rest = max(alike, key=lambda name: len(alike[name]))
    listed = [f"{arm} ({name})" for name, same in alike.items() if name != rest for arm in same]
    listed.append(f"{'others' if len(alike[rest]) > 1 else alike[rest][0]} ({rest})")
    where = "" if len(unlike) == group.runs["seed"].nunique() else f" for seed {', '.join(map(str, unlike))}"
    where += f" (seed {seed})" if len({str(alike) for alike in unlike.values()}) > 1 else ""
    return [Confound("pool_sha256", "pools", f"arms draw from different pools{where}: {', '.join(listed)}", False)]


def _lengths(group: Study) -> list[Confound]:
    """Arms judged by their best models where the reference has only last ones, or the other way round."""
    best = kept_steps(group).reindex(group.arms).notna()
    of_reference = {best[arm] for arm in group.arms if method_of(arm) == method_of(group.reference)}
    unlike = [arm for arm in group.arms if of_reference and best[arm] not in of_reference]
    if not unlike:
        return []
    theirs, ours = ("best", "last") if best[unlike[0]] else ("last", "best")
    text = (
        f"arms were judged by other models than {group.reference}: {', '.join(unlike)} by the {theirs} of each run, "
        f"{group.reference} by the {ours}, {_NOT_THE_STRATEGY} (rounds.keep=last,best runs both)"
    )
    return [Confound("kept_step", "models judged", text, True)]


def _undrawn(group: Study) -> list[Confound]:
    """Arms that found too few rows for their budget, as one that refuses most rows does."""
    drawn_of = {name: numbers(group.pools, name) for name in ("rows", "unspent")}
    pools = group.pools[["arm"]].assign(**drawn_of)
    pools = pools[(_augmenters(group) != "none") & pools["rows"].notna() & pools["unspent"].notna()]
    sums = pools.groupby("arm")[["rows", "unspent"]].sum().reindex(group.arms).dropna().astype(int)
    found = []
    for arm, drawn, unspent in sums.itertuples():
        budget = drawn + unspent
        if 100 * drawn < _SPENT * budget:
            text = f"{arm} drew {100 * drawn // budget} % of its budget, so it trains on fewer synthetic rows"
            found.append(Confound("unspent", "budgets", text, False))
    return found


def _augmenters(group: Study) -> pd.Series:
    """[S] the augmenter of each run's pool, "none" where the arm has no use for one."""
    pools = group.pools
    return pools["augmenter"].fillna("unknown") if "augmenter" in pools else pd.Series("unknown", pools.index)


def _seeds(runs: pd.DataFrame, arms: list[str]) -> list[Confound]:
    """Arms on different seeds. Without one seed in common nothing above was compared, and no difference is paired."""
    drawn = bool((runs["replicate"] != runs["seed"]).any())
    unit, noun = ("replicate", "replicates") if drawn else ("seed", "seeds")
    of_arms = dict(list(runs.groupby("arm")[unit]))
    seeds_of = {arm: frozenset(of_arms[arm]) for arm in arms}
    if len(set(seeds_of.values())) == 1:
        return []
    alike: dict[frozenset[int], list[str]] = {}
    for arm, seeds in seeds_of.items():
        alike.setdefault(seeds, []).append(arm)
    listing = "; ".join(f"{', '.join(map(str, sorted(seeds)))}: {', '.join(same)}" for seeds, same in alike.items())
    if frozenset.intersection(*seeds_of.values()):
        return [Confound("seed", noun, f"arms ran different {noun} ({listing})", False)]
    return [Confound("seed", noun, f"no {unit} was run by every arm ({listing}), {_NOT_THE_STRATEGY}", True)]


def _shown(value: Any) -> str:
    """A value for a reader: a hash by its first eight digits."""
    if value is None:
        return "not recorded"
    if isinstance(value, float) and value.is_integer():  # pandas widens counts beside a missing one
        value = int(value)
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24,}\b", r"\1", str(value))
