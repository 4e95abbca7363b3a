"""The prompt of a completion as its answer repeats it: its text, and the log-probabilities of its tokens."""

from typing import Any

import msgspec

from lmx_daemon.contract.generation.events import PromptTokens, TokenLogprob
from lmx_daemon.http.dialects.openai_chat.completions.completion_logprobs import Offsets, by_token_id, logprobs_of


class PromptEcho:
    """The prompt of one request, shared by its choices."""

    def __init__(
        self, text: str | None, *, echoed: bool, logprobs: int | None = None, reported: int | None = None
    ) -> None:
        """Create the prompt with the `text` of the client, or None for token ids.

        `logprobs` and `reported` are the numbers of alternatives at each token: in the lists of an echo, and in vLLM's
        form. None leaves the form out.
        """
        self.echoed = echoed
        """Whether the choices begin with the prompt."""
        self._logprobs = logprobs
        self._reported = reported
        self._text = text
        self.tokens: list[TokenLogprob] = []

    def add(self, event: PromptTokens) -> None:
        """Add what an event reports of the prompt."""
        self.tokens += event.tokens
        if self._text is None and event.text:
            self._text = event.text

    @property
    def text(self) -> str:
        """The client's text, or that of the tokens."""
        if self._text is not None:
            return self._text
        return b"".join(bytes(token.bytes) for token in self.tokens).decode(errors="replace")

    def logprobs(self) -> dict[str, Any] | None:
        """Return the log-probabilities with offsets in `text`; None if the request does not ask for them.

        A tokenizer may put a token or a space before the text. Their offset is 0.
        """
        if self._logprobs is None:
            return None
        offsets = Offsets()
        found = logprobs_of(self._with_top(self._logprobs), offsets)
        added = max(0, offsets.end() - len(self.text))
        if found is not None and added:
            found["text_offset"] = [max(0, offset - added) for offset in found["text_offset"]]
        return found

    def reported(self) -> list[dict[str, Any] | None] | None:
        """Return the log-probabilities in vLLM's form; None if the request does not ask for them."""
        return None if self._reported is None else by_token_id(self._with_top(self._reported))

    def _with_top(self, most: int) -> list[TokenLogprob]:
        return [msgspec.structs.replace(token, top=token.top[:most]) for token in self.tokens]
