"""Arms of a study, ranked: accuracy over replicates, the paired difference to uniform, and what speaks against it.

One table per dataset × backbone, since nothing else holds arms comparable. Where arms differ in more than their
strategy (`analysis.inference.comparability`) the table is shown in the study's order, without ranks, differences or p:
no number is better than one that should not be quoted. The reference is `uniform`, not `none`: it draws from the same
pool and costs the same steps, so the difference is what *where to augment* is worth. p is of one comparison; the
study's declared family, adjusted for its size, is in `analysis.inference.comparisons`. Below the arms stands what needs
no model: preferring the longer response, and a coin.

    python -m analysis.report study=outputs/quick
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.exhibits.measures import arm_rows
from analysis.exhibits.table import Column, Table
from analysis.inference import stats
from analysis.inference.comparability import blocking, confounds, say_once
from analysis.inference.comparisons import counterpart
from analysis.inference.difference import Difference
from analysis.inference.pairing import difference_of
from analysis.study.arm_names import method_of
from analysis.study.pools import changed_labels, numbers, pool_table
from analysis.study.study import Pairs, Study
from benchmarks.metrics import coin_half_width
from mars.config import UserError

_MEANS = ("information", "auc", "snr", "gold_accuracy")  # shown as means alone


@dataclass(frozen=True)
class Ranking:
    """`table` has a row per group and arm, then the group's baselines. `notes`: what to know.

    `kind` tells arm from baseline; a baseline has no rank, difference, replicates or steps. A ranked group stands best
    first. One that may not be ranked stands in the study's order: its `not_ranked` says why, `rank`, `p` and the
    differences are empty.
    """

    table: Table
    notes: tuple[str, ...]

    @property
    def refusals(self) -> list[str]:
        """`dataset / backbone: not ranked: why`, of the groups that may not be ranked."""
        frame = self.table.frame
        refused = frame.loc[frame["not_ranked"] != "", ["dataset", "backbone", "not_ranked"]].drop_duplicates()
        groups = len(frame[["dataset", "backbone"]].drop_duplicates())
        return say_once(((f"{d} / {b}", why) for d, b, why in refused.itertuples(index=False)), groups)

    def to_markdown(self) -> str:
        parts = [self.table.to_markdown()]
        if self.refusals:
            parts.append("\n".join(f"**{refusal}**" for refusal in self.refusals) + "\n")
        if self.notes:
            parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in self.notes) + "\n")
        return "\n".join(parts)


def rank(study: Study) -> Ranking:
    """Rank every group of the study, but a confounded one only if allowed; differences are to its reference.

    Raises UserError when no run has in-distribution accuracy.
    """
    tables, notes = [], []
    for title, group in study.groups():
        table, remarks = _measured(group)
        if table.empty:
            notes.append((title, "no finished run has an accuracy, so it is not on the leaderboard"))
            continue
        differ = blocking(group)
        if differ and not study.allow_confounded:
            why = f"not ranked: arms differ in {differ}; allow_confounded=true ranks them anyway"
            table, remarks = table.assign(not_ranked=why), [why, *remarks]
        else:
            table, about_differences = _ranked(group, table)
            remarks += about_differences
            if differ:
                remarks.insert(0, f"ranked although arms differ in {differ} (allow_confounded=true)")
        tables.append(pd.concat([table, _baselines(group, table)], ignore_index=True))
        remarks += [confound.text for confound in confounds(group)] + changed_labels(pool_table(group))
        remarks += _settings(group)
        notes += [(title, remark) for remark in remarks]
    if not tables:
        raise UserError(
            f"study: no finished run of {study.name} has an accuracy in metrics.json, nor scores to take it from"
        )
    told = [*say_once(notes, len(list(study.groups()))), *study.remarks]
    for reason, runs in study.left_out.groupby("reason")["run"]:
        told.append(f"{len(runs)} left out, {reason}: {', '.join(runs)}")
    return Ranking(_table(pd.concat(tables, ignore_index=True), study.reference), tuple(told))


def _table(frame: pd.DataFrame, reference: str) -> Table:
    """`frame` as the leaderboard is read."""
    named = frame.assign(entry=frame["arm"].where(frame["kind"] == "arm", frame["arm"] + " (baseline)"))
    caption = (
        "Accuracy in %, a tie counts ½, mean over replicates with its 95 % t interval (for this test set). Difference "
        f"to {reference} in points on the same replicates and pairs, with a 95 % interval and p for new ones; p is "
        "of one comparison, adj. p adjusted (Holm) for all of its table. bits: information, what a model tells of a "
        "label (1 all, 0 nothing). len.-contr.: the mean of the accuracies where the chosen response is the longer one "
        "and where it is the shorter one; what sees only length gets 50. Baselines: length only prefers the longer "
        "response (interval over pairs), random is a coin (where 95 % of coins land on as many pairs)."
    )
    columns = (
        Column("rank", "#", "d"),
        Column("entry", "arm"),
        Column("accuracy", "accuracy", ".1f", 100, interval=True),
        Column("length_controlled_accuracy", "len.-contr.", ".1f", 100),
        Column("difference", f"− {reference}", "+.1f", 100, interval=True),
        Column("p", "p", "p"),
        Column("p_holm", "adj. p", "p"),
        Column("information", "bits", ".3f"),
        Column("auc", "AUC", ".3f"),
        Column("snr", "SNR", ".2f"),
        Column("gold_accuracy", "gold", ".1f", 100),
        Column("steps", "steps", ".0f"),
        Column("replicates", "replicates", "d"),
        Column("examples", "pairs", "d"),
    )
    return Table("leaderboard", "Leaderboard", caption, named, columns, ("dataset", "backbone", "split"))


def _baselines(group: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Two rows in the columns of `table`: length alone and a coin, on the main split.

    Numbers are averaged over the runs, whose test pairs may differ by replicate.
    """
    main = group.splits[0]

    def measured(metric: str) -> float:
        return pd.concat([group.values(arm, main, metric) for arm in group.arms]).mean()

    pairs = measured("n")
    half = math.nan if math.isnan(pairs) else coin_half_width(round(pairs))
    shared = {
        **{key: table[key].iloc[0] for key in ("dataset", "backbone", "split", "not_ranked")},
        "kind": "baseline",
        "length_controlled_accuracy": math.nan if table["length_controlled_accuracy"].isna().all() else 0.5,
        "examples": table["examples"].iloc[0] if math.isnan(pairs) else round(pairs),
    }
    length = {f"accuracy{end}": measured(f"length_accuracy{end}") for end in ("", "_lo", "_hi")}
    chance = {"accuracy": 0.5, "accuracy_lo": 0.5 - half, "accuracy_hi": 0.5 + half}
    rows = [shared | {"arm": "length only"} | length, shared | {"arm": "random"} | chance]
    return pd.DataFrame(rows).reindex(columns=table.columns).astype(table.dtypes)


