"""The pages name what exists: every command's keys and choices, every generated part, file and figure; examples run."""

import functools
import http.server
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from support import ROOT
from support.commands import run_here
from support.docs import of_docs

from baselines import ARMS
from mars.run import COMMANDS

PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
)
PAGES = [page for page in PAGES if "data" not in page.relative_to(ROOT).parts]
BLOCK = re.compile(r"(<!-- run -->\n)?```bash\n(.*?)```", re.DOTALL)
QUESTIONS = {  # typed into the site's search: the page that must be among the first results
    "effective pairs": "glossary/",
    "own data": "guides/own_data/",
    "csv": "guides/own_data/",
    "bad rows": "guides/own_data/",
    "own model": "guides/own_model/",
    "temperature": "glossary/",
    "tau": "method/presets/",
    "resume": "guides/sweeps/",
    "submit": "submitting/",
    "leaderboard": "submitting/",
    "wandb": "guides/wandb/",
}
ENTRIES = {
    "mars.run": "config",
    **{module: name for name, module in COMMANDS.items() if (ROOT / "conf" / f"{name}.yaml").exists()},
}  # its config


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """docs/hooks.py, which mkdocs loads by its path."""
    return of_docs("hooks")


def commands() -> Iterator[tuple[str, str, list[str]]]:
    """(page, module, its arguments) of every `python -m MODULE …` in a shell block."""
    for page in PAGES:
        for _, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.rstrip("& "), comments=True)
                if words[:2] == ["python", "-m"]:
                    yield page.name, words[2], words[3:]


def test_every_page_is_generated_in_full(hooks: ModuleType):
    for page in PAGES:
        text = hooks.on_page_markdown(page.read_text(encoding="utf-8"))
        assert not re.search(r"^<!-- (generated|from):", text, re.MULTILINE), page
    assert len(hooks.GENERATED) >= 8


def test_every_command_is_there_and_in_the_reference(hooks: ModuleType):
    assert all(callable(importlib.import_module(module).main) for module in COMMANDS.values())
    assert re.findall(r"^## python -m (\S+)$", hooks.commands(), re.MULTILINE) == list(ENTRIES)


def test_the_reference_has_the_rooms_in_their_order(hooks: ModuleType):
    rooms = re.findall(r"^\| `([\w.]+)` \| \S", hooks.rooms(), re.MULTILINE)
    assert rooms.index("mars.record") < rooms.index("mars") < rooms.index("baselines") < rooms.index("analysis.study")
    assert len(rooms) == hooks.rooms().count("\n") - 1  # each has a sentence


def test_commands_of_the_pages_have_keys_and_choices_that_exist(hooks: ModuleType):
    groups = {name: {file.stem for file in files} for name, files in hooks.groups().items()}
    files = [(name, file) for name, of_group in hooks.groups().items() for file in of_group]
    of_groups = {f"{name}.{setting.key}" for name, file in files for setting in hooks.settings(file)}
    seen = 0
    for page, module, arguments in commands():
        if module not in ENTRIES:
            assert importlib.util.find_spec(module), f"{page}: no module {module}"
            continue
        own = {setting.key for setting in hooks.settings(ROOT / "conf" / f"{ENTRIES[module]}.yaml")}
        for argument in arguments:
            key, equals, value = argument.partition("=")
            key = key.lstrip("+").partition("@")[0]  # a group put in another place
            if not equals or key.startswith("hydra"):
                continue
            seen += 1
            if key in groups:
                unknown = {one for one in value.split(",") if one.isidentifier()} - groups[key] - {"NAME", "easy_first"}
                assert not unknown, f"{page}: {key}={', '.join(unknown)}"
            else:
                assert key in own | of_groups | {"wandb.mode", "wandb.artifacts", "logger"}, (
                    f"{page}: {key} is no setting of {module}"
                )
    assert seen > 40


def test_files_that_pages_name_exist():
    path = re.compile(r"`((?:mars|baselines|benchmarks|analysis|tests|docs|conf)/[\w/.]+\.\w+)`")
    named = {(page.name, name) for page in PAGES for name in path.findall(page.read_text(encoding="utf-8"))}
    assert not [(page, name) for page, name in named if "NAME" not in name and not (ROOT / name).exists()]
    assert len(named) > 10


def test_the_readme_is_short_and_names_every_arm():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(named) == sorted(arm.name for arm in ARMS)


