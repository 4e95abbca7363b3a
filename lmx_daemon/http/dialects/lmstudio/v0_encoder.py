"""Encoder of /api/v0: OpenAI's answers, with statistics, facts about the model and the runtime at their end."""

from collections.abc import Sequence
from typing import Any

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Event, Finished
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.version import VERSION
from lmx_daemon.http.dialects import sse
from lmx_daemon.http.dialects.lmstudio.models import quantization_name
from lmx_daemon.http.dialects.openai_chat.encoders import DONE, OpenAIEncoder, usage_of

STOP_REASONS = {"stop": "eosFound", "length": "maxPredictedTokensReached", "tool_calls": "toolCalls"}
DATA = b"data: "


class V0Encoder:
    """Encoder of OpenAI's answers with further fields in the last object."""

    def __init__(self, inner: OpenAIEncoder, model: Model, context_length: int | None) -> None:
        self._inner, self._model = inner, model
        self._context_length = context_length

    def stream(self, events: Sequence[Event]) -> bytes:
        """Return the bytes that `events` add to the stream."""
        if not (events and isinstance(finished := events[-1], Finished)):
            return self._inner.stream(events)
        *before, last, _ = self._inner.stream(events).removesuffix(DONE).split(b"\n\n")
        chunk = msgspec.json.decode(last.removeprefix(DATA)) | self._facts(finished)
        chunk["usage"] = usage_of(finished.usage)
        return b"".join(part + b"\n\n" for part in before) + sse.data(chunk) + DONE

    def failed(self, error: LmxError) -> bytes:
        """Return the error object as the last event."""
        return self._inner.failed(error)

    def whole(self, events: Sequence[Event], choices: int) -> bytes:
        """Return the answer as one JSON object."""
        finished = events[-1]
        assert isinstance(finished, Finished)
        return msgspec.json.encode(msgspec.json.decode(self._inner.whole(events, choices)) | self._facts(finished))

    def _facts(self, finished: Finished) -> dict[str, Any]:
        """Return the statistics of the answer, in seconds, and facts about the model and the runtime."""
        timings, ending = finished.timings, finished.endings[0]
        stopped = (
            "stopStringFound" if ending.matched_stop is not None else STOP_REASONS.get(ending.reason, "userStopped")
        )
        return {
            "stats": {
                "tokens_per_second": timings.tokens_per_second(finished.usage.completion_tokens),
                "time_to_first_token": timings.first_token,
                "generation_time": timings.decode,
                "stop_reason": stopped,
            },
            "model_info": {
                "arch": self._model.architecture or "unknown",
                "quant": quantization_name(self._model),
                "format": "mlx",
                "context_length": self._context_length or self._model.context_length or 0,
            },
            "runtime": {"name": "lmx", "version": VERSION, "supported_formats": ["mlx"]},
        }
