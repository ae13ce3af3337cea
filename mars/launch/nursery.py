"""What a worker of a sweep has when it begins: imported once, by the process that workers are forked from.

That process has no thread of ours, no data and no GPU. It hears no signal that asks to stop: a scheduler sends one to
every process of a job, and it is this one that tells of the ends of workers, which save what they trained. It ends with
the sweep.
"""

import signal

import torch._dynamo  # noqa: F401, which every optimiser imports, and which takes as long as torch

import mars.assembly
import mars.conduct
import mars.dry_run
import mars.launch.workers  # noqa: F401
from mars.stopping import SIGNALS

for number in SIGNALS:
    signal.signal(number, signal.SIG_IGN)
