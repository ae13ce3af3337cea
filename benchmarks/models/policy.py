"""A causal language model that writes candidates: several samples of a prompt, the same for a seed, each prompt once.

One prompt is sampled at a time, unpadded and with random numbers of its own, so its candidates depend on the prompt and
the settings and on nothing that was sampled before. They are kept on disk under all that shapes them (`mars.cache`), so
the reward models of a study choose among the same candidates and only the first of them waits; an interruption loses
one prompt.

    policy = Policy(PolicyConfig("Qwen/Qwen3-0.6B"), Path("cache"), torch.device("cpu"))
    policy.write((Message("user", "Is tea hot?"),), 16).texts
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from benchmarks.models.sampling import Sampled
from benchmarks.models.tiny_writer import named_writer
from mars.augment.causal import CausalModel
from mars.cache import Cache
from mars.config import ConfigError, UserError
from mars.preferences.dialogue import Message, Template, render_plain
from mars.reward import tiny
from mars.reward.backbone import BackboneConfig

TABLE = "CREATE TABLE IF NOT EXISTS candidates (prompt BLOB PRIMARY KEY, written TEXT NOT NULL) WITHOUT ROWID;"
_DAMAGED = "candidates are sampled again"
AT_ONCE = 64  # samples of one pass


@dataclass(frozen=True)
class PolicyConfig:
    """Which model writes and how it is sampled.

    source: a hub id, a directory, `tiny_writer` (which is made where it is not there yet), or `random:qwen3`. template:
    None is the tokenizer's chat template. max_new_tokens: of a candidate; a longer one is cut off and counts as it is.
    seed: of the samples.
    """

    source: str
    revision: str | None = None
    template: Template | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0

    @classmethod
    def of(cls, asked: Sampled) -> PolicyConfig:
        """The policy that a benchmark's settings name."""
        sampling = (asked.temperature, asked.top_p, asked.max_new_tokens, asked.seed)
        return cls(asked.policy or "", asked.policy_revision, asked.policy_template, *sampling)


@dataclass(frozen=True)
class Written:
    """Candidates of one prompt. cut_off: those that max_new_tokens ended. prompt_cut: whether the prompt lost its
    beginning to the model's context."""

    texts: list[str]
    cut_off: int
    prompt_cut: bool


