"""Log-probabilities in the form of /v1/completions: four lists with an entry for each token, and vLLM's for prompts."""

import codecs
from collections.abc import Sequence
from typing import Any

from lmx_daemon.contract.generation.events import TokenLogprob


class Offsets:
    """Offsets of the tokens of one choice in its text, in characters. A token may be a part of a character."""

    def __init__(self, begins: int = 0) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.length = begins
        """Length of the text so far."""

    def next(self, token: TokenLogprob) -> int:
        """Return the offset of `token`, the one after the last."""
        begins = self.length
        self.length += len(self._decoder.decode(bytes(token.bytes)))
        return begins

    def end(self) -> int:
        """Return the length of the text, in which a cut character counts as one."""
        return self.length + len(self._decoder.decode(b"", final=True))


def logprobs_of(found: Sequence[TokenLogprob], offsets: Offsets) -> dict[str, Any] | None:
    """Return the lists for `found`; None for no tokens."""
    if not found:
        return None
    return {
        "tokens": [token_text(entry) for entry in found],
        "token_logprobs": [entry.logprob for entry in found],
        "top_logprobs": [
            None if entry.logprob is None else {token_text(top): top.logprob for top in entry.top} for entry in found
        ],
        "text_offset": [offsets.next(entry) for entry in found],
    }


def joined(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the lists of a prompt and of the text after it as one."""
    if first is None or second is None:
        return first or second
    return {name: first[name] + second[name] for name in first}


def by_token_id(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any] | None]:
    """Return vLLM's form: for each token of a prompt an object by token id, and null for the first one."""
    return [None if token.logprob is None else _candidates(token) for token in tokens]


def _candidates(token: TokenLogprob) -> dict[str, Any]:
    """Return the likeliest tokens with their ranks, and the prompt's own; its rank is null if it is not among them."""
    own = {str(token.id): {"logprob": token.logprob, "rank": None, "decoded_token": token.token}}
    return own | {
        str(top.id): {"logprob": top.logprob, "rank": rank, "decoded_token": top.token}
        for rank, top in enumerate(token.top, 1)
    }


def token_text(found: TokenLogprob) -> str:
    """Return a token's text; OpenAI marks one that is not a whole character by "bytes:"."""
    return found.token if bytes(found.bytes) == found.token.encode() else f"bytes:{found.token}"
