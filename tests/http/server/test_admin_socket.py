"""Tests of the admin socket: a path that was removed or replaced is bound again for its owner only."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from lmx_daemon.http.server.admin_socket import AdminSocket


@pytest.fixture
def path() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lmx", dir="/tmp"))  # the path of a socket must be short
    yield folder / "lmx.sock"
    shutil.rmtree(folder)


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def server() -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: lmx\r\n\r\n")
    found = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    return found.split(b"\r\n")[0]


@pytest.mark.parametrize("replaced", [False, True])
async def test_removed_or_replaced_path_is_bound_again(path: Path, replaced: bool) -> None:
    admin = AdminSocket(path)
    admin.serve(server, lambda task: None)
    earlier = await asyncio.open_unix_connection(path)
    assert b"204" in await ask(*earlier)
    before = path.stat().st_ino
    admin.check()
    assert path.stat().st_ino == before
    path.rename(path.with_suffix(".away"))
    if replaced:
        path.write_text("")
    admin.check()
    assert path.is_socket() and path.stat().st_mode & 0o777 == 0o600
    later = await asyncio.open_unix_connection(path)
    assert b"204" in await ask(*later) and b"204" in await ask(*earlier)
    for _, writer in (earlier, later):
        writer.close()
    await asyncio.wait_for(admin.close(), 20)
    assert not path.exists()
