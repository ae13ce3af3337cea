"""Faults of the machine, made for real where that is cheap: a disk that is full or read-only, rights that are lost."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_OVERRIDE = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root reads and writes all there is
_VERSION_3 = 0x20080522  # of capget's structures


@dataclass(frozen=True)
class Disk:
    """A small file system in memory, mounted at `path`."""

    path: Path

    def fill(self) -> None:
        """Leaves room for nothing."""
        with contextlib.suppress(OSError), (self.path / "filler").open("ab", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 16))

    def free(self) -> None:
        """Makes room again."""
        (self.path / "filler").unlink(missing_ok=True)

    def read_only(self, yes: bool = True) -> None:
        """Lets nobody write, or everybody again."""
        subprocess.run(["mount", "-o", f"remount,{'ro' if yes else 'rw'}", self.path], check=True)


@contextlib.contextmanager
def mounted(path: Path, size: str = "8m") -> Iterator[Disk]:
    """A disk of that size; the test is skipped where this user may mount none."""
    path.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True)
    if not done or done.returncode:
        pytest.skip("no file system can be mounted here (needs root on Linux)")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextlib.contextmanager
def bound_by_rights() -> Iterator[None]:
    """Inside, file modes bind root as they bind everybody; the test is skipped where that cannot be had."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "capset"):
        pytest.skip("root cannot give up rights here")
    head, held = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, …
    assert libc.capget(head, held) == 0
    before = list(held)
    try:
        assert libc.capset(head, (ctypes.c_uint32 * 6)(before[0] & ~_OVERRIDE, *before[1:])) == 0
        yield
    finally:
        assert libc.capset(head, (ctypes.c_uint32 * 6)(*before)) == 0