def _settings(group: Study) -> list[str]:
    """One line on what the arms' strategies were set to, beyond what their names say; none if they have no settings."""
    listed = []
    for method in dict.fromkeys(map(method_of, group.arms)):
        own = {
            arm: " ".join(f"{key}={value}" for key, value in group.settings(arm).items())
            for arm in group.arms
            if method_of(arm) == method
        }
        shared = {method: next(iter(own.values()))} if len(set(own.values())) == 1 else own
        listed += [f"{arm} {settings}" for arm, settings in shared.items() if settings]
    return [f"settings: {'; '.join(listed)}"] if listed else []


def _measured(group: Study) -> tuple[pd.DataFrame, list[str]]:
    """Each arm on its own, in the study's order, the columns of a comparison still empty; and remarks."""
    main = group.splits[0] if group.splits else ""
    rows, remarks, own, uneven = [], [], [], []
    steps = numbers(group.runs, "steps").groupby(group.runs["arm"]).mean()
    for _, arm, key in arm_rows(group):
        accuracy = group.values(arm, main, "accuracy")
        if accuracy.empty:
            remarks.append(f"{arm} has no accuracy on {main}, left out")
            continue
        pairs = group.pairs(arm, main)
        own += [arm] if pairs.own_rows else []
        if accuracy.size < len(group.of(arm)) or (np.isnan(pairs.margins).any() and not pairs.own_rows):
            uneven.append(arm)
        rows.append(
            {
                "dataset": key["dataset"],
                "backbone": key["backbone"],
                "split": main,
                **_alone(group, arm, main, accuracy),
                "steps": steps[arm],
                "replicates": len(accuracy),
                "examples": _examples(pairs) or round(group.values(arm, main, "n").mean()),
            }
        )
    if uneven:
        whose = f"{uneven[0]}: its" if len(uneven) == 1 else f"{', '.join(uneven)}: their"
        remarks.append(f"{whose} replicates were not all measured on the same pairs of {main}")
    if own:
        remarks.append(
            f"every replicate has pairs of its own in {main}: a difference is the mean of the replicates' own, its "
            "interval and p Student's t over replicates; pairs are those of one"
        )
    single = [row["arm"] for row in rows if row["replicates"] == 1]
    remarks += [f"one replicate, so no interval: {', '.join(single)}"] if single else []
    frame = pd.DataFrame(rows)
    return (frame.astype({"rank": "Int64", "replicates": "Int64"}) if rows else frame), remarks


