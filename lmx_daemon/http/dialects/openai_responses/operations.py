"""The Responses routes for the OpenAPI document. Answers are described by OpenAI's own documents."""

from typing import Any

from lmx_daemon.http.dialects.openai_chat.answers import ErrorAnswer
from lmx_daemon.http.dialects.openai_chat.operations import FAILURES, REFUSALS
from lmx_daemon.http.dialects.openai_responses.bodies import ResponsesBody
from lmx_daemon.http.operation import Operation

STREAM_NOTE = (
    "Server-sent events with names, sent if `stream` is true. The first is response.created, the last one "
    "response.completed, response.incomplete or response.failed."
)


def operation(method: Any, path: str, name: str, summary: str, **fields: Any) -> Operation:
    """Return the description of a route below /v1/responses."""
    defaults: dict[str, Any] = {"answer": dict[str, Any], "error": ErrorAnswer, "errors": (*REFUSALS, 404, 500, 507)}
    return Operation(method=method, path=f"/v1/responses{path}", name=name, summary=summary, **defaults | fields)


OPERATIONS = (
    operation(
        "post",
        "",
        "createResponse",
        "Answer an input",
        body=ResponsesBody,
        stream=dict[str, Any],
        stream_note=STREAM_NOTE,
        errors=FAILURES,
    ),
    operation("get", "/{response_id}", "getResponse", "Return a stored response"),
    operation("delete", "/{response_id}", "deleteResponse", "Delete a stored response"),
    operation("get", "/{response_id}/input_items", "listInputItems", "List the input items of a stored response"),
    operation(
        "post",
        "/{response_id}/cancel",
        "cancelResponse",
        "End a response that is being computed",
        errors=(*REFUSALS, 404, 415, 500, 507),
    ),
    operation(
        "post", "/input_tokens", "countInputTokens", "Count the tokens of an input", body=ResponsesBody, errors=FAILURES
    ),
    operation(
        "post",
        "/compact",
        "compactResponse",
        "Replace a conversation by a summary",
        body=ResponsesBody,
        errors=FAILURES,
    ),
)
