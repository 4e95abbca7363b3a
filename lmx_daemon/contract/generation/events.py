"""Events of a request. They end with exactly one terminal event: Finished, Decided, Counted or Failed."""

from typing import Literal

from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


class Usage(Frozen, frozen=True):
    """Token counts of an answer."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Number of prompt tokens that were found in the prefix cache."""
    truncated_tokens: int = 0
    """Number of tokens that an overflow policy left out of the prompt. `prompt_tokens` does not include them."""
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    """Number of completion tokens that are reasoning."""


class Timings(Frozen, frozen=True):
    """Durations in seconds.

    `first_token` is the time from the arrival in the daemon to the first token, `decode` from there to the last token.
    """

    queue: float = 0.0
    prefill: float = 0.0
    first_token: float = 0.0
    decode: float = 0.0
    load: float = 0.0
    """Part of `queue` that the load of the model took."""

    def tokens_per_second(self, completion_tokens: int) -> float:
        """Return the decode rate, tokens after the first per second of `decode`; 0.0 if it cannot be computed."""
        return (completion_tokens - 1) / self.decode if self.decode > 0 and completion_tokens > 1 else 0.0


class TokenLogprob(Frozen, frozen=True):
    """Log-probability of a token, and of its most likely alternatives."""

    token: str
    id: int
    logprob: float | None
    """None for the first token of a prompt, which follows nothing."""
    bytes: tuple[int, ...] = ()
    top: tuple["TokenLogprob", ...] = ()


class ToolCallDelta(Frozen, frozen=True):
    """Part of a tool call. The first part has `id` and `name`; the arguments of all parts are concatenated."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Queued(Frozen, frozen=True, tag="queued", tag_field="type"):
    """The request waits in the queue of its worker."""

    id: str
    position: int
    """Position in the queue; 1 is next."""


class Loading(Frozen, frozen=True, tag="loading", tag_field="type"):
    """The request waits for the load of its model. `fraction` is 0 to 1, None if it is unknown."""

    id: str
    model: str
    fraction: float | None = None
    stage: str = ""
    """Current step of the load, in words."""


class Started(Frozen, frozen=True, tag="started", tag_field="type"):
    """Prefill has begun."""

    id: str
    prompt_tokens: int
    cached_tokens: int
    seed: int
    instance: str = ""
    context_length: int = 0
    truncated_tokens: int = 0
    """Number of tokens that an overflow policy left out of the prompt."""
    first_difference: int | None = None
    """Position at which the prompt differs from the most similar stored one."""
    miss: str = ""
    """Reason for a cache miss, in words; "" if as much was cached as could be expected."""


class Prefill(Frozen, frozen=True, tag="prefill", tag_field="type"):
    """Progress of prefill, in tokens."""

    id: str
    done: int
    total: int


class PromptTokens(Frozen, frozen=True, tag="prompt_tokens", tag_field="type"):
    """Part of the prompt as the model reads it, for a request that asks for it. It precedes all Deltas."""

    id: str
    choice: int = 0
    """First one of the choices that follow the prompt."""
    text: str = ""
    """Text of the whole prompt, for `Generate.echo`."""
    tokens: tuple[TokenLogprob, ...] = ()
    """The next tokens of the prompt, for `Generate.prompt_logprobs`."""


class Delta(Frozen, frozen=True, tag="delta", tag_field="type"):
    """Part of one choice: content, reasoning or a tool call, in any combination. `tokens` is its number of tokens."""

    id: str
    choice: int = 0
    content: str = ""
    reasoning: str = ""
    tool_call: ToolCallDelta | None = None
    tokens: int = 0
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


class Ending(Frozen, frozen=True):
    """End of one choice."""

    reason: FinishReason
    matched_stop: str | None = None


class Finished(Frozen, frozen=True, tag="finished", tag_field="type"):
    """Terminal event of a complete answer. `endings` has one entry for each choice, in order."""

    id: str
    endings: tuple[Ending, ...]
    usage: Usage = Usage()
    timings: Timings = Timings()

    @property
    def reason(self) -> FinishReason:
        """Reason for the end of the first choice."""
        return self.endings[0].reason


class Counted(Frozen, frozen=True, tag="counted", tag_field="type"):
    """Terminal event of Count."""

    id: str
    tokens: int


class Decided(Frozen, frozen=True, tag="decided", tag_field="type"):
    """Terminal event of Decide."""

    id: str
    logprobs: tuple[float, ...]
    """Log-probability of each option: the sum of those of its tokens."""
    usage: Usage = Usage()
    timings: Timings = Timings()


class Failed(Frozen, frozen=True, tag="failed", tag_field="type"):
    """Terminal event of a failure. Everything generated before it stays valid."""

    id: str
    error: ErrorBody


Event = Queued | Loading | Started | Prefill | PromptTokens | Delta | Finished | Decided | Counted | Failed
TERMINAL = (Finished, Decided, Counted, Failed)


def is_terminal(event: Event) -> bool:
    """Return whether the event is the last one of its request."""
    return isinstance(event, TERMINAL)
