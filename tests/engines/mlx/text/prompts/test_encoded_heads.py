"""Beginnings of prompts whose tokens are kept: the tokens are those of the whole text."""

from typing import Any

import pytest

from lmx_daemon.engines.mlx.text.prompts.encoded_heads import KEPT, LEAST, EncodedHeads, quick_backend
from tests.engines.mlx.text.prompts.tokenizers import KINDS, tokenizer_of


class Counting:
    """A tokenizer that counts the characters that it encodes."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.added_tokens_decoder = tokenizer.added_tokens_decoder
        self.characters = 0

    def encode(self, text: str, **options: Any) -> list[int]:
        self.characters += len(text)
        return list(self._tokenizer.encode(text, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_are_those_of_the_whole_text(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    heads = EncodedHeads(tokenizer)
    for head in ("the tools and rules\n" * 400, "a  b\u00e9 " * 900, "short"):
        for rest in ("user\nhello<|im_end|>\n", " spaces in front", "", "\n\nlines"):
            text = f"<|im_start|>system\n{head}<|im_end|>\n<|im_start|>{rest}"
            for _ in range(2):
                assert heads.encode(text, len(text) - len(rest)) == list(
                    tokenizer.encode(text, add_special_tokens=False)
                )


def test_a_beginning_that_comes_again_is_not_encoded_again() -> None:
    tokenizer = Counting(tokenizer_of("byte-level"))
    heads = EncodedHeads(tokenizer)
    head = "<|im_start|>system\n" + "rule " * LEAST + "<|im_end|>\n"
    heads.encode(head + "<|im_start|>user\none", len(head) + 16)
    before = tokenizer.characters
    heads.encode(head + "<|im_start|>user\ntwo", len(head) + 16)
    assert tokenizer.characters - before < 40
    for number in range(2 * KEPT):
        heads.encode(f"{number}{head}<|im_start|>user\ntwo", len(head) + 16)
    assert len(heads._kept) == KEPT


def test_a_backend_that_gives_other_tokens_is_not_used() -> None:
    tokenizer = tokenizer_of("byte-level")

    class Changing(Counting):
        backend_tokenizer = tokenizer.backend_tokenizer

        def encode(self, text: str, **options: Any) -> list[int]:
            return [0, *super().encode(text, **options)]

    assert quick_backend(tokenizer) is not None and quick_backend(Changing(tokenizer)) is None
    assert EncodedHeads(Changing(tokenizer)).encode("a", 0)[0] == 0
