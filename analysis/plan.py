"""Before a study is run: how many replicates it needs, how long they take and how much disk.

    python -m analysis.plan experiment=settle detect=1.0
    python -m analysis.plan experiment=settle detect=1.0 pilot=outputs/settle
    python -m analysis.plan experiment=settle detect=0.5 detect_bits=0.005 test_pairs=2000 pilot=[outputs/a,outputs/b]
    python -m analysis.plan experiment=settle detect=1.0 pilot=outputs/settle workers=16 launcher=slurm hourly=2.5

For the smallest difference of interest, both that it is found where it is, and that it is ruled out where there is
none, with 80 % power at the level that the family of comparisons leaves to each. What is no key of conf/plan.yaml is a
setting of the experiment. Nothing is run, unless pilot=run asks for one replicate.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analysis.inference.pairing import ENDPOINTS
from analysis.inference.pilot import Named, Spreads, measured, median_and_widest, of_study
from analysis.inference.power import (
    DIFFERENCE,
    EQUIVALENCE,
    cautious,
    examples_share,
    looked_at,
    predicted,
    replicate_sd,
    replicates_needed,
    understated,
)
from analysis.inference.stats import ALPHA, FEWEST
from analysis.plan_text import in_text
from analysis.planned_sweep import Asked, asked
from analysis.study.loading import load
from analysis.study.run_costs import Costs, costs
from analysis.study.study import Study
from analysis.study.workers import Workers
from mars.config import UserError, build
from mars.files import as_json

QUESTIONS = {"difference": DIFFERENCE, "equivalence": EQUIVALENCE}
TIMES = (0.25, 0.5, 1, 2, 4)  # test pairs beside those asked for
RUN = "run"
WIDTHS = ("median", "widest", "cautious")
log = logging.getLogger("analysis.plan")  # also when it runs as __main__


@dataclass(frozen=True)
class PlanConfig:
    """conf/plan.yaml, checked."""

    detect: float
    detect_bits: float = 0.01
    test_pairs: int | None = None
    pilot: str | list[str] | None = None
    study: str | None = None
    replicates: int | None = None
    workers: int = 1
    launcher: Literal["workers", "slurm", "ray"] = "workers"
    hourly: float | None = None
    json: bool = False
    debug: bool = False

    def __post_init__(self) -> None:
        for key in ("detect", "detect_bits"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key}: must be above 0, not {getattr(self, key)}")
        for key, least in (("replicates", 1), ("workers", 1), ("hourly", 0)):
            value = getattr(self, key)
            if value is not None and not value >= least:
                raise ValueError(f"{key}: must be at least {least}, not {value}")
        if self.test_pairs is not None and self.test_pairs < FEWEST:
            raise ValueError(f"test_pairs: must be at least {FEWEST}, not {self.test_pairs}")
        if not all(source.strip() for source in self.pilots):
            raise ValueError("pilot: must name a directory, or several as [A,B], or be run")
        if self.study is not None and self.pilot != RUN:
            raise ValueError("study: goes with pilot=run (a study that is there is pilot=DIR)")

    @property
    def pilots(self) -> list[str]:
        return [self.pilot] if isinstance(self.pilot, str) else self.pilot or []

    @property
    def sizes(self) -> dict[str, float]:
        """The smallest difference of interest by endpoint, a share of pairs and bits a pair."""
        return {"accuracy": self.detect / 100, "information": self.detect_bits}


def plan(settings: PlanConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The plan, in JSON's types but for infinite replicates. overrides: of the experiment, as `mars.run` takes them.

    Raises UserError for an experiment that compares nothing, a pilot that shows no spread, or, without one, data of
    which nothing was measured.
    """
    study = asked(overrides)
    spreads, source, cost = _known(settings, study)
    pairs = settings.test_pairs or study.test_pairs or spreads["accuracy"][0].spread.examples
    family = len(ENDPOINTS) * study.comparisons
    found: dict[str, Any] = {
        "experiment": study.name,
        "data": f"{study.dataset} / {study.backbone}",
        "runs_a_replicate": study.runs,
        "comparisons": study.comparisons,
        "family": family,
        "level": ALPHA / family,
        "test_pairs": pairs,
        "base_pairs": study.base_pairs,
        "spread": source,
        "endpoints": [
            _endpoint(metric, spreads[metric], size, pairs, ALPHA / family) for metric, size in settings.sizes.items()
        ],
        "cost": None,
    }
    return found | {"cost": _cost(found, cost, study, settings) if cost else None}


def _endpoint(metric: str, spreads: Sequence[Named], size: float, pairs: int, level: float) -> dict[str, Any]:
    """What one endpoint takes with the median and the widest spread, and with what the widest may well be."""
    median, widest = median_and_widest(spreads)
    by_width = {"median": median, "widest": widest, "cautious": Named(widest.name, cautious(widest.spread))}
    of_width = {width: _needed(one, size, pairs, level) for width, one in by_width.items()}
    return {"endpoint": metric, "detect": size, **of_width}


def _needed(named: Named, size: float, pairs: int, level: float) -> dict[str, Any]:
    """Replicates with one spread, by test pairs, and with looks."""
    name, spread = named
    numbers = sorted({max(FEWEST, round(pairs * times)) for times in TIMES})
    return {
        "comparison": name,
        "sd": replicate_sd(spread),
        "sd_test_pairs": spread.examples,
        "from_test_pairs": examples_share(spread),
        "sd_planned": replicate_sd(predicted(spread, 2, pairs)),
        "replicates": [
            {"test_pairs": n}
            | {key: replicates_needed(asks, spread, n, size, level) for key, asks in QUESTIONS.items()}
            for n in numbers
        ],
        "looks": {key: looked_at(asks, spread, pairs, size, level)._asdict() for key, asks in QUESTIONS.items()},
    }


