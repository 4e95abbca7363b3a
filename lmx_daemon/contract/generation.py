"""The words of the domain: what can be asked of a model (Request) and what it answers (Event).

Every dialect, the TUI, the command line and every engine speak these. A request is answered by a stream of events
that ends with exactly one terminal event: Finished, Counted or Failed. Nothing here knows HTTP, tokens' text or MLX.
"""

from typing import Annotated, Any, Literal

import msgspec

from lmx_daemon.contract.constraint import Constraint
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Penalty = Annotated[float, msgspec.Meta(ge=-2.0, le=2.0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


# ---- what is asked -------------------------------------------------------------------------------------------------


class TextPart(Frozen, frozen=True, tag="text", tag_field="type"):
    text: str


class ImagePart(Frozen, frozen=True, tag="image", tag_field="type"):
    """An image's own bytes; never a URL, so that no engine fetches anything."""

    data: bytes
    media_type: str


Part = TextPart | ImagePart


class ToolCall(Frozen, frozen=True):
    """A call that a model made. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class Message(Frozen, frozen=True):
    role: Role
    content: tuple[Part, ...] = ()
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


class Tool(Frozen, frozen=True):
    """A function the model may call; `parameters` is its JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class Chat(Frozen, frozen=True, tag="chat", tag_field="type"):
    """Messages to be rendered by the model's own chat template."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    parallel_tool_calls: bool = True
    """False ends the answer after its first tool call."""
    thinking: bool | None = None
    """None leaves it to the model's template."""
    template_arguments: dict[str, str | int | float | bool] = {}
    """Further names the template may read; the edge allows only listed ones."""


class Text(Frozen, frozen=True, tag="text", tag_field="type"):
    """A raw prompt, tokenised as it is."""

    text: str


class Tokens(Frozen, frozen=True, tag="tokens", tag_field="type"):
    """Token ids of this very model, used as they are."""

    ids: tuple[int, ...]


Prompt = Chat | Text | Tokens


class Sampling(Frozen, frozen=True):
    """How tokens are chosen. None means the model's own generation_config.json, else the neutral value."""

    temperature: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """0 keeps all."""
    min_p: Probability | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    """None draws one, which Started reports, so that any answer can be repeated."""
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0.0, le=10.0)] = 1.0
    """Multiplicative; 1 is off."""
    logit_bias: dict[int, Annotated[float, msgspec.Meta(ge=-100.0, le=100.0)]] = {}


MEMORY_ONLY = "\nmemory only\n"
"""The beginning of a cache namespace whose prompts are never written to disk."""


class Generate(Frozen, frozen=True, tag="generate", tag_field="type"):
    """One request for an answer (or `choices` of them that share one prompt)."""

    id: str
    model: str
    prompt: Prompt
    sampling: Sampling = Sampling()
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """None: until the model stops or its context is full."""
    stop: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ()
    stop_tokens: tuple[int, ...] = ()
    choices: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    """None: no log-probabilities; 0: the chosen token's only."""
    token_ids: bool = False
    """True puts the token ids in every Delta."""
    constraint: Constraint | None = None
    tenant: str = "local"
    """Who asks: a key's id, "tui", "cli"; fairness and the request table go by it."""
    client: str = ""
    """The client's own name (User-Agent), to be shown."""
    route: str = ""
    cache_namespace: str = ""
    """Prefixes are shared only within one namespace. One that begins with MEMORY_ONLY is never written to disk."""
    priority: Annotated[int, msgspec.Meta(ge=-10, le=10)] = 0
    """Higher runs first."""
    deadline: Seconds | None = None
    """Seconds from arrival after which the request fails, wherever it is."""
    queue_deadline: Seconds | None = None
    """The same while it has not begun: its model loads, or others run."""
    ttl: Annotated[float, msgspec.Meta(ge=-1)] | None = None
    """Seconds of idleness after which a model that this request loads is unloaded; -1 never."""


class Count(Frozen, frozen=True, tag="count", tag_field="type"):
    """How many tokens a prompt has, template and tools included."""

    id: str
    model: str
    prompt: Prompt
    tenant: str = "local"


Request = Generate | Count


# ---- what is answered ----------------------------------------------------------------------------------------------


class Usage(Frozen, frozen=True):
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt's, those that came from a cache."""
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    """Of the completion's, those spent on thinking."""


class Timings(Frozen, frozen=True):
    """Seconds. `first_token` is from arrival in the daemon to the first token; `decode` from there to the last."""

    queue: float = 0.0
    prefill: float = 0.0
    first_token: float = 0.0
    decode: float = 0.0
    load: float = 0.0
    """Waiting for the model to be loaded, a part of `queue`."""

    def tokens_per_second(self, completion_tokens: int) -> float:
        return (completion_tokens - 1) / self.decode if self.decode > 0 and completion_tokens > 1 else 0.0


class TokenLogprob(Frozen, frozen=True):
    token: str
    id: int
    logprob: float
    bytes: tuple[int, ...] = ()
    top: tuple["TokenLogprob", ...] = ()


class ToolCallDelta(Frozen, frozen=True):
    """A piece of a tool call. `id` and `name` come once, with the call's first piece; arguments are concatenated."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Queued(Frozen, frozen=True, tag="queued", tag_field="type"):
    id: str
    position: int
    """1 is next."""


class Loading(Frozen, frozen=True, tag="loading", tag_field="type"):
    """The request waits for its model; `fraction` is 0..1, None where unknown."""

    id: str
    model: str
    fraction: float | None = None
    stage: str = ""
    """What the load does now, in words."""


class Started(Frozen, frozen=True, tag="started", tag_field="type"):
    id: str
    prompt_tokens: int
    cached_tokens: int
    seed: int
    instance: str = ""
    context_length: int = 0
    first_difference: int | None = None
    """The position at which the prompt leaves the earlier one that is most like it."""
    miss: str = ""
    """Why less of it was cached than could be expected, in words; "" where that is not so."""


class Prefill(Frozen, frozen=True, tag="prefill", tag_field="type"):
    id: str
    done: int
    total: int


class Delta(Frozen, frozen=True, tag="delta", tag_field="type"):
    """A piece of one choice's answer. Any of the three kinds may be there; `tokens` counts those behind it."""

    id: str
    choice: int = 0
    content: str = ""
    reasoning: str = ""
    tool_call: ToolCallDelta | None = None
    tokens: int = 0
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


class Ending(Frozen, frozen=True):
    """How one choice ended."""

    reason: FinishReason
    matched_stop: str | None = None


class Finished(Frozen, frozen=True, tag="finished", tag_field="type"):
    """Terminal. `endings` has one entry for each choice, in order."""

    id: str
    endings: tuple[Ending, ...]
    usage: Usage = Usage()
    timings: Timings = Timings()

    @property
    def reason(self) -> FinishReason:
        return self.endings[0].reason


class Counted(Frozen, frozen=True, tag="counted", tag_field="type"):
    """Terminal, for Count."""

    id: str
    tokens: int


class Failed(Frozen, frozen=True, tag="failed", tag_field="type"):
    """Terminal. What was generated before it stays valid."""

    id: str
    error: ErrorBody


Event = Queued | Loading | Started | Prefill | Delta | Finished | Counted | Failed
TERMINAL = (Finished, Counted, Failed)


def is_terminal(event: Event) -> bool:
    return isinstance(event, TERMINAL)
