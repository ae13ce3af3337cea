"""A plan on synthetic pilots, on what was measured, and on a replicate that it runs itself; mistakes are one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.commands import run_here
from support.study import make_study

from analysis import load
from analysis.inference.comparisons import compare
from analysis.inference.difference import Spread
from analysis.inference.pilot import Named, as_rows, median_and_widest, of_study
from analysis.inference.pilot import measured as measured_of
from analysis.inference.power import DIFFERENCE, cautious, predicted, replicate_sd, replicates_needed
from analysis.inference.stats import ALPHA
from analysis.plan import main
from analysis.planned_sweep import asked
from analysis.study.run_costs import Costs, costs
from analysis.study.workers import STARTS, Workers
from mars.config import UserError

ARMS = "method=none_matched,uniform,mars"
SETTLE = ("experiment=settle", "detect=1.0")


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six replicates of three arms, with test pairs of their own, that took four seconds each."""
    path = tmp_path_factory.mktemp("pilot") / "study"
    skills = {"none_matched": 0.4, "uniform": 0.7, "mars": 0.8}
    settings = {"dataset": {"name": "planted", "size": 100, "validation": 50, "test_size": 60}}
    return make_study(
        path, skills, seeds=tuple(range(6)), own_rows=True, manifest={"wall_seconds": 4.0}, config=settings
    )


def planned(*arguments: str) -> dict[str, Any]:
    done = run_here(main, *arguments, "json=true")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_plan_from_a_pilot_is_that_of_its_comparisons(pilot: Path) -> None:
    found = planned(*SETTLE, ARMS, f"pilot={pilot}")
    assert (found["runs_a_replicate"], found["comparisons"], found["family"]) == (3, 2, 4)
    assert found["test_pairs"] == 4000
    table = compare(load(pilot))
    assert int(table["family"].iloc[0]) == found["family"]
    spreads = of_study(load(pilot))
    for endpoint, metric in zip(found["endpoints"], ("accuracy", "information"), strict=True):
        assert endpoint["endpoint"] == metric
        named = dict(zip(("median", "widest"), median_and_widest(spreads[metric]), strict=True))
        for width, one in named.items():
            assert endpoint[width]["sd"] == pytest.approx(replicate_sd(one.spread))
            row = next(row for row in endpoint[width]["replicates"] if row["test_pairs"] == 4000)
            assert row["difference"] == replicates_needed(DIFFERENCE, one.spread, 4000, 0.01, ALPHA / 4)
        numbers = [row["difference"] for row in endpoint["widest"]["replicates"]]
        assert numbers == sorted(numbers, reverse=True)
        assert endpoint["widest"]["sd_planned"] >= endpoint["median"]["sd_planned"]
        assert endpoint["cautious"]["sd_planned"] > endpoint["widest"]["sd_planned"]
    total = found["cost"]["totals"]["accuracy, median"]
    assert total["seconds"] == pytest.approx(total["replicates"] * 3 * 4.0)  # all runs of the pilot took as long


def test_the_text_says_what_was_used_and_where_it_is_from(pilot: Path) -> None:
    done = run_here(main, *SETTLE, ARMS, f"pilot=[{pilot},{pilot}]", "test_pairs=2000")
    assert done.returncode == 0, done.stderr
    assert f"Spread from the pilot {pilot}, {pilot}: 2 comparisons over 6 replicates." in done.stdout
    assert "\n>                 2000  " in done.stdout
    assert "Time and disk, one run after another" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 250


def test_without_a_pilot_it_is_what_was_measured_and_no_time() -> None:
    done = run_here(main, *SETTLE)
    assert done.returncode == 0, done.stderr
    first, second, third, *_ = done.stdout.splitlines()
    assert first.startswith(
        "settle on planted / minilm: 9 runs a replicate, 8 comparisons by 2 endpoints, each at 0.0031"
    )
    assert second.startswith("Spread from what was measured of this project's own studies: ")
    assert "python -m mars.run experiment=settle" in third
    assert done.stdout.splitlines()[-1].startswith("Time and disk: not known without a pilot")


