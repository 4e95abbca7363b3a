"""Ollama's routes for the OpenAPI document."""

from typing import Any

from lmx_daemon.http.dialects.ollama.answers import (
    OllamaChatLine,
    OllamaError,
    OllamaGenerateLine,
    OllamaProgress,
    OllamaRunningList,
    OllamaShown,
    OllamaTags,
    OllamaVersion,
)
from lmx_daemon.http.dialects.ollama.bodies import OllamaChatBody, OllamaCopyBody, OllamaGenerateBody, OllamaNamedBody
from lmx_daemon.http.operation import Operation

REFUSALS = (401, 403, 421)
FAILURES = (400, *REFUSALS, 404, 413, 429, 499, 500, 503, 504, 507)
STREAM_NOTE = "JSON lines, sent unless `stream` is false. White space before a line keeps the connection alive."


def operation(method: Any, name: str, summary: str, answer: Any, **fields: Any) -> Operation:
    """Return the description of the route /api/`name`."""
    return Operation(
        method=method,
        path=f"/api/{name}",
        name=f"ollama{name.title()}",
        summary=summary,
        answer=answer,
        error=OllamaError,
        **{"errors": (*REFUSALS, 500)} | fields,
    )


def streamed(name: str, summary: str, body: Any, line: Any, *more_errors: int) -> Operation:
    errors = (*FAILURES, *more_errors)
    return operation("post", name, summary, line, body=body, stream=line, stream_note=STREAM_NOTE, errors=errors)


OPERATIONS = (
    streamed("chat", "Answer a conversation", OllamaChatBody, OllamaChatLine),
    streamed("generate", "Answer or continue one prompt", OllamaGenerateBody, OllamaGenerateLine),
    streamed("pull", "Download a repository of the Hub", OllamaNamedBody, OllamaProgress, 409, 502),
    operation("get", "tags", "List the installed models", OllamaTags),
    operation("get", "ps", "List the models in memory", OllamaRunningList),
    operation("post", "show", "Describe one model", OllamaShown, body=OllamaNamedBody, errors=FAILURES),
    operation("get", "version", "Version of Ollama whose routes are served", OllamaVersion),
    operation("get", "status", "State of Ollama's cloud, which is never used", dict[str, Any]),
    *(
        operation("post", name, "Not served; answers 501", None, errors=(501, *REFUSALS))
        for name in ("embed", "embeddings", "push", "create", "me", "signin", "signout")
    ),
    operation("post", "copy", "Make an alias of a model", None, body=OllamaCopyBody, errors=(*FAILURES, 409)),
    operation(
        "delete",
        "delete",
        "Remove an alias, or move a model to the trash",
        None,
        body=OllamaNamedBody,
        errors=(*FAILURES, 409),
    ),
)
