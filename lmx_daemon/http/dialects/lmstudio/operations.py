"""LM Studio's routes for the OpenAPI document."""

from typing import Any

from lmx_daemon.http.dialects.lmstudio import answers, bodies
from lmx_daemon.http.dialects.openai_chat.bodies import ChatBody, CompletionBody
from lmx_daemon.http.operation import Operation

REFUSALS = (401, 403, 421)
FAILURES = (400, *REFUSALS, 404, 409, 413, 415, 429, 499, 500, 503, 504, 507)
DONE = "[DONE]"
V0_NOTE = (
    "Server-sent events, sent if `stream` is true. The last chunk has usage, statistics and facts about the model."
)
V1_NOTE = "Server-sent events with names, sent if `stream` is true: chat.start to chat.end, which has the whole answer."


def operation(method: Any, path: str, name: str, summary: str, answer: Any, **fields: Any) -> Operation:
    fields = {"errors": FAILURES} | fields
    return Operation(
        method=method,
        path=path,
        name=f"lmstudio{name}",
        summary=summary,
        answer=answer,
        error=answers.LmStudioError,
        **fields,
    )


OPERATIONS = (
    operation("get", "/lmstudio-greeting", "Greeting", "What LM Studio's programs look for", answers.Greeting),
    operation(
        "post",
        "/api/v0/chat/completions",
        "V0Chat",
        "Answer a conversation",
        answers.V0ChatCompletion,
        body=ChatBody,
        stream=answers.V0ChatCompletionChunk,
        stream_note=V0_NOTE,
        stream_end=DONE,
    ),
    operation(
        "post",
        "/api/v0/completions",
        "V0Completion",
        "Continue a text",
        answers.V0Completion,
        body=CompletionBody,
        stream=answers.V0CompletionChunk,
        stream_note=V0_NOTE,
        stream_end=DONE,
    ),
    operation("get", "/api/v0/models", "V0Models", "List the installed models", answers.V0Models),
    operation("get", "/api/v0/models/{model_id}", "V0Model", "Describe one model", answers.V0Model),
    operation("post", "/api/v0/embeddings", "V0Embeddings", "Not served; answers 400", None),
    operation(
        "post",
        "/api/v1/chat",
        "V1Chat",
        "Answer one input, with stored conversations",
        answers.V1Chat,
        body=bodies.LmStudioChatBody,
        stream=answers.ChatEvent,
        stream_note=V1_NOTE,
    ),
    operation("get", "/api/v1/models", "V1Models", "List the installed models", answers.V1Models),
    operation("post", "/api/v1/models/load", "V1Load", "Load a model", answers.V1Loaded, body=bodies.LmStudioLoadBody),
    operation(
        "post",
        "/api/v1/models/unload",
        "V1Unload",
        "Unload an instance",
        answers.V1Unloaded,
        body=bodies.LmStudioUnloadBody,
    ),
    operation(
        "post",
        "/api/v1/models/download",
        "V1Download",
        "Download a repository of the Hub",
        answers.V1Download,
        body=bodies.LmStudioDownloadBody,
    ),
    operation(
        "get",
        "/api/v1/models/download/status/{job_id}",
        "V1DownloadStatus",
        "Progress of a download",
        answers.V1DownloadStatus,
    ),
)