def test_a_pilot_of_other_data_is_said_to_be_that(tmp_path: Path) -> None:
    skills = {"uniform": 0.7, "mars": 0.8}
    path = make_study(tmp_path / "s", skills, dataset="hh_rlhf", own_rows=True, manifest={"wall_seconds": 1.0})
    done = run_here(main, *SETTLE, ARMS, f"pilot={path}")
    assert "! The pilot ran on hh_rlhf / minilm, the plan is for planted / minilm." in done.stdout


@pytest.mark.parametrize(
    ("overrides", "runs", "comparisons"),
    [
        (["experiment=settle"], 9, 8),  # mars by absolute margins against 7 other arms and mars by signed ones
        (["experiment=settle", "focus=mars"], 9, 14),  # both of them against 7
        (["experiment=settle", "method=uniform,mars", "seed=0,1"], 4, 1),
        (["experiment=quick"], 4, 3),
        (["experiment=matched"], 13, 12),
        (["method=uniform,mars_v1_text"], 2, 1),  # which is mars with another τ
        (["experiment=budget_sweep"], 12, 6),  # at each budget
        (["experiment=sensitivity"], 18, 9),  # rates × lengths
        (["experiment=matched", "method=uniform,mars", "rounds.keep=last,best"], 4, 2),
        (["experiment=regimes"], 160, 300),  # 10 groups × 2 augmenters × 3 arms of mars × 5 others
    ],
)
def test_runs_and_comparisons_of_a_sweep_are_counted_without_running_it(
    overrides: list[str], runs: int, comparisons: int
) -> None:
    found = asked(overrides)
    assert found.runs == runs
    assert found.comparisons == comparisons


def test_the_first_replicate_of_a_sweep_is_all_of_its_arms() -> None:
    assert asked(["experiment=settle"]).first == ("experiment=settle", "replicate=0")
    assert asked(["experiment=quick", "seed=3,4"]).first == ("experiment=quick", "seed=3")


def test_what_is_kept_of_a_study_makes_the_same_plan(pilot: Path) -> None:
    spreads = of_study(load(pilot))
    kept = as_rows(spreads)[0]
    sd = kept["sd"]["mars − uniform"]
    spread = dict(spreads["accuracy"])["mars − uniform"]
    assert sd["observed"] ** 2 == pytest.approx(spread.between_replicates / spread.examples, rel=0.02)
    assert sd["pairs"] ** 2 == pytest.approx(spread.rest / spread.examples, rel=0.02)
    assert sd["shared"] == 0


def test_every_row_that_was_measured_says_how() -> None:
    for dataset, backbone in (("planted", "minilm"), ("gaussian", "gaussian"), ("hh_rlhf", "minilm")):
        spreads, row = measured_of(dataset, backbone, "head")
        assert set(spreads) == {"accuracy", "information"}
        assert row["command"].startswith("python -m mars.run ")
        assert row["base_pairs"] > 0
        for named in spreads.values():
            assert all(0 < replicate_sd(spread) < 0.1 for _, spread in named)
            widths = [predicted(spread, 1, named[0].spread.examples).se for _, spread in named]
            assert widths == sorted(widths)


def test_subsamples_that_overlap_may_leave_too_much_for_any_number_of_replicates() -> None:
    spreads, row = measured_of("hh_rlhf", "minilm", "head")
    spread = spreads["accuracy"][-1].spread
    assert (spread.draws.overlap, spread.draws.within_df) == (row["overlap"], row["seeds_df"])
    assert spread.draws.within > 0
    done = run_here(main, *SETTLE, ARMS, "dataset=hh_rlhf", "dataset.test_size=null")
    assert done.returncode == 0, done.stderr
    assert "on 795 test pairs" in done.stdout
    assert "! Measured with 200 base pairs, planned for 1000: the spread may be another." in done.stdout
    assert "never" in done.stdout


def test_the_median_of_an_even_number_is_the_first_of_two() -> None:
    named = [Named(str(i), Spread(3, 10, float(i), 0.0, 0.0)) for i in range(1, 5)]
    assert [one.name for one in median_and_widest(named)] == ["2", "4"]
    assert [one.name for one in median_and_widest(named[:1])] == ["1", "1"]
    assert cautious(named[0].spread).between_replicates == pytest.approx(2 / 0.446, rel=0.02)  # χ² with 2: 0.446 at 0.2


