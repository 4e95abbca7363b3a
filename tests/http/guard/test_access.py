"""API keys of `lmx key create` on the public app: which requests need one, what a key allows, refusals."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.admin.keys import KeyRequest
from lmx_daemon.contract.generation.events import Ending, Event, Finished, Started
from lmx_daemon.contract.generation.requests import Generate
from lmx_daemon.storage.keys import KeyStore
from tests.http.asgi import Answer, FakePool, ask, public_app_over

EVENTS: list[Event] = [
    Started(id="r", prompt_tokens=1, cached_tokens=0, seed=1),
    Finished(id="r", endings=(Ending(reason="stop"),)),
]
MESSAGES = [{"role": "user", "content": "x"}]
CHAT = {"messages": MESSAGES, "max_tokens": 5}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x", "store": False},
    "/v1/messages": CHAT,
    "/v1/messages/count_tokens": {"messages": MESSAGES},
    "/api/chat": {"messages": MESSAGES, "stream": False},
    "/api/generate": {"prompt": "x", "stream": False},
    "/api/v0/chat/completions": CHAT,
    "/api/v1/chat": {"input": "x", "store": False},
}
"""A valid body for one route of each dialect, without the model."""


class Port:
    """The public app over a store of keys."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.store = KeyStore(folder / "keys.json")
        self.pool = FakePool(lambda _: EVENTS)
        self.app = public_app_over(self.pool, folder=folder, verify=self.store.verify, **settings)

    def key(self, **fields: Any) -> str:
        return self.store.create(KeyRequest(**({"name": "a"} | fields))).secret

    async def post(self, path: str = "/v1/completions", model: str = "org/m", **headers: str) -> Answer:
        return await ask(self.app, "POST", path, ROUTES[path] | {"model": model}, **headers)

    async def get(self, path: str = "/v1/models", **headers: str) -> int:
        return (await ask(self.app, "GET", path, **headers)).status


@pytest.fixture
def port(tmp_path: Path) -> Port:
    return Port(tmp_path)


@pytest.mark.parametrize("path", ROUTES)
async def test_every_dialect_takes_the_key_in_both_headers_and_refuses_a_revoked_one(port: Port, path: str) -> None:
    key = port.key(models=("org/*",))
    for headers in ({"authorization": f"Bearer {key}"}, {"x_api_key": key}):
        assert (await port.post(path, **headers)).status not in (401, 403)
        refused = await port.post(path, model="other/m", **headers)
        assert refused.status == 404 and b"other/m" in refused.body and b"error" in refused.body
    port.store.revoke(port.store.rows()[0].id)
    refused = await port.post(path, x_api_key=key)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")


async def test_key_is_the_tenant_and_bounds_the_priority(port: Port) -> None:
    key = port.key(min_priority=-2, max_priority=3)
    for wanted in (-9, 0, 9):
        body = {"model": "m", "prompt": "x", "priority": wanted, "user": "u"}
        assert (await ask(port.app, "POST", "/v1/completions", body, x_api_key=key)).status == 200
    requests = [request for request in port.pool.submitted if isinstance(request, Generate)]
    assert [request.priority for request in requests] == [-2, 0, 3]
    assert {request.tenant for request in requests} == {f"key:{port.store.rows()[0].id}"}
    assert key not in repr(requests)


@pytest.mark.parametrize("path", ROUTES)
async def test_body_of_no_dialect_chooses_tenant_or_priority(port: Port, path: str) -> None:
    key = port.key(min_priority=-2, max_priority=3)
    tenant = f"key:{port.store.rows()[0].id}"
    for fields in (
        {},
        {"priority": 9},
        {"tenant": "local"},
        {"key": "default"},
        {"user": "tui"},
        {"scopes": ["admin"]},
    ):
        body = ROUTES[path] | {"model": "org/m"} | fields
        await ask(port.app, "POST", path, body, x_api_key=key)
    requests = port.pool.submitted
    assert requests and {request.tenant for request in requests} == {tenant}
    assert all(request.priority <= 3 for request in requests if isinstance(request, Generate))


async def test_loopback_is_open_to_placeholders_and_checks_keys(port: Port) -> None:
    key = port.key()
    assert await port.get() == await port.get(authorization="Bearer lmx") == await port.get(x_api_key=key) == 200
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    assert await port.get(x_api_key=wrong) == 401
    assert await port.get(x_api_key=wrong, authorization=f"Bearer {key}") == 200


@pytest.mark.parametrize("settings", [{"require_key": True}, {"address": "http://0.0.0.0:1234"}, {"api_key": "old"}])
async def test_required_key_leaves_only_the_state_open(tmp_path: Path, settings: dict[str, Any]) -> None:
    port = Port(tmp_path, **settings)
    for headers in ({}, {"authorization": "Bearer lmx"}, {"x_api_key": "lmx_00000000_" + "a" * 43}):
        assert await port.get(**headers) == 401
    assert await port.get("/health") == 200
    key = port.key()
    assert await port.get(x_api_key=key) == 200
    port.store.revoke(port.store.rows()[0].id)
    assert await port.get(x_api_key=key) == 401, "the last key is gone, and nothing is open"


async def test_configured_key_has_all_scopes_beside_others(tmp_path: Path) -> None:
    port = Port(tmp_path, api_key="old")
    port.key()
    assert await port.get(x_api_key="old") == 200
    assert (await port.post(authorization="Bearer old")).status == 200


@pytest.mark.parametrize(
    ("scope", "method", "path", "body"),
    [
        ("infer", "POST", "/v1/completions", {"model": "m", "prompt": "x"}),
        ("pull", "POST", "/api/v1/models/download", {"model": "org/m"}),
        ("pull", "POST", "/api/pull", {"model": "org/m", "stream": False}),
        ("manage", "DELETE", "/api/delete", {"model": "org/m"}),
        ("manage", "POST", "/api/copy", {"source": "org/m", "destination": "x"}),
    ],
)
async def test_missing_scope_is_named(port: Port, scope: Any, method: str, path: str, body: Any) -> None:
    others = tuple({"infer", "read", "pull", "manage"} - {scope})
    refused = await ask(port.app, method, path, body, x_api_key=port.key(scopes=others))
    assert refused.status == 403 and f"'{scope}'" in refused.body.decode()


@pytest.mark.parametrize("path", ROUTES)
async def test_rate_of_a_key_is_429_with_retry_after_in_every_dialect(port: Port, path: str) -> None:
    key, other = port.key(rate=1), port.key()
    assert (await port.post(path, x_api_key=key)).status != 429
    refused = await port.post(path, x_api_key=key)
    assert refused.status == 429 and 1 <= int(refused.headers["retry-after"]) <= 60
    assert (await port.post(path, x_api_key=other)).status != 429
    assert await port.get(x_api_key=key) == 200, "lists do not count"


async def test_requests_above_the_concurrency_of_a_key_are_429_until_one_ends(port: Port) -> None:
    key, finish = port.key(concurrency=1), list(EVENTS)
    port.pool.script = lambda _: finish[:1]
    first = asyncio.create_task(port.post(x_api_key=key))
    while not port.pool.submitted:
        await asyncio.sleep(0)
    refused = await port.post(x_api_key=key)
    assert refused.status == 429 and refused.headers["retry-after"] == "1"
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    port.pool.script = lambda _: EVENTS
    assert (await port.post(x_api_key=key)).status == 200
