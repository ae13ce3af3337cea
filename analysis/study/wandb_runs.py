"""What W&B was told of finished runs: read from its offline files, or with a key from a project.

A `.wandb` file is a log in LevelDB's framing whose entries are protocol buffers. wandb 0.31 has the messages but, in
Python, no reader of the log, so there is a small one here. A resumed run, or one that was judged later, has several
files under one id: they are read as one, in the order they were begun.

W&B has no per-example scores: such runs are shown, but nothing of theirs can be recomputed or paired.

    python -m analysis.report study=outputs/quick/mars-planted-minilm-s0-3263e073/wandb
    python -m analysis.report study=wandb:ENTITY/PROJECT
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mars.config import UserError

PREFIX = "wandb:"  # of a source that is a project
_HEADER = b":W&B\xe1\xbe\x00"  # of a file: ident, magic number, version
_BLOCK = 32768  # bytes; no entry's header crosses the end of one
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4  # kinds of a part of an entry
_NOT_METRICS = ("manifest", "round", "train")


@dataclass
class Logged:
    """What W&B holds of one run. id: W&B's own. damage: why no more could be read, else empty."""

    id: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[Mapping[str, Any]] = field(default_factory=list)
    damage: str = ""

    @property
    def manifest(self) -> dict[str, Any]:
        """What `mars.record.manifest.logged_manifest` reported, the last act of a run; empty for an unfinished one."""
        return {k.removeprefix("manifest/"): v for k, v in self.summary.items() if k.startswith("manifest/")}

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{label: {part: {metric: value}}} as `benchmarks.protocol.summary` flattened them; a part may contain `/`.

        W&B keeps no order: test splits are in the manifest's, all else by name.
        """
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for key, value in sorted(self.summary.items()):
            label, _, rest = key.partition("/")
            part, slash, metric = rest.rpartition("/")
            if slash and label not in _NOT_METRICS and not isinstance(value, Mapping):
                found.setdefault(label, {}).setdefault(part, {})[metric] = value
        place = {split: i for i, split in enumerate(self.manifest.get("splits") or [])}
        return {
            label: dict(sorted(parts.items(), key=lambda item: (place.get(item[0], len(place)), item[0])))
            for label, parts in found.items()
        }

    @property
    def rounds(self) -> pd.DataFrame:
        """rounds.csv: a row a round, the last told of one that was told twice; without the histograms."""
        by_round: dict[int, dict[str, Any]] = {}
        for row in self.history:
            told = {k.removeprefix("round/"): v for k, v in row.items() if k.startswith("round/")}
            if told.get("round") is not None:
                by_round[int(told["round"])] = {k: v for k, v in told.items() if not isinstance(v, Mapping)}
        frame = pd.DataFrame([by_round[t] for t in sorted(by_round)])
        return frame[sorted(frame.columns, key=lambda name: (name != "round", name))]


def offline_files(directory: Path) -> list[Path]:
    """The .wandb files of `directory`: an `offline-run-…` itself, or any folder that holds some, at any depth."""
    return sorted(directory.rglob("run-*.wandb"), key=lambda file: (file.parent.name, str(file)))


def offline(directory: Path) -> list[Logged]:
    """The runs of `offline_files`, by name."""
    runs: dict[str, Logged] = {}
    for file in offline_files(directory):
        _read(file, runs)
    return sorted(runs.values(), key=lambda run: (run.name, run.id))


def online(where: str, api: Any = None) -> list[Logged]:
    """The runs of `wandb:ENTITY/PROJECT`, or of one study there, `wandb:ENTITY/PROJECT/GROUP`, by name.

    api: a `wandb.Api`; made of the key at hand (`wandb login`, WANDB_API_KEY) where none is given. Raises UserError
    where there is no such project, no key or no network.
    """
    entity, project, group = (*where.removeprefix(PREFIX).split("/", 2), "", "")[:3]
    if not entity or not project:
        raise UserError(f"study: {where} names no W&B project (wandb:ENTITY/PROJECT, or wandb:ENTITY/PROJECT/GROUP)")
    import wandb

    try:
        runs = (api or wandb.Api()).runs(f"{entity}/{project}", {"group": group} if group else None, lazy=False)
        logged = [Logged(r.id, r.name, dict(r.config), dict(r.summary_metrics), list(r.scan_history())) for r in runs]
    except (wandb.Error, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"study: {where} cannot be read: {reason} (a key: wandb login or WANDB_API_KEY; without one give the "
            "directories of the runs, or their wandb/ folders)"
        ) from None
    return sorted(logged, key=lambda run: (run.name, run.id))


def _read(file: Path, runs: dict[str, Logged]) -> None:
    """Add what `file` tells of its run to `runs`."""
    run = Logged(file.stem.removeprefix("run-"), file.stem)
    run = runs.setdefault(run.id, run)
    try:
        for record in records(file):
            if record.HasField("run"):
                run.name = record.run.display_name or run.name
                _update(run.config, record.run.config.update)
            elif record.HasField("config"):
                _update(run.config, record.config.update)
            elif record.HasField("summary"):
                _update(run.summary, record.summary.update)
            elif record.HasField("history"):
                row: dict[str, Any] = {}
                _update(row, record.history.item)
                run.history.append(row)
    except (OSError, ValueError) as error:  # protobuf's DecodeError is a ValueError
        run.damage = f"{file.name}: cannot be read: {' '.join(str(error).split())}"


def _update(whole: dict[str, Any], items: Iterable[Any]) -> None:
    """Put items into `whole`, the nested dictionary that was logged."""
    for item in items:
        *path, last = list(item.nested_key) or [item.key]
        node = whole
        for key in path:
            node = node.setdefault(key, {})
        node[last] = json.loads(item.value_json)


def records(file: Path) -> Iterator[Any]:
    """The `wandb_internal_pb2.Record`s of a .wandb file, in order; one cut short, by an interruption, is the end.

    Raises ValueError for another kind of file, or bytes that changed.
    """
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made at import

    return map(Record.FromString, _entries(file))


def _entries(file: Path) -> Iterator[bytes]:
    """The entries of the log, each in one part or several.

    A part: crc32 of kind and bytes, number of bytes, kind (little-endian, 7 bytes), then the bytes.
    """
    data = file.read_bytes()
    if not data.startswith(_HEADER):
        raise ValueError("not a W&B file, or of another version of its format")
    at, parts = len(_HEADER), b""
    while at + 7 <= len(data):
        if _BLOCK - at % _BLOCK < 7:
            at += _BLOCK - at % _BLOCK
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, at)
        part = data[at + 7 : at + 7 + length]
        if len(part) < length:
            return
        if zlib.crc32(bytes([kind]) + part) != checksum:
            raise ValueError(f"damaged at byte {at}")
        parts = part if kind in (_WHOLE, _FIRST) else parts + part
        at += 7 + length
        if kind in (_WHOLE, _LAST):
            yield parts
