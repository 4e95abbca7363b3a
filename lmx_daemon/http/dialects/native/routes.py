"""Routes of lmx itself on the public port: /health, the OpenAPI document and the metrics."""

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from lmx_daemon.contract.admin.snapshot import Health
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.openapi import OpenApiDocument
from lmx_daemon.http.service import ModelService
from lmx_daemon.monitor.metrics.page import MetricsPage


@get("/health")
async def health(request: AnyRequest, service: NamedDependency[ModelService]) -> Response[Health]:
    """Return 200 while the daemon and its workers make progress, else 503. Needs no key.

    The reason may name a model, so it is left out where a key is required.
    """
    found = service.health()
    if not context_of(request).principal.scopes:
        found = msgspec.structs.replace(found, reason=None)
    return Response(found, status_code=200 if found.ok else 503, media_type="application/json")


@get("/openapi.json")
async def openapi(document: NamedDependency[OpenApiDocument]) -> Response[bytes]:
    """Return the OpenAPI document of the public port."""
    return Response(document.encoded(), media_type="application/json")


@get("/metrics")
async def read_metrics(request: AnyRequest, metrics: NamedDependency[MetricsPage]) -> Response[bytes]:
    """Return the metrics in the form of Prometheus, or of OpenMetrics if the Accept header asks for it."""
    context_of(request).principal.require("read")
    page, content_type = await metrics.render(request.headers.get("accept", ""))
    return Response(page, headers={"content-type": content_type})  # Litestar adds a charset to a media type of text


@get("/", media_type="text/plain")
async def root() -> str:
    """Return the text by which Ollama's clients recognise a server that runs. Needs no key."""
    return "Ollama is running"


ROUTES = [health, openapi, read_metrics, root]
