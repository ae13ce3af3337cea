"""How long a study takes on several workers, from what its runs took one after another.

A worker takes time to start, and every run takes time beside its own (settings, claims, tables). Workers of one machine
share its cores: together they do no more work a second than all cores can. Workers with a GPU each, or with a machine
each as a cluster's have, share nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from analysis.study.run_costs import Costs


class Start(NamedTuple):
    """Seconds: once before the first run, and with each run."""

    once: float
    each: float


# Of twelve runs of `matched` on two cores, 2026-11-29: the whole command less what the runs say they took.
STARTS = {
    "workers": Start(4.5, 0.1),
    "slurm": Start(2.0, 7.0),  # each run is a job, with a process of its own
    "ray": Start(10.0, 0.2),
}


class Workers(NamedTuple):
    """number: at work at once. launcher: of STARTS. shared: they share the cores that their work is done on."""

    number: int
    launcher: str
    shared: bool

    @classmethod
    def of(cls, number: int, launcher: str, costs: Costs) -> Workers:
        """Such workers for the runs of a pilot."""
        return cls(number, launcher, shared=launcher == "workers" and not costs.gpu)

    def seconds(self, costs: Costs, replicates: float, runs: int, groups: int = 1) -> float:
        """From the first command to the last file of replicates of so many runs each."""
        once, each = STARTS[self.launcher]
        alone = costs.total(replicates, runs, groups)[0]
        shared_out = max(alone / self.number, alone * costs.busy if self.shared else 0.0)
        return once + max(shared_out + replicates * runs * each / self.number, costs.first_seconds + each)
