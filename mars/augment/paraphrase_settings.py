"""Which model paraphrases, what it reads and how it is searched: the settings of `augmenter=paraphrase`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ParaphraseConfig:
    """conf/augmenter/paraphrase.yaml.

    The model's own generation_config.json decides the rest, such as a length penalty.
    """

    source: str = "humarin/chatgpt_paraphraser_on_T5_base"  # hub id, local directory, random:t5 or random:qwen3
    revision: str | None = None  # of a hub id
    prefix: str = "paraphrase: "  # what comes before the text; for an instruct model, the instruction
    chat: bool | None = None  # wrap both in the tokenizer's chat template; null = where it has one
    returned: int = 5  # variants of a text
    beams: int = 5  # without do_sample
    no_repeat_ngram_size: int = 3  # tokens that no variant says twice; 0 = off
    max_input: int = 512  # tokens, prefix included; a longer text loses its end
    prompt_tokens: int = 128  # longest variant of a prompt
    response_tokens: int = 192  # longest variant of a response
    do_sample: bool = False
    temperature: float = 1.0  # this and the next two: with do_sample only
    top_p: float = 0.95  # of all tokens: there is no top_k
    seed: int = 0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # bf16 on a GPU, fp32 on a CPU
    token_budget: int = 131_072  # of one pass on a GPU: texts × beams × (input + new tokens)

    def __post_init__(self) -> None:
        for name in ("returned", "beams", "max_input", "prompt_tokens", "response_tokens", "token_budget"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, not {getattr(self, name)}")
        if self.no_repeat_ngram_size < 0:
            raise ValueError(f"no_repeat_ngram_size: must not be negative, and is {self.no_repeat_ngram_size}")
        if not self.do_sample and self.returned > self.beams:
            raise ValueError(f"returned: {self.beams} beams cannot give {self.returned} variants (raise beams)")
        if not self.temperature > 0:
            raise ValueError(f"temperature: must be above 0, not {self.temperature} (do_sample=false draws nothing)")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p} is not in (0, 1]")
