"""Asking a chat model once and for all: every good reply is on disk the moment it arrives, junk never is.

A reply is money or minutes, so an interruption, a neighbour's error or a second run must not ask for it again. Its key
is what shapes it (model, messages, sampling settings, seed) and not where the model runs: the same model behind another
address is served from what the first one wrote (`mars.cache`). Threads rather than asyncio: the client spends its time
waiting either way, and a notebook already runs an event loop.

    Chat(backend, Path("cache"), Patience()).complete([{"role": "user", "content": "Hello"}], seed=1)
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from mars.cache import Cache
from mars.config import UserError

_TABLE = "CREATE TABLE IF NOT EXISTS replies (call BLOB PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID;"
_DAMAGED = "move the file away; its replies are then asked for again"
_SETTLED = ("length", "refused", "content_filter", "context_length")
_FREE = ("context_length",)  # costs nothing, and another server of the model may have room
ChatMessages = Sequence[Mapping[str, str]]  # {"role": …, "content": …}, in order


@dataclass(frozen=True)
class Call:
    """One request to a chat model. `extra` is merged into the request's body; a null there leaves a field out."""

    messages: ChatMessages
    temperature: float = 0.7
    max_tokens: int = 512
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What came back. Token counts are None where the endpoint does not report them.

    finish_reason: "stop" for a whole reply; else why there is none: "length" (cut off), "refused", "content_filter",
    "context_length" (the request does not fit), "empty", or what else the endpoint says. model: what the endpoint says
    it ran, often a dated name; date: when the reply that is kept came, UTC. Both "" where unknown.
    """

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str
    model: str = field(default="", compare=False)
    date: str = field(default="", compare=False)

    @property
    def good(self) -> bool:
        """A whole reply with words in it: worth keeping."""
        return self.finish_reason == "stop" and bool(self.text.strip())

    @property
    def settled(self) -> bool:
        """No whole reply, for a reason that lies in the request and the model: asked again, they would do the same."""
        return self.finish_reason in _SETTLED


class Transient(Exception):
    """A call that may do better next time. `advice` is for when it never did; `wait`: seconds the endpoint asks for."""

    def __init__(self, what: str, advice: str, wait: float | None = None):
        super().__init__(what)
        self.advice, self.wait = advice, wait


class Backend(Protocol):
    """Where replies come from."""

    identity: str  # the model and its revision: what of the backend shapes a reply
    url: str  # where it answers; "" on this machine
    concurrency: int  # calls that may be under way at once
    steady: bool  # a call always gets the same reply, so that junk is not asked for again

    def send(self, call: Call) -> Reply:
        """One attempt. Raises Transient where another one may help, UserError where none will."""
        ...


@dataclass(frozen=True)
class Patience:
    """How often a call is made, and the waits between: `backoff` seconds, doubled each time, up to half by chance."""

    attempts: int = 5
    backoff: float = 1.0
    longest_wait: float = 60.0

    def wait(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait after failed attempt `attempt` (from 1); never less than the endpoint asked for."""
        # Chance keeps calls that failed together from coming back together.
        step = min(self.backoff * 2 ** (attempt - 1), self.longest_wait) * random.uniform(0.5, 1)
        return step if asked is None else asked + step / 10


