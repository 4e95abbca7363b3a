"""A server under measurement: how to reach it, what it calls itself, and how long prompts must be in its tokens."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from lmx_cli.bench.prompts import FEW, MANY, Scale, message, scale_from, words
from lmx_cli.bench.wire import Address, Exchange, TimedResponse, error_message, fetch
from lmx_daemon.contract.errors import LmxError, ModelNotFoundError
from lmx_daemon.storage.benchmark import Target

PREPARE_SECONDS = 600.0
"""The first request may load the model."""
SETTLE_SECONDS = 120.0
LISTED = 8
BASE_URL = "give the base URL of an OpenAI-compatible server, such as http://127.0.0.1:1234/v1"

MemoryProbe = Callable[[], Awaitable[int | None]]


class ServerUnderTest:
    """One OpenAI-compatible server and the model that is asked there."""

    def __init__(
        self,
        name: str,
        url: str,
        model: str | None = None,
        *,
        key: str | None = None,
        memory: MemoryProbe | None = None,
        versions: dict[str, str] | None = None,
        backend: str = "",
        software: str = "",
        takes_seeds: bool = True,
    ) -> None:
        self.name = name
        self.address = Address(url)
        self.model = model or ""
        self.memory = memory
        self.scale = Scale()
        self.takes_seeds = takes_seeds
        """False: none is sent, for servers that stop batching where one is."""
        self.context: int | None = None
        """The longest prompt and answer together, where the server tells."""
        self._key = key
        self._versions = versions or {}
        self._backend = backend
        self._software = software

    async def prepare(self) -> None:
        """Finds the model, has it loaded and measures prompts. Raises LmxError saying what to do."""
        listed = await self._listed()
        if not self.model:
            if len(listed) != 1:
                some = ", ".join(list(listed)[:LISTED])
                raise LmxError(
                    f"which model of {self.address.url} is to be measured?",
                    hint=f"name one with --model (or --vs-model): {some}" if listed else "name one with --model",
                )
            self.model = next(iter(listed))
        entry = listed.get(self.model, {})
        for name in ("max_context_length", "max_model_len", "context_length"):
            if isinstance(entry.get(name), int):
                self.context = entry[name]
                break
        counts = [await self._count(length, list(listed)) for length in (FEW, MANY)]
        self.scale = scale_from(*counts)

    async def settle(self) -> None:
        """Until a request is answered again: what one round left behind must not be the next one's burden."""
        messages = [message("user", words(8, f"settle {time.monotonic_ns()}"))]
        exchange = self.ask(messages, 1, temperature=0.0, seed=None)
        await exchange.send()
        await exchange.finished(SETTLE_SECONDS)

    def target(self) -> Target:
        return Target(
            name=self.name,
            url=self.address.url,
            model=self.model,
            software=self._software,
            versions=self._versions,
            backend=self._backend,
        )

    def ask(self, messages: list[dict[str, str]], tokens: int, *, temperature: float, seed: int | None) -> Exchange:
        """A streamed chat completion, not sent yet."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if seed is not None:
            body["seed"] = seed
        return Exchange(self.address, "POST", "/chat/completions", body, self._key)

    async def _listed(self) -> dict[str, dict[str, Any]]:
        """The models that the server lists; a server that lists none may have some all the same."""
        answer = await fetch(self.address, "GET", "/models", None, self._key, PREPARE_SECONDS)
        self._software = self._software or answer.server
        if answer.status == 401:
            raise LmxError(f"{self.address.url} wants an API key", hint="give it: --api-key KEY (or --vs-api-key KEY)")
        try:
            return {entry["id"]: entry for entry in msgspec.json.decode(answer.body)["data"]}
        except (msgspec.MsgspecError, KeyError, TypeError):
            return {}

    async def _count(self, length: int, listed: list[str]) -> int:
        body = {
            "model": self.model,
            "messages": [message("user", words(length, f"count {length}"))],
            "max_tokens": 1,
        }
        answer = await fetch(self.address, "POST", "/chat/completions", body, self._key, PREPARE_SECONDS)
        if answer.status == 200:
            return _prompt_tokens(self.address, answer)
        said = error_message(answer.body)
        if answer.status == 404 and listed and self.model not in listed:
            more = "" if len(listed) <= LISTED else ", ..."
            raise ModelNotFoundError(
                f"{self.address.url} has no model {self.model!r}",
                hint=f"there are: {', '.join(listed[:LISTED])}{more}",
            )
        if answer.status in (404, 405):
            raise LmxError(f"POST {self.address.url}/chat/completions: HTTP {answer.status}: {said}", hint=BASE_URL)
        raise LmxError(f"{self.address.url} answered HTTP {answer.status}: {said}")


def _prompt_tokens(address: Address, answer: TimedResponse) -> int:
    """0 where the server does not count. Raises LmxError where the answer is none of OpenAI's."""
    try:
        usage = msgspec.json.decode(answer.body, type=_Completion).usage
    except msgspec.MsgspecError as error:
        raise LmxError(
            f"what {address.url} answers is no chat completion: {answer.body[:80]!r}",
            hint=BASE_URL,
        ) from error
    return (usage.prompt_tokens or 0) if usage is not None else 0


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None


class _Completion(msgspec.Struct, frozen=True):
    choices: list[Any]
    usage: _Usage | None = None


class MemoryWatch:
    """The highest resident memory of a server while something is measured; None where it is not ours to ask."""

    SECONDS = 0.25

    def __init__(self, server: ServerUnderTest) -> None:
        self._probe = server.memory
        self._task: asyncio.Task[None] | None = None
        self.highest: int | None = None

    async def __aenter__(self) -> "MemoryWatch":
        if self._probe is not None:
            self._task = asyncio.create_task(self._watch(self._probe))
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self, probe: MemoryProbe) -> None:
        while True:
            found = await probe()
            if found is not None:
                self.highest = max(self.highest or 0, found)
            await asyncio.sleep(self.SECONDS)
