"""The processes of one run, as torchrun starts them: which of them this is, and what they tell each other.

Every process, a rank, goes through the whole run: it reads the same rows, draws the same numbers and selects the same
pairs. Two things are shared out and added up again: the pairs of a step, and the texts to score. Rank 0 alone writes.

Gradients are summed by plain all-reduce when all passes of a step are done, where DDP would average them on the way. A
step's gradient is a weighted mean over pairs, cut into passes by their tokens, so ranks have unequal numbers of unequal
passes; a sum of parts that are divided by the weight of the whole step is right for any cut. A pass that does not fit
the memory can be made anew by its rank, while the others wait.

A process on its own has nobody to tell anything: it never joins, and never imports torch.distributed.

    ranks = here()
    batches = ranks.share(batches)       # of this rank
    ranks.add([gradient])                # now the sum over all ranks
    chosen = ranks.told(lambda: ...)     # what rank 0 makes of it, on every rank
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mars.config import UserError
from mars.files import reason
from mars.process.stopping import EXIT_CODE, Stopped

if TYPE_CHECKING:  # help and the check of settings go without torch
    import torch

T = TypeVar("T")

_LOST = timedelta(days=1)  # without a word of a rank; one that has died is noticed at once
_PATIENCE = timedelta(seconds=10)  # for the last words of others
_BUCKET = 1 << 24  # numbers that are summed at once
_STREAM = 40  # bits of a seed below the rank's


def number() -> int:
    """This process's rank; 0 where it is the only one."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def count() -> int:
    """The processes of this run, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def of_machine() -> tuple[int, int]:
    """(this process's number among those of its machine, how many these are)."""
    if count() == 1:
        return 0, 1
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


class End(NamedTuple):
    """How a rank ended. code: of its exit."""

    number: int
    code: int
    why: str


class Ranks:
    """The ranks of a run; here the only one."""

    number, count = 0, 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes."""
        return self.number == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's of `items`: every so many, so that what is sorted is shared out evenly."""
        return items[self.number :: self.count]

    def seed(self, seed: int) -> int:
        """`seed` for what differs between ranks; rank 0 has the seed itself."""
        return seed + (self.number << _STREAM)

    def told(self, make: Callable[[], T]) -> T:
        """What `make` returns on rank 0, the only one that calls it."""
        return make()

    def gather(self, value: T) -> list[T]:
        """Every rank's value, rank 0's first."""
        return [value]

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        return flag

    def least(self, value: int) -> int:
        """The smallest of the ranks' values."""
        return value

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Makes each tensor the sum of the ranks', which give the same shapes in the same order; all of one type."""

    def agree(self, facts: Mapping[str, Any], remedy: str) -> None:
        """Raises UserError where a rank has another value under one of these names."""
        theirs = self.gather(dict(facts))
        for rank, values in enumerate(theirs):
            for name, value in values.items():
                if value != theirs[0][name]:
                    raise UserError(f"rank {rank} has {name} {value}, and rank 0 has {theirs[0][name]} ({remedy})")

    def part(self) -> None:
        """Leaves the others, which then wait for this rank no more."""

    @contextmanager
    def one_end(self) -> Iterator[None]:
        """Inside, what ends one rank ends all: each raises what the first of them met, Stopped or UserError."""
        yield


class _Joined(Ranks):
    """One of several ranks."""

    def __init__(self) -> None:
        import torch
        import torch.distributed as dist

        self.number, self.count = number(), count()
        cards = dist.is_nccl_available() and torch.cuda.is_available()
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cards else "gloo",
            store=dist.PrefixStore("ranks", _store()),
            rank=self.number,
            world_size=self.count,
            timeout=_LOST,
        )
        self._torch, self._dist = torch, dist

    def told(self, make: Callable[[], T]) -> T:
        box: list[Any] = [make() if self.first else None]
        with self._all_there():
            self._dist.broadcast_object_list(box, src=0, device=self._torch.device("cpu"))
        return box[0]  # type: ignore[no-any-return]

    def gather(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.count
        with self._all_there():
            self._dist.all_gather_object(found, value)
        return found

    def any(self, flag: bool) -> bool:
        return self._reduced(int(flag), self._dist.ReduceOp.MAX) > 0

    def least(self, value: int) -> int:
        return self._reduced(value, self._dist.ReduceOp.MIN)

    def _reduced(self, value: int, how: Any) -> int:
        box = self._torch.tensor(value)
        with self._all_there():
            self._dist.all_reduce(box, how)
        return int(box)

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        for bucket in _buckets(tensors):
            flat = self._torch.cat([tensor.reshape(-1) for tensor in bucket])
            if not len(flat):
                continue
            with self._all_there():
                self._dist.all_reduce(flat)
            for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    @contextmanager
    def _all_there(self) -> Iterator[None]:
        try:
            yield
        except self._torch.AcceleratorError:  # this rank's own
            raise
        except RuntimeError as error:
            raise UserError(
                "a process of the run is gone without a word: killed, or out of memory? (torchrun tells which; the "
                "same command goes on from the last checkpoint)"
            ) from error

    def part(self) -> None:
        self._dist.destroy_process_group()

    @contextmanager
    def one_end(self) -> Iterator[None]:
        try:
            yield
        except (Exception, Stopped) as error:
            stopped = isinstance(error, Stopped)
            why = "stopped as asked" if stopped else reason(error)  # type: ignore[arg-type]
            before = leave(EXIT_CODE if stopped else 1, why)
            if before is None or before.why == why:
                raise
            if before.code == EXIT_CODE:
                raise Stopped from error
            raise UserError(f"rank {before.number}: {before.why}") from error


@functools.cache
def here() -> Ranks:
    """The ranks of this process's run. The first call waits until all of them have come."""
    return _Joined() if count() > 1 else Ranks()


def part() -> None:
    """The run has come to its end, and this rank needs the others no more."""
    if here.cache_info().currsize:
        here().part()


def leave(code: int, why: str) -> End | None:
    """Notes how this rank ends; how the first one ended, or None where this is the first.

    Only the first says why in the terminal: what ends the others follows from it.
    """
    if count() == 1:
        return None
    try:
        if _store().add("left", 1) == 1:
            _store().set("end", json.dumps([number(), code, why]))
            return None
        first = End(*json.loads(_store().get("end")))
        return None if first.number == number() else first
    except RuntimeError:  # the store has gone with the launcher
        return End(0, code, "the processes of the run were ended")


def say_last(line: str, code: int) -> None:
    """Says why this process ends. Of several the first speaks, and none goes before rank 0 has written down why.

    The launcher kills the others as soon as one has gone.
    """
    spoke = leave(code, line) is None
    if spoke:
        print(line, file=sys.stderr, flush=True)
    if count() == 1:
        return
    with suppress(RuntimeError):
        if spoke:
            _store().set("said", "")
        if number() == 0:
            _store().set("written", "")
        else:
            part()  # so that rank 0 is not left waiting for this one
        _store().wait(["said", "written"], _PATIENCE)


@functools.cache
def _store() -> Any:
    """Where ranks leave notes; the launcher keeps it, so it outlives each of them."""
    import torch.distributed as dist

    return next(iter(dist.rendezvous("env://", timeout=_LOST)))[0]


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """`tensors` in their order, together as many as a sum takes at once."""
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        if bucket and sum(one.numel() for one in bucket) + tensor.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