def test_the_site_keeps_of_a_study_what_its_pages_show():
    collect = of_docs("collect")
    shown = {study.name: collect.named(study.name) for study in collect.DATA.iterdir()}
    for study, files in shown.items():
        kept = {file.name for file in (collect.DATA / study).iterdir()}
        assert files, f"{study}: no page shows it"
        of_every_study = {"leaderboard.md", "verdict.md", "about.json"}
        assert files | of_every_study <= kept, study
        may_be = {*collect.QUOTED, *collect.IF_THERE, collect.marks.CURVATURE, collect.RESULTS}
        assert kept <= files | of_every_study | may_be, study
    assert len(shown) > 5


def test_the_reference_has_every_key_of_the_config(hooks: ModuleType, compose):
    def keys(node: dict, path: str = "") -> Iterator[str]:
        for key, value in node.items():
            yield f"{path}{key}"
            if isinstance(value, dict):
                yield from keys(value, f"{path}{key}.")

    reference = hooks.config()
    of_a_group = {*hooks.groups(), "pool.gates.encoder"}
    missing = [
        key for key in keys(compose()) if f"`{key.replace('pool.gates.encoder.', 'backbone.')}`" not in reference
    ]
    assert set(missing) <= of_a_group
    assert not [row for row in reference.splitlines() if row.startswith("| `") and row.endswith("|  |")]


def test_a_key_s_default_and_meaning_are_read_from_its_line(hooks: ModuleType, tmp_path: Path):
    file = tmp_path / "one.yaml"
    file.write_text('# What it is.\na: 1 # first\n"on":\n  b: "x # y" # second | third\nhydra:\n  c: 2\n')
    assert hooks.header(file) == "What it is."
    assert [tuple(setting) for setting in hooks.settings(file)] == [
        ("a", "1", "first"), ("on", "", ""), ("on.b", '"x # y"', "second | third")
    ]  # fmt: skip


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version


@pytest.mark.parametrize("page", [p for p in PAGES if "<!-- run -->" in p.read_text()], ids=lambda page: page.stem)
def test_blocks_marked_as_runnable_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The shell runs the block with a `python` that notes its arguments; the modules it asks for run here, in order."""
    toy = ["scale=tiny", "rounds.number=2", "rounds.steps=2", "rounds.budget=8", "batch_size=4", "backbone=tiny"]
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s\\0" "$@" >>asked; printf "\\n" >>asked\n')
    python.chmod(0o755)
    monkeypatch.setenv("MARS_CACHE", str(tmp_path / "cache"))
    for marked, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if not marked:
            continue
        (tmp_path / "asked").write_text("")
        environment = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-e", "-c", block], cwd=tmp_path, env=environment, check=True)
        asked = [line.split("\0")[:-1] for line in (tmp_path / "asked").read_text().splitlines()]
        assert asked
        for minus_m, module, *arguments in asked:
            assert minus_m == "-m"
            more = toy if module == "mars.run" and not arguments[0].isidentifier() else []  # a sub-command has its own
            main = importlib.import_module(module).main
            done = run_here(main, *arguments, *more, cwd=tmp_path)
            assert done.returncode == 0, done.stderr[-2000:]
        assert list(tmp_path.glob("outputs/*/*/DONE"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The site, built with broken links as errors, at an address of this machine."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    handler = functools.partial(SilentHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_the_site(site: str, browser: Any, scheme: str):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    tab = browser.new_page(color_scheme=scheme)
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else None  # of the schemes the colours alone differ
    for page in ("guides/own_data/", "results/archive/", "reference/commands/"):
        tab.goto(f"{site}/{page}")
        tab.wait_for_timeout(600)  # wide tables are wrapped after the page is shown
        found = axe.Axe().run(tab, options=rules).response["violations"]
        assert not [v["id"] for v in found if v["impact"] in ("serious", "critical")], page
    tab.close()


def test_the_search_of_the_site_answers_a_newcomer_s_questions(site: str, browser: Any):
    """The search looks at a key that is let go, not at text that is put in; it is ready when it invites to type."""
    expect = importlib.import_module("playwright.sync_api").expect
    tab = browser.new_page()
    tab.goto(f"{site}/")
    field, said = tab.get_by_role("textbox", name="Search"), tab.locator(".md-search-result__meta")
    links = tab.locator(".md-search-result__item > a:first-child")  # the others are its sections
    for question, page in QUESTIONS.items():
        field.fill("")
        field.press("End")
        expect(said).to_have_text("Type to start searching")  # so what is listed next is the answer to this question
        field.fill(question)
        field.press("End")
        expect(said).not_to_have_text("Type to start searching")
        for _ in range(50):  # the list may still be growing
            found = links.evaluate_all("links => links.map(link => link.href)")
            first = [link.removeprefix(f"{site}/").partition("?")[0] for link in found[:3]]
            if page in first:
                break
            tab.wait_for_timeout(100)
        assert page in first, f"{question}: {said.inner_text()}, {', '.join(first)}"
    tab.close()
