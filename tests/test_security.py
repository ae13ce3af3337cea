"""What SECURITY.md promises: no way to run code from data in ours, no network unless asked for, no secret written."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
from support import ROOT, audit

PACKAGES = ("mars", "baselines", "benchmarks", "analysis", "conf")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# ---- the source


UNSAFE_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "commands"}
UNSAFE_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle", "pickle.loads", "subprocess.getoutput",
    "torch.hub.load", "tarfile.open", "zipfile.ZipFile", "shutil.unpack_archive",
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a chain of names; "" of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{inner}.{node.attr}" if (inner := dotted(node.value)) else ""
    return node.id if isinstance(node, ast.Name) else ""


def argument(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; None where it is not given, or is no constant."""
    given = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    return given.value if isinstance(given, ast.Constant) else None


def faults(tree: ast.AST) -> Iterator[str]:
    """What in a module could run code that came as data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES)
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in UNSAFE_MODULES:
            yield f"from {node.module}"
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in UNSAFE_CALLS and not (name == "yaml.load" and _is_safe(node)):
            yield f"{name}()"
        if name == "torch.load" and argument(node, "weights_only") is not True:
            yield "torch.load() without weights_only=True"
        if name in ("np.load", "numpy.load") and argument(node, "allow_pickle"):
            yield f"{name}() with pickles"
        if argument(node, "shell"):
            yield f"{name}() through a shell"
        if argument(node, "trust_remote_code") is True:
            yield f"{name}() trusts remote code"
        read = name.endswith(".from_pretrained") and "Tokenizer" not in name and "Config" not in name
        told = {keyword.arg for keyword in node.keywords}
        if read and "use_safetensors" not in told and not (None in told and _names_safetensors(tree)):
            yield f"{name}() without use_safetensors"


def _is_safe(call: ast.Call) -> bool:
    """Whether a call of yaml.load is given a loader that makes data alone."""
    return any("Safe" in ast.unparse(value) or "_Loader" in ast.unparse(value) for value in call.args[1:])


def _names_safetensors(tree: ast.AST) -> bool:
    """Whether a module writes the setting into what ** passes on."""
    return any(isinstance(node, ast.Constant) and node.value == "use_safetensors" for node in ast.walk(tree))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_run_code_that_came_as_data(path: Path) -> None:
    assert not list(faults(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "eval(text)", "torch.load(path)", "os.system(line)",
        "np.load(path, allow_pickle=True)", "subprocess.run(line, shell=True)", "yaml.load(text)",
        "AutoModelForCausalLM.from_pretrained(name)", "AutoTokenizer.from_pretrained(name, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_walk_finds_what_it_looks_for(source: str) -> None:
    assert list(faults(ast.parse(source)))


# ---- what runs: no network, no secret

CANARY = "canary-7f3a91-do-not-write"
KEYS = ("OPENAI_API_KEY", "WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_KEY")
WATCHED = """
import json, sys
met = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        what = arguments[1] if event == "socket.connect" else arguments[0]
        if not isinstance(what, (str, bytes)) or event != "socket.connect":  # a path is a socket of this machine
            met.append([event, str(what)])
    elif event == "socket.sendto":
        met.append([event, str(arguments[1])])
sys.addaudithook(watch)
from mars.run import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["mars", *command]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (command, end.code)
import atexit, threading
for thread in threading.enumerate():
    if thread is not threading.current_thread() and not thread.daemon:
        thread.join(5)
atexit._run_exitfuncs()
print("MET", json.dumps(met))
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """(where a run, an evaluation, a report and a card wrote, standard output, standard error), keys being canaries."""
    place = tmp_path_factory.mktemp("watched")
    run = place / "study" / "RUN"
    commands = [
        ["scale=tiny", "backbone=tiny", "method=uniform", "logger=wandb", "study=study", f"out={run}", "cache=cache"],
        [
            "evaluate",
            f"model={run}",
            "benchmark=robustness",
            "benchmark.rows=8",
            "benchmark.resamples=5",
            "cache=cache",
        ],
        ["report", "study=study"],
        ["share", f"model={run}"],
    ]
    keys = {key: f"{CANARY}-{key}" for key in KEYS}
    keys["WANDB_API_KEY"] = (CANARY.replace("-", "") * 3)[:40]
    clean = {name: value for name, value in os.environ.items() if name not in ("WANDB_SILENT", "WANDB_MODE")}
    environment = {**clean, **keys, "PYTHONPATH": str(ROOT), "HOME": str(place / "home"), "TMPDIR": str(place / "tmp")}
    environment["MPLCONFIGDIR"] = matplotlib.get_cachedir()  # where its list of fonts is, which takes seconds to make
    for name in ("home", "tmp"):
        (place / name).mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(commands)],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return place, done.stdout, done.stderr


def test_offline_is_offline(watched: tuple[Path, str, str]) -> None:
    """Neither the run with W&B offline nor what comes after it opens a connection or looks up a name."""
    (met,) = [line for line in watched[1].splitlines() if line.startswith("MET ")]
    assert json.loads(met.removeprefix("MET ")) == []


def test_no_secret_of_the_environment_is_written_or_said(watched: tuple[Path, str, str]) -> None:
    place, said, complained = watched
    words = [CANARY, CANARY.replace("-", "")]
    assert not [word for word in words if word in said + complained]
    files = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name == "index.html" for path in files)
    assert any(path.suffix == ".wandb" for path in files)
    found = [str(path) for path in files for word in words if word.encode() in path.read_bytes()]
    assert not found


def test_a_vulnerable_package_is_named_and_a_silent_index_is_no_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"name": "torch", "version": "2.13.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.14"]}]}
    answers = [json.dumps({"dependencies": [known, {"name": "x", "version": "1", "vulns": []}]}), "", "{}"]
    answers[2] = json.dumps({"dependencies": [{"name": "x", "skip_reason": "not found"}]})

    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, answers.pop(0), "Traceback\nConnectionError: no name")

    monkeypatch.setattr(audit.subprocess, "run", run)
    with pytest.raises(SystemExit, match=r"^torch 2\.13\.0: CVE-1 \(fixed in 2\.14\)$"):
        audit.main()
    audit.main()
    assert capsys.readouterr().out == "audit: not done: ConnectionError: no name\n"
    audit.main()
    assert "not done" in capsys.readouterr().out
