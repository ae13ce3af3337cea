"""What `mars` says to who knows nothing yet: what there is to do, all commands, and what a shell completes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.commands import run_here

from mars.cli import composed
from mars.commands.overview import THINGS
from mars.run import COMMANDS, main

TYPED = [name.replace("_", "-") for name in COMMANDS]


def test_mars_alone_shows_six_things_to_do_and_all_commands() -> None:
    done = run_here(main)
    assert done.returncode == 0
    assert len(THINGS) == 6
    for what, line in THINGS.items():
        assert f"  {what}\n    {line}\n" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ", ".join(TYPED).split()


@pytest.mark.parametrize("line", THINGS.values())
def test_each_thing_to_do_is_a_command_or_a_run_that_composes(line: str) -> None:
    program, first, *others = line.split()
    assert program == "mars"
    if first not in COMMANDS:
        settings = [one for one in (first, *others) if one != "-m"]
        single = [one.partition(",")[0] for one in settings]
        assert composed("config", single)


def test_the_help_of_a_run_names_every_command() -> None:
    shown = run_here(main, "--help").stdout
    assert not [name for name in TYPED if f"mars {name}" not in shown]


@pytest.mark.parametrize("name", ["look", "show", "status", "doctor", "cache"])
def test_a_command_without_a_config_has_a_help(name: str) -> None:
    done = run_here(main, name, "--help")
    assert done.returncode == 0
    assert f"mars {name}" in done.stdout


def asked(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a shell is told when it asks how the line could go on."""
    monkeypatch.setenv("COMP_LINE", line)
    return run_here(main, "-sc", "query=bash").stdout.split()


def test_a_shell_completes_keys_choices_and_sub_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "method=mars_validated" in asked("mars method=ma", monkeypatch)
    assert "rounds.number=" in asked("mars rounds.nu", monkeypatch)
    assert {"report", "replies"} <= set(asked("mars re", monkeypatch))
    assert set(TYPED) <= set(asked("mars ", monkeypatch))


def test_behind_a_sub_command_its_own_settings_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked("mars pool augmenter=pla", monkeypatch) == ["augmenter=planted"]
    assert asked("mars pool older", monkeypatch) == []
    assert asked("mars status out", monkeypatch) == []


def test_a_shell_that_loads_the_completion_uses_it(tmp_path: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    program = tmp_path / "mars"
    program.write_text(f"#!{sys.executable}\nfrom mars.run import main\nmain()\n")
    program.chmod(0o755)
    script = """
    eval "$(mars -sc install=bash)"
    COMP_WORDS=(mars method=stra); COMP_CWORD=1; COMP_LINE="mars method=stra"; COMP_POINT=16
    hydra_bash_completion
    echo "${COMPREPLY[@]}"
    """
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "method=stratified\n", done.stderr
