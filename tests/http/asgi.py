"""An ASGI client that records an answer, and a pool that answers requests by a script."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmx_daemon.contract.admin.snapshot import Health
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.contract.models import Instance, Model
from lmx_daemon.contract.principal import Principal
from lmx_daemon.http.app import public_app
from lmx_daemon.http.dialect import Dialects
from lmx_daemon.http.guard.access import Verify, no_keys
from lmx_daemon.http.images.remote import RemoteImages
from lmx_daemon.http.management import ModelManagement
from lmx_daemon.http.server.body_reader import BodyReader
from lmx_daemon.http.service import ModelService
from lmx_daemon.http.stored_answers import StoredAnswers
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.router.route import Route
from lmx_daemon.settings.schema import ServerSettings
from lmx_daemon.storage.answers import AnswerLimits, AnswerStore

Script = Callable[[ActiveRequest], Sequence[Event]]


@dataclass
class Answer:
    """Status, headers and body parts in the order in which the app sent them."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any, method: str, path: str, body: Any = None, *, answer: Answer | None = None, **headers: str
) -> Answer:
    """Return the app's answer to one request, from a client that stays connected until it is complete.

    `path` may have a query. A given `answer` receives each part as it arrives.
    """
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"host": "localhost"}
    if content:
        named |= {"content-type": "application/json", "content-length": str(len(content))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    answer, complete, unread = answer or Answer(), asyncio.Event(), [content]

    async def receive() -> dict[str, Any]:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await complete.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            answer.parts.append(message.get("body", b""))
            if not message.get("more_body"):
                complete.set()

    place, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": place,
        "raw_path": place.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 1234),
        "state": {},
    }
    await app(scope, receive, send)
    return answer


class NoRequests:
    """A request registry without requests."""

    def has(self, request_id: str) -> bool:
        return False

    def refuse(self, request: Request, error: LmxError) -> None:
        """Do nothing."""


class FakePool:
    """Pool that answers each request by `script` and records the requests."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.submitted: list[Request] = []
        self.released = 0
        self.requests = NoRequests()

    def submit(self, request: Request) -> ActiveRequest:
        self.submitted.append(request)
        active = ActiveRequest(request, lambda _: None)
        for event in self.script(active):
            active.put(event)
        return active

    def release(self, active: ActiveRequest) -> None:
        self.released += 1

    def instances(self) -> list[Instance]:
        return []

    def health(self) -> Health:
        return Health(ok=True)


class FakeCatalog:
    """Catalog without models."""

    async def listing(self) -> list[Any]:
        return []


class FakeRouter:
    """Router that finds every model by its id. A model has vision if its name contains "vision"."""

    async def route(self, request: Request, principal: Principal) -> Route:
        return Route(request.model, await self.find(request.model, principal))

    async def find(self, name: str, principal: Principal) -> Model:
        if not principal.allows(name):
            raise principal.no_model(name)
        return Model(id=name, path="", source="hub", vision="vision" in name)

    model_to_load = find

    def loaded(self, name: str, principal: Principal) -> str:
        return name

    def aliases(self, principal: Principal) -> list[Any]:
        return []

    def is_alias(self, name: str) -> bool:
        return False


class FakeManagement(ModelManagement):
    """Model management without models. Only requests that are refused before it reach it."""

    def __init__(self) -> None:
        pass


def public_app_over(
    pool: Any,
    dialects: Dialects | None = None,
    management: Any = None,
    folder: Path | None = None,
    images: RemoteImages | None = None,
    router: Any = None,
    verify: Verify = no_keys,
    address: str = "http://127.0.0.1:1234",
    **settings: Any,
) -> Any:
    """Return the real public app over a fake pool. `settings` are those of [server]."""

    def server() -> ServerSettings:
        return ServerSettings(**settings)

    catalog: Any = FakeCatalog()
    management = management or FakeManagement()
    bodies = BodyReader(server)
    return public_app(
        ModelService(pool, catalog, router or FakeRouter(), bodies, images or RemoteImages(server)),
        bodies,
        management,
        StoredAnswers(AnswerStore(Path(folder or "/dev/null") / "answers.db", lambda: AnswerLimits(100.0, 10**6))),
        server,
        address,
        dialects,
        verify=verify,
    )
