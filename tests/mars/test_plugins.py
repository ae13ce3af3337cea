"""Somebody else's arm, augmenter and dataset: installed, named, run."""

import json
import re
import tomllib

import pandas as pd
import pytest
from support import ROOT
from support.commands import run_here

from mars import plugins
from mars.config import ConfigError
from mars.run import main

PAGE = (ROOT / "docs" / "adding_an_arm.md").read_text(encoding="utf-8")


def run(*overrides):
    return run_here(main, "scale=tiny", *overrides)


def test_the_page_is_a_package_that_runs(tmp_path, plugin):
    files = dict(re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)```", PAGE, re.M | re.S))
    assert len(files["easy_first/__init__.py"].splitlines()) < 30
    points = tomllib.loads(files.pop("pyproject.toml"))["project"]["entry-points"]
    lines = [
        line for group, names in points.items() for line in (f"[{group}]", *(f"{n} = {v}" for n, v in names.items()))
    ]
    plugin(files, "\n".join(lines))
    done = run("method=easy_first", "method.tau=3", f"study={tmp_path}/study")
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "study").glob("easy_first-planted-tiny-s0-*")
    assert json.loads((directory / "manifest.json").read_text())["method"] == "easy_first"
    assert pd.read_csv(directory / "rounds.csv")["effective_pairs"].between(1, 32).all()
    wrong = run("method=easy_first", "method.tua=3")
    assert 'method.tua: no such setting (did you mean "method.tau"?)' in wrong.stderr
    misspelt = run("method=easy_frist")
    assert 'method: "easy_frist" is unknown (did you mean "easy_first"?)' in misspelt.stderr


SHOUT = """
from dataclasses import dataclass
from mars import Message, Pair, Preferences, Variant


@dataclass(frozen=True)
class ShoutConfig:
    mark: str = "!"


class Shout:
    name, together, batch = "shout", 1, 64

    def __init__(self, config):
        self.mark, self.settings = config.mark, {"mark": config.mark}

    def identity(self, request):
        return request.source

    def make(self, requests):
        return [Variant(r.source.upper() + self.mark * (r.number + 1), "shout") for r in requests]


augmenter = (ShoutConfig, lambda config, cache, device: Shout(config))


@dataclass(frozen=True)
class RowsConfig:
    name: str
    rows: int = 12


def load(config):
    ask = Message("user", "which?")
    pairs = [Pair(f"mine/{i}", (ask,), f"good {i}", f"bad {i}") for i in range(config.rows)]
    return Preferences("mine", pairs[:8], pairs[8:10], {"test": pairs[10:]})


dataset = (RowsConfig, load)
"""


def test_augmenters_and_datasets_come_by_entry_point_too(tmp_path, plugin):
    points = {"augmenters": "shout = shout:augmenter", "datasets": "mine = shout:dataset", "conf": "shout = shout_conf"}
    conf = {"shout_conf/dataset/mine.yaml": "name: mine\n", "shout_conf/augmenter/shout.yaml": "name: shout\n"}
    files = {"shout.py": SHOUT, "shout_conf/__init__.py": "", **conf}
    plugin(files, "\n".join(f"[mars.{kind}]\n{line}" for kind, line in points.items()))
    done = run("dataset=mine", "augmenter=shout", "+augmenter.mark=?", f"study={tmp_path}/study")
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "study").glob("mars-mine-tiny-s0-*")
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["pool"]["settings"] == {"mark": "?"}
    assert manifest["base_ids"] == [f"mine/{i}" for i in range(8)]


def test_an_unknown_name_is_one_line_and_a_broken_package_another(plugin):
    plugin({}, "[mars.strategies]\nbroken = no_such_package:Arm")
    with pytest.raises(ConfigError, match=r'method\.name: "brokn" is unknown \(did you mean "broken"\?\)'):
        plugins.find("strategies", {"mars": "mars.method.strategy:Mars"}, "brokn", "method.name")
    with pytest.raises(ConfigError, match=r'"broken" \(no_such_package:Arm\) cannot be loaded: No module named'):
        plugins.find("strategies", {}, "broken", "method.name")
