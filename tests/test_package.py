"""The wheel carries everything: conf/, the word tables, the licence; it runs outside a checkout."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
from support import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = ["pyproject.toml", "README.md", "LICENSE", "conf", "mars", "baselines", "benchmarks", "analysis"]
    source.mkdir()
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in tracked), str(source)], check=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("mars_reward-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


COMMANDS = """
import json, sys
from mars.run import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["mars", *command]
    main()
"""


def test_the_wheel_holds_configs_tables_and_licences(installed):
    for name in ("conf/config.yaml", "benchmarks/card_files/card.md.jinja", "mars/augment/synonyms.txt.gz"):
        assert (installed / name).exists()
    assert list(installed.glob("mars_reward-*.dist-info/licenses/**/WORDNET-LICENSE"))


def test_an_installed_package_runs_and_reports_outside_a_checkout(installed, tmp_path):
    sweep = ["-m", "scale=tiny", "study=study", "cache=cache", "method=none,mars"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMANDS, json.dumps([sweep, ["report", "study=study"]])],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mars" in done.stdout
    assert (tmp_path / "study" / "report" / "leaderboard.md").exists()