class Chat:
    """A chat model with its replies kept in `cache`/replies.sqlite; several threads and processes may share them.

    keep_settled: keeps what was paid for and is no whole reply as well, for who has a use for a refusal.
    """

    def __init__(self, backend: Backend, cache: Path, patience: Patience, keep_settled: bool = False):
        self._keep_settled = keep_settled
        self.backend, self.patience = backend, patience
        self.path = cache / "replies.sqlite"
        self._file = Cache(self.path, "replies", "call", _TABLE, _DAMAGED, kept=True)
        self._file.create()
        self._counts = dict.fromkeys(
            ("calls", "cached", "retries", "prompt_tokens", "completion_tokens", "uncounted"), 0
        )
        self._lock = threading.Lock()

    @property
    def usage(self) -> dict[str, int]:
        """Counts so far: calls sent (`retries` of them repeated ones), requests answered from disk, and the tokens paid
        for, junk included; `uncounted` replies came without a count of theirs."""
        with self._lock:
            return dict(self._counts)

    def complete(
        self,
        messages: ChatMessages,
        temperature: float = 0.7,
        max_tokens: int = 512,
        seed: int = 0,
        extra: Mapping[str, Any] | None = None,
    ) -> Reply:
        """The reply to one request; see `complete_all`."""
        return self.complete_all([Call(messages, temperature, max_tokens, seed, extra or {})])[0]

    def complete_all(self, calls: Sequence[Call]) -> list[Reply]:
        """One reply per call, in order, equal calls made once; from disk where it is there.

        A reply that is neither `good` nor `settled` was junk at every attempt; its finish_reason is that of the last.
        Raises UserError where the backend fails for good; replies that are in, or under way, are kept all the same.
        """
        keys = [self._key(call) for call in calls]
        replies = self._read(keys)
        missing = {key: call for key, call in zip(keys, calls, strict=True) if key not in replies}
        self._count(cached=len(calls) - len(missing))
        if missing:
            stop = threading.Event()
            with ThreadPoolExecutor(min(self.backend.concurrency, len(missing))) as workers:
                asked = {workers.submit(self._ask, key, call, stop): key for key, call in missing.items()}
                try:
                    for done in as_completed(asked):
                        replies[asked[done]] = done.result()
                except BaseException:  # an interruption too
                    stop.set()
                    workers.shutdown(cancel_futures=True)  # waits for the calls under way: they are paid for
                    raise
        return [replies[key] for key in keys]

    def missing(self, calls: Sequence[Call]) -> int:
        """How many calls `complete_all` would make now."""
        keys = {self._key(call) for call in calls}
        return len(keys) - len(self._read(list(keys)))

    def _ask(self, key: bytes, call: Call, stop: threading.Event) -> Reply:
        if kept := self._read([key]):  # another process was faster
            self._count(cached=1)
            return kept[key]
        problem: Transient | None = None
        junk = "empty"
        tries = 1 if self.backend.steady else self.patience.attempts
        for attempt in range(1, tries + 1):
            if attempt > 1:
                stop.wait(self._wait(attempt - 1, problem))
            if stop.is_set():
                break
            self._count(calls=1, retries=int(attempt > 1))
            try:
                reply = self.backend.send(call)
            except Transient as error:
                problem = error
                continue
            problem = None
            self._count_tokens(reply)
            if reply.good or (self._keep_settled and reply.settled and reply.finish_reason not in _FREE):
                return self._write(key, reply)
            if reply.settled:  # and would be paid for again; whatever else is no reply may be a hiccup
                return reply
            junk = "empty" if reply.finish_reason == "stop" else reply.finish_reason
        if problem is None:
            return Reply("", None, None, junk)
        raise UserError(f"{problem}, {tries} {'time' if tries == 1 else 'times'} in a row ({problem.advice})")

    def _wait(self, attempt: int, problem: Transient | None) -> float:
        asked = problem.wait if problem else None
        if problem and asked is not None and asked > self.patience.longest_wait:
            raise UserError(
                f"{problem}, and asks to wait {asked:.0f} s, longer than longest_wait={self.patience.longest_wait:g} "
                "(try again later: the replies so far are kept)"
            )
        return self.patience.wait(attempt, asked)

    def _count(self, **counts: int) -> None:
        with self._lock:
            for name, n in counts.items():
                self._counts[name] += n

    def _count_tokens(self, reply: Reply) -> None:
        counted = reply.prompt_tokens is not None and reply.completion_tokens is not None
        self._count(
            prompt_tokens=reply.prompt_tokens or 0,
            completion_tokens=reply.completion_tokens or 0,
            uncounted=int(not counted),
        )

    def _key(self, call: Call) -> bytes:
        described = json.dumps([self.backend.identity, asdict(call)], sort_keys=True)
        return blake2b(described.encode(), digest_size=16).digest()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        rows = self._file.read("call, reply", keys)
        try:
            return {key: Reply(**json.loads(reply)) for key, reply in rows}
        except (ValueError, TypeError):
            self._file.refuse("holds rows that are no replies")
            raise

    def _write(self, key: bytes, reply: Reply) -> Reply:
        """The reply that is kept: the first one, should another process have asked for the same meanwhile."""
        dated = replace(reply, date=datetime.now(UTC).isoformat(timespec="seconds"))
        self._file.insert([(key, json.dumps(asdict(dated)))])  # JSON in ASCII: a reply may hold what UTF-8 cannot
        return self._read([key])[key]
