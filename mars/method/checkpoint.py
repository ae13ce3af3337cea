"""Checkpoints: each a directory that is whole, or is not used.

`checkpoint/000012/` holds tensors.safetensors, state.json and, written last, sha256.json with the sha256 of both. It
is written under another name, synced to the disk and renamed, so a kill or a power cut leaves it there or not there.
The newest whole one counts. The one before it stays beside it, for the day on which the newest turns out damaged. All
of it is tensors and plain JSON, so that nothing that is loaded can carry code.

    write(directory, {"round": 3, "model": model.state_dict()})
    tree = newest(directory)
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mars import files
from mars.config import UserError
from mars.process.stopping import Stop
from mars.reward import sharding

log = logging.getLogger(__name__)

FORMAT = 1
SHARE = 0.03  # of the time that training takes, at most, goes into saving within a round
_TENSORS, _PLAIN, _MANIFEST = "tensors.safetensors", "state.json", "sha256.json"


class _Torn(Exception):
    """A checkpoint that is not what was written; the message says in what. known: another version's format."""

    def __init__(self, what: str, known: int | None = None):
        super().__init__(what)
        self.known = known


def write(directory: Path, tree: Any) -> None:
    """Makes `tree` the newest checkpoint; of the others the newest stays.

    tree: mappings and lists of arrays, tensors and plain values. Raises UserError where the disk does not take it; the
    checkpoints before are then untouched.
    """
    before = _numbers(directory)
    number = max(before, default=0) + 1
    aside = directory / f".{number:06}.{os.getpid()}"
    tensors: dict[str, torch.Tensor] = {}
    plain = _packed(tree, "", tensors)
    then = "the one before is whole; make room or give access, and the same command goes on from it"
    with files.writing(directory, then, "no checkpoint can be written"), _removed_if_not_whole(aside):
        for path in [*(_place(directory, old) for old in before[:-1]), *directory.glob(".*")]:
            shutil.rmtree(path, ignore_errors=True)  # first, so that the disk holds two at most
        aside.mkdir(parents=True)
        save_file(tensors, aside / _TENSORS)
        (aside / _PLAIN).write_text(json.dumps(plain, default=lambda value: value.item()), encoding="utf-8")
        sums = {name: files.file_digest(aside / name) for name in (_TENSORS, _PLAIN)}
        files.sync(aside / _TENSORS, aside / _PLAIN)
        (aside / _MANIFEST).write_text(json.dumps({"format": FORMAT, "sha256": sums}, indent=2), encoding="utf-8")
        files.sync(aside / _MANIFEST, aside)
        os.replace(aside, _place(directory, number))
        files.sync(directory)


