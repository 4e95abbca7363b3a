"""The service that dialects use: listing and look-up of models, and answers to requests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from litestar import Response
from litestar.di import NamedDependency

from lmx_daemon.contract.admin.snapshot import Health
from lmx_daemon.contract.errors import CancelledError, LmxError, UnsupportedError, error_from
from lmx_daemon.contract.generation.events import Counted, Decided, Event, Failed
from lmx_daemon.contract.generation.requests import Count, Decide, Generate, Request
from lmx_daemon.contract.models import Instance, Model
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.dialect import AnswerEncoder
from lmx_daemon.http.images.remote import RemoteImages, remote_images
from lmx_daemon.http.server.body_reader import BodyReader
from lmx_daemon.http.serving import Finish, all_events, answered, ignore, serve, stream_of, unless_disconnected
from lmx_daemon.http.several import SeveralRequests
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.residency.pool import Pool
from lmx_daemon.residency.requests.active_request import ActiveRequest
from lmx_daemon.router.route import Route
from lmx_daemon.router.router import Router
from lmx_daemon.settings.values.aliases import is_pattern

B = TypeVar("B")
R = TypeVar("R")
A = TypeVar("A", bound=Generate | Decide | Count)
MODEL_HEADER = b"x-lmx-model"
"""Header of an answer with the id of the model that gives it."""
LOAD_STATES = {"ready": "loaded", "starting": "loading", "loading": "loading"}


class ModelService:
    """Access of a dialect to models and answers."""

    def __init__(self, pool: Pool, catalog: Catalog, router: Router, bodies: BodyReader, images: RemoteImages) -> None:
        self._pool, self._catalog, self._router = pool, catalog, router
        self._bodies, self._images = bodies, images

    async def read(self, request: AnyRequest, kind: type[B], translate: Callable[[B], R]) -> tuple[B, R]:
        """Return the request's body as `kind`, and its translation by `translate`. Raise RequestError for a bad body.

        Decoding and translation of a large body run in a thread.
        """
        return await self._bodies.decoded(request, kind, lambda body: (body, translate(body)))

    async def with_images(self, request: AnyRequest, asked: A) -> A:
        """Return the request with the images that it names by address. A route that stores its prompt calls it.

        Raise UnsupportedError, before anything is fetched, for a model without vision or a host that is not allowed.
        """
        remote = remote_images(asked)
        if not remote:
            return asked
        context_of(request).principal.require("infer")
        if not (await self._route(request, asked)).model.vision:
            raise UnsupportedError("this model does not accept images", param=remote[0].place)
        return await unless_disconnected(request, self._images.fetched(asked))

    async def routed(self, request: AnyRequest, asked: A) -> A:
        """Return the request for the model that the router chooses, and name that model in the answer's header.

        The choice holds until the caller waits for anything. Raise ModelNotFoundError and the like.
        """
        context_of(request).principal.require("infer")
        route = await self._route(request, asked)
        name_model(request, route.model)
        return traced(request, route.applied(asked))

    async def _route(self, request: AnyRequest, asked: Request) -> Route:
        """Return the route of a request to a model that its key allows. The observers are notified of a refusal."""
        try:
            return await self._router.route(asked, context_of(request).principal)
        except LmxError as error:
            self._pool.requests.refuse(asked, error)
            raise

    async def answer(
        self,
        request: AnyRequest,
        generate: Generate,
        encoder: Callable[[str], AnswerEncoder],
        stream: bool,
        finish: Finish = ignore,
    ) -> Response[Any]:
        """Return the answer to `generate`, in the form of the encoder that `encoder` makes for the request's id.

        `finish` is awaited with all events of a complete answer, before the client receives its end.

        Raise what fails before the first byte: ModelNotFoundError, BusyError, DeadlineError and others.
        """
        generate = await self.routed(request, await self.with_images(request, generate))
        generate = self._with_unique_id(generate)
        return await serve(request, self._pool, generate, encoder(generate.id), stream, finish)

    async def answer_all(
        self,
        request: AnyRequest,
        asked: Sequence[Generate],
        encoder: Callable[[str], AnswerEncoder],
        stream: bool,
    ) -> Response[Any]:
        """Return one answer to several requests for the same model, with the choices of all of them in order."""
        if len(asked) == 1:
            return await self.answer(request, asked[0], encoder, stream)
        context_of(request).principal.require("infer")
        route = await self._route(request, asked[0])
        name_model(request, route.model)
        asked = [traced(request, route.applied(each)) for each in asked]
        identity = self._with_unique_id(asked[0]).id
        numbered = [self._numbered(each, identity, place) for place, each in enumerate(asked)]
        several = SeveralRequests(self._pool, numbered)
        return await answered(request, several, several, several.choices, encoder(identity), stream)

    async def complete(self, request: AnyRequest, asked: Request) -> list[Event]:
        """Return all events of a request that succeeds. Raise the error of one that fails."""
        asked = await self.routed(request, await self.with_images(request, asked))
        active = self._pool.submit(self._with_unique_id(asked))
        try:
            events = await unless_disconnected(request, all_events(active))
        finally:
            self._pool.release(active)
        if isinstance(last := events[-1], Failed):
            raise error_from(last.error)
        return events

    async def decide(self, request: AnyRequest, asked: Sequence[Decide]) -> list[Decided]:
        """Return the ends of decisions for the same model. Raise the error of the first one that fails.

        The others are cancelled then, as all are if the client disconnects.
        """
        context_of(request).principal.require("infer")
        route = await self._route(request, asked[0])
        name_model(request, route.model)
        identity = self._with_unique_id(asked[0]).id
        active: list[ActiveRequest] = []
        try:
            for place, each in enumerate(asked):
                active.append(self._pool.submit(self._numbered(route.applied(each), identity, place)))
            ends = await unless_disconnected(request, ends_of(active))
        finally:
            for each_active in active:
                self._pool.release(each_active)
        return [decided_of(end) for end in ends]

    async def count(self, request: AnyRequest, count: Count) -> int:
        """Return the number of tokens of a prompt, template and tools included. Raise the error of the model."""
        last = (await self.complete(request, count))[-1]
        assert isinstance(last, Counted)
        return last.tokens

    def cancel(self, request: AnyRequest, identity: str) -> bool:
        """Cancel a request of the same tenant. Return whether there was one."""
        tenant = context_of(request).principal.tenant
        found = any(row.id == identity and row.tenant == tenant for row in self._pool.requests.rows())
        if found:
            self._pool.requests.cancel(identity)
        return found

    async def events(
        self, request: AnyRequest, asked: Request, encoder: Callable[[str], AnswerEncoder]
    ) -> AsyncIterator[bytes]:
        """Return the stream of `asked`, without an opening: failures of the model are in the stream, too.

        Raise what prevents the request from being queued.
        """
        active = self._pool.submit(await self.routed(request, asked))
        return stream_of(self._pool, active, context_of(request).dialect, encoder(active.id))

    # For the following methods, only the models exist that the key of the request may use.

    async def models(self, request: AnyRequest) -> list[tuple[Model, str]]:
        """Return the installed models, each with its load state: "loaded", "loading" or "not-loaded"."""
        states, allows = self._states(), context_of(request).principal.allows
        listing = await self._catalog.listing()
        return [(model, states.get(model.id, "not-loaded")) for model in listing if allows(model.id)]

    async def model(self, request: AnyRequest, name: str) -> tuple[Model, str]:
        """Return the model that a name means, and its load state. Raise ModelNotFoundError."""
        model = await self._router.find(name, context_of(request).principal)
        return model, self._states().get(model.id, "not-loaded")

    async def installed(self, request: AnyRequest, name: str) -> Model:
        """Return the model whose id a name is; aliases and parts of names are not ids. Raise ModelNotFoundError."""
        model = await self._catalog.seek(name)
        if not (principal := context_of(request).principal).allows(model.id):
            raise principal.no_model(name)
        return model

    async def aliases(self, request: AnyRequest) -> list[tuple[str, Model, str]]:
        """Return the aliases that mean an installed model, each with the first such model and its load state."""
        states, models = self._states(), {model.id: model for model, _ in await self.models(request)}
        return [
            (row.name, models[row.model], states.get(row.model, "not-loaded"))
            for row in self._router.aliases(context_of(request).principal)
            if row.model in models and row.name not in models and not is_pattern(row.name)
        ]

    def is_alias(self, name: str) -> bool:
        """Return whether a name is that of an alias."""
        return self._router.is_alias(name)

    def instances(self, request: AnyRequest) -> list[Instance]:
        """Return the instances that are in memory, being loaded or being unloaded."""
        allows = context_of(request).principal.allows
        return [instance for instance in self._pool.instances() if allows(instance.model)]

    def health(self) -> Health:
        """Return whether the daemon and its workers make progress."""
        return self._pool.health()

    def _states(self) -> dict[str, str]:
        instances = self._pool.instances()
        return {found.model: LOAD_STATES[found.state] for found in instances if found.state in LOAD_STATES}

    def _numbered(self, asked: A, identity: str, place: int) -> A:
        return self._with_unique_id(msgspec.structs.replace(asked, id=f"{identity}.{place}" if place else identity))

    def _with_unique_id(self, asked: A) -> A:
        """Return the request under an id that no other live request has.

        A client may send several requests with one id at the same time; all but the first get a suffix.
        """
        unique, count = asked.id, 1
        while self._pool.requests.has(unique):
            count += 1
            unique = f"{asked.id}.{count}"
        return asked if count == 1 else msgspec.structs.replace(asked, id=unique)


def name_model(request: AnyRequest, model: Model) -> None:
    """Name the model in a header of the answer. Characters that a header cannot have are percent-encoded."""
    context_of(request).answer_headers[MODEL_HEADER] = quote(model.id, safe="/:@+~").encode()


def traced(request: AnyRequest, asked: A) -> A:
    """Return the request as a part of the client's trace, if the client has one."""
    trace = context_of(request).traceparent
    return msgspec.structs.replace(asked, traceparent=trace) if trace else asked


async def ends_of(active: Sequence[ActiveRequest]) -> list[Event]:
    """Return the last event of each request. Raise the error of the first one that fails."""

    async def end_of(each: ActiveRequest) -> Event:
        last = (await all_events(each))[-1]
        if isinstance(last, Failed):
            raise error_from(last.error)
        return last

    tasks = [asyncio.ensure_future(end_of(each)) for each in active]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def decided_of(end: Event) -> Decided:
    """Return the end of a decision. Raise CancelledError for one that was cancelled."""
    if not isinstance(end, Decided):
        raise CancelledError("the request was cancelled")
    return end


Service = NamedDependency[ModelService]
"""Type of the argument by which a route receives it."""
