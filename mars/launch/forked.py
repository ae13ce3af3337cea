"""What a worker of a sweep has when it begins: imported once, by the process that workers are forked from.

That process has no thread of ours, no data and no GPU. It hears no signal that asks to stop: a scheduler sends one to
every process of a job, and it is this one that tells of the ends of workers, which save what they trained. What is sent
to a worker before it is ready waits until it is. Nor does Ctrl-C end this process while it imports. It ends with the
sweep.
"""
# ruff: noqa: E402, for a library's threads hear what the thread hears that starts them

import gc
import signal

from mars.process.stopping import SIGNALS

signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

import mars.assembly
import mars.conduct
import mars.dry_run
import mars.launch.workers  # noqa: F401

gc.freeze()  # no collection writes to what workers share with this process, or looks through it when it ends
