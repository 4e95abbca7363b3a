"""The answers of LM Studio's routes as types, of which the OpenAPI document is made. Their enumerations are closed."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from lmx_daemon.http.dialects.openai_chat.answers import (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    CompletionChunk,
)


class LmStudioAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of an answer. No field beyond the named ones occurs."""


class V0Stats(LmStudioAnswer, frozen=True, kw_only=True):
    """Times of an answer in seconds."""

    tokens_per_second: float
    time_to_first_token: float
    generation_time: float
    stop_reason: Literal["eosFound", "maxPredictedTokensReached", "stopStringFound", "toolCalls", "userStopped"]


class V0ModelInfo(LmStudioAnswer, frozen=True, kw_only=True):
    """Model of an answer."""

    arch: str
    quant: str
    format: Literal["mlx"]
    context_length: int


class V0Runtime(LmStudioAnswer, frozen=True, kw_only=True):
    """The program that computed an answer."""

    name: str
    version: str
    supported_formats: list[str]


class V0ChatCompletion(ChatCompletion, frozen=True, kw_only=True):
    """A whole answer of /api/v0/chat/completions."""

    stats: V0Stats
    model_info: V0ModelInfo
    runtime: V0Runtime


class V0ChatCompletionChunk(ChatCompletionChunk, frozen=True, kw_only=True):
    """Event of a stream of /api/v0/chat/completions. The last one has the further fields."""

    stats: V0Stats | UnsetType = UNSET
    model_info: V0ModelInfo | UnsetType = UNSET
    runtime: V0Runtime | UnsetType = UNSET


class V0Completion(Completion, frozen=True, kw_only=True):
    """A whole answer of /api/v0/completions."""

    stats: V0Stats
    model_info: V0ModelInfo
    runtime: V0Runtime


class V0CompletionChunk(CompletionChunk, frozen=True, kw_only=True):
    """Event of a stream of /api/v0/completions. The last one has the further fields."""

    stats: V0Stats | UnsetType = UNSET
    model_info: V0ModelInfo | UnsetType = UNSET
    runtime: V0Runtime | UnsetType = UNSET


class V0Model(LmStudioAnswer, frozen=True, kw_only=True):
    """An installed model."""

    id: str
    object: Literal["model"]
    type: Literal["llm", "vlm", "embeddings"]
    publisher: str
    arch: str
    compatibility_type: Literal["mlx", "gguf"]
    quantization: str
    state: Literal["loaded", "loading", "not-loaded"]
    max_context_length: int
    loaded_context_length: int | UnsetType = UNSET
    capabilities: list[Literal["tool_use"]]


class V0Models(LmStudioAnswer, frozen=True, kw_only=True):
    """All installed models."""

    object: Literal["list"]
    data: list[V0Model]


class V1Quantization(LmStudioAnswer, frozen=True, kw_only=True):
    """Quantization of a model."""

    name: str
    bits_per_weight: float


class V1InstanceConfig(LmStudioAnswer, frozen=True, kw_only=True):
    """Settings of a loaded instance."""

    context_length: int


class V1Instance(LmStudioAnswer, frozen=True, kw_only=True):
    """A loaded instance."""

    id: str
    config: V1InstanceConfig


class V1Reasoning(LmStudioAnswer, frozen=True, kw_only=True):
    """Choices of `reasoning` that a model has."""

    allowed_options: list[Literal["off", "on", "low", "medium", "high"]]
    default: Literal["off", "on", "low", "medium", "high"]


class V1Capabilities(LmStudioAnswer, frozen=True, kw_only=True):
    """Capabilities of a model."""

    vision: bool
    trained_for_tool_use: bool
    reasoning: V1Reasoning | UnsetType = UNSET


class V1Model(LmStudioAnswer, frozen=True, kw_only=True):
    """An installed model. Entries of embedding models lack three fields."""

    type: Literal["llm", "embedding"]
    publisher: str
    key: str
    display_name: str
    architecture: str | UnsetType | None = UNSET
    quantization: V1Quantization | None
    size_bytes: int
    params_string: str | None
    loaded_instances: list[V1Instance]
    max_context_length: int
    format: Literal["mlx", "gguf"] | None
    capabilities: V1Capabilities | UnsetType = UNSET
    description: str | UnsetType | None = UNSET


class V1Models(LmStudioAnswer, frozen=True, kw_only=True):
    """All installed models."""

    models: list[V1Model]


class V1Output(LmStudioAnswer, frozen=True, kw_only=True):
    """A part of an answer."""

    type: Literal["message", "reasoning"]
    content: str


class V1Stats(LmStudioAnswer, frozen=True, kw_only=True):
    """Counts and times of an answer."""

    input_tokens: int
    total_output_tokens: int
    reasoning_output_tokens: int
    tokens_per_second: float
    time_to_first_token_seconds: float
    model_load_time_seconds: float | UnsetType = UNSET


class V1Chat(LmStudioAnswer, frozen=True, kw_only=True):
    """Answer of /api/v1/chat. `response_id` is present if the answer is stored."""

    model_instance_id: str
    output: list[V1Output]
    stats: V1Stats
    response_id: str | UnsetType = UNSET


class V1Loaded(LmStudioAnswer, frozen=True, kw_only=True):
    """Result of a load."""

    type: Literal["llm", "embedding"]
    instance_id: str
    load_time_seconds: float
    status: Literal["loaded"]
    load_config: V1InstanceConfig | UnsetType = UNSET


class V1Unloaded(LmStudioAnswer, frozen=True, kw_only=True):
    """Result of an unload."""

    instance_id: str


class V1Download(LmStudioAnswer, frozen=True, kw_only=True):
    """A download that begins, or `already_downloaded` alone. Times are in the form of RFC 3339."""

    job_id: str | UnsetType = UNSET
    status: Literal["downloading", "paused", "completed", "failed", "already_downloaded"]
    completed_at: str | UnsetType = UNSET
    total_size_bytes: int | UnsetType = UNSET
    started_at: str | UnsetType = UNSET


class V1DownloadStatus(LmStudioAnswer, frozen=True, kw_only=True):
    """State of a download. Times are in the form of RFC 3339."""

    job_id: str
    status: Literal["downloading", "paused", "completed", "failed"]
    bytes_per_second: float | UnsetType = UNSET
    estimated_completion: str | UnsetType = UNSET
    completed_at: str | UnsetType = UNSET
    total_size_bytes: int | UnsetType = UNSET
    downloaded_bytes: int | UnsetType = UNSET
    started_at: str | UnsetType = UNSET


class LmStudioErrorObject(LmStudioAnswer, frozen=True, kw_only=True):
    """An error. `hint` is an addition of lmx."""

    type: Literal[
        "invalid_request",
        "unknown",
        "mcp_connection_error",
        "plugin_connection_error",
        "not_implemented",
        "model_not_found",
        "job_not_found",
        "internal_error",
    ]
    message: str
    code: str | UnsetType = UNSET
    param: str | UnsetType = UNSET
    hint: str | UnsetType = UNSET


class LmStudioError(LmStudioAnswer, frozen=True, kw_only=True):
    """The body of an answer that reports an error."""

    error: LmStudioErrorObject


Greeting = dict[str, bool]
ChatEvent = dict[str, Any]
"""Data of an event of /api/v1/chat: its `type`, and fields by type."""
