"""Where a chat model's replies come from: an OpenAI-compatible endpoint, or a transformers model on this machine.

The endpoint's body is parsed here rather than by its client, which hands on a proxy's HTML page as if it were a reply;
the client's own retries are off, so that errors and junk share one limit (`mars.augment.chat`). The key is read from
the environment when the first call is made, and every text that goes into an error is cleared of it.

The local model answers one call at a time, unpadded, so a reply is a pure function of the call. For throughput, serve
the model (`vllm serve NAME`) and use the endpoint.

    Endpoint("Qwen/Qwen3-4B-Instruct-2507", "http://localhost:8000/v1").send(Call([{"role": "user", "content": "Hi"}]))
"""

from __future__ import annotations

import datetime
import email.utils
import functools
import importlib.util
import json
import math
import os
import re
import threading
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from mars.augment.causal import CausalModel
from mars.augment.chat import Call, ChatMessages, Reply, Transient
from mars.config import ConfigError, UserError
from mars.preferences.dialogue import Message, Role, render_plain
from mars.reward import tiny
from mars.reward.backbone import BackboneConfig

# The finish_reason of a reply that ended by itself: some endpoints name its last token, and some say nothing.
_ENDED = ("stop", "eos_token", "eos", "", None)
_TOO_LONG = re.compile(r"context.?length|context window|too many tokens", re.IGNORECASE)


class Endpoint:
    """The model `model` behind `base_url`, called with the openai client.

    api_key_env: the environment variable that holds the key. timeout: seconds. Raises ConfigError without the package.
    """

    steady = False

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 8,
        timeout: float = 60.0,
    ):
        if importlib.util.find_spec("openai") is None:
            raise ConfigError('augmenter: an endpoint needs the package openai (pip install "mars-reward[instruct]")')
        self.identity, self.concurrency = model, concurrency
        self.base_url, self.api_key_env, self.timeout = base_url, api_key_env, timeout
        self.url = base_url.partition("?")[0].rstrip("/") + "/chat/completions"

    @functools.cached_property
    def _client(self) -> Any:
        import openai

        # A server of one's own asks for no key, but the client insists on sending one.
        key = self._key or "none"
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"{self.api_key_env}: this environment variable holds characters that no key has")
        return openai.OpenAI(api_key=key, base_url=self.base_url, timeout=self.timeout, max_retries=0)

    @functools.cached_property
    def _key(self) -> str:
        return os.environ.get(self.api_key_env, "").strip()

    def send(self, call: Call) -> Reply:
        """The endpoint's reply; one without text says in finish_reason why this request gets none.

        Raises Transient where another attempt may help, UserError where none will, ConfigError for an unusable key.
        """
        import openai

        sampling = {"temperature": call.temperature, "max_tokens": call.max_tokens, "seed": call.seed, **call.extra}
        try:
            response = self._client.chat.completions.with_raw_response.create(
                model=self.identity,
                messages=call.messages,
                extra_body={name: value for name, value in sampling.items() if value is not None},
            )
        except openai.APITimeoutError:
            what = f"{self.url}: no answer within {self.timeout:g} s"
            raise Transient(what, "raise augmenter.timeout or lower augmenter.concurrency") from None
        except openai.APIConnectionError as error:
            what = f"{self.url}: cannot be reached: {self._clean(error.__cause__ or error)}"
            raise Transient(what, "is the server running? see augmenter.base_url") from None
        except openai.APIStatusError as error:
            return self._failed(error)
        return self._parsed(response.text)

    def _failed(self, error: Any) -> Reply:
        """The reply without text for an error that lies in this one request; raises for the others as `send` does."""
        status, said = error.status_code, self._clean(error.message)
        what = f"{self.url}: {said}" if str(status) in said else f"{self.url}: {status} {said}"
        if status == 400 and error.code == "content_filter":
            return Reply("", None, None, "content_filter")
        if status in (400, 413) and (error.code == "context_length_exceeded" or _TOO_LONG.search(said)):
            return Reply("", None, None, "context_length")
        if status == 429 and error.code == "insufficient_quota":
            raise UserError(f"{what} (the account is spent; the replies so far are kept)") from None
        if status in (408, 409, 425, 429) or status >= 500:
            advice = "lower augmenter.concurrency" if status == 429 else "see the endpoint's own log"
            wait = _retry_after(error.response.headers)
            raise Transient(what, f"{advice}; the replies so far are kept", wait) from None
        if status in (401, 403):
            held = "its key was not accepted" if self._key else "it is not set"
            raise UserError(f"{what} (check the environment variable {self.api_key_env}: {held})") from None
        if status == 404:
            raise UserError(f'{what} (check augmenter.base_url, and augmenter.model "{self.identity}")') from None
        raise UserError(f"{what} (augmenter.extra adds fields to the request, or with null drops them)") from None

    def _parsed(self, body: str) -> Reply:
        advice = "is augmenter.base_url an OpenAI-compatible endpoint? it usually ends in /v1"
        try:
            answer = json.loads(body)
        except ValueError:
            raise Transient(f'{self.url}: answers no JSON but "{self._clean(body, 60)}"', advice) from None
        try:
            choice = answer["choices"][0]
            message, reason = choice["message"], choice.get("finish_reason")
            text, refusal = message.get("content"), message.get("refusal")
        except (LookupError, TypeError, AttributeError):
            what = f"{self.url}: answers without choices: {self._clean(body, 120)}"
            raise Transient(what, advice) from None
        usage = answer.get("usage")
        counts = usage if isinstance(usage, Mapping) else {}
        if refusal:
            reason = "refused"
        elif reason in _ENDED:
            reason = "stop"  # without words in it, such a reply is not good all the same
        return Reply(
            text if isinstance(text, str) else "",
            _whole(counts.get("prompt_tokens")),
            _whole(counts.get("completion_tokens")),
            self._clean(reason, 40),
            self._clean(answer.get("model") or "", 100),
        )

    def _clean(self, text: object, length: int = 200) -> str:
        """One short line without the key: an endpoint may quote what it was sent."""
        line = " ".join(str(text).split())
        if self._key:
            line = line.replace(self._key, "***")
        return line if len(line) <= length else line[:length] + "…"


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a Retry-After header (a number or a date) asks for; None where there is none to read."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())


