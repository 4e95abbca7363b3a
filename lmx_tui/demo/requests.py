"""The requests of the demonstration: each one's state and figures are a function of the time. Pure."""

from dataclasses import dataclass

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.admin.snapshot import RequestRow, RequestState
from lmx_daemon.contract.generation.events import Timings

PREFILL_RATE = 2_400.0
"""Prompt tokens per second of the scripted machine."""
QUEUE_SECONDS = 0.02
DECODE_RATES = ((1_000_000_000, 420.0), (6_000_000_000, 74.0), (20_000_000_000, 27.0))
"""(largest size of the weights, tokens per second of one stream)."""
SLOWEST = 12.0


def decode_rate(size: int) -> float:
    """Return the tokens per second of one stream of a model with `size` bytes of weights."""
    return next((rate for largest, rate in DECODE_RATES if size <= largest), SLOWEST)


@dataclass
class ScriptedRequest:
    """A request whose course is fixed at its arrival, except for a cancellation."""

    id: str
    model: str
    client: str
    route: str
    at: float
    prompt: int
    cached: int
    tokens: int
    """Number of tokens of the whole answer."""
    rate: float
    """Tokens per second of decode."""
    miss: str = ""
    cancelled_at: float | None = None

    @property
    def prefill(self) -> float:
        """Seconds of prefill."""
        return (self.prompt - self.cached) / PREFILL_RATE

    @property
    def first_at(self) -> float:
        """Time of the first token."""
        return self.at + QUEUE_SECONDS + self.prefill

    @property
    def ends_at(self) -> float:
        """Time of the last token, or of the cancellation."""
        end = self.first_at + (self.tokens - 1) / self.rate
        return end if self.cancelled_at is None else min(end, self.cancelled_at)

    def done(self, now: float) -> int:
        """Return the number of tokens generated so far."""
        until = min(now, self.ends_at)
        return 0 if until < self.first_at else min(self.tokens, 1 + int((until - self.first_at) * self.rate + 1e-6))

    def cancel(self, now: float) -> None:
        if now < self.ends_at:
            self.cancelled_at = now

    def state(self, now: float) -> RequestState:
        if now >= self.ends_at:
            return "finished" if self.cancelled_at is None else "cancelled"
        if now < self.at + QUEUE_SECONDS:
            return "queued"
        return "prefill" if now < self.first_at else "decode"

    def timings(self) -> Timings:
        """Return the durations of the stages of a request that has ended."""
        decode = max(0.0, self.ends_at - self.first_at)
        return Timings(queue=QUEUE_SECONDS, prefill=self.prefill, first_token=self.first_at - self.at, decode=decode)

    def row(self, now: float) -> RequestRow:
        """Return the request as the monitor lists it."""
        state, done = self.state(now), self.done(now)
        ended = state in ("finished", "cancelled")
        began = self.at + QUEUE_SECONDS
        return RequestRow(
            id=self.id, model=self.model, state=state, client=self.client, route=self.route, started_at=self.at,
            age=min(now, self.ends_at) - self.at, position=1 if state == "queued" else None,
            progress=(now - began) / self.prefill if state == "prefill" else None, prompt_tokens=self.prompt,
            cached_tokens=None if state == "queued" else self.cached, miss=self.miss, completion_tokens=done,
            rate=self.rate if done > 1 else PREFILL_RATE if state == "prefill" else 0.0,
            first_token=self.first_at - self.at if done else None, finish="stop" if state == "finished" else "",
            timings=self.timings() if ended else None,
        )  # fmt: skip

    def record(self) -> RequestRecord:
        """Return the request, which has ended, as the history keeps it."""
        timings, done = self.timings(), self.done(self.ends_at)
        return RequestRecord(
            id=self.id, at=self.at, model=self.model, served_by=self.model, route=self.route,
            outcome="finished" if self.cancelled_at is None else "cancelled", client=self.client,
            finish="stop" if self.cancelled_at is None else "", total=self.ends_at - self.at, queue=timings.queue,
            prefill=timings.prefill, first_token=timings.first_token if done else None,
            decode=timings.decode if done else None, prompt_tokens=self.prompt, cached_tokens=self.cached,
            completion_tokens=done, miss=self.miss,
        )  # fmt: skip


@dataclass(frozen=True)
class Visitor:
    """A client program that sends the same kind of request again and again."""

    client: str
    route: str
    first: float
    """Seconds after the start of its first request."""
    every: float
    """Seconds between two requests."""
    prompt: int
    cached: int
    tokens: int
    miss: str = ""


VISITORS = (
    Visitor("opencode", "/v1/chat/completions", 3.0, 31.0, 18_400, 14_336, 620, "a time or date in the prompt changed"),
    Visitor("python-openai 3.1", "/v1/chat/completions", 7.0, 13.0, 812, 512, 240),
    Visitor("claude-cli 2.1", "/v1/messages", 16.0, 47.0, 26_300, 25_600, 910),
    Visitor("curl/8.4", "/v1/completions", 1.0, 23.0, 96, 0, 130),
)
