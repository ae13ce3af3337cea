"""What tests share: made-up studies, pools and backbones, and where the checkout is."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the checkout
SHARED = ROOT.parent / "shared"
