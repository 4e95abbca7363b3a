"""The trials of `lmx doctor --engine`: what the engine must do on every machine, shown with a model.

They run in a daemon of their own (trial_daemon.py) with the real worker. mlx-lm is measured in another process once
that daemon has unloaded the model, so that the model is in memory only once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lmx_cli.bench.run import ShowProgress
from lmx_cli.doctor.bare_rates import Burst, bare_rates
from lmx_cli.doctor.checks import CheckResult
from lmx_cli.doctor.trial_answers import TrialAnswer, compare
from lmx_cli.doctor.trial_checks import (
    REPORT,
    batch_check,
    cache_check,
    memory_check,
    rate_check,
    returned,
    stall_check,
)
from lmx_cli.doctor.trial_daemon import trial_daemon
from lmx_cli.doctor.trial_requests import POLL_SECONDS, TrialModel, text_of, wait_for
from lmx_daemon.client.client import Client
from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.requests import Text, Tokens
from lmx_daemon.contract.models import Instance
from lmx_daemon.contract.units import size
from lmx_daemon.settings.paths import Home

TRIAL_SECONDS = 180.0
MEMORY_SECONDS = 20.0
STREAMS = (1, 8)
CANCELLED = 4
LEAD = 16
"""Tokens of a stream before a long prompt is sent beside it."""
ROUNDS = 3
"""Number of runs of the same prompts. The fastest one counts, since the first one compiles kernels."""


@dataclass(frozen=True)
class TrialSizes:
    """Lengths of the prompts and answers."""

    prompts: tuple[int, ...] = (12, 200, 40, 90, 5, 130)
    """Words of the prompts that are answered alone and in a batch."""
    answer: int = 32
    long: int = 1024
    """Words of a prompt that is long enough to be stored, and to be computed in pieces."""
    burst_prompt: int = 32
    burst_answer: int = 64


async def try_engine(
    home: Home, name: str, progress: ShowProgress, sizes: TrialSizes | None = None
) -> list[CheckResult]:
    """Return the results of all trials with a model. A failed trial does not prevent the others."""
    progress("engine: starting a daemon in a temporary home")
    try:
        async with trial_daemon(home) as client:
            progress(f"engine: loading {name}")
            loaded = await _load(client, name, progress)
            model = await _model(client, loaded)
            return [_loaded(loaded), *await _trials(model, sizes or TrialSizes(), progress)]
    except LmxError as error:
        return [_failed("engine: load", error)]
    finally:
        progress("")


async def _trials(model: TrialModel, sizes: TrialSizes, progress: ShowProgress) -> list[CheckResult]:
    trials: dict[str, Callable[[TrialModel, TrialSizes], Awaitable[CheckResult]]] = {
        "engine: batch": batched_equals_alone,
        "engine: cache": cached_equals_cold,
        "engine: cancel": cancel_returns_memory,
        "engine: long prompt": long_prompt_beside_a_stream,
        "engine: speed": speed_beside_mlx_lm,
    }
    found = []
    for number, (name, trial) in enumerate(trials.items(), 1):
        progress(f"{name} ({number} of {len(trials)})")
        try:
            async with asyncio.timeout(TRIAL_SECONDS):
                found.append(await trial(model, sizes))
        except LmxError as error:
            found.append(_failed(name, error))
        except TimeoutError:
            found.append(CheckResult(name, "failed", f"no result within {TRIAL_SECONDS:.0f} s", REPORT))
    return found


async def batched_equals_alone(model: TrialModel, sizes: TrialSizes) -> CheckResult:
    """Answer the same prompts one by one and together, half of them greedily, half with a seed."""

    def ask(index: int, length: int, space: str) -> Awaitable[TrialAnswer]:
        seed = index if index % 2 else None
        return model.ask(text_of(length, f"batch {index}"), sizes.answer, seed=seed, space=f"{space} {index}")

    alone = [await ask(index, length, "alone") for index, length in enumerate(sizes.prompts)]
    batched = await asyncio.gather(*(ask(index, length, "batch") for index, length in enumerate(sizes.prompts)))
    return batch_check(compare(alone, batched), most_together(batched))


async def cached_equals_cold(model: TrialModel, sizes: TrialSizes) -> CheckResult:
    """Answer a prompt without a stored prefix, then with it, then in another namespace, again without it."""
    prompt = await _long(model, sizes, "cache")
    cold = await model.ask(prompt, sizes.answer, space="first")
    warm = await model.ask(prompt, sizes.answer, space="first")
    again = await model.ask(prompt, sizes.answer, space="second")
    without = min(cold.first_token, again.first_token)
    return cache_check(compare([cold, again], [warm, warm]), warm.prompt, warm.cached, without, warm.first_token)


async def cancel_returns_memory(model: TrialModel, sizes: TrialSizes) -> CheckResult:
    """Cancel streams that hold memory, and measure when MLX has freed it. Stored prefixes are not counted."""
    base = _used(await model.instance())
    async with AsyncExitStack() as streams:
        prompts = [await _long(model, sizes, f"cancel {index}") for index in range(CANCELLED)]
        answers = [await streams.enter_async_context(model.stream(prompt)) for prompt in prompts]
        await wait_for(lambda: all(answer.started_at for answer in answers), "the start of the streams", answers)
        highest = await _highest(model, base)
    begun = time.monotonic()
    while True:
        instance = await model.instance()
        after, elapsed = _used(instance), time.monotonic() - begun
        if (instance.running == 0 and returned(base, highest, after)) or elapsed > MEMORY_SECONDS:
            return memory_check(base, highest, after, elapsed)
        await asyncio.sleep(POLL_SECONDS)


async def long_prompt_beside_a_stream(model: TrialModel, sizes: TrialSizes) -> CheckResult:
    """Send a long prompt beside a stream, and measure the gaps of the stream.

    A failure is confirmed by a second try: while this process is not scheduled, the events of both requests pile up.
    """
    found = await _beside_a_stream(model, sizes, "long")
    return await _beside_a_stream(model, sizes, "long again") if found.state == "failed" else found


async def _beside_a_stream(model: TrialModel, sizes: TrialSizes, key: str) -> CheckResult:
    prompt = await _long(model, sizes, key)
    async with model.stream(text_of(8, "stream")) as stream:
        await wait_for(lambda: len(stream.times) > LEAD, "the start of the stream", [stream])
        before = len(stream.times)
        answer = await model.ask(prompt, 1, space=key)
    begun, ended = answer.started_at or answer.sent_at, answer.sent_at + answer.first_token
    usual = (stream.times[before - 1] - stream.times[0]) / (before - 1)
    during = [each for each in stream.times if begun <= each <= ended]
    return stall_check(answer.prompt, ended - begun, gaps_of([begun, *during, ended]) if during else [], usual)


async def speed_beside_mlx_lm(model: TrialModel, sizes: TrialSizes) -> CheckResult:
    """Measure the tokens per second of lmx, then those of mlx-lm for the same prompts and numbers of tokens."""
    own: dict[int, float] = {}
    bursts = []
    for streams in STREAMS:
        prompts = tuple(_tokens(index, sizes.burst_prompt) for index in range(streams))
        rounds = [await _burst(model, prompts, sizes.burst_answer, f"round {number}") for number in range(ROUNDS)]
        counts = rounds[0][0]
        own[streams] = sum(counts) / min(seconds for _, seconds in rounds)
        bursts.append(Burst(prompts, counts))
    await model.client.unload(UnloadRequest(id=model.model.id))
    bare = await bare_rates(Path(model.model.path), bursts)
    return rate_check(own, dict(zip(STREAMS, bare, strict=True)))


async def _burst(
    model: TrialModel, prompts: tuple[tuple[int, ...], ...], tokens: int, space: str
) -> tuple[tuple[int, ...], float]:
    """Send the prompts at once. Return the number of tokens of each answer, and the seconds until the last one."""
    begun = time.perf_counter()
    counts = await asyncio.gather(*(model.count(Tokens(ids=ids), tokens, space=space) for ids in prompts))
    return tuple(counts), time.perf_counter() - begun


def most_together(answers: list[TrialAnswer]) -> int:
    """Return the largest number of answers that were generated at the same time."""
    spans = [(answer.times[0], answer.times[-1]) for answer in answers if answer.times]
    return max((sum(first <= moment <= last for first, last in spans) for moment, _ in spans), default=0)


def gaps_of(times: list[float]) -> list[float]:
    """Return the seconds between times in order."""
    return [later - earlier for earlier, later in pairwise(times)]


def _tokens(index: int, count: int) -> tuple[int, ...]:
    """Return a prompt of token ids that every vocabulary has, above the control tokens at its beginning."""
    return tuple(100 + (7 * index + position * (index + 3)) % 400 for position in range(count))


async def _long(model: TrialModel, sizes: TrialSizes, key: str) -> Text:
    """Return a long prompt that leaves room for a long answer in the context."""
    capabilities = (await model.instance()).capabilities
    room = capabilities.context_length // 4 if capabilities is not None else sizes.long
    return text_of(min(sizes.long, room), key)


async def _highest(model: TrialModel, base: int) -> int:
    """Return the memory in use once it is above `base`. A worker reports it once a second."""
    deadline = time.monotonic() + MEMORY_SECONDS
    highest = base
    while highest <= base and time.monotonic() < deadline:
        highest = max(highest, _used(await model.instance()))
        await asyncio.sleep(POLL_SECONDS)
    return highest


def _used(instance: Instance) -> int:
    return instance.memory.active - instance.memory.prefix_cache


async def _load(client: Client, name: str, progress: ShowProgress) -> Instance:
    last = None
    async for last in client.load(LoadRequest(model=name)):
        progress(f"engine: loading {last.model}, {last.stage or last.state}")
    if last is None or last.state != "ready":
        raise LmxError(f"{name} was not loaded", hint="see: lmx load " + name)
    return last


async def _model(client: Client, loaded: Instance) -> TrialModel:
    found = next((model for model in await client.models() if model.id == loaded.model), None)
    if found is None:
        raise LmxError(f"{loaded.model} is not in the list of models", hint="`lmx ls` lists the installed models")
    return TrialModel(client, found)


def _loaded(instance: Instance) -> CheckResult:
    seconds = instance.load_seconds or 0.0
    message = f"{instance.model} in {seconds:.1f} s, {size(instance.held)}, {instance.backend}"
    figures = {"seconds": seconds, "held_bytes": float(instance.held)}
    return CheckResult("engine: load", "ok", message, figures=figures)


def _failed(name: str, error: LmxError) -> CheckResult:
    return CheckResult(name, "failed", error.message, error.hint or REPORT)
