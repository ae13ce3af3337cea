"""Where raw rows come from: local files and folders, and the Hugging Face hub.

A file's name says in which container its rows are and how it is compressed (`mars.preferences.containers`); what else
there is to know is found in it: encoding, delimiter, where the rows of a JSON object are. Where that is not what one
would expect of the name, the record and the log say so. Rows are numbered from 1: the lines of a .jsonl file, the rows
of the rest. A folder is the files in it, one after the other.

    next(iter(open_file(Path("train.jsonl"), "train.jsonl").rows)).value
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mars.config import nearest
from mars.preferences.containers import json_rows, tables
from mars.preferences.containers.raw import PACKINGS, Form, RawRow, TextFile, reason
from mars.preferences.pair import DataError

TEXTS: dict[str, Callable[[TextFile], tuple[Iterator[RawRow], Form]]] = {
    ".jsonl": json_rows.lines,
    ".json": json_rows.document,
    ".csv": partial(tables.separated, usual=","),
    ".tsv": partial(tables.separated, usual="\t"),
}
COLUMNAR = {".parquet": ("parquet", "Parquet"), ".arrow": ("arrow", "Arrow"), ".feather": ("arrow", "Feather")}
EXTENSIONS = (*(f"{text}{packing}" for text in TEXTS for packing in PACKINGS), *COLUMNAR)
KNOWN = f"{', '.join(TEXTS)}, each also with {', '.join(filter(None, PACKINGS))}; {', '.join(COLUMNAR)}"
SPLITS = {"train": ("train_prefs", "train"), "test": ("test_prefs", "test")}  # names on the hub; the first there counts

# How files begin that are no text, whatever they are called: what each is, and what to do.
_NOT_TEXT = {
    b"\x1f\x8b": "is compressed (name it {name}.gz, or unpack it)",
    b"BZh91AY&SY": "is compressed (name it {name}.bz2, or unpack it)",
    b"\xfd7zXZ\x00": "is compressed (name it {name}.xz, or unpack it)",
    b"\x28\xb5\x2f\xfd": "is compressed (name it {name}.zst, or unpack it)",
    b"PK\x03\x04": "is a zip archive (unpack it; a workbook is saved as CSV)",
    b"PAR1": "is a Parquet file (name it .parquet)",
    b"ARROW1": "is an Arrow file (name it .arrow)",
}
_INSTEAD_OF = {  # extensions of what people have, too
    ".xlsx": "save the sheet as CSV",
    ".xls": "save the sheet as CSV",
    ".zip": "unpack it",
    ".pkl": "write its rows as .jsonl or .parquet; nothing here loads a pickle",
    ".txt": "rename it after what is in it",
}
_SPLITS = "dataset_dict.json"  # in a folder of `datasets`
_ABOUT = (_SPLITS, "dataset_info.json", "dataset_infos.json", "state.json")  # files that `datasets` puts beside rows
_PARTS = ("train", "test", "validation", "valid", "val", "dev", "eval")  # what splits are called in folders


@dataclass(frozen=True)
class Source:
    """One file, or one split on the hub. label: its name in messages. identity: JSON, what the record says it is."""

    label: str
    identity: Mapping[str, Any]
    rows: Iterable[RawRow]
    form: Form | None = None  # of a file


def open_split(path: Path, split: str) -> list[Source]:
    """The file, or the files of the folder, that hold `split` alone; of a folder with several splits that one.

    Raises DataError where there is nothing that can be read.
    """
    if not path.is_dir():
        return [open_file(path, path.name)]
    if saved := _saved(path, split):
        return saved
    found, parts = _inside(path)
    if len(parts) > 1:
        told = f"dataset.path=DIR takes each, dataset.{split}=F one file"
        raise DataError(f"{path}: holds {' and '.join(parts)} ({told})")
    if not found:
        raise DataError(f"{path}: is a directory without a file of {KNOWN} (name a file, or the folder they are in)")
    _check_one_format(path, found, split)
    return [open_file(file, file.name) for file in found]


def is_one_split(folder: Path) -> bool:
    """Whether there are files of rows in a folder, and their names speak of no more than one split."""
    found, parts = _inside(folder)
    return bool(found) and len(parts) < 2


def _inside(folder: Path) -> tuple[list[Path], list[str]]:
    """(the files of rows in a folder, the splits that their names begin with)."""
    found = sorted(file for file in folder.iterdir() if _is_rows(file) and not file.name.startswith("."))
    return found, sorted({part for part in _PARTS for file in found if re.match(rf"{part}[-._]", file.name)})


def open_file(path: Path, label: str) -> Source:
    """The source of a file with one of EXTENSIONS; its rows are read when they are iterated over.

    Raises DataError where the file is missing, empty, or of another kind.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a directory (name a file in it)")
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*") if p.name.endswith(EXTENSIONS)]
        raise DataError(f"{path}: no such file{nearest(path.name, siblings)}")
    if not path.name.lower().endswith(EXTENSIONS):
        instead = _INSTEAD_OF.get(path.suffix.lower())
        raise DataError(f"{path}: unknown extension ({f'{instead}; ' if instead else ''}known: {KNOWN})")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    try:
        with path.open("rb") as data:
            identity = {"file": label, "sha256": hashlib.file_digest(data, "sha256").hexdigest()}
        rows, form = _read(path, label)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from None
    read_as = {"read_as": ", ".join(form.unusual)} if form.unusual else {}
    return Source(label, identity | read_as, rows, form)


