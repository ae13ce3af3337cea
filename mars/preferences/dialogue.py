"""Dialogue text: messages, the split at the last assistant turn, and the one way a dialogue becomes model input.

Every arm and every benchmark uses `render`, so no two of them can differ in white space or turn markers. A rendered
text keeps two parts: the prefix, which is the prompt up to and including the assistant's marker, and the response.
Truncation has to know which of the two it may cut (`mars.reward.tokens`).

    render((Message("user", "Hi"),), "Hello.", "plain")  # Rendered("Human: Hi\\n\\nAssistant:", " Hello.")
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

Role = Literal["system", "user", "assistant"]
Template = Literal["plain", "chat"]
_ROLES = get_args(Role)  # asked for with every turn of a corpus


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a dialogue. Raises ValueError for an unknown role."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(f'role "{self.role}" is not one of {", ".join(_ROLES)}')


class Rendered(NamedTuple):
    """Model input in two parts; one after the other they are the whole text."""

    prefix: str
    response: str


_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def parse_hh(dialogue: str) -> tuple[Message, ...]:
    """The turns of an HH-RLHF dialogue (`\\n\\nHuman: … \\n\\nAssistant: …`), without white space around each.

    Raises ValueError for text before the first marker, because it has no speaker.
    """
    parts = _TURN.split(dialogue)
    if parts[0].strip() or len(parts) < 3:
        raise ValueError('the dialogue does not start with "Human:" or "Assistant:"')
    roles: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
    return tuple(
        Message(roles[speaker], content.strip()) for speaker, content in zip(parts[1::2], parts[2::2], strict=True)
    )


def split_last_assistant(messages: Sequence[Message]) -> tuple[tuple[Message, ...], str]:
    """(prompt, response): everything before the final assistant turn, and that turn's content.

    Raises ValueError when the dialogue does not end with an assistant turn, because there is no reply to judge.
    """
    if not messages or messages[-1].role != "assistant":
        raise ValueError("the dialogue does not end with an assistant turn")
    return tuple(messages[:-1]), messages[-1].content


_SPEAKER = {"user": "Human", "assistant": "Assistant"}


def render_plain(prompt: Sequence[Message], response: str) -> Rendered:
    """`Human: {prompt}\\n\\nAssistant: {response}`, the template of the authors' code; a system turn has no marker."""
    turns = [m.content if m.role == "system" else f"{_SPEAKER[m.role]}: {m.content}" for m in prompt]
    return Rendered("\n\n".join([*turns, "Assistant:"]), f" {response}")


def transcript(prompt: Sequence[Message]) -> str:
    """The turns with their speakers, without the reply's."""
    return render_plain(prompt, "").prefix.removesuffix("Assistant:").rstrip()


def render_chat(prompt: Sequence[Message], response: str, tokenizer: Any) -> Rendered:
    """The dialogue in the tokenizer's own chat template, cut where the assistant's reply begins.

    Raises ValueError when the tokenizer has no chat template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("this tokenizer has no chat template (set backbone.template=plain)")
    messages = [{"role": m.role, "content": m.content} for m in prompt]
    prefix = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    reply = {"role": "assistant", "content": response}
    whole = tokenizer.apply_chat_template([*messages, reply], tokenize=False)
    # Some templates put into the generation prompt what they leave out of a finished turn: cut at the common prefix.
    cut = next((i for i, (a, b) in enumerate(zip(prefix, whole, strict=False)) if a != b), min(len(prefix), len(whole)))
    return Rendered(whole[:cut], whole[cut:])


def render(prompt: Sequence[Message], response: str, template: Template, tokenizer: Any = None) -> Rendered:
    """Model input for one response under `template`; only "chat" needs the `tokenizer`, and raises as `render_chat`."""
    return render_plain(prompt, response) if template == "plain" else render_chat(prompt, response, tokenizer)
