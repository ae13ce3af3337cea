"""Which chat model is asked, where it runs and how patiently: settings of whatever asks one, an augmenter or a judge.

The key of an endpoint is never a setting: `api_key_env` names the environment variable that holds it, and an address
with credentials in it is refused, because settings end up in records. Read without torch; the model is loaded when the
first reply is asked for.

    ChatConfig("Qwen/Qwen3-4B-Instruct-2507").open(Path("cache"))  # a Chat
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from mars.augment.chat import Backend, Chat, Patience

if TYPE_CHECKING:
    import torch

_OURS = {"model", "messages", "stream", "n"}  # what of a request `extra` may not touch


@dataclass(frozen=True)
class ChatConfig:
    """model: the endpoint's name for it, or for backend=local a hub id, a directory or `random:qwen3`."""

    model: str
    backend: Literal["endpoint", "local"] = "endpoint"
    revision: str | None = None  # of a local model from the hub
    temperature: float | None = None  # null = what is usual for the task
    max_tokens: int = 512  # of a reply; a longer one is cut off
    seed: int = 0
    extra: dict[str, Any] = field(default_factory=dict)  # more fields of the endpoint's request; null leaves one out
    # The settings from here on cannot change a reply, so no identity of what asks contains them.
    without_effect: ClassVar = ("base_url", "api_key_env", "concurrency", "timeout", "attempts", "backoff",
                                "longest_wait", "price_prompt", "price_completion")  # fmt: skip
    base_url: str = "http://localhost:8000/v1"
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 8
    timeout: float = 60.0  # seconds
    attempts: int = 5
    backoff: float = 1.0  # seconds before the second attempt; doubled each time
    longest_wait: float = 60.0  # seconds; an endpoint that asks for a longer wait is an error
    price_prompt: float | None = None  # per million tokens; null = unknown
    price_completion: float | None = None

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("model: must name a model")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature: {self.temperature} is not in [0, 2]")
        for name in ("max_tokens", "concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, not {getattr(self, name)}")
        if not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise ValueError(f"timeout: must be above 0 seconds, not {self.timeout}")
        for name in ("backoff", "longest_wait", "price_prompt", "price_completion"):
            value = getattr(self, name)
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name}: must be at least 0, not {value}")
        if taken := sorted(_OURS & set(self.extra)):
            raise ValueError(f'extra: "{taken[0]}" cannot be set here')
        if self.backend == "local" and self.extra:
            raise ValueError("extra: is sent to an endpoint and means nothing to backend=local")
        if self.backend == "endpoint":
            self._check_endpoint()

    def _check_endpoint(self) -> None:
        if self.revision is not None:
            raise ValueError("revision: an endpoint knows its model by name alone (leave it null, or backend=local)")
        try:
            url = urlsplit(self.base_url)
        except ValueError:
            raise ValueError("base_url: is no URL") from None
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("base_url: must start with http:// or https:// and name a host")
        if url.username or url.password:  # it would end up in the run's record
            raise ValueError("base_url: must hold no credentials (export the key in the variable api_key_env names)")
        if not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_env):
            raise ValueError("api_key_env: is the name of an environment variable, not the key itself")

    def open(self, cache: Path, device: torch.device | None = None, keep_settled: bool = False) -> Chat:
        """The chat, its replies kept under `cache`; see `Chat` for `keep_settled`. Raises ConfigError."""
        from mars.augment.chat_backends import Endpoint, LocalModel  # which import torch

        backend: Backend
        if self.backend == "local":
            backend = LocalModel(self.model, self.revision, device)
        else:
            backend = Endpoint(self.model, self.base_url, self.api_key_env, self.concurrency, self.timeout)
        return Chat(backend, cache, Patience(self.attempts, self.backoff, self.longest_wait), keep_settled)

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """In the currency of the prices; None where one of them is unknown."""
        if self.price_prompt is None or self.price_completion is None:
            return None
        return (prompt_tokens * self.price_prompt + completion_tokens * self.price_completion) / 1e6

    def spent(self, usage: Mapping[str, int]) -> dict[str, float | None]:
        """`Chat.usage` and its `cost`, which is None where a price is unknown, or a reply came without token counts."""
        cost = None if usage["uncounted"] else self.cost(usage["prompt_tokens"], usage["completion_tokens"])
        return {**usage, "cost": cost}
