"""Which program this is: what has to be the same here and there for runs of one study to be comparable.

Two nodes with different sources may give different numbers without anyone noticing, and a queue may hold a job for
days. So what hands work out says what it is, and whoever works compares first.

    there = program()
    ...                    # in another process, on another machine
    differences(there)     # "" or "numpy 2.3.1 here, 2.2.0 there"
"""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("mars-reward", "torch", "transformers", "tokenizers", "numpy")
_OURS = ("mars", "baselines", "benchmarks", "conf")  # what a run imports and reads
_SHOWN = 8  # characters of a digest


@functools.cache
def program() -> Mapping[str, str]:
    """{part: its version} of Python, of the packages that make numbers, and of our own sources, by their digest."""
    python = ".".join(platform.python_version_tuple()[:2])
    versions = {package: version(package) or "none" for package in _PACKAGES}
    return {"python": python, **versions, "sources": _sources()}


def differences(there: Mapping[str, str]) -> str:
    """What is another version here than `there`, in words; "" where nothing is."""
    here = program()
    unlike = [part for part in {**here, **there} if here.get(part) != there.get(part)]
    return ", ".join(f"{part} {here.get(part, 'none')} here, {there.get(part, 'none')} there" for part in unlike)


@functools.cache
def version(package: str) -> str | None:
    """Of an installed package; None of one that is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _sources() -> str:
    found = hashlib.sha256()
    for package in _OURS:
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(root).rglob("*")):  # tables of words among them, which shape variants
                if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                    found.update(f"{package}/{path.relative_to(root).as_posix()}\0".encode())
                    found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:_SHOWN]