def test_time_and_room_grow_with_what_they_are_spent_on() -> None:
    cost = Costs(50.0, 14.0, 10.0, run_bytes=900.0, score_bytes=400.0, read=100, splits=4, test_pairs=25.0)
    assert cost.at(100, 25) == cost
    larger = cost.at(200, 50)  # twice all pairs
    assert (larger.first_seconds, larger.later_seconds) == (10 + 2 * 40, 10 + 2 * 4)
    assert larger.run_bytes == 500 + 800
    assert larger.total(3, runs=5) == (3 * (90 + 4 * 18), 3 * 5 * 1300)
    tests = cost.at(100, 75)
    assert (tests.first_seconds, tests.later_seconds) == (10 + 2 * 40, 14)


def test_workers_are_no_faster_than_all_cores_at_work() -> None:
    cost = Costs(50.0, 14.0, 10.0, run_bytes=900.0, score_bytes=400.0, read=100, splits=4, test_pairs=25.0)
    once, each = STARTS["workers"]
    runs, beside = 3 * (50 + 4 * 14), 3 * 5 * each
    assert Workers.of(1, "workers", cost).seconds(cost, 3, runs=5) == once + runs + beside
    for busy, share in ((1.0, 1.0), (0.7, 0.7), (0.2, 0.5)):
        part = cost._replace(busy=busy)
        assert Workers.of(2, "workers", part).seconds(part, 3, runs=5) == once + runs * share + beside / 2
    cards = cost._replace(gpu="H200")
    assert Workers.of(3, "workers", cards).seconds(cards, 3, runs=5) == once + 50 + 4 * 14 + 5 * each
    once, each = STARTS["slurm"]
    assert Workers.of(1000, "slurm", cost).seconds(cost, 3, runs=5) == once + 50 + each  # no run is split


def test_a_plan_for_workers_has_their_hours_and_what_calls_take(tmp_path: Path) -> None:
    supply = {"pool": {"made": 60, "usage": {"calls": 12, "cost": 0.25}}, "hardware": {"gpu": "NVIDIA H200"}}
    skills = {"none_matched": 0.4, "uniform": 0.7, "mars": 0.8}
    settings = {"dataset": {"name": "planted", "size": 100, "validation": 50, "test_size": 60}}
    manifest = {"wall_seconds": 1800.0, **supply}
    path = make_study(tmp_path / "s", skills, seeds=(0, 1, 2), own_rows=True, manifest=manifest, config=settings)
    asked = (*SETTLE, ARMS, f"pilot={path}", "test_pairs=60", "dataset.size=100", "dataset.validation=50")
    cost = planned(*asked, "replicates=4", "workers=2", "launcher=slurm", "hourly=3")["cost"]
    told = cost["totals"]["as told"]
    once, each = STARTS["slurm"]
    assert (told["seconds"], told["made"], told["calls"], told["paid"]) == (12 * 1800, 4 * 180, 4 * 36, 4 * 0.75)
    assert told["elapsed"] == once + 12 * (1800 + each) / 2
    assert told["worker_hours"] == pytest.approx(2 * told["elapsed"] / 3600)
    assert told["price"] == pytest.approx(3 * told["worker_hours"])
    said = run_here(main, *asked, "replicates=4", "workers=2", "launcher=slurm", "hourly=3").stdout
    assert re.search(
        r"  as told: 4 replicates, 6\.0 hours, \d+ kB, 720 variants in 144 calls \(3\.00 for them\)\n", said
    )
    assert "\nOn 2 jobs of Slurm at once, from the first command to the last file\n" in said
    assert f"\n  as told: 3.0 hours, 6 hours of NVIDIA H200, {told['price']:.2f} at 3 an hour\n" in said
    assert "at once" not in run_here(main, *asked).stdout


