"""Routes of lmx itself on the public port: /health and the OpenAPI document."""

from litestar import Response, get
from litestar.di import NamedDependency

from lmx_daemon.contract.admin.snapshot import Health
from lmx_daemon.http.openapi import OpenApiDocument
from lmx_daemon.http.service import ModelService


@get("/health")
async def health(service: NamedDependency[ModelService]) -> Response[Health]:
    """Return 200 while the daemon and its workers make progress, else 503 with the reason. Needs no key."""
    found = service.health()
    return Response(found, status_code=200 if found.ok else 503, media_type="application/json")


@get("/openapi.json")
async def openapi(document: NamedDependency[OpenApiDocument]) -> Response[bytes]:
    """Return the OpenAPI document of the public port."""
    return Response(document.encoded(), media_type="application/json")


@get("/", media_type="text/plain")
async def root() -> str:
    """Return the text by which Ollama's clients recognise a server that runs. Needs no key."""
    return "Ollama is running"


ROUTES = [health, openapi, root]
