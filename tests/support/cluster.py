"""What tests of a Ray cluster give its workers to do."""

from __future__ import annotations

import os
from pathlib import Path


class Square:
    """Squares; at `deadly` its process dies as often as `deaths` says. Leaves a line in `notes` for every number."""

    def __init__(self, notes: str, deadly: int = -1, deaths: int = 0):
        self.notes, self.deadly, self.deaths = Path(notes), deadly, deaths

    def __call__(self, number: int) -> dict[str, list[int]]:
        with self.notes.open("a") as file:
            file.write(f"{number}\n")
        if number == self.deadly and self.notes.read_text().split().count(str(number)) <= self.deaths:
            os._exit(1)
        return {"square": [number**2]}
