"""The uvicorn server of one app: its protocol, and what lmx does instead of uvicorn (signals, logs, access log)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from lmx_daemon.http.server.connections import ConnectionLimit
from lmx_daemon.http.server.sockets import protocol_for

CONNECTION_SECONDS = 2
"""Time that open connections have after the drain before they are closed."""


class UvicornServer(uvicorn.Server):
    """uvicorn server without signal handlers, since two servers run in one event loop."""

    def __init__(self, app: Any, stall_seconds: Callable[[], float], limit: ConnectionLimit) -> None:
        config = uvicorn.Config(
            app,
            http=protocol_for(stall_seconds, limit),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=CONNECTION_SECONDS,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
