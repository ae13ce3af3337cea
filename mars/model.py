"""Where model cards find the loader of a trained linear head; the code is in `mars.reward.model`."""

from mars.reward.model import load_linear

__all__ = ["load_linear"]
