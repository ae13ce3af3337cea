"""run.log: what happens in a run, line by line, from before its directory is there.

with kept() as early:
    ...  # settings are checked, and nothing is written
    with logged(Path("outputs/quick/RUN/run.log"), early):
        ...
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mars import files

_KEPT = 10_000  # lines of a log that has no file yet
log = logging.getLogger("mars.run")  # whose lines a run's are


@contextmanager
def kept() -> Iterator[logging.handlers.MemoryHandler]:
    """Inside, every log line is kept, for a file that is not there yet."""
    handler = logging.handlers.MemoryHandler(_KEPT, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


class _Log(logging.FileHandler):
    """A log file without which a run goes on: what the disk does not take is told once, where other lines go."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.told:
            self.told = True
            log.warning("%s: cannot be written: %s (the run goes on without it)", self.baseFilename, files.words(error))

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def logged(file: Path, early: logging.handlers.MemoryHandler) -> Iterator[None]:
    """Inside, every log line also goes into `file`, after those that were kept."""
    with files.writing(file):
        handler = _Log(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    early.setTarget(handler)
    early.flush()
    logging.getLogger().removeHandler(early)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
