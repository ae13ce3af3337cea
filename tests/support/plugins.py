"""Somebody else's package: an arm, a dataset or an augmenter that is found by its entry point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def distribution(folder: Path, files: Mapping[str, str], entry_points: str) -> None:
    """The files of a package with these entry points, as pip would leave them in `folder`."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    info = folder / "plugin-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
