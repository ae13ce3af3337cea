"""Progress of long work: a bar in a terminal, a line now and then in a log file.

with Progress(100, "scoring", "texts") as progress:
    progress.advance(10)
"""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

from mars.process import ranks

log = logging.getLogger(__name__)

_INTERVAL = 15.0  # seconds


def lasting(seconds: float) -> str:
    """A time as people say it: "40 s", "3 min", "2.5 h"."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def counted(number: int, what: str) -> str:
    """So many of `what`, which is in the singular: "1 run", "2 runs"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Progress:
    """Counts towards `total`, None if that is unknown; without a terminal it logs every quarter of a minute.

    done: units that an earlier attempt counted.
    """

    def __init__(self, total: int | None, what: str, unit: str, done: int = 0):
        self.total, self.what, self.unit = total, what, unit
        self.done, self._before, self._start = done, done, time.monotonic()
        self._last = self._start
        shown = sys.stderr.isatty() and not ranks.number()
        bar = tqdm(total=total, desc=what, unit=unit, leave=False, initial=done) if shown else None
        self._bar = None if bar is None or bar.disable else bar  # TQDM_DISABLE leaves none

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, n: int) -> None:
        """Counts `n` more units, and shows or logs the progress."""
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
            return
        now = time.monotonic()
        if now - self._last >= _INTERVAL:
            self._last = now
            rate = (self.done - self._before) / (now - self._start)
            if self.total is None:
                log.info("%s: %d %s, %.3g/s", self.what, self.done, self.unit, rate)
                return
            left = max(0, (self.total - self.done) / rate)
            line = "%s: %d of %d %s, %.3g/s, %.0f s left"
            log.info(line, self.what, self.done, self.total, self.unit, rate, left)
