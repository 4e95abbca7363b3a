"""Routes of lmx itself on the public port: /health."""

from typing import Any

from litestar import Response, get
from litestar.datastructures import State

from lmx_daemon.residency.pool import Pool


@get("/health")
async def health(state: State) -> Response[Any]:
    """Return 200 while the daemon and its workers make progress, else 503 with the reason. Needs no key."""
    pool: Pool = state.pool
    found = pool.health()
    return Response(found, status_code=200 if found.ok else 503, media_type="application/json")


ROUTES = [health]
