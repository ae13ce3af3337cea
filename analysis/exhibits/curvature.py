"""Curvature by arm: what the rows an arm draws do to H and to G, and whether the paper's bound speaks.

H rises when rows of small margin are added, copies or not; G counts a label once, however many copies it has. An arm
that raises the one and not the other has gained steepness and no knowledge, which is why they stand side by side, at
one scale where they share a unit. Eigenvalues stand on a logarithmic axis, since a determinant is about ratios; their
mean over replicates is geometric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from analysis.exhibits import style
from analysis.exhibits.exhibit import Exhibit, Panel, in_panels, most_replicates
from analysis.exhibits.measures import arm_rows, over_replicates
from analysis.exhibits.table import Column, number
from analysis.exhibits.training import over_rounds
from analysis.inference.curvature import GAINS, HOW, KINDS, PARTS, has_curvature, require, spectra
from analysis.study.study import NothingToShow, Study

_WHOLE_MODEL = {"hessian_trace": "trace", "hessian_largest": "largest", "hessian_smallest": "smallest"}
_SUMMARIES = ("logdet", "effective_rank", "condition")
_RATIOS = [f"{kind}_condition" for kind in KINDS]
_LEVELS = {f"{kind}_mixture_logdet": f"log det {name}, mixture" for kind, name in KINDS.items()}

_LINES = {"base": ("-", 3.5, 0.45), "selection": ("--", 0.8, 1.0), "mixture": ("-", 1.4, 1.0)}  # line, width, opacity


class ByArm(Exhibit):
    """Curvature and information of each arm, of its base pairs, its drawn rows and both."""

    name, title = "curvature", "Curvature and information"
    caption = (
        "Of the base pairs, the drawn rows (selection) and both (mixture), under the model that drew them: means over "
        "rounds, then over replicates. Gain: log det of the mixture − log det of the base pairs, in nats per direction "
        "with its 95 % t interval over replicates; H is the average Hessian of the loss, G the Godambe information per "
        "label, in which copies of a pair add nothing. Condition number: geometric mean. Effective rank: exp of the "
        "entropy of the eigenvalues. All on the directions in which base pairs vary. G is a fair estimate only with "
        "many more labels than directions: at 2.6 labels a direction its gain was 0.2 nats too high in a simulation. "
        "Nothing is tested."
    )
    columns = (
        Column("arm", "arm"),
        Column("part", "of"),
        *(Column(gain, f"{name}, nats", "+.3f", interval=True) for gain, name in GAINS.items()),
        *(Column(f"{kind}_logdet", f"log det {name}", ".2f") for kind, name in KINDS.items()),
        *(Column(f"{kind}_condition", f"condition {name}", ",.3g") for kind, name in KINDS.items()),
        *(Column(f"{kind}_effective_rank", f"effective rank {name}", ".1f") for kind, name in KINDS.items()),
        *(Column(name, f"{head}, whole model", ".3g") for name, head in _WHOLE_MODEL.items()),
        Column("labels", "labels", ".0f"),
        Column("directions", "directions", ".0f"),
        Column("replicates", "replicates", "d"),
        Column("rounds", "rounds", "d"),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        require(study)
        groups = [group for _, group in study.groups() if has_curvature(group)]
        found = {group: [_by_arm(group.rounds, part) for part in PARTS] for group in groups}
        rows = [
            row | of_part[arm]
            for group, arm, row in arm_rows(study)
            for of_part in found.get(group, [])
            if arm in of_part
        ]
        return pd.DataFrame(rows)


def _by_arm(rounds: pd.DataFrame, part: str) -> dict[str, dict[str, Any]]:
    """A row for each arm that has anything of a part; the gains stand with the mixture."""
    names = [f"{kind}_{part}_logdet" for kind in KINDS]
    known = rounds.dropna(subset=[name for name in names if name in rounds], how="all")
    if names[0] not in rounds or known.empty:
        return {}
    gains = known.reindex(columns=["arm", "replicate", *GAINS]).groupby(["arm", "replicate"]).mean()
    summaries = _by_replicate(known, part)
    counts = known.groupby("arm")[["replicate", "round"]].nunique()
    rows = {}
    for arm, places in summaries.groupby("arm").indices.items():
        means: Any = summaries.iloc[places].mean().to_dict()
        means |= {ratio: math.exp(means[ratio]) for ratio in _RATIOS}
        row: dict[str, Any] = {"part": part}
        for gain in GAINS:
            row |= over_replicates(gain, gains[gain].iloc[places] if part == "mixture" else None)
        replicates, number = counts.loc[str(arm)]
        rows[str(arm)] = row | means | {"replicates": replicates, "rounds": number}
    return rows


def _by_replicate(rounds: pd.DataFrame, part: str) -> pd.DataFrame:
    """Each arm's summaries, means over a replicate's rounds; of condition numbers the mean logarithm."""
    names = {f"{kind}_{part}_{summary}": f"{kind}_{summary}" for kind in KINDS for summary in _SUMMARIES}
    names |= {name: name for name in _WHOLE_MODEL} | {"curvature_labels": "labels", "curvature_span": "directions"}
    found = rounds.reindex(columns=list(names)).to_numpy(float, copy=True)
    found[~np.isfinite(found)] = np.nan
    values = pd.DataFrame(found, rounds.index, list(names.values()))
    values[_RATIOS] = np.log(values[_RATIOS])
    if part != "base":
        values[list(_WHOLE_MODEL)] = math.nan
    return values.groupby([rounds["arm"], rounds["replicate"]]).mean()


class OverRounds(Exhibit):
    """A row of panels per dataset × backbone: log det of H and of G of the mixture, and the gains in both, by round."""

    name, title = "curvature", "Curvature and information over the rounds"
    see = "Whether the drawn rows add curvature (H) or information (G), or only copies."
    caption = (
        "Log determinant of the average Hessian H and of the Godambe information per label G, under the model that "
        "chose the rows. Gain: base pairs and drawn rows together, less the base pairs alone. Copies of a pair can "
        "raise H; they bring G no label."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        require(study)
        names = _LEVELS | GAINS
        known = [name for name in names if name in study.rounds and study.rounds[name].notna().any()]
        return in_panels(
            (f"{title}, {names[name]}", over_rounds(group, name).assign(group=title, measure=name))
            for title, group in study.groups()
            if has_curvature(group)
            for name in known
        )

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        curves = len({panel.frame["measure"].iloc[0] for panel in panels})
        return style.Layout(2 if curves > 2 else curves, (3.2, 2.4), left=0.9)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        arms = self.legend(study, frame)
        crowded = len(arms) > style.FEW
        kind = "bands" if frame["round"].nunique() > 1 else "bars"
        interval = "95 % interval over replicates"
        key = f"{interval}, at the last round" if crowded else f"{kind}: {interval}"
        return f"in nats per direction; dashed: no gain; {style.replicates_key(key, most_replicates(study, arms))}"

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look, last = style.looks(study.arms), max(1.0, float(frame["round"].max()))
        known = frame.dropna(subset=["mean"])
        crowded = known["arm"].nunique() > style.FEW
        for place, (arm, own) in enumerate(known.groupby("arm", sort=False)):
            x, curve = own["round"].to_numpy(float), own[["mean", "lo", "hi"]].to_numpy(float)
            style.band(axes, x, curve * [1, np.nan, np.nan] if crowded else curve, look[str(arm)])
            if crowded:
                style.band(axes, np.array([last * (1.05 + 0.025 * place)]), curve[-1:], look[str(arm)])
        if frame["measure"].iloc[0] in GAINS:
            style.mark(axes, 0.0)
        axes.set(xlabel="round", ylabel="nats per direction")
        style.whole_ticks(axes, last)
        style.lay_grid(axes)

    def finish(self, study: Study, drawn: Sequence[tuple[Axes, Panel]]) -> None:
        """H and G of a group at one scale."""
        gains: dict[str, list[Axes]] = {}
        for axes, panel in drawn:
            if panel.frame["measure"].iloc[0] in GAINS:
                gains.setdefault(panel.frame["group"].iloc[0], []).append(axes)
        for both in gains.values():
            limits = [end for axes in both for end in axes.get_ylim()]
            for axes in both:
                axes.set_ylim(min(limits), max(limits))


class Spectra(Exhibit):
    """A row of panels per dataset × backbone and round (first, last): eigenvalues of H and of G."""

    name, title = "spectra", "Spectra of H and G"
    see = "In which directions the drawn rows add something that the base pairs lack."
    caption = (
        "Eigenvalues in the directions in which base pairs vary, largest first, of the base pairs, of the rows that "
        "were drawn and of both."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """Base pairs, the mean over arms, have no arm; an eigenvalue that is not defined is NaN."""
        parts = []
        for title, group in study.groups():
            for when, means in _spectra(group):
                base = _geometric_mean([table[table["part"] == "base"] for table in means.values()]).assign(arm="")
                drawn = [table[table["part"] != "base"].assign(arm=arm) for arm, table in means.items()]
                rows = pd.concat([base, *drawn], ignore_index=True)
                for kind, name in KINDS.items():
                    own = rows[["arm", "part", "index"]].assign(kind=name, eigenvalue=rows[kind])
                    parts.append((f"{title}, {when}, {name}", own))
        if not parts:
            raise NothingToShow(f"no run kept its eigenvalues in spectra.parquet, and W&B has none ({HOW})")
        return in_panels(parts)

    def layout(self, study: Study, panels: Sequence[Panel]) -> style.Layout:
        return style.Layout(2, (3.6, 2.7), left=0.85)

    def foot(self, study: Study, frame: pd.DataFrame) -> str:
        return (
            "with markers: base pairs and drawn rows together; thin, dashed: drawn rows alone; broad, grey: base "
            "pairs, mean over arms; geometric mean over replicates; where G is not defined it is left out"
        )

    def panel(self, axes: Axes, study: Study, frame: pd.DataFrame) -> None:
        look = style.looks(study.arms)
        for arm, rows in frame.groupby("arm", sort=False):
            plain = look.get(str(arm), style.Look(style.FAINT, "", "-"))
            for part, (line, wide, opaque) in _LINES.items():
                known = rows[rows["part"] == part].dropna(subset=["eigenvalue"])
                axes.plot(
                    known["index"] + 1,
                    known["eigenvalue"],
                    line,
                    marker=plain.marker if part == "mixture" else "",
                    markevery=max(1, len(known) // 8),
                    color=plain.colour,
                    markersize=4,
                    linewidth=wide,
                    alpha=opaque,
                )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "g")))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="direction, by eigenvalue", ylabel=f"eigenvalue of {frame['kind'].iloc[0]}")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        style.lay_grid(axes)


def _spectra(group: Study) -> list[tuple[str, dict[str, pd.DataFrame]]]:
    """(which round, {arm: part, index, h, g, mean over replicates}) of the first and the last round."""
    ends: dict[str, dict[str, list[pd.DataFrame]]] = {"first round": {}, "last round": {}}
    several = False
    for arm in group.arms:
        for run in group.of(arm):
            table = spectra(run)
            if table is None or table.empty:
                continue
            first, last = table["round"].min(), table["round"].max()
            several |= bool(first < last)
            for when, end in (("first round", first), ("last round", last)):
                ends[when].setdefault(arm, []).append(table[table["round"] == end])
    found = []
    for when, by_arm in ends.items():
        means = {arm: _geometric_mean(tables) for arm, tables in by_arm.items()}
        if means and (several or when == "last round"):
            found.append((when if several else "one round", means))
    return found


def _geometric_mean(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    both = pd.concat(tables, ignore_index=True)
    positive = both[list(KINDS)].astype(float).where(lambda values: values > 0)
    means = positive.apply(np.log).groupby([both["part"], both["index"]]).mean()
    return means.apply(np.exp).reset_index()
