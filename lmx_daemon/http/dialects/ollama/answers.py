"""The answers of Ollama's routes as types, of which the OpenAPI document is made."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class OllamaAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of an answer. No field beyond the named ones occurs."""


class OllamaCalledTool(OllamaAnswer, frozen=True, kw_only=True):
    """Function of a call, with its arguments as an object."""

    index: int
    name: str
    arguments: dict[str, Any]


class OllamaCallAnswer(OllamaAnswer, frozen=True, kw_only=True):
    """A call of a tool."""

    id: str | None
    function: OllamaCalledTool


class OllamaMessageAnswer(OllamaAnswer, frozen=True, kw_only=True):
    """The message of an answer, or a part of it."""

    role: Literal["assistant"]
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[OllamaCallAnswer] | UnsetType = UNSET


class OllamaToken(OllamaAnswer, frozen=True, kw_only=True):
    """A token with its log-probability."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: "list[OllamaToken] | UnsetType" = UNSET


class OllamaLine(OllamaAnswer, frozen=True, kw_only=True):
    """Fields of every line of both routes; the optional ones are in the last line. Durations are nanoseconds."""

    model: str
    created_at: str
    done: bool
    logprobs: list[OllamaToken] | UnsetType = UNSET
    done_reason: Literal["stop", "length", "load", "unload"] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET


class OllamaChatLine(OllamaLine, frozen=True, kw_only=True):
    """A line of /api/chat, or the whole answer."""

    message: OllamaMessageAnswer


class OllamaGenerateLine(OllamaLine, frozen=True, kw_only=True):
    """A line of /api/generate, or the whole answer."""

    response: str
    thinking: str | UnsetType = UNSET
    context: list[int] | UnsetType = UNSET


class OllamaModelDetails(OllamaAnswer, frozen=True, kw_only=True):
    """Details of a model."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaTag(OllamaAnswer, frozen=True, kw_only=True):
    """An installed model."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaModelDetails


class OllamaTags(OllamaAnswer, frozen=True, kw_only=True):
    """All installed models."""

    models: list[OllamaTag]


class OllamaRunning(OllamaAnswer, frozen=True, kw_only=True):
    """A model in memory."""

    name: str
    model: str
    size: int
    digest: str
    details: OllamaModelDetails
    expires_at: str
    size_vram: int
    context_length: int


class OllamaRunningList(OllamaAnswer, frozen=True, kw_only=True):
    """All models in memory."""

    models: list[OllamaRunning]


class OllamaShown(OllamaAnswer, frozen=True, kw_only=True):
    """Description of one model."""

    modelfile: str
    parameters: str
    template: str
    license: str
    details: OllamaModelDetails
    model_info: dict[str, Any]
    capabilities: list[Literal["completion", "tools", "thinking", "vision", "embedding"]]
    modified_at: str


class OllamaVersion(OllamaAnswer, frozen=True, kw_only=True):
    """Version of Ollama whose routes are served."""

    version: str


class OllamaProgress(OllamaAnswer, frozen=True, kw_only=True):
    """Progress of a download; the last status is "success"."""

    status: str
    digest: str | UnsetType = UNSET
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET


class OllamaError(OllamaAnswer, frozen=True, kw_only=True):
    """The body of an answer that reports an error, and the last line of a stream that fails."""

    error: str
