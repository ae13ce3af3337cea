"""The studies that the site shows: declared once, run by plain commands, kept with their numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml
from support import ROOT
from support.docs import of_docs
from support.reports import figures
from support.study import make_study

from analysis.report.build import report
from mars.config import UserError


@pytest.fixture
def studies() -> ModuleType:
    return of_docs("studies")


@pytest.fixture
def collect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/collect.py, which keeps into the test's directory and knows of no pages."""
    module = of_docs("collect")
    for place in (module, module.marks):
        monkeypatch.setattr(place, "DATA", tmp_path / "data")
    monkeypatch.setattr(module, "named", lambda _: set())
    module.marks._table.cache_clear()
    return module


# ---- the set


def test_every_study_has_a_preset_commands_and_a_page_that_shows_it(studies: ModuleType) -> None:
    known = studies.declared()
    assert next(iter(known)) == "settle"
    for name, study in known.items():
        sweep, reported = study.commands(Path("data"))
        assert sweep[:2] == ["mars.run", "-m"]
        assert f"name={name}" in sweep
        assert reported[:2] == ["analysis.report", f"study=outputs/{name}"]
        assert f"{name}/" in (ROOT / "docs" / study.page).read_text(encoding="utf-8"), study.page
    assert known["settle"].runs(Path("data")) == 108  # 9 arms × 12 replicates
    assert known["settle_hh"].runs(Path("data")) == 180  # and 10 with two seeds each
    assert sum(study.minutes for study in known.values() if not study.gpu) < 240


