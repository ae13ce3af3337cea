"""What tests share: made-up studies, pools and backbones, and where the checkout is."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the checkout
SHARED = ROOT.parent / "shared"
# Settings of a run on planted pairs of which it is not asked how it is judged: one test split, rough intervals.
BRIEFLY = ("dataset.shifted_size=0", "benchmark.resamples=10")
