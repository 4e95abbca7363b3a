"""Workloads: the requests that one round sends to a server, and when. Each round returns the responses.

The rounds, the servers and the figures are chosen elsewhere. Prompts depend only on seed, workload, round and position,
so that all servers of a run get the same prompts.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmx_cli.bench.figures import RoundResponses
from lmx_cli.bench.prompts import message, words
from lmx_cli.bench.server import ServerUnderTest
from lmx_cli.bench.wire import Exchange, TimedResponse

RESPONSE_SECONDS = 600.0


@dataclass(frozen=True)
class RequestOptions:
    """Options that the requests of all workloads share."""

    seed: int = 0
    temperature: float = 0.0
    send_seeds: bool = False
    """Whether each request carries a seed of its own."""
    timeout: float = RESPONSE_SECONDS
    """Seconds after which a response has failed."""


@dataclass(frozen=True)
class Workload(ABC):
    """Base of all workloads."""

    options: RequestOptions = field(default_factory=RequestOptions, kw_only=True)

    @property
    @abstractmethod
    def kind(self) -> str:
        """Name of the workload in `lmx bench --run`."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def context(self) -> int:
        """Tokens that the longest prompt and its answer need."""

    @abstractmethod
    async def round(self, server: ServerUnderTest, key: str) -> list[RoundResponses]: ...

    async def warm_up(self, server: ServerUnderTest) -> None:
        """Run once before the first round, so that the server has compiled and allocated what it needs."""
        await self.round(server, "warm-up")

    async def _send_prompt(self, server: ServerUnderTest, tokens: int) -> None:
        """Send one prompt of `tokens` tokens and wait for its first token."""
        exchange = self.request(server, 0, self.prompt(server, tokens, "warm-up"), 1)
        await send_and_wait(exchange, self.options.timeout)

    def request(self, server: ServerUnderTest, position: int, messages: list[dict[str, str]], tokens: int) -> Exchange:
        seed = self.options.seed + position if self.options.send_seeds and server.takes_seeds else None
        return server.request(messages, tokens, temperature=self.options.temperature, seed=seed)

    def prompt(self, server: ServerUnderTest, tokens: int, key: str) -> list[dict[str, str]]:
        return [message("user", words(server.scale.words(tokens), f"{self.options.seed} {self.name} {key}"))]

    async def send_all(self, exchanges: Sequence[Exchange], every: float = 0.0) -> list[TimedResponse]:
        """Send the requests `every` seconds apart (0: all at once), and wait until the last response has ended."""

        async def one(position: int, exchange: Exchange) -> TimedResponse:
            await asyncio.sleep(position * every)
            return await send_and_wait(exchange, self.options.timeout)

        return list(await asyncio.gather(*(one(i, exchange) for i, exchange in enumerate(exchanges))))


async def send_and_wait(exchange: Exchange, timeout: float) -> TimedResponse:
    await exchange.send()
    return await exchange.finished(timeout)


@dataclass(frozen=True)
class Streams(Workload):
    """`streams` requests that start `every` seconds apart (0: at once)."""

    streams: int
    prompt_tokens: int = 64
    answer_tokens: int = 128
    every: float = 0.0
    label: str = ""

    @property
    def kind(self) -> str:
        return "arrivals" if self.every else "sweep"

    @property
    def name(self) -> str:
        if self.label:
            return self.label
        how = f"arrivals every {self.every * 1000:.0f} ms" if self.every else "at once"
        lengths = f"{self.prompt_tokens} + {self.answer_tokens}"
        return f"{self.streams} {how}, {lengths}" if self.streams > 1 else f"1 alone, {lengths}"

    @property
    def context(self) -> int:
        return self.prompt_tokens + self.answer_tokens

    async def round(self, server: ServerUnderTest, key: str) -> list[RoundResponses]:
        exchanges = [
            self.request(server, i, self.prompt(server, self.prompt_tokens, f"{key} {i}"), self.answer_tokens)
            for i in range(self.streams)
        ]
        responses = await self.send_all(exchanges, self.every)
        return [
            RoundResponses(
                self.name,
                responses,
                streams=self.streams,
                prompt_tokens=self.prompt_tokens,
                answer_tokens=self.answer_tokens,
            )
        ]