@contextmanager
def _removed_if_not_whole(aside: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def newest(directory: Path) -> Any | None:
    """What the newest whole checkpoint holds; None where there is none.

    A torn one is named in the log and removed, one of another version's format is put aside. Raises UserError for one
    that the system does not let this user read: it may be whole.
    """
    for number in reversed(_numbers(directory)):
        place = _place(directory, number)
        try:
            return _read(place)
        except _Torn as torn:
            log.warning("%s is not used: %s", place, torn)
            _put_away(place, torn)
        except OSError as error:
            raise UserError(
                f"{place}: cannot be read: {files.words(error)} (give access, or remove {directory} to start over)"
            ) from error
    return None


def _put_away(place: Path, torn: _Torn) -> None:
    """Removes a torn checkpoint; one that another version can read stays beside the others, until the run has ended."""
    with suppress(OSError):
        if torn.known is not None:
            os.replace(place, place.with_name(f"{place.name}.format{torn.known}"))
        elif place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()


def moving(model: nn.Module) -> dict[str, torch.Tensor]:
    """The part of a model's state that training can change, each tensor once; shared with the living model."""
    frozen = {name for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}
    found: dict[tuple[int, torch.Size], tuple[str, torch.Tensor]] = {}
    for name, tensor in sharding.state_of(model).items():
        if name not in frozen:
            found.setdefault((tensor.data_ptr(), tensor.shape), (name, tensor))
    return dict(found.values())


def restore(model: nn.Module, moved: Mapping[str, torch.Tensor]) -> None:
    """Gives `model`, a fresh copy of what was started from, the state that `moving` returned."""
    sharding.load_state(model, moved)


class Pace:
    """How often to save. minutes: between two times, 0 for always; more where saving would take over `SHARE` of it."""

    def __init__(self, minutes: float = math.inf):
        self._minutes = minutes
        self._last, self.pause = time.monotonic(), 60 * minutes

    @property
    def due(self) -> bool:
        """Whether the pause since the last time is over."""
        return time.monotonic() - self._last >= self.pause

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Inside, it is saved; the next pause begins afterwards."""
        began = time.monotonic()
        yield
        self._last = time.monotonic()
        if self._minutes:
            self.pause = max(60 * self._minutes, (self._last - began) / SHARE)


class Keeper:
    """Keeps a run's states: each round's, and one within a round whenever `due`.

    save: writes one. minutes: as for `Pace`. stop: whether the run is asked to stop; it first keeps its state.
    """

    def __init__(self, save: Callable[[Any], None], minutes: float = math.inf, stop: Stop | None = None):
        self.stop = stop or Stop()
        self._save, self._pace = save, Pace(minutes)

    def due(self) -> bool:
        """Whether a state within a round should be kept now; the same on every rank."""
        return self.stop.agree(self.stop.asked or self._pace.due)

    def __call__(self, state: Any) -> None:
        """Keeps `state`. Raises UserError where the disk does not take it."""
        with self._pace.saving():
            self._save(state)


def _numbers(directory: Path) -> list[int]:
    """Of the checkpoints in `directory`, the oldest first."""
    return sorted(int(path.name) for path in directory.glob("[0-9]*") if path.name.isdigit())


def _place(directory: Path, number: int) -> Path:
    return directory / f"{number:06}"


def _read(place: Path) -> Any:
    """What the checkpoint holds. Raises _Torn where it is not whole."""
    try:
        manifest = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
        known, sums = manifest["format"], manifest["sha256"]
        if known != FORMAT:
            raise _Torn(f"it has format {known}, and this version of mars reads format {FORMAT}", int(known))
        for name in (_TENSORS, _PLAIN):
            if files.file_digest(place / name) != sums[name]:
                raise _Torn(f"{name} is not what was written")
        plain = json.loads((place / _PLAIN).read_text(encoding="utf-8"))
        # Copies: the file may go while they live.
        tensors = {name: tensor.clone() for name, tensor in load_file(place / _TENSORS).items()}
    except FileNotFoundError as error:
        raise _Torn(f"{Path(error.filename).name} is missing") from None
    except (NotADirectoryError, IsADirectoryError) as error:
        raise _Torn(f"{Path(error.filename).name}: {files.words(error)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _Torn(f"{_MANIFEST} cannot be read ({type(error).__name__})") from None
    return _unpacked(plain, tensors)


def _packed(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """`value` as JSON, its arrays and tensors put into `tensors` under names that say where they were."""
    if isinstance(value, np.ndarray):
        tensors[name] = torch.from_numpy(np.array(value, order="C"))
        return {"array": name}
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):  # keys beside values, because JSON knows keys of text alone
        return {"keys": list(value), "values": _all_packed(value.items(), name, tensors)}
    if isinstance(value, (list, tuple)):
        return _all_packed(enumerate(value), name, tensors)
    return value


def _all_packed(items: Iterable[tuple[Any, Any]], name: str, tensors: dict[str, torch.Tensor]) -> list[Any]:
    return [_packed(value, f"{name}/{key}".lstrip("/"), tensors) for key, value in items]


def _unpacked(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """What `_packed` made `value` of; a tuple comes back as a list."""
    if isinstance(value, list):
        return [_unpacked(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return tensors[value["array"]].numpy()
    if "tensor" in value:
        return tensors[value["tensor"]]
    return dict(zip(value["keys"], _unpacked(value["values"], tensors), strict=True))
