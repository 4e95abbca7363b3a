"""An app that is built for its first request."""

import asyncio
import threading
from typing import Any

from lmx_daemon.http.guard.asgi import BuiltLater


async def test_app_is_built_once_for_concurrent_requests_if_one_is_cancelled() -> None:
    building, go, built, seen = threading.Event(), threading.Event(), [0], list[str]()

    def make() -> Any:
        building.set()
        built[0] += 1
        assert go.wait(30)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["path"])

        return app

    async def nothing(*_: Any) -> Any:
        return {}

    later = BuiltLater(make)
    assert not built[0]
    tasks = [asyncio.create_task(later({"path": path}, nothing, nothing)) for path in "abc"]
    await asyncio.to_thread(building.wait, 30)
    tasks[0].cancel()
    go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await later({"path": "d"}, nothing, nothing)
    assert built == [1] and sorted(seen) == ["b", "c", "d"]
