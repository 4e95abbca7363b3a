"""Requests of the trials to a loaded model, over the admin socket of the trial daemon."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lmx_cli.bench.prompts import words
from lmx_cli.doctor.trial_answers import TrialAnswer
from lmx_daemon.client.client import Client
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.requests import Generate, Prompt, Sampling, Text
from lmx_daemon.contract.models import Instance, Model
from lmx_daemon.storage.foreign.reading import read_object

LIKELY = 5
"""Number of likely tokens that are compared at each position."""
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.01


class TrialModel:
    """A loaded model of the trial daemon."""

    def __init__(self, client: Client, model: Model) -> None:
        self.client = client
        self.model = model
        self._sent = 0

    async def instance(self) -> Instance:
        """Return the state of the model in memory. Raises LmxError if it is no longer there."""
        for instance in await self.client.instances():
            if instance.model == self.model.id:
                return instance
        raise LmxError(f"{self.model.id} is no longer loaded", hint="see the log: lmx logs")

    async def ask(self, prompt: Prompt, tokens: int, *, seed: int | None = None, space: str = "") -> TrialAnswer:
        """Return the answer of at most `tokens` tokens: greedy, or at temperature 0.8 with a seed.

        Only requests of one `space` share stored prefixes.
        """
        sampling = Sampling(temperature=0.0) if seed is None else Sampling(temperature=0.8, seed=seed)
        answer = TrialAnswer(time.perf_counter())
        request = self._request(prompt, tokens, sampling=sampling, cache_namespace=space, top_logprobs=LIKELY)
        async for event in self.client.generate(request):
            answer.consume(event, time.perf_counter())
        return answer

    async def count(self, prompt: Prompt, tokens: int, *, space: str) -> int:
        """Return the number of tokens of a greedy answer. It requests no probabilities, which cost time."""
        answer = TrialAnswer(time.perf_counter())
        request = self._request(prompt, tokens, sampling=Sampling(temperature=0.0), cache_namespace=space)
        async for event in self.client.generate(request):
            answer.consume(event, time.perf_counter())
        return len(answer.tokens)

    @asynccontextmanager
    async def stream(self, prompt: Prompt) -> AsyncIterator[TrialAnswer]:
        """Yield an answer that grows until the context is full. It is cancelled at the exit if it still runs."""
        sampling = Sampling(temperature=0.0, logit_bias=dict.fromkeys(end_tokens(Path(self.model.path)), -100.0))
        answer = TrialAnswer(time.perf_counter())
        request = self._request(prompt, None, sampling=sampling, cache_namespace=f"stream {self._sent}")

        async def read() -> None:
            try:
                async for event in self.client.generate(request):
                    answer.consume(event, time.perf_counter())
            except LmxError as error:
                answer.failure = error

        reader = asyncio.create_task(read())
        try:
            yield answer
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def _request(self, prompt: Prompt, tokens: int | None, **fields: Any) -> Generate:
        self._sent += 1
        return Generate(
            id=f"doctor-{self._sent}",
            model=self.model.id,
            prompt=prompt,
            max_tokens=tokens,
            token_ids=True,
            client="lmx doctor",
            route="/admin/generate",
            **fields,
        )


def text_of(tokens: int, key: str) -> Text:
    """Return a prompt of about `tokens` tokens. The same `key` gives the same prompt."""
    return Text(text=words(tokens, key))


def end_tokens(folder: Path) -> list[int]:
    """Return the ids of the tokens that end an answer, as the files of the model state them."""
    found: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        ids = (read_object(folder / name) or {}).get("eos_token_id")
        found |= {each for each in (ids if isinstance(ids, list) else [ids]) if type(each) is int}
    return sorted(found)


async def wait_for(condition: Callable[[], bool], what: str, answers: Sequence[TrialAnswer]) -> None:
    """Return once `condition()` is true. Raises the error of an answer, or LmxError after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        for answer in answers:
            if answer.failure is not None:
                raise answer.failure
        if time.monotonic() > deadline:
            raise LmxError(f"{what} took longer than {WAIT_SECONDS:.0f} s", hint="check whether the machine is busy")
        await asyncio.sleep(POLL_SECONDS)
