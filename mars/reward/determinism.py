"""The same bits on one GPU: training that ends in the same weights each time, on one model of card and one version.

Most of what makes a GPU's sums differ from run to run is in backward passes, which add in whatever order their threads
finish. PyTorch has deterministic forms of nearly all of them, slower ones; where an operation has none, the run goes on
without and its record names the operation. Forward passes alone need none of this, nor does a CPU.

Strict first and lenient only then: in the lenient mode attention takes its faster, unordered backward pass.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

log = logging.getLogger(__name__)

_NAMED = re.compile(
    r"(\S+) does not have a deterministic implementation"  # most operations
    r"|(\w[\w ]*?) defaults to a non-deterministic algorithm"  # attention, in the lenient mode
    r"|it uses (CuBLAS)"  # with a workspace of the user's own
)


def prepare() -> None:
    """Before a GPU is first used: gives cuBLAS the workspace without which it has no deterministic products.

    Also for a run that needs none: cuBLAS reads it once a process, and a later run of the same sweep may.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


class Determinism:
    """Whether training is held to deterministic operations, and which it found that are not. wanted: on this device."""

    def __init__(self, wanted: bool):
        self.wanted, self.without = wanted, set[str]()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, operations are deterministic ones, or raise an error that `excuse` knows; nothing unless wanted."""
        if not self.wanted:
            yield
            return
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        filling: Any = torch.utils.deterministic
        filled, filling.fill_uninitialized_memory = (
            filling.fill_uninitialized_memory,
            False,
        )  # takes time, tells nothing
        try:
            torch.use_deterministic_algorithms(True, warn_only=bool(self.without))
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            filling.fill_uninitialized_memory = filled

    @contextmanager
    def released(self) -> Iterator[None]:
        """Inside `held`, operations are as they are outside of it: for forward passes alone."""
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        try:
            torch.use_deterministic_algorithms(False)
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])

    def excuse(self, error: RuntimeError) -> bool:
        """Whether `error` is of an operation without a deterministic form; inside `held` it may then be used."""
        if not self.wanted or self.without or not (names := _operations(str(error))):
            return False
        self.without |= names
        torch.use_deterministic_algorithms(True, warn_only=True)
        log.warning("%s has no deterministic form here: another run may end in other bits", ", ".join(sorted(names)))
        return True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, operations that PyTorch warns of are added to the list; every other warning is given as ever."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for warning in caught:
            names = _operations(str(warning.message))
            self.without |= names
            if not names:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _operations(message: str) -> set[str]:
    """The operations that a message of PyTorch calls not deterministic."""
    return {name for found in _NAMED.findall(message) for name in found if name}
