"""Requests to a model: prompts, sampling settings and limits, as dialects and clients make them and engines read them.

This module is independent of HTTP, tokenizers and MLX.
"""

from typing import Annotated, Any, Literal

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.generation.constraint import Constraint

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Penalty = Annotated[float, msgspec.Meta(ge=-2.0, le=2.0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Role = Literal["system", "user", "assistant", "tool"]
Overflow = Literal["error", "truncate_middle", "rolling"]
"""Treatment of a prompt that exceeds the context: an error, or removal of its middle or of its oldest messages."""


class TextPart(Frozen, frozen=True, tag="text", tag_field="type"):
    """Text in a message."""

    text: str


class ImagePart(Frozen, frozen=True, tag="image", tag_field="type"):
    """Bytes of an image. URLs are not supported, so that no engine accesses the network."""

    data: bytes
    media_type: str


Part = TextPart | ImagePart


class ToolCall(Frozen, frozen=True):
    """Tool call of a model. `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class Message(Frozen, frozen=True):
    """Message of a conversation."""

    role: Role
    content: tuple[Part, ...] = ()
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """All text parts, concatenated."""
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


class Tool(Frozen, frozen=True):
    """Function that the model may call; `parameters` is its JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    strict: bool = False
    """Whether the arguments of a call have to follow `parameters` exactly."""


class ToolChoice(Frozen, frozen=True):
    """Rule on tool calls: no call, the model's decision, at least one call, or a call of the tool `name`."""

    mode: Literal["none", "auto", "required", "named"] = "auto"
    name: str = ""


class Chat(Frozen, frozen=True, tag="chat", tag_field="type"):
    """Prompt of messages, which the chat template of the model renders."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    parallel_tool_calls: bool = True
    """Whether several tool calls are allowed. False ends the answer after the first one."""
    tool_choice: ToolChoice = ToolChoice()
    continue_last: bool = False
    """Whether the answer continues the last message, which is the assistant's, instead of beginning a new one."""
    thinking: bool | None = None
    """Whether the model thinks before its answer; None is the default of the template."""
    template_arguments: dict[str, str | int | float | bool] = {}
    """Further variables of the template. The dialects accept listed names only."""


class Text(Frozen, frozen=True, tag="text", tag_field="type"):
    """Raw prompt, tokenised without a template."""

    text: str


class Tokens(Frozen, frozen=True, tag="tokens", tag_field="type"):
    """Prompt of token ids of the model."""

    ids: tuple[int, ...]


class Infill(Frozen, frozen=True, tag="infill", tag_field="type"):
    """Two texts; the answer is the text between them. Only models whose tokenizer has markers for it support it."""

    prefix: str
    suffix: str


Prompt = Chat | Text | Tokens | Infill


class Sampling(Frozen, frozen=True):
    """Sampling settings of a request.

    None selects the value of the model's settings, else that of generation_config.json, else the neutral value. The
    penalties of generation_config.json are not used.
    """

    temperature: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Number of most likely tokens that are kept; 0 keeps all."""
    min_p: Probability | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    """Seed; None draws one. Started reports the seed, so that every answer can be reproduced."""
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0.0, le=10.0)] | None = None
    """Multiplicative penalty; 1 is off."""
    logit_bias: dict[int, Annotated[float, msgspec.Meta(ge=-100.0, le=100.0)]] = {}


MEMORY_ONLY = "\nmemory only\n"
"""Prefix of a cache namespace whose prompts are never written to disk."""


class Computation(Frozen, frozen=True):
    """Fields of every request that the model itself computes, and that therefore queues."""

    id: str
    model: str
    prompt: Prompt
    context_length: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Maximum number of tokens of prompt and answer together. The request fails if the model has fewer."""
    overflow: Overflow | None = None
    """None is an error, unless a preset states another treatment."""
    tenant: str = "local"
    """Client that the request is counted for in the queue, from its principal: a key's id, "http", "tui" or "cli"."""
    client: str = ""
    """Program that sent the request (User-Agent). Programs share the tenant's share."""
    user: str = ""
    """End user as the client names it. Users share their program's share, so that a new name adds nothing to it."""
    route: str = ""
    cache_namespace: str = ""
    """Prefixes are shared only within one namespace. One that begins with MEMORY_ONLY is never written to disk."""
    priority: Annotated[int, msgspec.Meta(ge=-10, le=10)] = 0
    """Priority; requests with a higher value run first."""
    deadline: Seconds | None = None
    """Seconds from arrival after which the request fails in any state."""
    queue_deadline: Seconds | None = None
    """Seconds from arrival after which the request fails if it has not begun."""
    ttl: Annotated[float, msgspec.Meta(ge=-1)] | None = None
    """Seconds without use after which a model that this request loads is unloaded; -1 is never."""
    preset: str = ""
    """Name of the preset for fields that the request does not set. The router applies it."""
    asked: str = ""
    """Name that the client gave, where `model` is the id that the router chose for it; "" if they are the same."""
    routed: str = ""
    """Rule by which the router chose the model, and the models that it skipped; "" if the client gave its id."""
    traceparent: str = ""
    """Trace of the client that the request belongs to, as W3C Trace Context writes it; "" if there is none."""

    @property
    def rows(self) -> int:
        """Number of rows of the batch that the request takes."""
        return 1


class Generate(Computation, frozen=True, tag="generate", tag_field="type"):
    """Request for one answer, or for `choices` answers to one prompt."""

    sampling: Sampling = Sampling()
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Maximum number of tokens of the answer; with None, only the context limits it. 0 computes the prompt only."""
    stop: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ()
    stop_tokens: tuple[int, ...] = ()
    choices: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    """Number of alternatives with log-probabilities; 0 reports the chosen token only, None reports nothing."""
    prompt_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    """Number of alternatives with log-probabilities for each token of the prompt, which PromptTokens events report.

    The prompt is computed without stored prefixes, and the token that ends an answer is reported, too.
    """
    echo: bool = False
    """Whether a PromptTokens event has the text of the prompt. Without effect with `prompt_logprobs`."""
    token_ids: bool = False
    """Whether each Delta contains its token ids."""
    constraint: Constraint | None = None
    thinking_budget: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Maximum number of tokens of reasoning; at the limit the engine closes the thinking block. None sets no limit."""

    @property
    def rows(self) -> int:
        """Number of rows of the batch that the request takes: one for each choice."""
        return self.choices


Option = Annotated[str, msgspec.Meta(min_length=1)]


class Decide(Computation, frozen=True, kw_only=True, tag="decide", tag_field="type"):
    """Request for the probability that each option would follow a prompt. Nothing is generated."""

    options: Annotated[tuple[Option, ...], msgspec.Meta(min_length=1, max_length=255)]
    """Texts, of which no two have the same tokens."""


class Count(Frozen, frozen=True, tag="count", tag_field="type"):
    """Request for the number of tokens of a prompt, template and tools included."""

    id: str
    model: str
    prompt: Prompt
    tenant: str = "local"
    preset: str = ""
    asked: str = ""
    routed: str = ""
    traceparent: str = ""


Request = Generate | Decide | Count
