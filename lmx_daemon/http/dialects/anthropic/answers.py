"""The answers of Anthropic's routes as types.

The OpenAPI document is made of them, and tests hold the encoder's real output against it.
"""

from typing import Any, Literal

import msgspec

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of an answer. No field beyond the named ones occurs."""


class TextContent(Answer, frozen=True, kw_only=True, tag="text"):
    """Text of the answer."""

    text: str


class ThinkingContent(Answer, frozen=True, kw_only=True, tag="thinking"):
    """Reasoning of the model. lmx does not check signatures."""

    thinking: str
    signature: str


class ToolUseContent(Answer, frozen=True, kw_only=True, tag="tool_use"):
    """Tool call."""

    id: str
    name: str
    input: dict[str, Any]


Content = TextContent | ThinkingContent | ToolUseContent


class OutputTokenDetails(Answer, frozen=True, kw_only=True):
    """Tokens of the answer by purpose."""

    thinking_tokens: int


class UsageCounts(Answer, frozen=True, kw_only=True):
    """Token counts of a request. The prompt has `input_tokens` and `cache_read_input_tokens`, added."""

    input_tokens: int
    cache_creation_input_tokens: Literal[0]
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputTokenDetails


class MessageObject(Answer, frozen=True, kw_only=True):
    """Message of the model. In the first event of a stream it has no content and no stop reason yet."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Content]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: UsageCounts


class MessageStartEvent(Answer, frozen=True, kw_only=True, tag="message_start"):
    """First event of a stream."""

    message: MessageObject


class ContentBlockStartEvent(Answer, frozen=True, kw_only=True, tag="content_block_start"):
    """Start of a content block."""

    index: int
    content_block: Content


class TextDelta(Answer, frozen=True, kw_only=True, tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(Answer, frozen=True, kw_only=True, tag="thinking_delta"):
    """More reasoning."""

    thinking: str


class SignatureDelta(Answer, frozen=True, kw_only=True, tag="signature_delta"):
    """Signature of a thinking block, before its end."""

    signature: str


class InputJsonDelta(Answer, frozen=True, kw_only=True, tag="input_json_delta"):
    """More of the arguments of a tool call, as JSON text."""

    partial_json: str


class ContentBlockDeltaEvent(Answer, frozen=True, kw_only=True, tag="content_block_delta"):
    """Part of the open content block."""

    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class ContentBlockStopEvent(Answer, frozen=True, kw_only=True, tag="content_block_stop"):
    """End of a content block."""

    index: int


class MessageEnd(Answer, frozen=True, kw_only=True):
    """Reason for the end of the message."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDeltaEvent(Answer, frozen=True, kw_only=True, tag="message_delta"):
    """End of the message, and its counts."""

    delta: MessageEnd
    usage: UsageCounts


class MessageStopEvent(Answer, frozen=True, kw_only=True, tag="message_stop"):
    """Last event of a stream."""


class PingEvent(Answer, frozen=True, kw_only=True, tag="ping"):
    """Keep-alive event during a load or a prefill."""


class ErrorDetails(Answer, frozen=True, kw_only=True):
    """Code of lmx for the cause."""

    error_code: str


class AnthropicError(Answer, frozen=True, kw_only=True):
    """Anthropic's error object. `param` and `hint` are additions of lmx: the field, and what to do."""

    type: str
    message: str
    details: ErrorDetails
    param: str | msgspec.UnsetType = msgspec.UNSET
    hint: str | msgspec.UnsetType = msgspec.UNSET


class AnthropicErrorAnswer(Answer, frozen=True, kw_only=True, tag="error"):
    """The body of an answer that reports an error, and the last event of a stream that fails."""

    error: AnthropicError
    request_id: str


StreamEvent = (
    MessageStartEvent
    | ContentBlockStartEvent
    | ContentBlockDeltaEvent
    | ContentBlockStopEvent
    | MessageDeltaEvent
    | MessageStopEvent
    | PingEvent
    | AnthropicErrorAnswer
)


class TokenCount(Answer, frozen=True, kw_only=True):
    """Number of tokens of a prompt, template and tools included."""

    input_tokens: int
