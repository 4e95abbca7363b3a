"""The OpenAI routes for the OpenAPI document."""

from lmx_daemon.http.dialects.openai_chat.answers import (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    CompletionChunk,
    ErrorAnswer,
    ModelAnswer,
    ModelListAnswer,
)
from lmx_daemon.http.dialects.openai_chat.bodies import ChatBody, CompletionBody
from lmx_daemon.http.operation import Operation

REFUSALS = (401, 403, 421)
"""Errors of the guard that any request may get."""
FAILURES = (400, *REFUSALS, 404, 413, 415, 429, 499, 500, 503, 504, 507)
DONE = "[DONE]"
STREAM_NOTE = (
    "Server-sent events, sent if `stream` is true. The data of each event is a chunk; the last one is `[DONE]`. A "
    "stream that fails ends with an error object instead. Comments report progress and keep the connection alive."
)

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/chat/completions",
        name="createChatCompletion",
        summary="Answer a conversation",
        body=ChatBody,
        answer=ChatCompletion,
        stream=ChatCompletionChunk,
        stream_note=STREAM_NOTE,
        stream_end=DONE,
        error=ErrorAnswer,
        errors=FAILURES,
    ),
    Operation(
        method="post",
        path="/v1/completions",
        name="createCompletion",
        summary="Continue a text",
        body=CompletionBody,
        answer=Completion,
        stream=CompletionChunk,
        stream_note=STREAM_NOTE,
        stream_end=DONE,
        error=ErrorAnswer,
        errors=FAILURES,
    ),
    Operation(
        method="get",
        path="/v1/models",
        name="listModels",
        summary="List the installed models",
        answer=ModelListAnswer,
        error=ErrorAnswer,
        errors=(*REFUSALS, 500),
    ),
    Operation(
        method="get",
        path="/v1/models/{model_id}",
        name="retrieveModel",
        summary="Describe one model; its id may contain slashes",
        answer=ModelAnswer,
        error=ErrorAnswer,
        errors=(*REFUSALS, 404, 500),
    ),
)