def test_the_first_run_of_a_replicate_is_told_from_the_later_ones(tmp_path: Path) -> None:
    for replicate in range(2):
        for method, seconds in (("none", 20.0), ("uniform", 4.0), ("mars", 2.0)):
            manifest = {
                "wall_seconds": seconds + replicate,
                "busy_cores": seconds / 10,
                "hardware": {"cpus": 64, "cores": 4},
            }
            make_study(tmp_path / "s", {method: 0.5}, seeds=(replicate,), own_rows=True, manifest=manifest)
    found = costs(load(tmp_path / "s"))
    assert (found.first_seconds, found.later_seconds, found.least_seconds) == (20.5, 3.5, 2.5)
    assert (found.splits, found.test_pairs) == (2, 60)
    assert found.busy == pytest.approx((20 * 41 + 4 * 9 + 2 * 5) / (41 + 9 + 5) / 40)
    make_study(tmp_path / "silent", {"none": 0.5})
    with pytest.raises(UserError, match="no run in it says how long it took"):
        costs(load(tmp_path / "silent"))


def test_a_replicate_is_run_to_measure_time_and_room(tmp_path: Path) -> None:
    sweep = ["experiment=regimes", "labels=bt", "dataset.rare_share=0", "augmenter=gaussian", "method=uniform,mars"]
    small = ["rounds.number=1", "rounds.steps=2", "dataset.size=64", "dataset.test_size=64", f"cache={tmp_path}/cache"]
    found = planned(*sweep, *small, "detect=1", "pilot=run", f"study={tmp_path}/study")
    assert len(list((tmp_path / "study").glob("*/DONE"))) == 2
    assert found["cost"]["first_seconds"] > 0
    assert found["spread"]["from"].startswith("what was measured")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["experiment=settle"], "error: detect: is required (give it as detect=…)"),
        (["experiment=settle", "detect=0"], "error: detect: must be above 0, not 0.0"),
        (["experiment=settle", "detect=1", "detect_bits=-1"], "error: detect_bits: must be above 0, not -1.0"),
        (["experiment=settle", "detect=1", "test_pairs=3"], "error: test_pairs: must be at least 8, not 3"),
        ([*SETTLE, "workers=0"], "error: workers: must be at least 1, not 0"),
        ([*SETTLE, "hourly=-1"], "error: hourly: must be at least 0, not -1.0"),
        ([*SETTLE, "replicates=0"], "error: replicates: must be at least 1, not 0"),
        (
            [*SETTLE, "launcher=slrum"],
            'error: launcher: \'slrum\' is not a choice (did you mean "slurm"?)',
        ),
        (["experiment=setle", "detect=1"], 'error: experiment: "setle" is unknown (did you mean "settle"?)'),
        (["experiment=settle", "detect=1", "detct=2"], 'error: detct: no such setting (did you mean "detect"?)'),
        ([*SETTLE, "method=mrs,uniform"], 'error: method: "mrs" is unknown (did you mean "mars"?)'),
        (
            [*SETTLE, ARMS, "pilot=nowhere"],
            "error: pilot: nowhere is not a directory (give the directory that holds the runs)",
        ),
        (
            ["experiment=settle", "detect=1", "study=here"],
            "error: study: goes with pilot=run (a study that is there is pilot=DIR)",
        ),
        (
            ["experiment=tau_sweep", "detect=1"],
            "error: experiment: it compares nothing: mars has to run beside another declared arm, and its arms are "
            "mars (give method=uniform,mars or more, or another experiment)",
        ),
        (
            [*SETTLE, ARMS, "dataset=ultrafeedback"],
            "error: pilot: nothing was measured of ultrafeedback / minilm / head (run two replicates or more and "
            "give their directory as pilot=DIR; measured: planted / minilm / head, gaussian / gaussian / head, "
            "hh_rlhf / minilm / head)",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(arguments: list[str], line: str, tmp_path: Path) -> None:
    done = run_here(main, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (1, line, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("skills", "seeds", "line"),
    [
        ({"uniform": 0.5, "mars": 0.7}, (0,), "one replicate only, which shows no spread"),
        ({"uniform": 0.5, "eda": 0.7}, (0, 1), "no comparison in it (mars beside another arm makes one; arms: "),
    ],
)  # fmt: skip
def test_a_pilot_that_shows_no_spread_is_one_line(
    skills: dict[str, float], seeds: tuple[int, ...], line: str, tmp_path: Path
) -> None:
    path = make_study(tmp_path / "study", skills, seeds=seeds, manifest={"wall_seconds": 1.0})
    done = run_here(main, *SETTLE, ARMS, f"pilot={path}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: pilot: study: ")
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
