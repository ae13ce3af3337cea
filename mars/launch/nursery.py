"""What a worker of a sweep has when it begins: imported once, by the process that workers are forked from.

That process has one thread, no data and no GPU, whatever its workers take. It hears no signal that asks to stop: a
scheduler sends one to every process of a job, and the workers, which save what they trained, have their ends reported by
it. It ends with the sweep.
"""

import signal

import torch._dynamo  # which every optimiser imports, and which takes as long as torch

import mars.assembly
import mars.conduct
import mars.dry_run
import mars.launch.workers  # noqa: F401
from mars.stopping import SIGNALS

for number in SIGNALS:
    signal.signal(number, signal.SIG_IGN)
