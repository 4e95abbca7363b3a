"""The answers of the OpenAI routes as types.

The OpenAPI document is made of them, and tests hold the encoders' real output against it. The encoders themselves
build dictionaries: only a part of each chunk changes from one to the next.
"""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

OpenAiFinishReason = Literal["stop", "length", "tool_calls", "function_call"]


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of an answer. No field beyond the named ones occurs."""


class TopToken(Answer, frozen=True, kw_only=True):
    """A candidate at one position."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(TopToken, frozen=True, kw_only=True):
    """The chosen token at one position, with the most probable candidates."""

    top_logprobs: list[TopToken]


class ChatLogprobs(Answer, frozen=True, kw_only=True):
    """Log-probabilities of a choice."""

    content: list[TokenLogprobs]
    refusal: None = None


class FunctionCall(Answer, frozen=True, kw_only=True):
    """Name of a function, and its arguments as JSON text."""

    name: str
    arguments: str


class FunctionCallDelta(Answer, frozen=True, kw_only=True):
    """A piece of a call. Only the first piece has the name."""

    name: str | UnsetType = UNSET
    arguments: str


class ChatToolCall(Answer, frozen=True, kw_only=True):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class ChatToolCallDelta(Answer, frozen=True, kw_only=True):
    """A piece of a call. Only the first piece has id and type."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionCallDelta


class AssistantMessage(Answer, frozen=True, kw_only=True):
    """The message of a choice."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    """The same text, for clients that show by their body that they read this name."""
    tool_calls: list[ChatToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET
    """Replaces `tool_calls` if the request has `functions`."""


class MessageDelta(Answer, frozen=True, kw_only=True):
    """Part of a message that a chunk adds to its choice. Only the first chunk of a choice has the role."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    """The same text, for clients that show by their body that they read this name."""
    tool_calls: list[ChatToolCallDelta] | UnsetType = UNSET
    function_call: FunctionCallDelta | UnsetType = UNSET


class ChatChoice(Answer, frozen=True, kw_only=True):
    """Answer of the `n` of a request."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: OpenAiFinishReason


class ChatChunkChoice(Answer, frozen=True, kw_only=True):
    """Part of one choice in a chunk. The last part has the finish reason and an empty delta."""

    index: int
    delta: MessageDelta
    logprobs: ChatLogprobs | None
    finish_reason: OpenAiFinishReason | None


class PromptTokenDetails(Answer, frozen=True, kw_only=True):
    """Tokens of the prompt by origin."""

    cached_tokens: int
    truncated_tokens: int | UnsetType = UNSET
    """Tokens that `overflow` left out of the prompt, an addition of lmx; absent if there are none."""


class CompletionTokenDetails(Answer, frozen=True, kw_only=True):
    """Tokens of the answer by purpose."""

    reasoning_tokens: int


class UsageAnswer(Answer, frozen=True, kw_only=True):
    """Token counts of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokenDetails
    completion_tokens_details: CompletionTokenDetails


class ChatCompletion(Answer, frozen=True, kw_only=True):
    """A chat answer that is not streamed."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: UsageAnswer


class ChatCompletionChunk(Answer, frozen=True, kw_only=True):
    """Event of a chat stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: UsageAnswer | UnsetType | None = UNSET
    """Present with `stream_options.include_usage`; null in all chunks but the last, which has no choices."""
    truncated_tokens: int | UnsetType = UNSET
    """Tokens that `overflow` left out of the prompt, in the last chunk of a choice; absent if there are none."""


class CompletionLogprobs(Answer, frozen=True, kw_only=True):
    """Log-probabilities of a completion, one entry for each token; null for the first token of an echoed prompt."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class PromptLogprob(Answer, frozen=True, kw_only=True):
    """A candidate at one position of a prompt. The rank is null for a token below the reported ones."""

    logprob: float
    rank: int | None
    decoded_token: str


class CompletionChoice(Answer, frozen=True, kw_only=True):
    """Completion of the `n` of a request, or the part that a chunk adds to it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: OpenAiFinishReason | None
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | UnsetType = UNSET
    """vLLM's form, by token id; present only if the request asks for it."""


class Completion(Answer, frozen=True, kw_only=True):
    """A completion that is not streamed."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: UsageAnswer


class CompletionChunk(Answer, frozen=True, kw_only=True):
    """Event of a completion stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: UsageAnswer | UnsetType | None = UNSET
    truncated_tokens: int | UnsetType = UNSET
    """See ChatCompletionChunk."""


class ModelAnswer(Answer, frozen=True, kw_only=True):
    """An installed model. `state` and the context fields are additions of lmx, those below are Anthropic's."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    state: Literal["loaded", "loading", "not-loaded"]
    max_context_length: int | None
    max_model_len: int | None
    loaded_context_length: int | None
    type: Literal["model"]
    display_name: str
    created_at: datetime
    lifecycle: Literal["active"]
    max_input_tokens: int | None
    max_tokens: int | None
    alias_of: str | UnsetType = UNSET
    """Id of the model that an alias means now; absent in the entry of a model."""


class ModelListAnswer(Answer, frozen=True, kw_only=True):
    """All installed models, in one page, which Anthropic's fields `first_id`, `last_id` and `has_more` describe."""

    object: Literal["list"]
    data: list[ModelAnswer]
    models: list[None]
    """Always empty. Codex expects the field, in a form of its own."""
    first_id: str | None
    last_id: str | None
    has_more: Literal[False]


class ErrorObject(Answer, frozen=True, kw_only=True):
    """OpenAI's error object. `hint` is an addition of lmx: what to do about the error."""

    message: str
    type: str
    param: str | None
    code: str | None
    hint: str | UnsetType = UNSET


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """The body of an answer that reports an error, and the last event of a stream that fails."""

    error: ErrorObject
