"""A command line called in this process or in a fork, which spares a test the seconds that Python takes to start."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess

from hydra.core.global_hydra import GlobalHydra

from mars.process.stopping import SIGNALS


def run_here(main: Callable[[], object], *arguments: str, cwd: Path | None = None) -> CompletedProcess[str]:
    """What `main`, a command's entry point, leaves behind when it is called with these arguments.

    cwd: the directory it is called in. Logging, environment and the like are afterwards as they were.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with _as_it_was(), contextlib.chdir(cwd or Path.cwd()):
        sys.argv = ["command", *arguments]
        GlobalHydra.instance().clear()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:  # as the interpreter takes it: text is printed and is a failure
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
                if isinstance(end.code, str):
                    print(end.code, file=sys.stderr)
    return CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def run_apart(main: Callable[[], object], arguments: Sequence[str], heard: Path) -> ForkServerProcess:
    """The process of a command that is called with these arguments. heard: gets what it says of mistakes and progress.

    It is forked from one that has imported what a run needs.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mars.launch.forked"])
    process = context.Process(target=_called, args=(main, ["command", *arguments], heard))
    process.start()
    return process


def _called(main: Callable[[], object], arguments: list[str], heard: Path) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    sys.argv = arguments
    with heard.open("w") as file, contextlib.redirect_stderr(file):
        main()


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Afterwards the arguments, environment, garbage collector and loggers are what they were before."""
    root = logging.getLogger()
    named = {name: logging.getLogger(name).level for name in ("mars", "baselines", "benchmarks", "analysis")}
    kept = sys.argv, dict(os.environ), gc.get_threshold(), root.handlers[:], root.level
    root.handlers.clear()  # a command that configures logging would close those of the test run
    try:
        yield
    finally:
        sys.argv, environment, threshold, root.handlers, root.level = kept
        os.environ.clear()
        os.environ.update(environment)
        gc.set_threshold(*threshold)
        for name, level in named.items():
            logging.getLogger(name).setLevel(level)