def test_a_set_goes_on_behind_a_study_that_failed_and_says_so(
    studies: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> int:
        ran.append(command)
        return int("name=settle" in command)

    assert studies.main(["quick", "settle", "settle_hh", "--data", str(tmp_path)], run) == 1
    assert [command[0] for command in ran] == ["mars.run", "mars.run", "analysis.report"]  # settle first, as declared
    said = capsys.readouterr().out
    assert f"not run: settle_hh: its rows are not in {tmp_path}/hh_rlhf/harmless-base" in said
    assert f"settle: 108 runs (0 finished), about {studies.declared()['settle'].minutes} minutes on two cores: " in said
    assert "settle: failed, exit code 1 of mars.run" in said
    assert "quick: 0 seconds, outputs/quick/report/index.html" in said


def test_a_sweep_that_was_asked_to_stop_stops_the_set(studies: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[Sequence[str]] = []
    assert studies.main(["settle", "quick"], lambda command: ran.append(command) or 75) == 1
    assert len(ran) == 1
    assert "stopped; the same command goes on from there" in capsys.readouterr().out


def test_what_cannot_be_run_is_one_line(studies: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "studies.yaml"
    entry = {"asks": "what?", "run": ["experiment=setle"], "minutes": 1, "page": "results/settle.md"}
    file.write_text(yaml.safe_dump({"mine": entry}))
    mine = studies.declared(file)["mine"]
    with pytest.raises(UserError, match=r'mine: no preset "setle" in conf/experiment \(did you mean "settle"\?\)'):
        mine.sweep(Path("data"))
    file.write_text(yaml.safe_dump({"mine": {**entry, "minute": 2}}))
    with pytest.raises(UserError, match=r"docs/studies.yaml: mine.minute: no such setting \(did you mean"):
        studies.declared(file)
    assert "make studies GPU=1" in studies.declared()["settle_hh_deberta"].why_not(Path("data"), False, False)
    assert "toy size" in studies.declared()["settle_hh"].why_not(Path("data"), False, True)


# ---- what is kept of a study


def test_a_study_is_kept_with_all_its_numbers(
    collect: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_study(tmp_path / "mine", {"uniform": 0.7, "mars": 0.8}, manifest={"wall_seconds": 30.0})
    with figures("accuracy"):
        report(path)
    collect.collect(path)
    kept = tmp_path / "data" / "mine"
    found = {file.name for file in kept.iterdir()}
    of_any_study = {*collect.QUOTED, "comparisons.csv", "bit_comparisons.csv", collect.RESULTS, collect.marks.ABOUT}
    assert found == of_any_study  # it has one size, so no labels that an arm saves
    about = json.loads((kept / "about.json").read_text())
    assert (about["runs"], about["seconds"], about["remarks"]) == (6, 180, [])
    every = pd.read_parquet(path / "report" / "results.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(kept / "results.parquet"), every)
    row = pd.read_csv(kept / "comparisons.csv").iloc[0]
    said = collect.marks.made("mine/verdict/uniform/accuracy")
    assert said.startswith(f"{row['verdict']}: {100 * row['difference']:+.1f} points [".replace("-", "−"))
    assert collect.marks.made("mine/about/replicates") == "3"
    assert collect.marks.made("mine/outcome/uniform/accuracy").startswith(said)

    monkeypatch.setattr(collect, "LARGEST", 1)
    collect.collect(path)
    assert set(pd.read_parquet(kept / "results.parquet")["metric"]) <= set(collect._OF_A_RUN)
    (next(path.glob("mars-*-s0-*")) / "DONE").touch()
    with pytest.raises(UserError, match=r"is older than the study's last run \(python -m analysis\.report study="):
        collect.collect(path)


def test_a_study_that_lacks_runs_or_mixes_versions_is_refused_unless_told(collect: ModuleType, tmp_path: Path) -> None:
    path = make_study(tmp_path / "mine", {"uniform": 0.7, "eda": 0.6})
    make_study(path, {"mars": 0.8}, manifest={"git": {"commit": "1" * 40, "dirty": False}, "packages": {"torch": "2"}})
    with figures("accuracy"):
        report(path)
    shutil.rmtree(next(path.glob("eda-*-s1-*")))
    with pytest.raises(UserError) as refused:
        collect.collect(path)
    said = str(refused.value)
    assert "1 runs are missing, such as eda with seed 1 on planted / minilm" in said
    assert "runs differ in commit: 0000000000 made 5, 1111111111 made 3" in said
    assert "runs differ in torch: None made 5, 2 made 3" in said
    assert not (tmp_path / "data").exists()
    collect.collect(path, anyway=True)
    assert len(json.loads((tmp_path / "data/mine/about.json").read_text())["remarks"]) == 3

    (next(path.glob("mars-*-s0-*")) / "DONE").unlink()
    with pytest.raises(UserError, match=r"1 runs are not counted, such as mars-\S+: unfinished"):
        collect.collect(path)


def test_a_declared_study_needs_all_the_runs_that_are_declared(collect: ModuleType, tmp_path: Path) -> None:
    path = make_study(tmp_path / "quick", {"uniform": 0.7, "mars": 0.8})
    with pytest.raises(UserError, match=r"6 of the 20 runs that docs/studies\.yaml declares are there"):
        collect.collect(path)


# ---- numbers in pages


def kept(folder: Path, difference: float, verdict: str) -> None:
    """A study `mine` of one declared comparison, and its curvature in three replicates."""
    folder.mkdir(parents=True)
    row = {"dataset": "planted", "arm": "mars", "reference": "uniform", "difference": difference, "margin": 0.01}
    row |= {"difference_lo": -0.007, "difference_hi": 0.003, "verdict": verdict, "not_compared": None}
    row |= {"more_replicates": 12.0, "larger_replicates": None, "larger_examples": None, "larger_rows": None}
    pd.DataFrame([row]).to_csv(folder / "comparisons.csv", index=False)
    gains = {"uniform": (0.1, 0.2, 0.3), "mars": (0.2, 0.31, 0.39)}
    rows = [
        {"dataset": "planted", "backbone": "b", "arm": arm, "replicate": i, "h_gain": gain, "h_log_condition": -gain}
        for arm, of_arm in gains.items()
        for i, gain in enumerate(of_arm)
    ]
    pd.DataFrame(rows).to_csv(folder / "curvature.csv", index=False)
    worth = {"endpoint": "accuracy", "arm": "mars", "labels": [50, 100], "reference": "uniform"}
    worth["equals"] = ["fewer than 50 [fewer than 50, 83]", "95 [78, 110]"]
    pd.DataFrame(worth).to_csv(folder / "label_equivalence.csv", index=False)
    cell = {"dataset": "planted flip_rate=0.25 size=4000", "strategy": "mars", "outcome": "win"}
    cell |= {"difference": 0.011, "difference_lo": 0.006, "difference_hi": 0.015}
    pd.DataFrame([cell]).to_csv(folder / "regimes.csv", index=False)


def test_a_number_is_made_from_the_study_s_files(collect: ModuleType, tmp_path: Path) -> None:
    kept(tmp_path / "data" / "mine", -0.002, "equivalent")
    made = collect.marks.made
    assert made("mine/verdict/uniform/accuracy") == "equivalent within 1 point of accuracy: −0.2 points [−0.7, +0.3]"
    assert made("mine/outcome/uniform/accuracy") == made("mine/verdict/uniform/accuracy")
    # Differences 0.10, 0.11, 0.09: mean 0.1, sd 0.01, t(.975, 2) = 4.303, so ± 0.0248.
    assert made("mine/gain/mars/uniform/h") == "higher: +0.100 nats a direction [+0.075, +0.125]"
    assert made("mine/labels/mars/100/uniform/accuracy") == "95 [78, 110]"
    assert made("mine/map/planted flip_rate=0.25 size=4000/mars") == "win: +1.1 points [+0.6, +1.5]"
    assert made("mine/condition/mars/uniform") == "better: 0.90 times as large [0.88, 0.93]"
    assert made("yours/verdict/uniform/accuracy") == "not studied yet"


def test_what_is_open_comes_with_what_would_settle_it(collect: ModuleType, tmp_path: Path) -> None:
    kept(tmp_path / "data" / "mine", 0.001, "not settled")
    said = "not settled: +0.1 points [−0.7, +0.3]; about 12 more replicates would settle it"
    assert collect.marks.made("mine/outcome/uniform/accuracy") == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("mine/verdicts/uniform/accuracy", 'no kind of value "verdicts" (did you mean "verdict"?)'),
        ("mine/verdict/unifrm/accuracy", '0 declared comparisons with "unifrm" (did you mean "uniform"?)'),
        ("mine/verdict/uniform", "expected is STUDY/verdict/REFERENCE/ENDPOINT"),
        ("mine/verdict/uniform/acuracy", 'no endpoint "acuracy" (did you mean "accuracy"?)'),
        ("mine/verdict/uniform/information", "has no bit_comparisons.csv (python docs/collect.py outputs/mine)"),
        ("mine/labels/mars/9/uniform/accuracy", "label_equivalence.csv: 0 rows of mars, 9, uniform, accuracy"),
        ("mine/map/planted/mars", "regimes.csv: 0 rows of mars on planted"),
        ("mine/gain/marz/uniform/h", 'no arm "marz" (did you mean "mars"?)'),
    ],
)
def test_a_mark_that_cannot_be_made_says_why(collect: ModuleType, tmp_path: Path, value: str, said: str) -> None:
    kept(tmp_path / "data" / "mine", -0.002, "equivalent")
    with pytest.raises(UserError) as refused:
        collect.marks.made(value)
    assert said in str(refused.value)


def test_a_number_that_is_stale_or_typed_is_found_with_its_line(collect: ModuleType, tmp_path: Path) -> None:
    kept(tmp_path / "data" / "mine", -0.002, "equivalent")
    page = tmp_path / "README.md"
    marked = "# A\n\n| MARS | <!-- value: mine/difference/uniform/accuracy -->{}<!-- /value --> |\n"
    page.write_text(marked.format("−0.3 points [−0.7, +0.3]"))
    found = list(collect.marks.stale(page))
    assert found == [
        f'{page}:3: mine/difference/uniform/accuracy: the page has "−0.3 points [−0.7, +0.3]", '
        'the study "−0.2 points [−0.7, +0.3]"'
    ]
    page.write_text(collect.marks.rewritten(page.read_text()))
    assert page.read_text() == marked.format("−0.2 points [−0.7, +0.3]")
    assert list(collect.marks.stale(page)) == []
    page.write_text(page.read_text() + "\nMARS gains +1.4 points.\n")
    assert [line.partition(" is typed")[0] for line in collect.marks.stale(page)] == [f'{page}:5: "+1.4 points"']


def test_a_file_that_a_page_shows_and_that_was_not_kept_is_found(
    collect: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path / "data" / "mine", -0.002, "equivalent")
    page = tmp_path / "settle.md"
    page.write_text(
        "<!-- from: mine/rates.md -->\n\n<!-- from: mine/comparisons.csv -->\n\n<!-- from: yours/rates.md -->\n"
    )
    monkeypatch.setattr(collect.marks, "PAGES", (page,))
    assert collect.check() == [
        "settle.md: shows mine/rates.md, which is not kept (python docs/collect.py outputs/mine)"
    ]


def test_no_number_of_a_study_in_the_pages_is_stale_or_typed() -> None:
    assert of_docs("collect").check() == []
