"""The bodies of Ollama's routes as its clients send them. requests.py translates them; unknown fields are ignored."""

from typing import Annotated, Any

import msgspec

MAX_IMAGES = 64
MAX_MESSAGES = 10_000
MAX_TOOLS = 512
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Number = int | float


class OllamaOptions(msgspec.Struct, frozen=True):
    """Sampling options of a request. Options of Ollama's own engine, such as `num_gpu`, are ignored."""

    temperature: Number | None = None
    top_p: Number | None = None
    top_k: int | None = None
    min_p: Number | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    num_predict: int | None = None
    repeat_penalty: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None


class OllamaCalledFunction(msgspec.Struct, frozen=True):
    name: str
    arguments: dict[str, Any] | str = {}


class OllamaCall(msgspec.Struct, frozen=True):
    function: OllamaCalledFunction
    id: str = ""


class OllamaMessage(msgspec.Struct, frozen=True):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: Annotated[list[str], msgspec.Meta(max_length=MAX_IMAGES)] | None = None
    tool_calls: list[OllamaCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OllamaFunction(msgspec.Struct, frozen=True):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None


class OllamaTool(msgspec.Struct, frozen=True):
    function: OllamaFunction
    type: str = "function"


class OllamaBody(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of both generating routes."""

    model: Name
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    keep_alive: float | str | None = None
    think: bool | str | None = None
    preset: Name | None = None
    """Preset for fields that the request does not set; an addition of lmx."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None


class OllamaChatBody(OllamaBody, frozen=True, kw_only=True):
    messages: Annotated[list[OllamaMessage], msgspec.Meta(max_length=MAX_MESSAGES)] = []
    """Messages; an empty list only loads the model."""
    tools: Annotated[list[OllamaTool], msgspec.Meta(max_length=MAX_TOOLS)] | None = None


class OllamaGenerateBody(OllamaBody, frozen=True, kw_only=True):
    prompt: str = ""
    """An empty prompt loads the model."""
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None
    images: Annotated[list[str], msgspec.Meta(max_length=MAX_IMAGES)] | None = None
    context: list[int] | None = None
    """Value of `context` in an earlier answer: the conversation so far."""


class OllamaNamedBody(msgspec.Struct, frozen=True):
    """A model, under the name of the field that a client uses: `model`, or `name` in old clients."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None
    verbose: bool | None = None


class OllamaCopyBody(msgspec.Struct, frozen=True):
    """A model, and a further name for it."""

    source: Name
    destination: Name
