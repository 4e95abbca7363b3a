"""Ollama's routes that change the library, and those that this server does not serve."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Response, delete, post
from litestar.response import Stream

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.errors import ConflictError, LmxError, UnsupportedError, error_from
from lmx_daemon.http.context import AnyRequest
from lmx_daemon.http.decoding import body_of
from lmx_daemon.http.dialects.ollama.bodies import OllamaCopyBody, OllamaNamedBody
from lmx_daemon.http.dialects.ollama.encoders import line
from lmx_daemon.http.dialects.ollama.names import model_name
from lmx_daemon.http.dialects.ollama.routes import named
from lmx_daemon.http.management import Management

STREAM_TYPE = "application/x-ndjson"


class NotServedError(UnsupportedError):
    """A route of Ollama that lmx does not have."""

    code, status = "not_implemented", 501


@post("/api/pull", status_code=200)
async def pull(request: AnyRequest, management: Management) -> Response[Any]:
    """Download a repository of the Hub; stream its progress unless `stream` is false."""
    body = await body_of(request, OllamaNamedBody)
    download = await management.pull(request, named(body))
    updates = progress_of(management.watch(request, download.id))
    if body.stream is not False:
        return Stream(lines_of(updates), media_type=STREAM_TYPE)
    async for _ in updates:
        pass
    return Response({"status": "success"}, media_type="application/json")


async def progress_of(updates: AsyncIterator[Download]) -> AsyncIterator[dict[str, Any]]:
    """Yield the progress of a download in Ollama's form. Raise the error of a download that fails."""
    yield {"status": "pulling manifest"}
    last: Download | None = None
    async for last in updates:
        if last.total is not None:
            digest = f"sha256:{last.revision or last.id}"
            status = "verifying sha256 digest" if last.state == "verifying" else f"pulling {last.repo}"
            yield {"status": status, "digest": digest, "total": last.total, "completed": last.done}
    if last is None or last.state != "done":
        raise ended(last)
    yield {"status": "writing manifest"}
    yield {"status": "success"}


def ended(download: Download | None) -> LmxError:
    """Return the error for a download that has ended without its files."""
    if download is not None and download.error is not None:
        return error_from(download.error)
    state = download.state if download is not None else "unknown"
    return ConflictError(
        f"the download is {state}", hint="`lmx downloads` shows it; send the request again to continue"
    )


async def lines_of(updates: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    try:
        async for update in updates:
            yield line(update)
    except LmxError as error:
        yield line({"error": error.message})


@delete("/api/delete", status_code=200)
async def remove(request: AnyRequest, management: Management) -> Response[bytes]:
    """Remove an alias, or move a model to the trash."""
    await management.remove(request, named(await body_of(request, OllamaNamedBody)))
    return Response(b"", media_type="text/plain")


@post(["/api/embed", "/api/embeddings"])
async def embed() -> None:
    """Refuse: there are no embeddings yet."""
    raise NotServedError("embeddings are not served yet")


@post("/api/copy", status_code=200)
async def copy(request: AnyRequest, management: Management) -> Response[bytes]:
    """Make an alias. No file is copied."""
    body = await body_of(request, OllamaCopyBody)
    await management.copy(request, model_name(body.source), model_name(body.destination))
    return Response(b"", media_type="text/plain")


@post(["/api/push", "/api/create", "/api/me", "/api/signin", "/api/signout"])
async def not_served(request: AnyRequest) -> None:
    """Refuse routes that need Ollama's registry or GGUF files."""
    raise NotServedError(f"{request.scope['path']} is not served by lmx")


ROUTES = [pull, remove, embed, copy, not_served]
