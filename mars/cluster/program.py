"""Which program a process runs: versions, and a digest of the source, edits that no commit has included.

Two nodes with different sources may give different numbers without anyone noticing, so a worker compares its program
with that of the process that gives it work, and refuses.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from mars.config import UserError

_OURS = ("mars", "baselines", "benchmarks", "conf")
_SHAPING = ("mars-reward", "torch", "transformers", "tokenizers", "numpy")  # distributions that shape a number


@functools.cache
def program() -> Mapping[str, str]:
    """{distribution: version} of what shapes a number, and under `source` 12 hex digits of our files."""
    return {**{name: _version(name) for name in _SHAPING}, "source": _source()}


def check_same(other: Mapping[str, str], where: str) -> None:
    """Raises UserError where this process, which runs `where`, is another program than `other`."""
    ours = program()
    differing = [name for name in other if ours.get(name) != other[name]]
    if differing:
        told = ", ".join(f"{name} {ours.get(name, 'none')} instead of {other[name]}" for name in differing)
        raise UserError(f"ray: {where} runs another program: {told} (bring every node to the same commit and packages)")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # ours, run from a checkout that is not installed
        return "none"


def _source() -> str:
    total = hashlib.sha256()
    for package in _OURS:
        spec = find_spec(package)
        for root in map(Path, (spec and spec.submodule_search_locations) or ()):
            for file in sorted(root.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith("."):
                    total.update(f"{package}/{file.relative_to(root).as_posix()}\0".encode())
                    total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:12]