def _alone(group: Study, arm: str, split: str, accuracy: pd.Series) -> dict[str, Any]:
    """What a split says of an arm; the columns of a comparison are empty. accuracy: [R] by replicate."""
    mean, lo, hi = stats.mean_interval(accuracy.to_numpy())
    return {
        "rank": pd.NA,
        "not_ranked": "",
        "kind": "arm",
        "arm": arm,
        "accuracy": mean,
        "accuracy_lo": np.maximum(lo, 0.0),  # a t interval over few replicates may leave what is possible
        "accuracy_hi": np.minimum(hi, 1.0),
        "length_controlled_accuracy": group.values(arm, split, "length_controlled_accuracy").mean(),
        **dict.fromkeys(("difference", "difference_lo", "difference_hi", "p", "p_holm"), math.nan),
        **{metric: group.values(arm, split, metric).mean() for metric in _MEANS},
    }


def _examples(pairs: Pairs) -> int:
    """How many pairs an arm was judged on, those of one replicate where each has its own."""
    return round(len(pairs.ids) / len(pairs.seeds)) if pairs.own_rows else len(pairs.ids)


def _ranked(group: Study, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """`table` with every arm's difference to its reference, best first; and remarks."""
    arms, reference, table, remarks = list(table["arm"]), group.reference, table.copy(), list[str]()
    others = {arm: counterpart(arms, arm, reference) for arm in arms}
    unmatched = [arm for arm, other in others.items() if other is None]
    if unmatched:
        remarks.append(
            f"no finished run of {reference} to compare with, so no difference (name another arm with reference=…): "
            + ", ".join(unmatched)
        )
    if arms == [reference]:
        remarks.append(f"{reference} is the only arm, so no differences")
    said: dict[str, list[str]] = {}
    differences = []
    for arm, other in others.items():
        difference, remark = Difference(math.nan), ""
        if other not in (None, arm):
            difference, remark = _against(group, arm, str(other))
            said.setdefault(remark, []).append(arm)
        differences.append((difference.difference, difference.lo, difference.hi, difference.p))
    table[["difference", "difference_lo", "difference_hi", "p"]] = differences
    remarks += [f"{'each of ' * (len(of) > 1)}{', '.join(of)} {remark}" for remark, of in said.items() if remark]
    table["p_holm"] = stats.holm(table["p"].to_numpy(float))
    table["rank"] = table["accuracy"].rank(method="min", ascending=False).astype("Int64")
    return table.sort_values("accuracy", ascending=False, kind="stable"), remarks  # equal ones as the study has them


def _against(group: Study, arm: str, reference: str) -> tuple[Difference, str]:
    """arm − reference on the replicates and test pairs they share; a remark when that is not everything."""
    both = [group.pairs(name, group.splits[0]) for name in (arm, reference)]
    found = difference_of(group, arm, reference, group.splits[0])
    if not found.replicates:
        return Difference(math.nan), f"shares no replicate or test pair with {reference}, or has no scores"
    judged = sum(map(len, found.by_seed))
    if all(np.isfinite(pairs.margins).sum() == judged for pairs in both):
        return found.result, ""
    return found.result, f"− {reference} is over {found.replicates} common replicates and {found.examples} common pairs"
