"""Anthropic's routes for the OpenAPI document."""

from lmx_daemon.http.dialects.anthropic.answers import AnthropicErrorAnswer, MessageObject, StreamEvent, TokenCount
from lmx_daemon.http.dialects.anthropic.bodies import CountBody, MessagesBody
from lmx_daemon.http.operation import Operation

FAILURES = (400, 401, 403, 404, 413, 415, 421, 429, 499, 500, 504, 507, 529)
STREAM_NOTE = (
    "Server-sent events, sent if `stream` is true. The name of each event is the `type` of its data. A stream that "
    "fails ends with an `error` event. `ping` events report a load or a prefill and keep the connection alive."
)

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/messages",
        name="createMessage",
        summary="Answer a conversation in Anthropic's form",
        body=MessagesBody,
        answer=MessageObject,
        stream=StreamEvent,
        stream_note=STREAM_NOTE,
        error=AnthropicErrorAnswer,
        errors=FAILURES,
    ),
    Operation(
        method="post",
        path="/v1/messages/count_tokens",
        name="countMessageTokens",
        summary="Count the tokens of a conversation in Anthropic's form",
        body=CountBody,
        answer=TokenCount,
        error=AnthropicErrorAnswer,
        errors=FAILURES,
    ),
    Operation(
        method="get",
        path="/api/hello",
        name="hello",
        summary="Answer Claude Code's check at its start",
        answer=dict[str, str],
        error=AnthropicErrorAnswer,
        errors=(403, 421),
        needs_key=False,
    ),
)
