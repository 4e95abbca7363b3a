"""Prompts for the text between a prefix and a suffix (fill in the middle), by the markers of the model's tokenizer.

A family is recognised by its markers alone. It does not import MLX.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmx_daemon.contract.errors import UnsupportedError
from lmx_daemon.contract.generation.requests import Infill

ANCHOR = "\u263a"
"""Character before a text that is encoded without the space that some tokenizers put in front of a text."""


@dataclass(frozen=True)
class InfillForm:
    """The markers before the prefix, the suffix and the answer, and the tokens that end an answer."""

    prefix: str
    suffix: str
    middle: str = ""
    """Marker before the answer; "" if the answer follows the prefix, which is then last."""
    ends: tuple[str, ...] = ()

    def is_in(self, vocabulary: dict[str, int]) -> bool:
        """Return whether a vocabulary has all markers."""
        return all(marker in vocabulary for marker in (self.prefix, self.suffix, self.middle) if marker)


FORMS = (
    InfillForm(  # Qwen2.5-Coder, CodeGemma
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        ("<|endoftext|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<|file_separator|>"),
    ),
    InfillForm(  # StarCoder, Granite
        "<fim_prefix>", "<fim_suffix>", "<fim_middle>", ("<|endoftext|>", "<fim_pad>", "<file_sep>", "<repo_name>")
    ),
    InfillForm("<fim-prefix>", "<fim-suffix>", "<fim-middle>", ("<|endoftext|>",)),  # SantaCoder
    InfillForm("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>", ("\u2581<EOT>",)),  # CodeLlama
    InfillForm(  # DeepSeek-Coder
        "<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>", ("<|EOT|>",)
    ),
    InfillForm("[PREFIX]", "[SUFFIX]"),  # Codestral
)


def infill_form(vocabulary: dict[str, int]) -> InfillForm | None:
    """Return the form of the model whose tokenizer has this vocabulary; None if it cannot fill in a text."""
    return next((form for form in FORMS if form.is_in(vocabulary)), None)


def infill_tokens(prompt: Infill, tokenizer: Any) -> tuple[list[int], frozenset[int]]:
    """Return the tokens of a prompt, and those that end its answer. Raises UnsupportedError."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    form = infill_form(vocabulary)
    if form is None:
        raise UnsupportedError(
            "suffix: this model cannot fill in text; its tokenizer has no markers for it",
            param="suffix",
            hint="use a model that is trained for it, such as Qwen2.5-Coder, StarCoder2 or Codestral",
        )
    prefix = [vocabulary[form.prefix], *tokenizer.encode(prompt.prefix, add_special_tokens=False)]
    suffix = [vocabulary[form.suffix], *_without_space(prompt.suffix, tokenizer)]
    tokens = [*prefix, *suffix, vocabulary[form.middle]] if form.middle else [*suffix, *prefix]
    return [*_beginning(tokenizer), *tokens], frozenset(vocabulary[end] for end in form.ends if end in vocabulary)


def _beginning(tokenizer: Any) -> Sequence[int]:
    """Return the token with which this tokenizer begins every text, if it has one."""
    return [token for token in tokenizer.encode("") if token == tokenizer.bos_token_id][:1]


def _without_space(text: str, tokenizer: Any) -> list[int]:
    anchor = list(tokenizer.encode(ANCHOR, add_special_tokens=False))
    tokens = list(tokenizer.encode(ANCHOR + text, add_special_tokens=False))
    if tokens[: len(anchor)] == anchor:
        return tokens[len(anchor) :]
    return list(tokenizer.encode(text, add_special_tokens=False))