def _generator_seed(call: Call) -> int:
    """63 bits of the call's seed and messages: with one seed for all texts, similar ones would get the same words."""
    key = json.dumps([call.seed, [dict(message) for message in call.messages]], sort_keys=True)
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


class LocalModel:
    """A causal transformers model on this machine.

    source: a hub id, a directory, `package:…` or `random:qwen3`, as for a backbone. Raises ConfigError for a model that
    cannot be found.
    """

    concurrency, steady, url = 1, True, ""

    def __init__(self, source: str, revision: str | None = None, device: torch.device | None = None):
        self.device = device or torch.device("cpu")
        cfg = BackboneConfig(name="instruct", source=source, revision=revision)
        self._writer = CausalModel(cfg, "augmenter.model", self.device, _random)
        self.identity = f"{self._writer.weights} {self._writer.dtype}"
        self._lock = threading.Lock()  # the seed is the process's, and so is the generator it sets

    def send(self, call: Call) -> Reply:
        """The model's reply, a pure function of the call. Raises ConfigError for a model that cannot be loaded."""
        with self._lock:
            return self._generate(call)

    @torch.inference_mode()
    def _generate(self, call: Call) -> Reply:
        tokenizer, model = self._writer.tokenizer, self._writer.model
        ids = self._ids(call.messages)
        known = getattr(model.config, "max_position_embeddings", None) or math.inf
        if len(ids) + call.max_tokens > min(tokenizer.model_max_length, known):
            return Reply("", len(ids), 0, "context_length")

        prompt = torch.tensor([ids], device=self.device)
        # Plain sampling, as endpoints do it: transformers' own default would keep the 50 likeliest tokens only.
        how = {"temperature": call.temperature, "top_k": 0, "top_p": 1.0} if call.temperature > 0 else {}
        config = GenerationConfig(
            do_sample=call.temperature > 0,
            max_new_tokens=call.max_tokens,
            eos_token_id=self._writer.ends,
            pad_token_id=tokenizer.pad_token_id,
            **how,
        )

        devices = [prompt.device.index or 0] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(_generator_seed(call))
            out = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config)
        new = out[0, len(ids) :].tolist()
        whole = bool(new) and new[-1] in self._writer.ends
        text = tokenizer.decode(new[:-1] if whole else new, skip_special_tokens=True)
        return Reply(text, len(ids), len(new), "stop" if whole else "length")

    def _ids(self, messages: ChatMessages) -> list[int]:
        """Token ids up to where the reply begins, by the model's chat template or, where it has none, plain turns."""
        if getattr(self._writer.tokenizer, "chat_template", None):
            text = self._writer.tokenizer.apply_chat_template(
                [dict(m) for m in messages], tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        else:
            turns = [Message(cast(Role, m["role"]), m["content"]) for m in messages]
            text = render_plain(turns, "").prefix
        return self._writer.tokenizer(text, add_special_tokens=False)["input_ids"]


def _random(kind: str, tokenizer: Any) -> Any:
    """Seeded weights of `kind`, with room for a question, which is long at a token a byte."""
    config = tiny.random_config(kind, tokenizer)
    config.max_position_embeddings = 2**15
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config)