@dataclass(frozen=True)
class Interference(Workload):
    """A long prompt and, shortly after it, a short prompt that arrive while other streams are running."""

    long_tokens: int
    streams: int = 4
    prompt_tokens: int = 64
    answer_tokens: int = 1024
    """Token limit of the running streams. They are cancelled when both late requests have ended."""
    short_answer: int = 8
    lead: int = 8
    """Pieces that each stream has received before the long prompt is sent."""
    behind: float = 0.2
    """Seconds between the long and the short prompt."""

    @property
    def kind(self) -> str:
        return "interference"

    @property
    def name(self) -> str:
        return f"{self.long_tokens} tokens into {self.streams} streams"

    @property
    def context(self) -> int:
        return max(self.long_tokens + self.short_answer, self.prompt_tokens + self.answer_tokens)

    async def warm_up(self, server: ServerUnderTest) -> None:
        await self._send_prompt(server, self.long_tokens)

    async def round(self, server: ServerUnderTest, key: str) -> list[RoundResponses]:
        running = [
            self.request(server, i, self.prompt(server, self.prompt_tokens, f"{key} {i}"), self.answer_tokens)
            for i in range(self.streams)
        ]
        sent = asyncio.gather(*(send_and_wait(exchange, self.options.timeout) for exchange in running))
        while any(len(exchange.response.pieces) < self.lead and not exchange.has_ended for exchange in running):
            await asyncio.sleep(0.005)
        long = self.request(server, 100, self.prompt(server, self.long_tokens, f"{key} long"), self.short_answer)
        short = self.request(server, 101, self.prompt(server, self.prompt_tokens, f"{key} short"), self.short_answer)
        late = await self.send_all([long, short], self.behind)
        for exchange in running:
            exchange.cancel()
        responses = await sent
        first = [response.pieces[0] if response.pieces else response.ended for response in late]
        window = (late[0].sent, max(first))
        parts = {"the long one": late[:1], "a short one behind it": late[1:]}
        return [
            RoundResponses(
                f"{self.name}: the streams", responses, window, self.streams, self.prompt_tokens, self.answer_tokens
            ),
            *(
                RoundResponses(f"{self.name}: {part}", found, None, 1, self.long_tokens)
                for part, found in parts.items()
            ),
        ]


@dataclass(frozen=True)
class Prefix(Workload):
    """Long system prompt in four requests: new, with another question, repeated, and with a second turn."""

    prefix_tokens: int = 1500
    answer_tokens: int = 32

    @property
    def kind(self) -> str:
        return "prefix"

    @property
    def name(self) -> str:
        return f"prefix of {self.prefix_tokens}"

    @property
    def context(self) -> int:
        return self.prefix_tokens + 4 * self.answer_tokens + 128

    async def warm_up(self, server: ServerUnderTest) -> None:
        await self._send_prompt(server, self.prefix_tokens)

    async def round(self, server: ServerUnderTest, key: str) -> list[RoundResponses]:
        system = message("system", words(server.scale.words(self.prefix_tokens), f"{self.options.seed} prefix {key}"))
        questions = [message("user", words(12, f"{self.options.seed} question {key} {i}")) for i in range(3)]
        first = [system, questions[0]]
        cold = await self._one(server, 0, first)
        other = await self._one(server, 1, [system, questions[1]])
        again = await self._one(server, 2, first)
        turn = [*first, message("assistant", "".join(cold.text)), questions[2]]
        second = await self._one(server, 3, turn)
        parts = {"new": cold, "another question": other, "the same again": again, "second turn": second}
        return [
            RoundResponses(
                f"{self.name}: {part}", [response], prompt_tokens=self.prefix_tokens, answer_tokens=self.answer_tokens
            )
            for part, response in parts.items()
        ]

    async def _one(self, server: ServerUnderTest, position: int, messages: list[dict[str, str]]) -> TimedResponse:
        return await send_and_wait(self.request(server, position, messages, self.answer_tokens), self.options.timeout)


@dataclass(frozen=True)
class Shared(Streams):
    """Requests that arrive together and share one long prefix."""

    prefix_tokens: int = 1500

    @property
    def kind(self) -> str:
        return "shared"

    @property
    def name(self) -> str:
        return f"{self.streams} at once, one prefix of {self.prefix_tokens}"

    @property
    def context(self) -> int:
        return self.prefix_tokens + self.prompt_tokens + self.answer_tokens

    def prompt(self, server: ServerUnderTest, tokens: int, key: str) -> list[dict[str, str]]:
        batch = key.rpartition(" ")[0]
        system = words(server.scale.words(self.prefix_tokens), f"{self.options.seed} shared {batch}")
        return [message("system", system), *super().prompt(server, tokens, key)]
