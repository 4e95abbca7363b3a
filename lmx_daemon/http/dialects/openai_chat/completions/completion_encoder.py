"""Encoder of /v1/completions, whose choices may begin with their prompt. It uses no sockets."""

from collections.abc import Sequence
from typing import Any

from lmx_daemon.contract.generation.events import Delta, Event, PromptTokens
from lmx_daemon.http.dialects.openai_chat.completions.completion_logprobs import Offsets, joined, logprobs_of
from lmx_daemon.http.dialects.openai_chat.completions.prompt_echo import PromptEcho
from lmx_daemon.http.dialects.openai_chat.encoders import ChoiceContent, OpenAIEncoder, finish_reason


class CompletionEncoder(OpenAIEncoder):
    object = chunk = "text_completion"
    prefix = "cmpl"

    def __init__(
        self,
        identity: str,
        model: str,
        include_usage: bool = False,
        prompts: Sequence[PromptEcho] = (),
    ) -> None:
        """Create the encoder of one answer. `prompts` has the prompt of each choice, if the request asks for it."""
        super().__init__(identity, model, include_usage)
        self._prompts = prompts
        self._opened: set[int] = set()
        self._offsets: dict[int, Offsets] = {}
        """Text offsets by choice."""

    def stream(self, events: Sequence[Event]) -> bytes:
        """Return the bytes that `events` add to the stream."""
        self._read_prompts(events)
        return super().stream(events)

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        """Return the answer as one JSON object."""
        self._read_prompts(events)
        return super().whole(events, choices)

    def _read_prompts(self, events: Sequence[Event]) -> None:
        """Collect the prompts that the events report. The choices of one request share a PromptEcho."""
        if self._prompts:
            for event in events:
                if isinstance(event, PromptTokens):
                    self._prompts[event.choice].add(event)

    def _whole_choice(self, index: int, content: ChoiceContent, reason: str) -> dict[str, Any]:
        echo = self._echo(index)
        text, logprobs = (echo.text, echo.logprobs()) if echo else ("", None)
        found = joined(logprobs, logprobs_of(content.logprobs, Offsets(len(text))))
        choice = {
            "index": index,
            "text": text + content.text,
            "logprobs": found,
            "finish_reason": finish_reason(reason),
        }
        reported = self._prompts[index].reported() if self._prompts else None
        return choice if reported is None else choice | {"prompt_logprobs": reported}

    def _opening(self, index: int) -> Sequence[bytes]:
        """Return the chunk with the prompt, if the request asks for it."""
        echo = self._echo(index)
        if echo is None or index in self._opened:
            return ()
        self._opened.add(index)
        self._offsets[index] = Offsets(len(echo.text))
        return (self._chunk({"index": index, "text": echo.text, "logprobs": echo.logprobs(), "finish_reason": None}),)

    def _choice(self, delta: Delta) -> dict[str, Any]:
        text = delta.reasoning + delta.content
        offsets = self._offsets.setdefault(delta.choice, Offsets())
        logprobs = logprobs_of(delta.logprobs, offsets)
        return {"index": delta.choice, "text": text, "logprobs": logprobs, "finish_reason": None}

    def _end(self, index: int, reason: str) -> dict[str, Any]:
        return {"index": index, "text": "", "logprobs": None, "finish_reason": finish_reason(reason)}

    def _echo(self, index: int) -> PromptEcho | None:
        """Return the prompt that a choice begins with, or None."""
        return self._prompts[index] if self._prompts and self._prompts[index].echoed else None
