"""Client, method by method, against a real daemon."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from lmx_daemon.client.client import Client
from lmx_daemon.client.spawn import find_daemon
from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_daemon.contract.errors import (
    ConflictError,
    DaemonSilentError,
    DaemonUnreachableError,
    JobNotFoundError,
    ModelNotFoundError,
    NotFoundError,
    RequestError,
    RequestNotFoundError,
)
from lmx_daemon.contract.generation.events import Counted, Delta, Event, Finished, Loading, Started
from lmx_daemon.contract.generation.requests import Count, Generate, Sampling, Text
from lmx_daemon.settings.paths import Home
from tests.end_to_end.running import Daemon

TALKER = "tests/talker"


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[Client]:
    async with Client(daemon.home / "lmx.sock") as made:
        yield made


def ask(identity: str, max_tokens: int = 8) -> Generate:
    return Generate(
        id=identity,
        model=TALKER,
        prompt=Text(text="hello"),
        max_tokens=max_tokens,
        sampling=Sampling(temperature=0.0),
        tenant="tests",
    )


async def loaded(client: Client) -> str:
    states = [instance async for instance in client.load(LoadRequest(model=TALKER))]
    assert states[-1].state == "ready"
    return states[-1].id


async def live(client: Client) -> list[str]:
    return [row.id for row in await client.requests()]


async def until_gone(client: Client, identity: str) -> None:
    async with asyncio.timeout(2):
        while identity in await live(client):
            await asyncio.sleep(0.02)


async def test_status_health_memory_and_models_are_reported(client: Client, daemon: Daemon) -> None:
    assert (await client.health()).ok
    status = await client.status()
    assert status.address == daemon.address and status.home == str(daemon.home) and status.uptime > 0
    memory = await client.memory()
    assert memory.total >= memory.cap > memory.daemon > 10e6
    assert TALKER in [model.id for model in await client.models()]
    found = await find_daemon(Home(daemon.home))
    assert found is not None and found.pid == status.pid


async def test_watch_yields_snapshots(client: Client) -> None:
    taken = []
    async for snapshot in client.watch():
        taken.append(snapshot)
        if len(taken) == 3:
            break
    assert taken[0].taken_at < taken[1].taken_at < taken[2].taken_at
    assert TALKER in [model.id for model in taken[2].models]
    assert taken[2].models is taken[1].models  # it did not travel again
    series = taken[-1].series
    assert len(series.memory) == len(series.decode) == len(series.prefill) == len(series.running) > 0


async def test_load_is_idempotent_and_unload_frees_the_model(client: Client) -> None:
    identity = await loaded(client)
    again = [instance async for instance in client.load(LoadRequest(model=TALKER, ttl=500))]
    assert again[-1].id == identity and again[-1].expires_at is not None
    (gone,) = await client.unload(UnloadRequest(id=identity))
    assert gone.id == identity
    assert await client.instances() == []
    with pytest.raises(NotFoundError):
        await client.unload(UnloadRequest(id=identity))
    with pytest.raises(ModelNotFoundError):
        _ = [instance async for instance in client.load(LoadRequest(model="no/such"))]


async def test_load_limits_the_context_length(client: Client) -> None:
    await client.unload(UnloadRequest(id=await loaded(client)))
    last = [i async for i in client.load(LoadRequest(model=TALKER, context_length=64))][-1]
    assert last.capabilities is not None and last.capabilities.context_length == 64
    events = [event async for event in client.generate(ask("short", 1000))]
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.reason == "length"
    assert finished.usage.prompt_tokens + finished.usage.completion_tokens == 64
    await client.unload(UnloadRequest(id=TALKER))


async def test_request_loads_its_model_and_gets_loading_events(client: Client) -> None:
    if await client.instances():
        await client.unload(UnloadRequest(id=TALKER))
    events: list[Event] = [event async for event in client.generate(ask("first"))]
    kinds = [type(event) for event in events]
    assert kinds[0] is Loading and Started in kinds and Delta in kinds and kinds[-1] is Finished
    assert kinds.count(Finished) == 1
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.timings.load > 0


async def test_request_is_cancelled_while_its_model_loads(client: Client) -> None:
    if await client.instances():
        await client.unload(UnloadRequest(id=TALKER))
    events: list[Event] = []
    async for event in client.generate(ask("early", 100_000)):
        events.append(event)
        if len(events) == 1:
            assert isinstance(event, Loading)
            await client.cancel("early")
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.reason == "cancelled"
    await loaded(client)


async def test_tokens_are_counted(client: Client) -> None:
    events = [event async for event in client.generate(Count(id="c", model=TALKER, prompt=Text(text="hello")))]
    assert isinstance(events[-1], Counted) and events[-1].tokens > 0


async def test_closed_stream_cancels_its_request(client: Client) -> None:
    await loaded(client)
    stream = client.generate(ask("left", 100_000))
    async for event in stream:
        if isinstance(event, Delta):
            assert "left" in await live(client)
            break
    await stream.aclose()  # type: ignore[attr-defined]
    await until_gone(client, "left")


async def test_second_cancellation_has_no_effect(client: Client) -> None:
    await loaded(client)
    endings = []
    async for event in client.generate(ask("by-id", 100_000)):
        if isinstance(event, Delta) and not endings:
            await client.cancel("by-id")
        if isinstance(event, Finished):
            endings.append(event.reason)
    assert endings == ["cancelled"]
    await until_gone(client, "by-id")
    await client.cancel("by-id")
    with pytest.raises(RequestNotFoundError):
        await client.cancel("never-was")


async def test_second_request_with_an_active_id_is_refused(client: Client) -> None:
    await loaded(client)
    first = client.generate(ask("same", 100_000))
    await anext(first)
    with pytest.raises(ConflictError):
        await anext(client.generate(ask("same")))
    await first.aclose()  # type: ignore[attr-defined]


async def test_logs_are_streamed(client: Client) -> None:
    lines = [line async for line in client.logs(tail=50, follow=False)]
    assert any("serves at" in line.message for line in lines)
    following = client.logs(tail=0)
    waiting = asyncio.ensure_future(anext(following))
    async with asyncio.timeout(10):
        while not waiting.done():  # lines before the subscription are not sent
            _ = [event async for event in client.generate(ask("logged"))]
            await asyncio.wait([waiting], timeout=0.1)
    line = await waiting
    assert line.request == "logged" or "loaded" in line.message
    await following.aclose()  # type: ignore[attr-defined]


async def test_failed_pull_is_watched_and_listed(client: Client) -> None:
    with pytest.raises(RequestError):
        await client.pull(PullRequest(repo="not a repository"))
    with pytest.raises(JobNotFoundError):
        await client.cancel_pull("unknown")
    job = await client.pull(PullRequest(repo="maker/unreachable"))
    updates = [download async for download in client.watch_pull(job.id)]
    assert updates[-1].state == "failed" and updates[-1].error is not None
    assert job.id in [download.id for download in await client.pulls()]


async def test_missing_daemon_is_unreachable(tmp_path: Path) -> None:
    async with Client(tmp_path / "lmx.sock") as client:
        with pytest.raises(DaemonUnreachableError):
            await client.health()
    assert await find_daemon(Home(tmp_path)) is None


async def test_silent_daemon_is_not_reported_as_missing(tmp_path: Path) -> None:
    def silent(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("nothing", request=request)

    async with Client(tmp_path / "lmx.sock", transport=httpx2.MockTransport(silent)) as client:
        with pytest.raises(DaemonSilentError, match="does not answer in time"):
            await client.health()
