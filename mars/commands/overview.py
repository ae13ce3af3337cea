"""What one can do here, for who types `mars` and nothing more."""

from __future__ import annotations

from collections.abc import Collection, Iterator

THINGS = {  # what it is for: the command line
    "see what a preference file holds, and how to train on it": "mars look FILE",
    "try it: four arms, five seeds, generated data, minutes on two cores": "mars experiment=quick",
    "compare arms on your own preference file (a sweep)": "mars -m method=uniform,mars seed=0,1,2 dataset=files "
    "dataset.train=FILE dataset.test_from_train=200 study=outputs/mine",
    "see what came out: a picture here, and a page": "mars report study=outputs/quick",
    "judge a reward model, one of a run or of the hub": "mars evaluate model=MODEL benchmark=reward_bench",
    "see whether this machine is ready": "mars doctor",
}


def overview(commands: Collection[str]) -> Iterator[str]:
    """Its lines. commands: all sub-commands."""
    yield "MARS compares ways to spend a budget of augmented pairs when a reward model is trained on preferences."
    for what, line in THINGS.items():
        yield ""
        yield f"  {what}"
        yield f"    {line}"
    yield ""
    yield "mars --help lists the settings of a run, mars COMMAND --help those of another command:"
    yield f"  {', '.join(commands)}".replace("_", "-")