class Policy:
    """The model behind `config`, loaded when it first has to write. Raises ConfigError for one that cannot be found."""

    def __init__(self, config: PolicyConfig, cache: Path, device: torch.device):
        self.config, self.device = config, device
        backbone = BackboneConfig(name="policy", source=named_writer(config.source, cache), revision=config.revision)
        self.writer = CausalModel(backbone, "benchmark.policy", device, tiny.random_writer)
        self.identity = self.writer.weights
        self._cache = Cache(cache / "candidates.sqlite", "candidates", "prompt", TABLE, _DAMAGED)

    @functools.cached_property
    def template(self) -> Template:
        """What turns a prompt into text. Raises ConfigError where that is for the user to say."""
        has_one = bool(getattr(self.writer.tokenizer, "chat_template", None))
        if not has_one and self.config.template != "plain":
            raise ConfigError(
                f'benchmark.policy: "{self.config.source}" has no chat template (a base model? with '
                "benchmark.policy_template=plain it is asked in plain turns, Human: and Assistant:)"
            )
        return self.config.template or "chat"

    @property
    def settings(self) -> dict[str, Any]:
        """JSON, all that shapes a candidate besides its prompt; on a GPU, random numbers are others than on a CPU."""
        own = {key: value for key, value in asdict(self.config).items() if key not in ("source", "revision")}
        here = {"dtype": self.writer.dtype, "device": self.device.type}
        return {"weights": self.identity, **own, "template": self.template, **here}

    def write(self, prompt: Sequence[Message], number: int) -> Written:
        """`number` samples of `prompt`, from disk where they are there.

        Raises ConfigError for a model that cannot be loaded or a template that does not take the prompt, and UserError
        where the samples do not fit the GPU's memory.
        """
        asked = [self.settings, number, [[message.role, message.content] for message in prompt]]
        key = blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=16).digest()
        if kept := self._cache.read("written", [key]):
            try:
                return Written(**json.loads(kept[0][0]))
            except (ValueError, TypeError):
                self._cache.refuse("holds rows that are no candidates")
        written = self._sampled(prompt, number, key)
        self._cache.insert([(key, json.dumps(asdict(written)))])
        return written

    @torch.inference_mode()
    def _sampled(self, prompt: Sequence[Message], number: int, key: bytes) -> Written:
        ids, cut = self.prompt_ids(prompt)
        rows: list[list[int]] = []
        with self.drawing(int.from_bytes(key[:7], "big")):
            while len(rows) < number:
                rows += self.sample([ids] * min(AT_ONCE, number - len(rows)))
        return Written([self.text(row) for row in rows], sum(not self.ended(row) for row in rows), cut)

    @contextmanager
    def drawing(self, seed: int) -> Iterator[None]:
        """Inside, random numbers are those of `seed`; outside they go on as if nothing had been drawn."""
        devices = [self.device.index or 0] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            yield

    @torch.inference_mode()
    def sample(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        """The token ids of a reply to each prompt's, its end included where it has one; all in one pass.

        Raises UserError where they do not fit the GPU's memory.
        """
        pad, longest = self.writer.tokenizer.pad_token_id, max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in prompts], device=self.device)
        read = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts], device=self.device)
        config = GenerationConfig(
            do_sample=True,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            top_k=0,  # transformers' own default would keep the 50 likeliest tokens
            max_new_tokens=self.config.max_new_tokens,
            eos_token_id=self.writer.ends,
            pad_token_id=pad,
        )
        try:
            out = self.writer.model.generate(ids, attention_mask=read, generation_config=config)
        except torch.OutOfMemoryError:
            raise UserError(
                f"benchmark.policy: {len(prompts)} replies of up to {longest + self.config.max_new_tokens} tokens do "
                "not fit the GPU's memory (lower benchmark.max_new_tokens)"
            ) from None
        return [self._until_end(row) for row in out[:, longest:].tolist()]

    def _until_end(self, row: list[int]) -> list[int]:
        end = next((place for place, token in enumerate(row) if token in self.writer.ends), len(row))
        return row[: end + 1]

    def ended(self, reply: Sequence[int]) -> bool:
        """Whether the policy ended the reply by itself; else max_new_tokens did."""
        return bool(reply) and reply[-1] in self.writer.ends

    def text(self, reply: Sequence[int]) -> str:
        """The text of a reply's token ids."""
        said = reply[:-1] if self.ended(reply) else reply
        return self.writer.tokenizer.decode(said, skip_special_tokens=True).strip()

    def prompt_ids(self, prompt: Sequence[Message]) -> tuple[list[int], bool]:
        """(token ids of as much of the prompt's end as leaves room for a reply, whether that is less than all).

        Raises ConfigError for a template that does not take the prompt, and where replies leave no room for any.
        """
        return self._fitted(self._ids(prompt))

    def rendered(self, prompt: Sequence[Message]) -> str | list[dict[str, str]]:
        """The prompt as what tokenises it is given: the turns that a chat template takes, or plain text."""
        if self.template == "plain":
            return render_plain(prompt, "").prefix
        return [{"role": message.role, "content": message.content} for message in prompt]

    def _ids(self, prompt: Sequence[Message]) -> list[int]:
        asked = self.rendered(prompt)
        if isinstance(asked, str):
            return self.writer.tokenizer(asked)["input_ids"]
        try:  # a model that can think first would spend its tokens on that
            text = self.writer.tokenizer.apply_chat_template(
                asked, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except Exception as error:  # a chat template is a program of its author's
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"benchmark.policy: its chat template does not take a prompt: {reason}") from None
        return self.writer.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _fitted(self, ids: list[int]) -> tuple[list[int], bool]:
        """(as much of the prompt's end as leaves room for a candidate, whether that is less than all)."""
        if self.template == "plain" and ids and ids[-1] in self.writer.ends:
            ids = ids[:-1]  # a model that reads the end has nothing left to write
        known = getattr(self.writer.model.config, "max_position_embeddings", None) or math.inf
        context = min(known, float(self.writer.tokenizer.model_max_length))
        room = context - self.config.max_new_tokens
        if room < 1:
            raise ConfigError(
                f"benchmark.max_new_tokens: {self.config.max_new_tokens} leave no room for a prompt in the {context} "
                f'tokens of "{self.config.source}"'
            )
        return (ids[-int(room) :], True) if len(ids) > room else (ids, False)
