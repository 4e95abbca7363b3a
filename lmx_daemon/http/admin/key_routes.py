"""The admin socket's routes for API keys, one for each method of the client library."""

import asyncio

from litestar import get, post
from litestar.di import NamedDependency

from lmx_daemon.contract.admin.keys import ApiKey, CreatedKey, KeyId, KeyRequest
from lmx_daemon.http.context import AnyRequest
from lmx_daemon.http.decoding import body_of
from lmx_daemon.monitor.logs import log
from lmx_daemon.storage.keys import KeyStore


@get("/admin/keys")
async def keys(keys: NamedDependency[KeyStore]) -> list[ApiKey]:
    """Return all API keys without their secrets."""
    await asyncio.to_thread(keys.refresh)
    return keys.rows()


@post("/admin/keys", status_code=200)
async def create_key(request: AnyRequest, keys: NamedDependency[KeyStore]) -> CreatedKey:
    """Create an API key. Only this answer contains its secret."""
    made = await asyncio.to_thread(keys.create, await body_of(request, KeyRequest))
    log("keys", "info", f"the API key {made.key.id} ({made.key.name}) was created")
    return made


@post("/admin/keys/revoke", status_code=200)
async def revoke_key(request: AnyRequest, keys: NamedDependency[KeyStore]) -> ApiKey:
    """Revoke an API key, and return it. Requests in progress continue."""
    key = await asyncio.to_thread(keys.revoke, (await body_of(request, KeyId)).id)
    log("keys", "info", f"the API key {key.id} ({key.name}) was revoked")
    return key


ROUTES = [keys, create_key, revoke_key]
