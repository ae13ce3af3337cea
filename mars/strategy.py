"""Where arms of other packages find what they are made of; the code is in `mars.method.strategy`."""

from mars.method.strategy import Mars, Noise, Round, Selection, Strategy, anywhere, equal_shares, within_pairs

__all__ = ["Mars", "Noise", "Round", "Selection", "Strategy", "anywhere", "equal_shares", "within_pairs"]
