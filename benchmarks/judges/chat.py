"""A chat model as judge: behind an OpenAI-compatible endpoint, or a transformers model on this machine.

It is the client of the instruct augmenter (`mars.augment.chat`): the key comes from the environment alone, every reply
that was paid for is on disk when it arrives, and what stopped half-way is resumed from there. A cut-off reply, a
refusal, a filter's answer and a question longer than the context are verdicts that cannot be read, with the reason.

    python -m benchmarks.judge ours=a.json theirs=b.json judge=endpoint judge.model=NAME judge.base_url=URL dry_run=true
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.judges.judge import Answer, Showing
from benchmarks.judges.wording import WORDINGS, Name, question, said
from mars.augment.chat import Call, Reply
from mars.augment.chat_settings import ChatConfig
from mars.config import UserError, renamed
from mars.progress import Progress

if TYPE_CHECKING:
    import torch

_CHARACTERS = 4  # of a token, about: only for the estimate, since an endpoint's tokenizer is not at hand
_TELLING = 16  # questions, asked first; an endpoint that answers none of them so that it can be read is not asked more
_ADVICE = {
    "length": "raise judge.max_tokens, or turn the model's thinking off with judge.extra",
    "context_length": "serve the model with a longer context",
    "wording": "look at the reply above, and try judge.wording=reasons or another judge.model",
}


@dataclass(frozen=True)
class ChatJudgeConfig(ChatConfig):
    """conf/judge/endpoint.yaml. temperature: null = 0."""

    wording: Name = "brief"


@dataclass(frozen=True)
class LocalJudgeConfig(ChatJudgeConfig):
    """conf/judge/local.yaml."""

    backend: Literal["endpoint", "local"] = "local"


class ChatJudge:
    """A judge that asks a chat model `wording` about each showing."""

    def __init__(self, config: ChatJudgeConfig, cache: Path, device: torch.device):
        self.config = config
        self.wording = WORDINGS[config.wording].version
        with renamed("augmenter", "judge"):
            self.chat = config.open(cache, device, keep_settled=True)
        settings = {key: value for key, value in asdict(config).items() if key not in config.without_effect}
        self.identity: Mapping[str, Any] = {**settings, "model": self.chat.backend.identity, "wording": self.wording}

    def ask(self, showings: Sequence[Showing]) -> list[Answer]:
        """The model's answers. Raises UserError where the endpoint fails for good, or no answer can be read."""
        answers: list[Answer] = []
        calls = [self._call(showing) for showing in showings]
        batch = max(32, 4 * self.config.concurrency)
        with Progress(len(calls), "judging", "verdicts") as progress:
            while calls[len(answers) :]:
                n = batch if answers else _TELLING
                with renamed("augmenter", "judge"):
                    replies = self.chat.complete_all(calls[len(answers) : len(answers) + n])
                answers += [self._answer(reply) for reply in replies]
                progress.advance(len(replies))
                self._check(answers)
        return answers

    def plan(self, showings: Sequence[Showing]) -> dict[str, float | int | None]:
        """Tokens of the question by its length, those of the reply at their most; settled calls cost nothing again."""
        distinct = {question(showing, self.config.wording): self._call(showing) for showing in showings}
        open_ones = [(asked, call) for asked, call in distinct.items() if self.chat.missing([call])]
        prompt = sum(len(asked) for asked, _ in open_ones) / _CHARACTERS
        reply = len(open_ones) * self.config.max_tokens
        return {
            "calls": len(open_ones),
            "cached": len(distinct) - len(open_ones),
            "prompt_tokens": round(prompt),
            "most_completion_tokens": reply,
            "most_cost": self.config.cost(prompt, reply),
        }

    @property
    def usage(self) -> Mapping[str, float | None]:
        """`Chat.usage` and the cost, None where a price or a count of tokens is unknown."""
        return self.config.spent(self.chat.usage)

    def _call(self, showing: Showing) -> Call:
        config = self.config
        messages = [{"role": "user", "content": question(showing, config.wording)}]
        return Call(messages, config.temperature or 0.0, config.max_tokens, config.seed, config.extra)

    def _answer(self, reply: Reply) -> Answer:
        verdict = said(reply.text, self.config.wording)
        reason = "" if verdict != "unparsable" else "wording" if reply.good else reply.finish_reason
        model = reply.model or self.chat.backend.identity
        return Answer(verdict, reply.text, reason, model, reply.date, reply.prompt_tokens, reply.completion_tokens)

    def _check(self, answers: Sequence[Answer]) -> None:
        """Raises UserError after the first answers where none can be read, before the others are paid for.

        A local model costs nothing, and a toy one never follows the question: its verdicts are counted as they are.
        """
        if self.chat.backend.steady or len(answers) < _TELLING or any(a.said != "unparsable" for a in answers):
            return
        first = answers[0]
        shown = f': "{" ".join(first.reply.split())[:80]}"' if first.reply.strip() else ""
        raise UserError(
            f'{self.chat.backend.url}: judge.model "{self.config.model}" gave no verdict that can be read in '
            f"{len(answers)} replies ({first.reason}{shown}); {_ADVICE.get(first.reason, 'ask it something by hand')}"
        )


ENDPOINT = (ChatJudgeConfig, ChatJudge)
LOCAL = (LocalJudgeConfig, ChatJudge)
