"""Files that are written whole, and digests.

A file is written under another name first and then renamed, so that no reader ever sees half of it.

    write_json(Path("manifest.json"), {"seed": 0})
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mars.config import WITHOUT_EFFECT, naming_runs

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


def digest(value: Any) -> str:
    """sha256 of `value` as canonical JSON, in hex; 2 and 2.0 give the same digest, inf and NaN different ones."""

    def canonical(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {str(k): canonical(v) for k, v in item.items()}
        if isinstance(item, (list, tuple)):
            return [canonical(v) for v in item]
        if isinstance(item, float):
            return int(item) if item.is_integer() else repr(item)
        return as_json(item)

    return hashlib.sha256(json.dumps(canonical(value), sort_keys=True).encode()).hexdigest()


def as_json(value: Any) -> Any:
    """`value` in JSON's own types: dataclasses, paths and NumPy scalars are converted, NaN and inf become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return as_json(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(v) for v in value]
    if hasattr(value, "dtype") and hasattr(value, "item"):  # a NumPy scalar, known without importing NumPy
        return as_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def is_aside(name: str) -> bool:
    """Whether `name` is the temporary name of a file that a process is still writing."""
    return re.fullmatch(r"\..+\.\d+", name) is not None


def write_text(path: Path, text: str) -> None:
    """Writes `text`; at any time the file is the old one or the new one, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` (see `as_json`) as indented JSON, as `write_text` writes text."""
    write_text(path, json.dumps(as_json(value), indent=2, ensure_ascii=False) + "\n")


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Writes `frame` without its index, as `write_text` writes text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    frame.to_parquet(aside, index=False)
    os.replace(aside, path)


def write_parquet_parts(path: Path, frames: Iterable[pd.DataFrame]) -> None:
    """Writes `frames`, at least one, one below the other as they come, as `write_parquet` writes one."""
    import pyarrow as pa  # a tenth of a second, which readers need not wait
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    parts = (pa.Table.from_pandas(frame, preserve_index=False) for frame in frames)
    first = next(parts)
    with pq.ParquetWriter(aside, first.schema) as file:
        file.write_table(first)
        for part in parts:
            file.write_table(part)
    os.replace(aside, path)


def sync(*paths: Path) -> None:
    """Returns when what was written to these files and directories would outlast a power cut."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno != errno.EINVAL:  # of a directory on a file system that has no such thing
                raise
        finally:
            os.close(handle)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Inside, no other process is inside for the same directory."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def config_hash(config: Mapping[str, Any], data: Mapping[str, str]) -> str:
    """8 hex digits that identify a run: a digest of its resolved config and its data.

    Settings that cannot change a result are excluded (`WITHOUT_EFFECT`). The digests of the rows replace the settings
    that say where they are: the same file elsewhere is the same run, another file at the same path is another run.
    """
    identity = {k: v for k, v in naming_runs(config).items() if k not in WITHOUT_EFFECT}
    identity["dataset"] = {"name": config["dataset"]["name"], **data}
    return digest(identity)[:8]


def state_digest(state: Mapping[str, Tensor]) -> str:
    """sha256 of a model's weights and their names, in hex."""
    import torch  # takes seconds, which a reader of a study's files need not wait for

    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(name.encode())
        total.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return total.hexdigest()
