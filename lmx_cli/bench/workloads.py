"""What can be asked of a server, and in which order in time: each workload does one round and tells its samples.

It decides nothing about rounds, servers or figures. Prompts depend on (seed, workload, round, position) alone, so every
server of a run is asked the same.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmx_cli.bench.figures import Sample
from lmx_cli.bench.prompts import message, words
from lmx_cli.bench.server import ServerUnderTest
from lmx_cli.bench.wire import Exchange, TimedResponse

ANSWER_SECONDS = 600.0


@dataclass(frozen=True)
class RequestOptions:
    """What all workloads share."""

    seed: int = 0
    temperature: float = 0.0
    seeded: bool = False
    """Each request sends a seed of its own."""
    seconds: float = ANSWER_SECONDS


@dataclass(frozen=True)
class Workload(ABC):
    load: RequestOptions = field(default_factory=RequestOptions, kw_only=True)

    @property
    @abstractmethod
    def kind(self) -> str:
        """As `lmx bench --run` names it."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def context(self) -> int:
        """Tokens that the longest prompt and answer need."""

    @abstractmethod
    async def round(self, server: ServerUnderTest, key: str) -> list[Sample]: ...

    async def warm_up(self, server: ServerUnderTest) -> None:
        """Once before the first round, so that what a server compiles or allocates is there."""
        await self.round(server, "warm-up")

    def ask(self, server: ServerUnderTest, position: int, messages: list[dict[str, str]], tokens: int) -> Exchange:
        seed = self.load.seed + position if self.load.seeded and server.takes_seeds else None
        return server.ask(messages, tokens, temperature=self.load.temperature, seed=seed)

    def prompt(self, server: ServerUnderTest, tokens: int, key: str) -> list[dict[str, str]]:
        return [message("user", words(server.scale.words(tokens), f"{self.load.seed} {self.name} {key}"))]

    async def all(self, exchanges: Sequence[Exchange], every: float = 0.0) -> list[TimedResponse]:
        """Sends them `every` seconds (at once where that is 0), and waits for the last."""

        async def one(position: int, exchange: Exchange) -> TimedResponse:
            await asyncio.sleep(position * every)
            return await send(exchange, self.load.seconds)

        return list(await asyncio.gather(*(one(i, exchange) for i, exchange in enumerate(exchanges))))


async def send(exchange: Exchange, seconds: float) -> TimedResponse:
    await exchange.send()
    return await exchange.finished(seconds)


@dataclass(frozen=True)
class Streams(Workload):
    """`streams` requests that begin `every` seconds apart; 0: together."""

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

    async def round(self, server: ServerUnderTest, key: str) -> list[Sample]:
        exchanges = [
            self.ask(server, i, self.prompt(server, self.prompt_tokens, f"{key} {i}"), self.answer_tokens)
            for i in range(self.streams)
        ]
        answers = await self.all(exchanges, self.every)
        return [
            Sample(
                self.name,
                answers,
                streams=self.streams,
                prompt_tokens=self.prompt_tokens,
                answer_tokens=self.answer_tokens,
            )
        ]


@dataclass(frozen=True)
class Interference(Workload):
    """Into running streams comes one long prompt, and a short one right behind it."""

    long_tokens: int
    streams: int = 4
    prompt_tokens: int = 64
    answer_tokens: int = 1024
    """Of the running streams, which are cut once both newcomers are done."""
    short_answer: int = 8
    lead: int = 8
    """Pieces that each stream has given before the long prompt comes."""
    behind: float = 0.2

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
        await send(self.ask(server, 0, self.prompt(server, self.long_tokens, "warm-up"), 1), self.load.seconds)

    async def round(self, server: ServerUnderTest, key: str) -> list[Sample]:
        running = [
            self.ask(server, i, self.prompt(server, self.prompt_tokens, f"{key} {i}"), self.answer_tokens)
            for i in range(self.streams)
        ]
        sent = asyncio.gather(*(send(exchange, self.load.seconds) for exchange in running))
        while any(len(exchange.answer.pieces) < self.lead and not exchange.is_over for exchange in running):
            await asyncio.sleep(0.005)
        long = self.ask(server, 100, self.prompt(server, self.long_tokens, f"{key} long"), self.short_answer)
        short = self.ask(server, 101, self.prompt(server, self.prompt_tokens, f"{key} short"), self.short_answer)
        came = await self.all([long, short], self.behind)
        for exchange in running:
            exchange.cut()
        answers = await sent
        first = [answer.pieces[0] if answer.pieces else answer.ended for answer in came]
        window = (came[0].sent, max(first))
        parts = {"the long one": came[:1], "a short one behind it": came[1:]}
        return [
            Sample(f"{self.name}: the streams", answers, window, self.streams, self.prompt_tokens, self.answer_tokens),
            *(Sample(f"{self.name}: {part}", found, None, 1, self.long_tokens) for part, found in parts.items()),
        ]


@dataclass(frozen=True)
class Prefix(Workload):
    """One long system prompt, four times: new, with another question, the same again, and a second turn."""

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
        await send(self.ask(server, 0, self.prompt(server, self.prefix_tokens, "warm-up"), 1), self.load.seconds)

    async def round(self, server: ServerUnderTest, key: str) -> list[Sample]:
        system = message("system", words(server.scale.words(self.prefix_tokens), f"{self.load.seed} prefix {key}"))
        questions = [message("user", words(12, f"{self.load.seed} question {key} {i}")) for i in range(3)]
        first = [system, questions[0]]
        cold = await self._one(server, 0, first)
        other = await self._one(server, 1, [system, questions[1]])
        again = await self._one(server, 2, first)
        turn = [*first, message("assistant", "".join(cold.text)), questions[2]]
        second = await self._one(server, 3, turn)
        parts = {"new": cold, "another question": other, "the same again": again, "second turn": second}
        return [
            Sample(f"{self.name}: {part}", [answer], prompt_tokens=self.prefix_tokens, answer_tokens=self.answer_tokens)
            for part, answer in parts.items()
        ]

    async def _one(self, server: ServerUnderTest, position: int, messages: list[dict[str, str]]) -> TimedResponse:
        return await send(self.ask(server, position, messages, self.answer_tokens), self.load.seconds)


@dataclass(frozen=True)
class Shared(Streams):
    """Requests that arrive together with one long beginning."""

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
        system = words(server.scale.words(self.prefix_tokens), f"{self.load.seed} shared {batch}")
        return [message("system", system), *super().prompt(server, tokens, key)]
