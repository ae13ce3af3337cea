"""A Ray cluster: reached within seconds or refused in one line, and asked whether its nodes hold what is wanted.

Ray itself waits minutes for a head that is not there, and for ever for resources that no node has; both are looked at
first. Usage statistics and the dashboard are off (`mars.process.telemetry`).

    with connected("local", "engine.address") as ray:
        check_room(ray, Need(cpus=1), 2, "engine", "actors")
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from mars.cluster.settings import GB, Need
from mars.config import ConfigError, UserError
from mars.process import telemetry
from mars.process.machine import cores
from mars.process.program import differences

log = logging.getLogger("raylet")  # who says it; a library, so a sweep's terminal shows its warnings

PATIENCE = 5.0  # seconds for a head to answer
_TRIES = 6  # to reach a head that was there before
LOOK = 5.0  # seconds between two looks at the nodes of a cluster that is waited for
_LACKING = 60.0  # seconds without a node that could do the work
_GOES_ON = "the same command goes on"


@contextmanager
def connected(address: str, key: str) -> Iterator[Any]:
    """Ray, connected to the cluster at `address` (`local`: one of this machine's cores, which ends with the block).

    A process that is connected already stays as it is. key: the setting. Raises ConfigError where Ray is not installed
    or nobody answers, and UserError where the cluster fails inside the block.
    """
    telemetry.turn_off()
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ part writes to the terminal
    os.environ.setdefault("RAY_worker_niceness", "0")  # its 15 would leave the work of a command behind all else here
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")  # a busy machine needs more than its 60
    try:
        import ray
    except ImportError:
        raise ConfigError(f"{key.partition('.')[0]}: Ray is not installed (pip install 'mars-reward[ray]')") from None
    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            stack.enter_context(contextlib.redirect_stdout(_Output(sys.stdout)))
            with _own_signals():
                _connect(ray, address, key)
            stack.callback(ray.shutdown)
        try:
            yield ray
        except ray.exceptions.RayError as error:
            if told := _told(ray, error):
                raise told from error
            raise


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it connects; afterwards it is whose it was before (`mars.process.stopping`)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _connect(ray: Any, address: str, key: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        try:
            ray.init(address="local", num_cpus=cores(), include_dashboard=False, **quiet)
        except Exception as error:  # Ray's own is a bare Exception
            raise UserError(f"ray: no cluster could be started here: {' '.join(str(error).split())[:300]}") from error
        return
    known = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if known != "auto":
        _check_answers(known, key)
    try:
        ray.init(address=known, **quiet)
    except ConnectionError:
        raise ConfigError(
            f"{key}: no Ray cluster runs on this machine (ray start --head, or give the HOST:PORT of its head)"
        ) from None
    except RuntimeError as error:  # another version of Ray or Python than the cluster's
        raise ConfigError(f"{key}: {known}: {' '.join(str(error).split())[:300]}") from None


def _check_answers(address: str, key: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ConfigError(
            f'{key}: "{address}" is no address (local, auto, or HOST:PORT of the head, such as 10.0.0.1:6379)'
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{key}: no Ray cluster answers at {address} ({error})") from None


def nodes(ray: Any, patience: float = PATIENCE) -> list[dict[str, Any]]:
    """The living nodes, as Ray describes them. patience: seconds for the head to answer, and between two tries.

    Raises UserError where the head is gone, which Ray would wait for.
    """
    _check_head(ray.get_runtime_context().gcs_address, patience)
    return [node for node in ray.nodes() if node["Alive"]]


def _check_head(address: str, patience: float) -> None:
    host, _, port = address.rpartition(":")
    for left in reversed(range(_TRIES)):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=patience).close()
            return
        except OSError as error:
            if not left:
                raise UserError(f"ray: the head of the cluster at {address} is gone: {error} ({_GOES_ON})") from None
        time.sleep(patience)


class Lack:
    """Says once when the cluster has had no node for `need` for a minute: Ray waits for one in silence."""

    def __init__(self, need: Need):
        self._need, self._since, self._said = need, time.monotonic(), False

    def look(self, ray: Any) -> int:
        """The number of workers that the nodes have room for now. Raises UserError as `nodes` does."""
        places = sum(self._need.places(node["Resources"]) for node in nodes(ray))
        if places:
            self._since, self._said = time.monotonic(), False
        elif not self._said and time.monotonic() - self._since >= _LACKING:
            self._said = True
            log.warning("ray: no node with %s is left, and the work waits for one", self._need)
        return places


def check_room(ray: Any, need: Need, workers: int | None, group: str, number: str = "") -> int:
    """`workers`, or where that is None the number of workers that the cluster has room for.

    group, number: the settings. Raises ConfigError for more than that, and for a need that no node can meet, which Ray
    would wait for for ever.
    """
    resources = [node["Resources"] for node in nodes(ray)]
    places = sum(map(need.places, resources))
    if not places:
        largest = " or ".join(dict.fromkeys(_described(one) for one in resources))
        raise ConfigError(f"{group}: no node of the Ray cluster has {need} for a worker (its nodes have {largest})")
    if workers is not None and workers > places:
        raise ConfigError(
            f"{group}.{number}: {workers} workers are asked for, and the Ray cluster has room for {places} "
            f"of {need} each"
        )
    return workers or places


def _described(resources: Mapping[str, float]) -> str:
    amounts = (resources.get("CPU", 0), resources.get("GPU", 0), resources.get("memory", 0) / GB)
    return "{:g} CPU, {:g} GPU and {:.1f} GB".format(*amounts)


def _told(ray: Any, error: Exception) -> UserError | None:
    """`error` in one line; None where the program itself raised it in a worker."""
    if lacking := lacks_program(error):
        return lacking
    if isinstance(error, (ray.exceptions.RayTaskError, ray.exceptions.UserCodeException)):
        return None
    text = " ".join(str(error).split())
    return UserError(f"ray: the cluster failed: {type(error).__name__}: {text[:300]} ({_GOES_ON})")


def lacks_program(error: Exception) -> UserError | None:
    """What Ray's error says in one line, where it is that a node cannot import this program."""
    if "No module named 'mars" not in str(error):
        return None
    return UserError("ray: a node of the cluster has no mars (install the same version on every node)")


@dataclass(frozen=True)
class Home:
    """Where the process that gives out work stands; a worker goes there before it begins."""

    program: Mapping[str, str]
    folder: str
    paths: Sequence[str] = ()  # files and folders without which the work cannot be done

    def needing(self, paths: Sequence[str]) -> Home:
        """The same place, for work that cannot be done without these paths."""
        return replace(self, paths=paths)

    def enter(self) -> None:
        """Makes this worker stand there too. Raises UserError where it runs another program or lacks a path."""
        telemetry.turn_off()
        where = f"node {socket.gethostname()}"
        if unlike := differences(self.program):
            raise UserError(f"ray: {where} runs another program: {unlike} (the same commit and packages on every node)")
        for path in self.paths:
            if not Path(self.folder, path).exists():
                raise UserError(
                    f"ray: {where} has no {Path(self.folder, path)} (every node has to see it at this path)"
                )
        with contextlib.suppress(OSError):
            os.chdir(self.folder)


class _Output:
    """Standard output, which belongs to the command: what Ray prints there of dying workers becomes a warning."""

    def __init__(self, stream: TextIO):
        self._stream, self._swallow = stream, False

    def write(self, text: str) -> int:
        if "(raylet)" in text:
            said = re.sub(r"\x1b\[\d+m", "", text).partition("(raylet)")[2].strip()
            log.warning("Ray: %s", said.partition(". ")[0][:200])
        elif not (self._swallow and text == "\n"):
            self._stream.write(text)
        self._swallow = "(raylet)" in text and not text.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
