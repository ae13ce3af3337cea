"""`mars doctor`: each check in a world of the test's, and the command in this one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from support.commands import run_here

from mars.commands import checks, doctor
from mars.commands.checks import NOTE, OK, PROBLEM, Card, Finding
from mars.run import main

NEEDED = [
    "torch>=2.9", "transformers>=5", "tqdm>=4", "peft>=0.18; extra == 'lora'", "trl==1.16.*; extra == 'align'",
    "peft>=0.18; extra == 'align'", "pytest>=8; extra == 'dev'",
]  # fmt: skip
MEMINFO = "MemTotal:       16000000 kB\nMemFree:  1 kB\nMemAvailable:   8000000 kB\n"


def states(found: Iterable[Finding]) -> list[str]:
    """The states of findings, in their order."""
    return [finding.state for finding in found]


def test_packages_that_suit_are_one_line() -> None:
    versions = {"torch": "2.10.0+cu128", "transformers": "5.1.0.dev0", "tqdm": "4.67"}
    (line,) = checks.packages(NEEDED, versions.get)
    assert line == Finding(OK, "packages", "torch 2.10.0+cu128, transformers 5.1.0.dev0")


def test_a_package_that_is_old_or_absent_is_a_problem_with_its_remedy() -> None:
    _, *problems = checks.packages(NEEDED, {"torch": "2.8", "transformers": "5.0"}.get)
    assert problems == [
        Finding(PROBLEM, "packages", "torch 2.8 is installed, mars needs torch>=2.9", "pip install 'torch>=2.9'"),
        Finding(PROBLEM, "packages", "tqdm is not installed", "pip install 'tqdm>=4'"),
    ]


def test_extras_are_named_with_what_brings_them_and_those_of_developers_are_not() -> None:
    there, lacking = checks.extras(NEEDED, {"peft": "0.18", "trl": "1.15"}.get)
    assert there == Finding(OK, "extras", "lora")
    assert lacking == Finding(NOTE, "extras", "align is not installed", "pip install 'mars-reward[align]'")


def test_what_is_not_installed_as_a_package_says_so() -> None:
    (line,) = checks.packages([], lambda name: None)
    assert "mars-reward itself is not installed" in line.to_do
    assert list(checks.extras([], lambda name: None)) == []


def test_threads_are_the_cores_or_what_the_environment_says() -> None:
    assert checks.processors(8, {}).said == "8; a run takes as many threads (threads=N takes others)"
    assert checks.processors(8, {"OMP_NUM_THREADS": "1"}).said == "8; a run takes 1 thread, as OMP_NUM_THREADS says"


def test_memory_is_that_of_the_machine_or_of_the_container() -> None:
    assert checks.memory(MEMINFO, "max\n") == Finding(OK, "memory", "16 GB, 8.2 GB free")
    small = checks.memory(MEMINFO, "1000000000\n")
    assert (small.state, small.said) == (NOTE, "1.0 GB, 1.0 GB free")
    assert checks.memory("", "").state == NOTE


def test_a_card_is_told_with_memory_driver_and_bf16() -> None:
    (line,) = checks.cards([Card("T4", 16_000_000_000, False)], "550.54", "2.9")
    assert line == Finding(OK, "GPU", "T4, 16 GB, driver 550.54, without bf16")


def test_without_a_card_it_is_said_whether_there_is_one_that_torch_does_not_see() -> None:
    (none,) = checks.cards([], "", "2.9+cpu")
    (unseen,) = checks.cards([], "550.54", "2.9+cpu")
    assert none.said.startswith("none: runs use the CPU")
    assert unseen.said == "NVIDIA's driver 550.54 is there, and torch 2.9+cpu sees no card"
    assert unseen.to_do


def test_a_cache_that_cannot_be_written_is_a_problem() -> None:
    assert checks.cache(Path("/c"), 1000, writable=True).state == OK
    bad = checks.cache(Path("/c"), 0, writable=False)
    assert (bad.state, bad.to_do) == (PROBLEM, "set MARS_CACHE to a folder of yours")


@pytest.mark.parametrize(("free", "state"), [(50e9, OK), (1e9, NOTE), (1e6, PROBLEM)])
def test_a_full_disk_is_a_problem_before_it_is_full(free: float, state: str) -> None:
    assert checks.disk("outputs", Path("outputs"), int(free)).state == state


def test_the_hub_is_asked_unless_that_is_forbidden() -> None:
    asked: list[str] = []

    def ask(address: str) -> str:
        asked.append(address)
        return "timed out" if "slow" in address else ""

    assert checks.hub("https://hub", True, ask).state == NOTE
    assert asked == []
    assert checks.hub("https://hub", False, ask) == Finding(OK, "hub", "https://hub answers")
    slow = checks.hub("https://slow", False, ask)
    assert (slow.state, slow.said) == (NOTE, "https://slow cannot be reached: timed out")
    assert asked == ["https://hub", "https://slow"]


def test_a_server_that_is_not_there_is_told_why() -> None:
    assert "refused" in doctor._asked("http://127.0.0.1:9").lower()


def test_a_key_of_wandb_is_found_and_never_shown(tmp_path: Path) -> None:
    secret = "0123456789abcdef" * 2
    assert checks.wandb({}, tmp_path).state == NOTE
    of_variable = checks.wandb({"WANDB_API_KEY": secret}, tmp_path)
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {secret}\n")
    of_file = checks.wandb({}, tmp_path)
    assert (of_variable.said, of_file.said) == (
        "api.wandb.ai: a key in WANDB_API_KEY",
        f"api.wandb.ai: a key in {tmp_path}/.netrc",
    )
    assert secret not in f"{of_variable}{of_file}"
    place = tmp_path / ".config" / "wandb" / "settings"
    place.parent.mkdir(parents=True)
    place.write_text("[default]\nbase_url = https://wandb.example.org\n")
    assert checks.wandb({}, tmp_path).said.startswith("not logged in at wandb.example.org")


def test_a_netrc_that_cannot_be_read_is_no_login(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine\n")
    assert checks.wandb({}, tmp_path).state == NOTE


def test_datasets_that_were_downloaded_are_told_from_the_others(tmp_path: Path) -> None:
    names = doctor._hub_datasets()
    assert names["hh_rlhf"] == "Anthropic/hh-rlhf"
    assert len(set(names.values())) == len(names)
    (tmp_path / "hub" / "datasets--Anthropic--hh-rlhf" / "snapshots" / "0123").mkdir(parents=True)
    (tmp_path / "datasets" / "allenai___reward-bench").mkdir(parents=True)
    found = checks.datasets(
        {"hh_rlhf": "Anthropic/hh-rlhf", "reward_bench": "allenai/reward-bench", "mine": "me/mine"},
        lambda hub_id: doctor._is_cached(hub_id, tmp_path / "hub", tmp_path / "datasets"),
    )
    assert (found.state, found.said) == (NOTE, "downloaded: hh_rlhf, reward_bench; not: mine")


def test_a_folder_that_is_not_there_yet_is_as_writable_as_the_nearest_above(tmp_path: Path) -> None:
    assert doctor._writable(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    assert not doctor._writable(tmp_path / "file" / "a")


def test_the_command_says_it_in_lines_and_in_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARS_CACHE", str(tmp_path / "cache"))
    lines = run_here(main, "doctor", cwd=tmp_path)
    told = json.loads(run_here(main, "doctor", "--json", cwd=tmp_path).stdout)
    assert lines.returncode == 0, lines.stdout
    assert [line.split()[:2] for line in lines.stdout.splitlines()] == [[one["state"], one["what"]] for one in told]
    assert {"python", "mars", "packages", "cores", "cache", "disk", "hub", "W&B", "GPU", "backbone"} <= {
        one["what"] for one in told
    }
    assert list(tmp_path.iterdir()) == []  # nothing is written


def test_a_problem_ends_the_command_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").touch()
    monkeypatch.setenv("MARS_CACHE", str(tmp_path / "cache"))
    done = run_here(main, "doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert f"problem  cache     {tmp_path}/cache, 0 B, cannot be written (set MARS_CACHE" in done.stdout


def test_another_argument_is_one_line() -> None:
    done = run_here(main, "doctor", "fix")
    assert (done.returncode, done.stderr) == (1, "error: usage: doctor [--json]\n")
