"""A report at W&B about a study whose runs were told to it: what the local report says, and panels of its runs there.

    mars report study=outputs/watched
    mars wandb-report study=outputs/watched entity=TEAM

Verdict and leaderboard are those of DIR/report, so that both say the same. W&B draws the panels from the runs of its
project, which have to be synced. DIR/report goes with it as an artifact of type `report`. mode=offline keeps that
artifact for `wandb sync` and writes the blocks as JSON beside it, for who wants to see them first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from analysis.report.build import PAGE
from analysis.study.arm_names import settings_of
from analysis.study.loading import load
from analysis.study.naming import short
from analysis.study.study import Study
from mars.config import UserError, build
from mars.files import write_text
from mars.method.wandb_logger import artifact_name
from mars.process import telemetry
from mars.record.layout import MAIN

BLOCKS = "wandb_report.json"  # in DIR/report
_SAID = ("verdict.md", "leaderboard.md")
_LINES = {  # by round: what is drawn of every arm
    "round/validation_accuracy": "accuracy on the validation pairs",
    "round/share_none": "share of the base pairs that get no row",
    "round/top_decile_share": "share of the rows that the tenth of the pairs with most get",
    "round/budget_max": "most rows of one base pair",
}


@dataclass(frozen=True)
class WandbReportConfig:
    """conf/wandb_report.yaml, checked. entity, project: None for those that the runs were told to."""

    study: str
    entity: str | None = None
    project: str | None = None
    mode: Literal["online", "offline"] = "online"
    debug: bool = False


def wandb_report(settings: WandbReportConfig) -> str:
    """Publishes the report; returns its address, or with mode=offline what to do next.

    Raises UserError where the study has no report, none of its runs was told to W&B, the package is missing, or W&B
    cannot be reached.
    """
    page = Path(settings.study) / "report" / PAGE
    study = load(settings.study)
    if not page.is_file():
        raise UserError(f"study: {settings.study} has no report yet (mars report study={settings.study})")
    where = _where(study, settings)
    wandb, wr = _libraries()
    online = settings.mode == "online"
    try:
        entity = where["entity"] or (wandb.Api().default_entity if online else "")
        report = report_of(wr, study, page.parent, {**where, "entity": entity})
        _log(wandb, page.parent, study.name, {**where, "mode": settings.mode})
        if online:
            return str(report.save().url)
    except (wandb.Error, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"wandb: {reason} (a key: wandb login or WANDB_API_KEY; mode=offline needs none)") from None
    spec = report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=1)
    write_text(page.parent / BLOCKS, spec)
    kept = page.parent / "wandb" / "offline-run-*"
    return f"{page.parent / BLOCKS}\nW&B, offline: wandb sync {kept} (and the same command with mode=online)"


def report_of(wr: Any, study: Study, directory: Path, where: Mapping[str, Any]) -> Any:
    """The report of `wandb_workspaces.reports.v2`, given as `wr`, not saved: the texts of `directory`, then panels.

    where: `entity` and `project` at W&B, and `groups`, what the runs of the study are called there.
    """
    said = [wr.MarkdownBlock((directory / name).read_text(encoding="utf-8")) for name in _SAID]
    return wr.Report(
        project=where["project"],
        entity=where["entity"],
        title=f"MARS: {study.name}"[:128],
        description="Verdict and leaderboard as `mars report` says them; the panels show the runs of this project.",
        blocks=[*said, wr.H2("Runs"), _grid(wr, study, where["groups"])],
    )


def _grid(wr: Any, study: Study, groups: list[str]) -> Any:
    """Accuracy on every test split, then what happened over the rounds, by arm.

    A panel can group by one key: where an arm is more than its method, it shows the groups that its runs are in.
    """
    from wandb_workspaces import expr

    telling = _telling(study)
    keys = ["dataset.name", "backbone.name"] if len(list(study.groups())) > 1 else []
    keys += ["method.name", *telling]
    by_arm = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}
    by_arm |= {} if telling else {"groupby": wr.Config("method.name")}
    bars = [
        wr.BarPlot(title=f"accuracy, {split}", metrics=[f"{MAIN}/{split}/accuracy"], **by_arm) for split in study.splits
    ]
    lines = [wr.LinePlot(title=title, x="round/round", y=[key], **by_arm) for key, title in _LINES.items()]
    runs = wr.Runset(
        name="runs by arm",
        filters=expr.And(expr.Metric("Group").isin(groups)),
        groupby=[f"config.{key}" for key in keys],
    )
    return wr.PanelGrid(runsets=[runs], panels=[*bars, *lines])


def _telling(study: Study) -> list[str]:
    """The settings that tell arms of one method apart, by their keys in a config."""
    named = {key for arm in study.arms for key in settings_of(arm)}
    return sorted({key for run in study.members.values() for key in run.config if short(key) in named})


def _where(study: Study, settings: WandbReportConfig) -> dict[str, Any]:
    """entity (may be None), project and groups of the study's runs at W&B."""
    told = [run for run in study.members.values() if run.directory and (run.directory / "wandb" / "id").is_file()]
    if not told:
        raise UserError(
            f"study: no run of {settings.study} was told to W&B, so a report there would be empty (logger=wandb tells "
            "it of a run; force=true runs finished ones again)"
        )
    found: dict[str, Any] = {"groups": sorted({Path(str(run.config["study"])).name for run in told})}
    for key in ("entity", "project"):
        stated = {run.config.get(f"wandb.{key}") for run in told}
        if getattr(settings, key) is None and len(stated) > 1:
            raise UserError(f"{key}: the runs are in several, {', '.join(map(str, stated))} (name one, {key}=NAME)")
        found[key] = getattr(settings, key) or next(iter(stated))
    return found


def _libraries() -> tuple[Any, Any]:
    """wandb and `wandb_workspaces.reports.v2`."""
    os.environ.setdefault("WANDB_SILENT", "true")
    telemetry.turn_off()
    import wandb

    try:
        from wandb_workspaces.reports import v2
    except ImportError:
        raise UserError('wandb-report needs wandb-workspaces (pip install "mars-reward[wandb-report]")') from None
    return wandb, v2


def _log(wandb: Any, directory: Path, study: str, where: Mapping[str, Any]) -> None:
    """The report's directory as an artifact, of a run of its own outside the study's group."""
    run = wandb.init(
        project=where["project"],
        entity=where["entity"],
        mode=where["mode"],
        dir=str(directory),
        name=artifact_name("report", study),
        job_type="report",
    )
    artifact = wandb.Artifact(artifact_name("report", study), type="report")
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if path.is_file() and name.parts[0] not in ("wandb", BLOCKS):
            artifact.add_file(str(path.resolve()), name=name.as_posix(), policy="immutable")
    run.log_artifact(artifact)
    run.finish()


def run(cfg: Mapping[str, Any]) -> None:
    """The command: `cfg` is conf/wandb_report.yaml, resolved. Prints the report's address."""
    print(wandb_report(build(WandbReportConfig, cfg, "")))


def main() -> None:
    """`python -m analysis.wandb_report`, or `mars wandb-report`."""
    from mars.cli import command

    command("wandb_report", run)()


if __name__ == "__main__":
    main()
