"""Files that are written whole, files that are read or refused, and digests.

A file is written under another name first and then renamed, so that no reader ever sees half of it. What the disk does
not take or give is a UserError of one line: which file, what is wrong, what to do.

    write_json(Path("manifest.json"), {"seed": 0})
    read_json(Path("manifest.json"))
"""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mars.config import WITHOUT_EFFECT, UserError, naming_runs

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

_UNITS = ("B", "kB", "MB", "GB", "TB")
_RUST = re.compile(r"(?:I/O error: |^)([^:]+) \(os error (\d+)\)")  # how libraries in Rust tell what the system said
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP, errno.ENOTEMPTY)
AGAIN = "then run the same command again"
_SCRATCH = f"make room there, or name another folder with TMPDIR, {AGAIN}"


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


def size(count: float) -> str:
    """So many bytes as people say it: "512 B", "3.4 MB", "12 GB"."""
    power = 0
    while count >= 999.5 and power < len(_UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.1f} {_UNITS[power]}" if power and count < 9.95 else f"{count:.0f} {_UNITS[power]}"


def os_error(error: BaseException) -> OSError | None:
    """The system's error in `error`, with its number where that is known; None where it holds none, or is explained."""
    if isinstance(error, OSError):
        return error
    if isinstance(error, UserError):
        return None
    if found := _RUST.search(str(error)):
        return OSError(int(found.group(2)), found.group(1))
    if "PytorchStreamWriter failed" in str(error):  # which does not tell why
        return OSError(errno.EIO, "")
    return None


def words(error: OSError) -> str:
    """What the system says, without the number and the path."""
    return os.strerror(error.errno) if error.errno else " ".join(str(error).split())


def mending(error: OSError) -> str:
    """What to do about it."""
    if error.errno in _FULL:
        return f"make room, {AGAIN}"
    if error.errno in _IN_THE_WAY:
        return f"a link is broken, a folder was removed, or something else has its name; mend that, {AGAIN}"
    return f"see that the disk is sound and has room, and that this user may write it, {AGAIN}"


def told(error: OSError) -> str:
    """One line of an error with a number that nobody has put into words: which file, what is wrong, what to do."""
    name = error.filename2 or error.filename
    return f"{f'{name}: ' if name is not None else ''}{words(error)} ({mending(error)})"


def reason(error: Exception) -> str:
    """Why something failed, on one line; an error that is no user's mistake with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError) and error.errno:
        return told(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@functools.cache
def say_once(log: logging.Logger, line: str) -> None:
    """A warning, once a process."""
    log.warning("%s", line)


@contextmanager
def writing(path: Path, then: str = "", what: str = "cannot be written") -> Iterator[None]:
    """Inside, `path` is written. Raises UserError where the system does not take it; then: what to do about that."""
    try:
        yield
    except Exception as error:
        if (cause := os_error(error)) is None:
            raise
        raise UserError(f"{path}: {what}: {words(cause)} ({then or mending(cause)})") from error


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Another name for a file, which has its own once it is whole; at any time that is the old file or the new one.

    Where something is raised, nothing of the new one is left. Raises UserError as `writing` does.
    """
    other = path.with_name(f".{path.name}.{os.getpid()}{secrets.randbelow(10**6):06}")  # containers count apart
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield other
            os.replace(other, path)
        except BaseException:
            _remove(other)
            raise


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text`; at any time the file is the old one or the new one. Raises UserError as `writing` does."""
    with aside(path) as other:
        other.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` (see `as_json`) as indented JSON, as `write_text` writes text."""
    with aside(path) as other:
        dump_json(other, value)


def dump_json(path: Path, value: Any) -> None:
    """Writes `value` as `write_json` does, in place."""
    path.write_text(json.dumps(as_json(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Writes `frame` without its index, as `write_text` writes text."""
    with aside(path) as other:
        frame.to_parquet(other, index=False)


def read_json(path: Path, remedy: str = "", kind: type = dict) -> Any:
    """The JSON object in a file, or the list. Raises UserError where there is none; remedy: what to do about that."""
    with _reading(path, remedy):
        value = json.loads(path.read_bytes())
        if not isinstance(value, kind):
            raise ValueError(f"not a {'mapping of names to values' if kind is dict else kind.__name__}")
    return value


def read_parquet(path: Path, remedy: str = "") -> pd.DataFrame:
    """The table in a parquet file. Raises UserError where there is none; remedy: what to do about that."""
    import pandas as pd  # here, so that a finished run is told without it

    with _reading(path, remedy):
        return pd.read_parquet(path)


@contextmanager
def _reading(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RecursionError) as error:  # pyarrow's ArrowInvalid is a ValueError
        what = words(error) if isinstance(error, OSError) else " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read: {what}{f' ({remedy})' if remedy else ''}") from None


def scratch(prefix: str) -> IO[bytes]:
    """A file without a name in the system's folder for temporary files; it goes with its last user. See `append`."""
    with writing(Path(tempfile.gettempdir()), _SCRATCH):
        return tempfile.TemporaryFile(prefix=prefix, buffering=0)


def append(file: IO[bytes], data: bytes) -> None:
    """Adds `data` to the end of a `scratch` file, all or nothing. Raises UserError where its disk does not take it."""
    end = file.seek(0, os.SEEK_END)
    left = memoryview(data)
    try:
        with writing(Path(tempfile.gettempdir()), _SCRATCH):
            while left:
                left = left[file.write(left) :]
    except UserError:
        file.truncate(end)
        raise


def write_parquet_parts(path: Path, frames: Iterable[pd.DataFrame]) -> None:
    """Writes `frames`, at least one, one below the other as they come, as `write_parquet` writes one."""
    import pyarrow as pa  # a tenth of a second, which readers need not wait
    import pyarrow.parquet as pq

    parts = (pa.Table.from_pandas(frame, preserve_index=False) for frame in frames)
    first = next(parts)
    with aside(path) as other, pq.ParquetWriter(other, first.schema) as file:
        file.write_table(first)
        for part in parts:
            file.write_table(part)


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


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_digest(state: Mapping[str, Tensor]) -> str:
    """sha256 of a model's weights and their names, in hex."""
    import torch  # takes seconds, which a reader of a study's files need not wait for

    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(name.encode())
        total.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return total.hexdigest()
