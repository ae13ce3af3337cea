"""Checks of a machine: each is a function of what it is given, so that a test can give it another world."""

from __future__ import annotations

import configparser
import netrc
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from mars import files

OK, NOTE, PROBLEM = "ok", "note", "problem"
PACKAGE = "mars-reward"
_NAMED = ("torch", "transformers", "datasets", "hydra-core")  # whose versions are said although they are right
_DEVELOPERS = ("dev", "docs")  # extras that no run needs
_LITTLE, _LEAST = 5e9, 100e6  # bytes of free disk: less is worth a note; with less nothing can be written


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
    return f"{PACKAGE} itself is not installed, so what it needs is not known: pip install --editable ."


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
            yield Finding(NOTE, "extras", f"{extra} is not installed", f"pip install '{PACKAGE}[{extra}]'")


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
