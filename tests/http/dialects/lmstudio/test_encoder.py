"""Events to LM Studio's answers: /api/v1/chat, and the fields that /api/v0 adds to OpenAI's."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.errors import ModelNotFoundError, WorkerError
from lmx_daemon.contract.generation.events import (
    Delta,
    Ending,
    Event,
    Finished,
    Loading,
    Prefill,
    Queued,
    Started,
    Timings,
    Usage,
)
from lmx_daemon.contract.models import Model
from lmx_daemon.http.dialects.lmstudio.answers import (
    LmStudioError,
    V0ChatCompletion,
    V0ChatCompletionChunk,
    V0Completion,
    V0CompletionChunk,
    V1Chat,
)
from lmx_daemon.http.dialects.lmstudio.encoder import LmStudioChatEncoder
from lmx_daemon.http.dialects.lmstudio.errors import lmstudio_error
from lmx_daemon.http.dialects.lmstudio.v0_encoder import V0Encoder
from lmx_daemon.http.dialects.openai_chat.completions.completion_encoder import CompletionEncoder
from lmx_daemon.http.dialects.openai_chat.encoders import ChatEncoder
from tests.documented_answers import check

STARTED = Started(id="r", prompt_tokens=3, cached_tokens=0, seed=1)
FINISHED = Finished(
    id="r",
    endings=(Ending(reason="length"),),
    usage=Usage(prompt_tokens=3, completion_tokens=3, reasoning_tokens=1),
    timings=Timings(first_token=0.5, decode=1.0, load=2.0),
)
THOUGHT, HEL, LO = Delta(id="r", reasoning="Hm"), Delta(id="r", content="Hel"), Delta(id="r", content="lo")
MODEL = Model(id="org/m", path="/m", source="hub", architecture="llama", quantization="4-bit", context_length=64)


def events_of(encoder: LmStudioChatEncoder, events: Sequence[Event]) -> list[tuple[str, dict[str, Any]]]:
    text = b"".join(encoder.stream([event]) for event in events).decode()
    found = []
    for event in text.split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), check("lmstudio", "v1_chat_event", data.removeprefix("data: "))))
    return found


def test_events_are_in_the_order_of_the_documents() -> None:
    loading = [Loading(id="r", model="m", fraction=0.5), Queued(id="r", position=1)]
    encoder = LmStudioChatEncoder("m", "resp_1")
    found = events_of(encoder, [*loading, STARTED, Prefill(id="r", done=1, total=2), THOUGHT, HEL, LO, FINISHED])
    assert [name for name, _ in found] == [
        "chat.start", "model_load.start", "model_load.progress", "model_load.end",
        "prompt_processing.start", "prompt_processing.progress", "prompt_processing.end",
        "reasoning.start", "reasoning.delta", "reasoning.end",
        "message.start", "message.delta", "message.delta", "message.end", "chat.end",
    ]  # fmt: skip
    assert all(data["type"] == name for name, data in found)
    assert found[2][1]["progress"] == found[5][1]["progress"] == 0.5
    result = found[-1][1]["result"]
    msgspec.convert(result, V1Chat)
    assert result == json.loads(encoder.whole([STARTED, THOUGHT, HEL, LO, FINISHED], 1))
    assert result["output"] == [{"type": "reasoning", "content": "Hm"}, {"type": "message", "content": "Hello"}]
    assert result["stats"]["tokens_per_second"] == 2.0 and result["stats"]["model_load_time_seconds"] == 2.0


def test_an_answer_that_is_not_stored_has_no_id() -> None:
    assert "response_id" not in json.loads(LmStudioChatEncoder("m", None).whole([STARTED, HEL, FINISHED], 1))


def test_a_failed_stream_ends_with_an_error_event() -> None:
    name, data = LmStudioChatEncoder("m", None).failed(WorkerError("it crashed")).decode().strip().split("\n")
    assert name == "event: error"
    check("lmstudio", "v1_chat_event", data.removeprefix("data: "))


@pytest.mark.parametrize(
    ("error", "kind"), [(ModelNotFoundError("no"), "model_not_found"), (WorkerError("no"), "internal_error")]
)
def test_type_of_an_error_is_one_of_the_closed_list(error: Any, kind: str) -> None:
    assert msgspec.convert(lmstudio_error(error), LmStudioError).error.type == kind


def test_v0_adds_statistics_to_a_whole_chat_and_to_the_last_chunk() -> None:
    encoder = V0Encoder(ChatEncoder("r", "m"), MODEL, 32)
    whole = msgspec.json.decode(encoder.whole([STARTED, HEL, FINISHED], 1), type=V0ChatCompletion)
    assert whole.stats.stop_reason == "maxPredictedTokensReached" and whole.stats.time_to_first_token == 0.5
    assert whole.model_info.quant == "4bit" and whole.model_info.context_length == 32
    stream = (encoder.stream([STARTED, HEL]) + encoder.stream([LO, FINISHED])).decode()
    *chunks, done = [event.removeprefix("data: ") for event in stream.split("\n\n")[:-1]]
    assert done == "[DONE]"
    decoded = [msgspec.json.decode(chunk, type=V0ChatCompletionChunk) for chunk in chunks]
    assert decoded[-1].stats and decoded[-1].usage and decoded[-1].choices[0].finish_reason == "length"
    assert not any(chunk.stats for chunk in decoded[:-1])


def test_v0_adds_statistics_to_completions() -> None:
    encoder = V0Encoder(CompletionEncoder("r", "m"), MODEL, None)
    assert (
        msgspec.json.decode(encoder.whole([STARTED, HEL, FINISHED], 1), type=V0Completion).model_info.context_length
        == 64
    )
    *_, last, _ = encoder.stream([HEL, FINISHED]).decode().split("\n\n")[:-1]
    assert msgspec.json.decode(last.removeprefix("data: "), type=V0CompletionChunk).stats
