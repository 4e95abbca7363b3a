"""The principal of a request: tenant and priority come from it, and not from the body."""

from typing import Any

import pytest

from lmx_daemon.contract.generation.events import Ending, Finished, Started
from lmx_daemon.contract.generation.requests import Generate
from tests.http.asgi import FakePool, ask, public_app_over

EVENTS = [Started(id="r", prompt_tokens=1, cached_tokens=0, seed=1), Finished(id="r", endings=(Ending(reason="stop"),))]


async def submitted(body: dict[str, Any], settings: dict[str, Any], **headers: str) -> Generate:
    pool = FakePool(lambda _: EVENTS)
    whole = {"model": "m", "prompt": "x"} | body
    assert (await ask(public_app_over(pool, **settings), "POST", "/v1/completions", whole, **headers)).status == 200
    (request,) = pool.submitted
    assert isinstance(request, Generate)
    return request


@pytest.mark.parametrize(
    ("settings", "headers", "tenant"),
    [({}, {}, "http"), ({"api_key": "secret"}, {"authorization": "Bearer secret"}, "key:default")],
)
async def test_user_in_the_body_does_not_change_the_tenant(settings: Any, headers: Any, tenant: str) -> None:
    first = await submitted({"user": "a"}, settings, **headers, user_agent="curl/8")
    second = await submitted({"user": "b"}, settings, **headers, user_agent="curl/8")
    assert first.tenant == second.tenant == tenant and first.client == second.client == "curl/8"
    assert (first.user, second.user) == ("a", "b")


async def test_priority_of_the_body_is_bounded_on_the_public_port() -> None:
    assert [(await submitted({"priority": wanted}, {})).priority for wanted in (-10, 0, 9, 10)] == [-10, 0, 9, 9]


async def test_key_is_never_part_of_a_request() -> None:
    request = await submitted({}, {"api_key": "secret"}, x_api_key="secret")
    assert "secret" not in repr(request)
