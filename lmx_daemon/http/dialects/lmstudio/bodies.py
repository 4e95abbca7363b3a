"""The bodies of LM Studio's own routes, /api/v1. Those of /api/v0 are OpenAI's."""

from typing import Annotated, Any, Literal

import msgspec

from lmx_daemon.contract.admin.protocol import Size
from lmx_daemon.contract.generation.requests import Probability

ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
MAX_INPUTS = 1000


class LmStudioInput(msgspec.Struct, frozen=True):
    """A part of the input: a text, or an image as a data URL."""

    type: Literal["message", "text", "image"]
    content: str | None = None
    data_url: str | None = None


class LmStudioChatBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of /api/v1/chat."""

    model: ModelName
    input: str | Annotated[list[LmStudioInput], msgspec.Meta(max_length=MAX_INPUTS)]
    system_prompt: str | None = None
    integrations: list[Any] | None = None
    stream: bool = False
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Probability | None = None
    repeat_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    reasoning: Literal["off", "low", "medium", "high", "on"] | None = None
    context_length: Size | None = None
    """Maximum number of tokens of prompt and answer together. An error if the model is loaded with fewer."""
    store: bool = True
    previous_response_id: str | None = None
    preset: ModelName | None = None
    """Preset for fields that the request does not set."""
    ttl: Annotated[float, msgspec.Meta(ge=-1)] | None = None


class LmStudioLoadBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of /api/v1/models/load. The options of LM Studio's other engine are accepted and have no effect."""

    model: ModelName
    context_length: Size | None = None
    parallel: Size | None = None
    ttl: Annotated[float, msgspec.Meta(ge=-1)] | None = None
    eval_batch_size: int | None = None
    flash_attention: bool | None = None
    num_experts: int | None = None
    offload_kv_cache_to_gpu: bool | None = None
    echo_load_config: bool = False


class LmStudioUnloadBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of /api/v1/models/unload."""

    instance_id: ModelName


class LmStudioDownloadBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of /api/v1/models/download: an id of the Hub or the URL of its page."""

    model: ModelName
    quantization: str | None = None
    """Ignored: a repository of MLX models has one quantization."""
