"""A run that is asked to stop: SIGTERM, SIGUSR1 or SIGUSR2, sent by schedulers before they take the machine away.

In training the run comes to the end of its step and saves its state; anywhere else it ends at once, and the last saved
state is there. Either way the process exits with `EXIT_CODE`, and the same command goes on. A second signal changes
nothing. Where several processes make the run (`mars.process.ranks`), a signal to one of them stops all after the same
step.

    with listening() as stop:
        with stop.deferred():  # a signal is only noted
            ...
        stop.obey()            # and ends the run here
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: not done, try again
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class Stopped(BaseException):
    """The run ends because it was asked to. No Exception, so that nothing takes it for a failure and goes on.

    signal: the number of the one that asked.
    """

    def __init__(self, signal: int = signal.SIGTERM):
        super().__init__(signal)
        self.signal = signal


class Stop:
    """Whether the run was asked to stop.

    agree: whether any process of the run says yes, all of which ask at the same point.
    """

    def __init__(self, agree: Callable[[bool], bool] = bool) -> None:
        self.asked = False
        self.agree = agree
        self._deferred = False
        self._signal: int = signal.SIGTERM

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Ends the run now, or where it is deferred as soon as `obey` is called. Raises Stopped. number: the signal."""
        if not self.asked:
            self.asked, self._signal = True, number
            if not self._deferred:
                raise Stopped(number)

    def obey(self) -> None:
        """Raises Stopped where the run was asked to stop."""
        if self.agree(self.asked):
            raise Stopped(self._signal)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, `ask` only takes note; whoever is inside looks at `asked`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False


@contextmanager
def listening(agree: Callable[[bool], bool] = bool) -> Iterator[Stop]:
    """Inside, the signals ask the run to stop; nothing in a thread, which gets none. agree: see `Stop`."""
    stop = Stop(agree)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, lambda asked, _: stop.ask(asked)) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
