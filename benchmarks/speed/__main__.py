"""How fast it is, measured beside the usual way; and two rates that only simulated studies and planted texts can tell.

    python -m benchmarks.speed                               (what can be measured)
    python -m benchmarks.speed encoder --texts 400           (one measurement; `encoder --help`: what it takes)

A measurement is a function whose parameters are its options. They are named by strings, so that one imports only what
it measures, and so that `analysis`, which lies above, can be reached.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence

from mars.config import UserError
from mars.plugins import resolve
from mars.process import reader

MEASUREMENTS = {
    "augmenters": ("benchmarks.speed.augmenters:main", "variants per second of the augmenters that need no model"),
    "checkpoints": ("benchmarks.speed.checkpoints:main", "what checkpoints add to a fine-tune"),
    "compiling": ("benchmarks.speed.compiling:main", "whether torch.compile repays, and after how many steps"),
    "coverage": ("analysis.inference.coverage:main", "whether the 95 %% intervals hold the truth 95 times in 100"),
    "curvature": ("benchmarks.speed.curvature:main", "seconds and memory that curvature takes"),
    "device": ("benchmarks.speed.device:main", "every check that needs a GPU, within minutes, into one JSON"),
    "encoder": ("benchmarks.speed.encoder:main", "tokens per second of the frozen encoder on a CPU"),
    "endpoints": ("analysis.inference.endpoints:main", "which endpoint tells the arms of a study apart sooner"),
    "launchers": ("benchmarks.speed.launchers:main", "what a second worker saves, by each way to have one"),
    "noise": ("analysis.inference.noise_coverage:main", "whether the intervals of label noise hold the truth"),
    "plans": ("benchmarks.speed.plans:main", "seconds that a plan foretells, beside what the study takes"),
    "preservation": ("benchmarks.speed.preservation:main", "how often an augmented pair keeps its gold preference"),
    "ranks": ("benchmarks.speed.ranks:main", "one run by one process and by two that have a core each"),
    "ray": ("benchmarks.speed.ray:main", "tokens per second of two Ray actors beside one"),
    "report": ("benchmarks.speed.report:main", "seconds and memory that a large study takes to load and to report"),
    "scale": ("benchmarks.speed.scale:main", "seconds and memory that a million pairs take beside their encoder"),
    "scoring": ("benchmarks.speed.scoring:main", "pairs per second, beside padding all texts to one length"),
    "sweeps": ("benchmarks.speed.sweeps:main", "what a sweep adds to its runs, alone and shared by processes"),
    "training": ("benchmarks.speed.training:main", "training and scoring beside TRL and beside a plain loop"),
    "writer": ("benchmarks.speed.writer:main", "seconds that tiny_writer takes to make, and what its replies are"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the measurement that the command line names."""
    first = argparse.ArgumentParser("python -m benchmarks.speed", description="One measurement of speed, or of a rate.")
    names = first.add_subparsers(metavar="NAME", required=True)
    given = list(sys.argv[1:] if arguments is None else arguments)
    for name, (target, what) in MEASUREMENTS.items():
        parser = names.add_parser(name, help=what, formatter_class=argparse.RawDescriptionHelpFormatter)
        if given[:1] == [name]:
            measure = resolve(target)
            parser.description = (inspect.getmodule(measure).__doc__ or "").replace("%", "%%")
            _add_options(parser, measure)
            parser.set_defaults(measure=measure)
    options = vars(first.parse_args(given or ["--help"]))
    measured = options.pop("measure")
    try:
        with reader.may_leave():
            measured(**options)
    except UserError as error:
        sys.exit(f"error: {error}")


def _add_options(parser: argparse.ArgumentParser, measure: Callable[..., None]) -> None:
    """An option for each parameter of `measure`; one without a default has to be given, and goes without a name."""
    for name, parameter in inspect.signature(measure, eval_str=True).parameters.items():
        if parameter.default is parameter.empty:
            parser.add_argument(name, type=parameter.annotation)
        else:
            flag, default = f"--{name.replace('_', '-')}", parameter.default
            parser.add_argument(flag, type=parameter.annotation, default=default, help="default: %(default)s")


if __name__ == "__main__":
    main()
