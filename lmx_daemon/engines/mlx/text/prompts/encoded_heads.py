"""Tokens of the beginnings of prompts, kept by their text: instructions and tools, which all turns of an agent share.

A prompt is cut in front of a special token. A tokenizer splits a text there before anything else, so that the tokens of
both parts together are those of the whole; this is tested for each special token before it is used. Prompt thread only.
"""

from collections import OrderedDict
from typing import Any

KEPT = 8
"""Number of beginnings that are kept."""
LEAST, MOST = 4096, 1024 * 1024
"""Characters of a beginning that is kept: a shorter one is encoded in less than a millisecond."""
PROBES = ("A line.\n", " word ", "caf\u00e9\n\n", "{'a': 1}", "\t")
MAX_SPECIAL = 64
"""Special tokens that are searched for."""


class EncodedHeads:
    """The beginnings of one model's prompts."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = quick_backend(tokenizer)
        added = tokenizer.added_tokens_decoder.values()
        self._special = [token.content for token in added if token.special and len(token.content) > 2][:MAX_SPECIAL]
        self._splits: dict[str, bool] = {}
        """Whether the tokenizer splits a text in front of a special token."""
        self._kept: OrderedDict[str, list[int]] = OrderedDict()

    def encode(self, text: str, before: int) -> list[int]:
        """Return the tokens of a prompt. The part in front of the position `before` may come again."""
        place, marker = max(((text.rfind(each, 0, before), each) for each in self._special), default=(-1, ""))
        if not LEAST <= place <= MOST or not self._splits_at(marker):
            return self._encode(text)
        head = text[:place]
        if (tokens := self._kept.get(head)) is None:
            tokens = self._kept[head] = self._encode(head)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(head)
        return tokens + self._encode(text[place:])

    def _splits_at(self, marker: str) -> bool:
        if marker not in self._splits:
            self._splits[marker] = all(
                self._encode(first + marker + second) == self._encode(first) + self._encode(marker + second)
                for first in PROBES
                for second in PROBES
            )
        return self._splits[marker]

    def _encode(self, text: str) -> list[int]:
        if self._backend is not None:
            tokens: list[int] = self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
            return tokens
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def quick_backend(tokenizer: Any) -> Any:
    """Return the tokenizer's backend if it gives the same tokens, else None.

    It leaves out the offsets of the tokens, which take a third of the time.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not hasattr(backend, "encode_batch_fast"):
        return None
    for text in PROBES:  # the first call also clears a truncation that the tokenizer's file may set
        expected = list(tokenizer.encode(text, add_special_tokens=False))
        if backend.encode_batch_fast([text], add_special_tokens=False)[0].ids != expected:
            return None
    return backend
