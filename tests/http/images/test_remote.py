"""Images by address: only allowed hosts and public addresses, bounded, and in every dialect."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.events import Counted, Delta, Ending, Event, Finished, Started
from lmx_daemon.contract.generation.requests import Chat, Count, Generate, ImagePart, Message
from lmx_daemon.http.images import remote
from lmx_daemon.http.images.addresses import is_public
from lmx_daemon.http.images.inline import RemoteImage
from lmx_daemon.http.images.remote import RemoteImages
from lmx_daemon.http.management import ModelManagement
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.settings.schema import ServerSettings
from tests.http.asgi import FakePool, ask, public_app_over
from tests.pictures import png

URL = "https://images.example.org/a.png?size=1"
PNG = png()
PUBLIC = "8.8.8.8"
Answering = Callable[[httpx2.Request], httpx2.Response]


def image_at(url: str = URL, place: str = "messages[0]") -> RemoteImage:
    return RemoteImage(data=b"", media_type="", url=url, place=place)


def asked(*images: ImagePart) -> Generate:
    return Generate(id="r", model="m", prompt=Chat(messages=(Message(role="user", content=images),)))


def answered(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "image/png"}, stream=httpx2.ByteStream(PNG))


class Internet:
    """A network of one host: its addresses, its answer, and the requests that it has received."""

    def __init__(self, addresses: Sequence[str] = (PUBLIC,), answer: Answering = answered) -> None:
        self.addresses, self.answer = addresses, answer
        self.resolved: list[tuple[str, int]] = []
        self.requests: list[httpx2.Request] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.resolved.append((host, port))
        return self.addresses

    def received(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self.answer(request)

    def images(self, hosts: tuple[str, ...] = ("images.example.org",)) -> RemoteImages:
        settings = ServerSettings(image_hosts=hosts)
        return RemoteImages(lambda: settings, self.resolve, lambda proxy: httpx2.MockTransport(self.received))


async def test_an_image_is_fetched_from_the_resolved_address_under_the_name_of_its_host() -> None:
    internet = Internet()
    found = await internet.images().fetched(asked(image_at(), image_at()))
    assert isinstance(found.prompt, Chat)
    assert found.prompt.messages[0].content == (ImagePart(data=PNG, media_type="image/png"),) * 2
    (request,) = internet.requests
    assert str(request.url) == "https://8.8.8.8/a.png?size=1" and request.headers["host"] == "images.example.org"
    assert request.extensions["sni_hostname"] == "images.example.org"
    assert internet.resolved == [("images.example.org", 443)]


async def test_the_next_address_is_tried_if_one_does_not_answer() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host != "9.9.9.9":
            raise httpx2.ConnectError("refused")
        return answered(request)

    internet = Internet(["2606:4700::1", PUBLIC, "9.9.9.9"], answer)
    await internet.images().fetched(asked(image_at("http://IMAGES.example.org./a.png")))
    assert [request.url.host for request in internet.requests] == ["2606:4700::1", PUBLIC, "9.9.9.9"]
    assert internet.resolved == [("images.example.org", 80)]
    internet.addresses = [PUBLIC]
    with pytest.raises(RequestError, match=r"no connection to .*: refused"):
        await internet.images().fetched(asked(image_at()))


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example.org/a.png",
        "https://images.example.org.evil.example/a.png",
        "https://images.example.org@evil.example/a.png",
        "https://user:word@images.example.org/a.png",
        "https://images.example.org:8443/a.png",
        "https://127.0.0.1/a.png",
        "https:///a.png",
        "http://[::1",
        "https://images.example.org/" + "a" * 9000,
    ],
)
async def test_other_addresses_are_refused_before_a_name_is_resolved(url: str) -> None:
    internet = Internet()
    with pytest.raises(RequestError) as error:
        await internet.images().fetched(asked(image_at(url, "messages[2].content[1]")))
    assert error.value.param == "messages[2].content[1]" and not internet.resolved


async def test_no_host_is_allowed_by_default() -> None:
    internet = Internet()
    with pytest.raises(RequestError, match=r"images are not fetched from 'images\.example\.org'") as error:
        await internet.images(ServerSettings().image_hosts).fetched(asked(image_at()))
    assert "image_hosts" in str(error.value.hint)


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "fe80::1%eth0", "::ffff:192.168.0.1"])
async def test_a_host_with_a_private_address_is_not_connected_to(address: str) -> None:
    internet = Internet([PUBLIC, address])
    with pytest.raises(RequestError, match="private network"):
        await internet.images().fetched(asked(image_at()))
    assert not internet.requests


def test_public_addresses() -> None:
    public = ("8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8")
    private = (
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1", "224.0.0.1",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "fc00::1", "fe80::1", "fec0::1", "ff02::1",
    )  # fmt: skip
    assert all(is_public(ip_address(address)) for address in public)
    assert not [address for address in private if is_public(ip_address(address))]


def response(status: int = 200, data: bytes = PNG, **headers: str) -> Answering:
    named = {"content-type": "image/png"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx2.Response(status, headers=named, stream=httpx2.ByteStream(data))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response(302, location="http://127.0.0.1/"), "redirects are not followed"),
        (response(404), "status 404"),
        (response(content_type="text/html"), "'text/html', which is not an uncompressed image"),
        (response(content_encoding="gzip"), "not an uncompressed image"),
        (response(data=b"<svg/>", content_type="image/svg+xml"), "not a PNG, JPEG, GIF or WebP"),
        (response(data=png(9000, 9000)), "9000 x 9000 pixels"),
    ],
)
async def test_answers_without_an_acceptable_image_are_errors(answer: Answering, reason: str) -> None:
    internet = Internet(answer=answer)
    with pytest.raises(RequestError, match=reason) as error:
        await internet.images().fetched(asked(image_at()))
    assert error.value.param == "messages[0]" and len(internet.requests) == 1


async def test_an_endless_answer_is_ended_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_IMAGE_BYTES", 100_000)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield bytes(1000)

    class Endless(httpx2.AsyncByteStream):
        def __aiter__(self) -> AsyncIterator[bytes]:
            return endless()

    internet = Internet(answer=lambda _: httpx2.Response(200, headers={"content-type": "image/png"}, stream=Endless()))
    with pytest.raises(RequestError, match="more than 100000 bytes"):
        await internet.images().fetched(asked(image_at()))
    assert sent <= 101_000


async def test_a_silent_host_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FETCH_SECONDS", 0.05)

    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    images = RemoteImages(lambda: ServerSettings(image_hosts=("images.example.org",)), resolve)
    with pytest.raises(RequestError, match="took more than"):
        await images.fetched(asked(image_at()))


async def test_the_number_of_addresses_is_bounded() -> None:
    images = [image_at(f"{URL}&{number}") for number in range(remote.MAX_FETCHED + 1)]
    with pytest.raises(RequestError, match="at most 16"):
        await Internet().images().fetched(asked(*images))


def script(active: ActiveRequest) -> list[Event]:
    if isinstance(active.request, Count):
        return [Counted(id=active.request.id, tokens=5)]
    return [
        Started(id=active.request.id, prompt_tokens=1, cached_tokens=0, seed=1),
        Delta(id=active.request.id, content="A cat", tokens=1),
        Finished(id=active.request.id, endings=(Ending(reason="stop"),)),
    ]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "vision", "max_tokens": 9, "messages": [{"role": "user", "content": [fields]}]}


OPENAI = chat(type="image_url", image_url={"url": URL})
ANTHROPIC = chat(type="image", source={"type": "url", "url": URL})
ITEM = {"role": "user", "content": [{"type": "input_image", "image_url": URL}]}
RESPONSES = {"model": "vision", "input": [ITEM]}
LM_STUDIO = {"model": "vision", "input": [{"type": "image", "data_url": URL}]}
ROUTES: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", OPENAI, "messages[0].content[0].image_url"),
    ("/api/v0/chat/completions", OPENAI, "messages[0].content[0].image_url"),
    ("/v1/messages", ANTHROPIC, "messages[0].content[0].source.url"),
    ("/v1/messages/count_tokens", ANTHROPIC, "messages[0].content[0].source.url"),
    ("/v1/responses", RESPONSES, "input[0].content[0].image_url"),
    ("/v1/responses/input_tokens", RESPONSES, "input[0].content[0].image_url"),
    ("/api/v1/chat", LM_STUDIO, "input[0].data_url"),
    ("/api/generate", {"model": "vision", "prompt": "x", "images": [URL], "stream": False}, "images[0]"),
    (
        "/api/chat",
        {"model": "vision", "messages": [{"role": "user", "content": "x", "images": [URL]}], "stream": False},
        "messages[0].images[0]",
    ),
]


def app_over(pool: FakePool, images: RemoteImages | None = None) -> Any:
    nothing: Any = None
    return public_app_over(pool, images=images, management=ModelManagement(nothing, nothing, nothing, nothing))


@pytest.mark.parametrize(("path", "body", "place"), ROUTES, ids=[path for path, _, _ in ROUTES])
async def test_every_route_fetches_images_of_allowed_hosts_only(path: str, body: dict[str, Any], place: str) -> None:
    pool, internet = FakePool(script), Internet()
    answer = await ask(app_over(pool, internet.images()), "POST", path, body)
    assert answer.status == 200, answer.body
    (submitted,) = pool.submitted
    assert isinstance(submitted.prompt, Chat)
    images = [part for part in submitted.prompt.messages[0].content if isinstance(part, ImagePart)]
    assert images == [ImagePart(data=PNG, media_type="image/png")]

    refused = await ask(app_over(FakePool(script)), "POST", path, body)
    assert refused.status == 400 and f"{place}: images are not fetched from" in refused.body.decode()
    no_vision = await ask(app_over(pool, internet.images()), "POST", path, body | {"model": "text"})
    assert no_vision.status == 400 and b"does not accept images" in no_vision.body
    assert len(internet.requests) == len(pool.submitted) == 1


@pytest.mark.parametrize(("path", "body"), [("/v1/responses", RESPONSES), ("/api/v1/chat", LM_STUDIO)])
async def test_a_stored_conversation_holds_the_fetched_image(path: str, body: dict[str, Any], tmp_path: Path) -> None:
    pool, internet = FakePool(script), Internet()
    app = public_app_over(pool, folder=tmp_path, images=internet.images())
    first = (await ask(app, "POST", path, body)).json()
    identity = first.get("response_id") or first["id"]
    again = {"model": "vision", "input": "And now?", "previous_response_id": identity}
    answer = await ask(app, "POST", path, json.dumps(again).encode())
    assert answer.status == 200, answer.body
    assert isinstance(prompt := pool.submitted[-1].prompt, Chat)
    assert prompt.messages[0].content[0] == ImagePart(data=PNG, media_type="image/png")
    assert len(internet.requests) == 1
