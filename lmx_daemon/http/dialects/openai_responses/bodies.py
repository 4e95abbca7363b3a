"""The body of the Responses routes as clients send it.

Items and tools stay dictionaries: their kinds are many and grow, and an unknown one is not an error.
"""

from typing import Annotated, Any, Literal

import msgspec

from lmx_daemon.contract.generation.requests import Probability, Seconds

MAX_ITEMS = 20_000
MAX_TOOLS = 512
Object = dict[str, Any]


class TextSettings(msgspec.Struct, frozen=True):
    """Form of the answer's text."""

    format: Object | None = None
    verbosity: str | None = None


class ReasoningSettings(msgspec.Struct, frozen=True):
    """Effort of the reasoning, and whether it is sent as a summary."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    """Old name of `summary`."""


class ResponsesBody(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that are not named here are ignored, so that newer clients work."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    """None is the model of `previous_response_id`."""
    input: str | Annotated[list[Object], msgspec.Meta(max_length=MAX_ITEMS)] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | Object | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    tools: Annotated[list[Object], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | Object | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    reasoning: ReasoningSettings | None = None
    include: list[str] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: dict[str, str] | None = None
    user: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    safety_identifier: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    prompt_cache_key: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    deadline: Seconds | None = None
    """An addition of lmx: seconds until the request fails."""
    preset: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    """Preset for fields that the request does not set; an addition of lmx."""

    @property
    def summary(self) -> bool:
        """Return whether the client asks for a summary of the reasoning, as which the whole reasoning is sent."""
        settings = self.reasoning
        return settings is not None and bool(settings.summary or settings.generate_summary)

    @property
    def encrypted(self) -> bool:
        """Return whether the client asks for reasoning that it can send back although nothing is stored."""
        return "reasoning.encrypted_content" in (self.include or ())

    @property
    def logprobs(self) -> bool:
        return "message.output_text.logprobs" in (self.include or ()) or bool(self.top_logprobs)
