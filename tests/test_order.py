"""The order of the rooms: imports go down, nowhere in a circle, and only the edge knows W&B and Hydra.

Read from the syntax trees, so that an import inside a function or under TYPE_CHECKING counts as well. What a package's
`__init__` imports is an edge of the `__init__` alone.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

PACKAGES = ("mars", "baselines", "benchmarks", "analysis", "conf")

# Lowest first. A module belongs to the longest name here that it begins with, and may import from its own line and from
# the lines above it.
ORDER = (
    (
        "mars.config",
        "mars.plugins",
        "mars.files",
        "mars.progress",
        "mars.cache",
        "mars.claims",
        "mars.each_once",
        "mars.process",
        "conf",
    ),
    ("mars.cluster",),
    ("mars.preferences",),
    ("mars.theory",),
    ("mars.worlds",),
    ("mars.reward",),
    ("mars.augment",),
    ("mars.pool",),
    ("mars.method",),
    ("mars.record",),
    (
        "mars.choices",
        "mars.assembly",
        "mars.cli",
        "mars.composition",
        "mars.mistakes",
        "mars.launch",
        "mars.fill",
        "mars.conduct",
        "mars.dry_run",
        "mars.strategy",
        "mars.model",
    ),
    ("mars.commands",),
    ("mars.run", "mars"),
    ("baselines",),
    ("benchmarks",),
    ("analysis.study",),
    ("analysis.inference",),
    ("analysis.exhibits",),
    ("analysis.report", "analysis.boards"),
    ("analysis",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}
EDGE = {
    "hydra": {
        "mars.cli",
        "mars.composition",
        "mars.launch.jobs",
        "mars.mistakes",
        "mars.launch.launching",
        "mars.launch.ray",
    },
    "wandb": {"mars.method.wandb_logger", "analysis.study.wandb_runs", "analysis.wandb_report"},
    "wandb_workspaces": {"analysis.wandb_report"},
}


MAP = re.compile(r"^ *([\w/]+(?:, [\w/]+)*) {2,}\S", re.MULTILINE)  # `module, another   what they are for`
OPEN = {"benchmarks.protocols"}  # listed, not imported: a file is all that a new module of it needs


def modules() -> dict[str, Path]:
    """Every module of the packages, by dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, as deep as they are modules of ours."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


@functools.cache
def graph() -> dict[str, set[str]]:
    """{module: what it imports}, which only the process that asks has to find out."""
    return {name: set(imported(path)) for name, path in MODULES.items()}


def room(module: str) -> str:
    """The entry of ORDER that a module belongs to."""
    fitting = [name for name in FLOOR if module == name or module.startswith(f"{name}.")]
    return max(fitting, key=len)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_its_own_room_and_from_lower_ones(module: str) -> None:
    upward = {other for other in graph()[module] & MODULES.keys() if FLOOR[room(other)] > FLOOR[room(module)]}
    assert not upward, f"{module} ({room(module)}) imports {', '.join(sorted(upward))}"


def test_no_module_imports_itself_on_any_way_round() -> None:
    state: dict[str, str] = {}

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert state.get(module) != "open", f"a circle: {' → '.join((*way[way.index(module) :], module))}"
        if module in state:
            return
        state[module] = "open"
        for other in sorted(graph()[module] & MODULES.keys()):
            visit(other, (*way, module))
        state[module] = "done"

    for module in sorted(MODULES):
        visit(module, ())


@pytest.mark.parametrize("library", sorted(EDGE))
def test_only_the_edge_knows(library: str) -> None:
    knowing = {module for module, names in graph().items() if any(n.split(".")[0] == library for n in names)}
    assert knowing == EDGE[library]


def test_every_room_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in MODULES.values()
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


@pytest.mark.parametrize("room", sorted({name.rpartition(".")[0] for name in MODULES} - OPEN - {""}))
def test_a_room_names_every_module_of_its_own_and_no_other(room: str) -> None:
    """On its map, or where it has none in what it says of itself and in what it declares as "room.module:Name"."""
    source = MODULES[room].read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(source)) or ""
    inside = {name.rpartition(".")[2] for name in MODULES if name.rpartition(".")[0] == room} - {"__main__"}
    if on_map := {name.rstrip("/") for line in MAP.findall(said) for name in line.split(", ")}:
        assert on_map == inside
    else:
        declared = re.findall(rf'"{re.escape(room)}\.(\w+):', source)
        assert inside <= {*re.findall(r"`(\w+)[.`]", said), *declared}


def test_arms_and_settings_are_read_without_torch_and_runs_are_made_without_transformers() -> None:
    """Importing either takes seconds. Help, a check of settings and the skipping of a finished run need neither, and a
    run over cached features needs no model."""
    light = [
        "mars.method.strategy",
        "mars.method.allocation",
        "mars.method.settings",
        "mars.reward.backbone",
        "mars.run",
    ]
    light += [name for name in MODULES if name.startswith("baselines")]
    told = "print(*sys.modules)"
    code = "; ".join([*(f"import {name}" for name in light), "import sys", told, "import mars.conduct", told])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in done.stdout.splitlines())
    assert not {"torch", "transformers", "pandas"} & before
    assert "torch" in after
    assert "transformers" not in after


def test_a_step_of_training_does_without_torch_s_compiler() -> None:
    """Importing that takes as long as importing torch."""
    code = """
import sys, torch
from mars.method.optimizer import new_optimizer
from mars.method.settings import TrainConfig
model = torch.nn.Linear(2, 1)
optimizer = new_optimizer(model, TrainConfig())
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