def _read(path: Path, label: str) -> tuple[Iterator[RawRow], Form]:
    name = path.name.lower()
    if kind := next((kind for kind in COLUMNAR if name.endswith(kind)), None):
        of_datasets, container = COLUMNAR[kind]
        return tables.columnar(path, label, of_datasets), Form(container)
    packing = next((packing for packing in PACKINGS if packing and name.endswith(packing)), "")
    with path.open("rb") as data:
        start = data.read(max(map(len, _NOT_TEXT)))
    if not packing and (other := next((b for b in _NOT_TEXT if start.startswith(b)), None)):
        raise DataError(f"{path}: {_NOT_TEXT[other].format(name=path.name)}")
    read = TEXTS[Path(name.removesuffix(packing)).suffix]
    return read(TextFile(path, label, packing))


def open_directory(directory: Path, split: str) -> list[Source]:
    """The files of `split` in a directory that `datasets` saved, or that is laid out as on the hub: in it, else in its
    data/, else anywhere below.

    Raises DataError where there are none, or the split is there in two formats.
    """
    if not directory.is_dir():
        raise DataError(f"dataset.path: no such directory {directory} (dataset.train=F and dataset.test=F name files)")
    if saved := _saved(directory, split):
        if split == "test" and not (directory / _SPLITS).is_file():  # its rows are the train split
            raise DataError(f"{directory}: has no splits ({_instead(split)})")
        return saved
    for pattern in ("*", "data/*", "**/*"):
        found = sorted(path for path in directory.glob(pattern) if _is_rows(path))
        for name in SPLITS[split]:
            if files := [p for p in found if re.match(rf"{name}[-.]", p.name)]:
                _check_one_format(directory, files, split)
                return [open_file(p, p.relative_to(directory).as_posix()) for p in files]
    names = ", ".join(f"{name}*" for name in SPLITS[split])
    raise DataError(f"{directory}: no file {names} of {KNOWN} ({_instead(split)})")


def _is_rows(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(EXTENSIONS) and path.name not in _ABOUT


def _check_one_format(directory: Path, files: Sequence[Path], split: str) -> None:
    formats = {next(e for e in EXTENSIONS if path.name.lower().endswith(e)): path.name for path in reversed(files)}
    if len(formats) > 1:
        first, second, *_ = sorted(formats.values())
        raise DataError(f"{directory}: has {first} and {second} (name one with dataset.{split}=F)")


def _saved(directory: Path, split: str) -> list[Source]:
    """The files of `split` where `datasets.save_to_disk` made the directory; none where it did not.

    Raises DataError for a directory that is not whole, or lacks the split.
    """
    splits, state = directory / _SPLITS, directory / "state.json"
    if splits.is_file():
        names = _json(splits).get("splits", [])
        name = next((name for name in SPLITS[split] if name in names), None)
        if name is None:
            raise DataError(f"{directory}: no {split} split, only {', '.join(map(str, names))} ({_instead(split)})")
        return _shards(directory / name, directory)
    if not state.is_file() or not (directory / "dataset_info.json").is_file():
        return []
    return _shards(directory, directory)


def _shards(saved: Path, root: Path) -> list[Source]:
    try:
        names = [Path(one["filename"]).name for one in _json(saved / "state.json")["_data_files"]]
    except (KeyError, TypeError):
        raise DataError(f"{saved / 'state.json'}: names no files of rows (save the dataset again)") from None
    return [open_file(saved / name, (saved / name).relative_to(root).as_posix()) for name in names]


def _json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {reason(error)} (save the dataset again)") from None
    return value if isinstance(value, dict) else {}


def _instead(split: str) -> str:
    take = ", or take one from train with dataset.test_from_train=N" if split == "test" else ""
    return f"name one with dataset.{split}=F{take}"


def open_hub(hub: str, revision: str | None, config: str | None, data_dir: str | None, split: str) -> Source:
    """`split` of a hub dataset under one of its usual names. Raises DataError where that cannot be read."""
    offline = "dataset.path=DIR, or dataset.train=F and dataset.test=F, work without it"
    return _open_hub((hub, revision, config, data_dir), split, SPLITS[split], offline, _instead(split))


def open_hub_split(hub: str, revision: str | None, split: str, instead: str) -> Source:
    """The split of exactly that name. instead: what works without the hub. Raises DataError as `open_hub`."""
    return _open_hub((hub, revision, None, None), split, (split,), instead, instead)


def _open_hub(
    place: tuple[str, str | None, str | None, str | None], split: str, names: tuple[str, ...], offline: str, absent: str
) -> Source:
    """The first of `names` that is there; offline, absent: what to do where the hub cannot be read, or has none."""
    hub, revision, config, data_dir = place
    label = f"{hub}@{revision[:7]}" if revision else hub
    try:
        dataset = _hub_dataset(hub, revision, config, data_dir)
    except Exception as error:  # of a dozen types, from four libraries
        raise DataError(f"{label}: cannot be read from the hub: {reason(error)} ({offline})") from error
    name = next((name for name in names if name in dataset), None)
    if name is None:
        raise DataError(f"{label}: no {split} split, only {', '.join(dataset)} ({absent})")
    rows = dataset[name]
    identity = {"hub": hub, "revision": revision, "config": config, "data_dir": data_dir, "split": name}
    identity["fingerprint"] = rows._fingerprint
    return Source(f"{label}[{name}]", identity, (RawRow(i, row) for i, row in enumerate(rows, 1)))


@functools.lru_cache(maxsize=1)  # train and test are two splits of one load
def _hub_dataset(hub: str, revision: str | None, config: str | None, data_dir: str | None) -> Any:
    import datasets

    return datasets.load_dataset(hub, name=config, data_dir=data_dir, revision=revision)
