"""The bodies of Anthropic's routes as clients send them. requests.py translates them.

Fields that are not named here are ignored, so that clients of newer versions work; a wrong type is an error. Blocks of
content and tools have many types, of which lmx ignores some; blocks.py and tools.py have those that it reads.
"""

from typing import Annotated, Any, Literal

import msgspec

from lmx_daemon.contract.generation.requests import Probability

MAX_TOOLS = 512
MAX_MESSAGES = 10_000
MAX_TOKEN = 2**31 - 1
MAX_COUNT = 2**53

Blocks = list[dict[str, Any]]


class InputMessage(msgspec.Struct, frozen=True):
    """Message of the conversation. Anthropic's clients put system messages in the middle of it, too."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | Blocks


class ThinkingBody(msgspec.Struct, frozen=True):
    """Switch of thinking, and the most tokens of it."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    budget_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)] | None = None


class FormatBody(msgspec.Struct, frozen=True):
    """Form of the answer."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, frozen=True):
    """Effort and form of the answer."""

    effort: str | None = None
    format: FormatBody | None = None


class ToolChoiceBody(msgspec.Struct, frozen=True):
    """Rule on tool calls."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Metadata(msgspec.Struct, frozen=True):
    """Metadata of the request. `user_id` is a part of every request frame, so its length is bounded."""

    user_id: Annotated[str, msgspec.Meta(max_length=512)] | None = None


class CountBody(msgspec.Struct, frozen=True, kw_only=True):
    """Body of /v1/messages/count_tokens: the fields from which the prompt is made."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    messages: Annotated[list[InputMessage], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    system: str | Blocks | None = None
    tools: Annotated[Blocks, msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoiceBody | None = None
    thinking: ThinkingBody | None = None
    output_config: OutputConfig | None = None
    output_format: FormatBody | None = None
    """Old name of `output_config.format`."""
    mcp_servers: list[Any] | None = None
    preset: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    """Preset for fields that the request does not set; an addition of lmx."""


class MessagesBody(CountBody, frozen=True, kw_only=True):
    """Body of /v1/messages."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)]
    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKEN)] | None = None
    stop_sequences: list[str] | None = None
    metadata: Metadata | None = None