def _known(settings: PlanConfig, study: Asked) -> tuple[Spreads, dict[str, Any], Costs | None]:
    """Spreads, what to say of where they are from, and what a run takes, where that is known."""
    if settings.pilots and settings.pilot != RUN:
        pilot = _loaded(settings.pilots)
        spreads = of_study(pilot)
        ran = sorted({f"{dataset} / {backbone}" for dataset, backbone in pilot.runs[["dataset", "backbone"]].values})
        sizes = {run.config.get("dataset.size") for run in pilot.members.values()}
        told = {"ran": ran, "base_pairs": sizes.pop() if len(sizes) == 1 else None}
        source = _source(spreads) | {"from": f"the pilot {', '.join(settings.pilots)}", **told}
        return spreads, source, costs(pilot)
    spreads, row = measured(study.dataset, study.backbone, study.train)
    told = {"base_pairs": row["base_pairs"], "date": str(row["date"]), "command": row["command"]}
    source = _source(spreads) | {"from": "what was measured of this project's own studies", **told}
    return spreads, source, costs(_pilot(settings, study)) if settings.pilot == RUN else None


def _loaded(pilots: Sequence[str]) -> Study:
    try:
        return load(*pilots)
    except UserError as error:
        raise UserError(re.sub("^study: ", "pilot: ", str(error))) from None


def _source(spreads: Spreads) -> dict[str, Any]:
    """How much the spreads rest on."""
    named = spreads["accuracy"]
    replicates = min(spread.replicates for _, spread in named)
    return {"comparisons": len(named), "replicates": replicates, "understated": understated(replicates)}


def _pilot(settings: PlanConfig, study: Asked) -> Study:
    """One replicate of the experiment, run in a process of its own. Raises UserError where it does not end well."""
    with tempfile.TemporaryDirectory(prefix="mars_plan_") as temporary:
        place = settings.study or f"{temporary}/study"
        own_cache = [] if settings.study else [f"cache={temporary}/cache"]
        command = [sys.executable, "-m", "mars.run", "-m", *study.first, f"study={place}", *own_cache]
        log.info("one replicate of %s, %d runs, in %s", study.name, study.runs, place)
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise UserError(f"pilot: its runs did not end well (exit status {done.returncode}; what is wrong is above)")
        return load(place)


def _cost(found: Mapping[str, Any], cost: Costs, study: Asked, settings: PlanConfig) -> dict[str, Any]:
    """Time and room of a run at the planned size, and of what the plan asks for at most."""
    pairs = found["test_pairs"]
    at = cost.at(study.read, pairs)
    workers = Workers.of(settings.workers, settings.launcher, at)
    wanted = {"as told": float(settings.replicates)} if settings.replicates else {}
    for endpoint in found["endpoints"]:
        for width in WIDTHS:
            row = next(row for row in endpoint[width]["replicates"] if row["test_pairs"] == pairs)
            wanted[f"{endpoint['endpoint']}, {width}"] = max(row[key] for key in QUESTIONS)

    def total(replicates: float) -> dict[str, Any]:
        seconds, size = at.total(replicates, study.runs, study.groups)
        hours = workers.number * workers.seconds(at, replicates, study.runs, study.groups) / 3600
        return {
            "replicates": replicates,
            "seconds": seconds,
            "bytes": size,
            "elapsed": workers.seconds(at, replicates, study.runs, study.groups),
            "worker_hours": hours,
            "price": None if settings.hourly is None else settings.hourly * hours,
            "made": replicates * at.made,
            "calls": replicates * at.calls,
            "paid": None if at.paid is None else replicates * at.paid,
        }

    return {
        **{"first_seconds": at.first_seconds, "later_seconds": at.later_seconds, "run_bytes": at.run_bytes},
        **{"measured_test_pairs": round(cost.test_pairs), "measured_pairs": cost.read},
        **{"workers": workers.number, "launcher": workers.launcher, "gpu": at.gpu},
        "hourly": settings.hourly,
        "asked_workers": workers[:2] != (1, "workers") or settings.hourly is not None,
        "totals": {name: total(replicates) for name, replicates in wanted.items()},
    }


def run(cfg: Mapping[str, Any], overrides: Sequence[str] = ()) -> None:
    """The command: `cfg` is conf/plan.yaml, resolved."""
    settings = build(PlanConfig, cfg, "")
    found = plan(settings, overrides)
    print(json.dumps(as_json(found), indent=2, ensure_ascii=False) if settings.json else in_text(found))


def main() -> None:
    """Settings of a plan go to the plan, all others to the experiment."""
    from mars.cli import command

    keys = set(PlanConfig.__dataclass_fields__)
    theirs = [one for one in sys.argv[1:] if "=" in one and not one.startswith("-") and one.split("=")[0] not in keys]
    theirs = [one for one in theirs if not one.startswith("hydra")]
    sys.argv = [one for one in sys.argv if one not in theirs]
    command("plan", lambda cfg: run(cfg, theirs))()


if __name__ == "__main__":
    main()
