"""Calls to the daemon that consist of more than one step: each ends with a toast about its result."""

from collections.abc import Callable

from lmx_daemon.client.client import Client
from lmx_daemon.contract.admin.library.hub import UpdateRequest
from lmx_daemon.contract.admin.protocol import LoadRequest, UnloadRequest
from lmx_tui.formatting import short_name
from lmx_tui.widgets.models.model_rows import NEWER


class DaemonCalls:
    """Calls over one client. Each raises the LmxError with which it failed."""

    def __init__(self, client: Client, toast: Callable[[str, str | None], object]) -> None:
        """`toast` shows a text and an optional hint."""
        self._client = client
        self._toast = toast

    async def load(self, request: LoadRequest) -> None:
        """Load a model. Snapshots show its progress."""
        async for _ in self._client.load(request):
            pass
        self._toast(f"{short_name(request.model)} is ready", "c opens a chat with it")

    async def unload(self, instance: str, model: str) -> None:
        await self._client.unload(UnloadRequest(id=instance))
        self._toast(f"{short_name(model)} is unloaded", None)

    async def update(self, model: str) -> None:
        """Fetch the newer version of a model. Snapshots show its progress, and a notice its result."""
        async for _ in self._client.update_model(UpdateRequest(id=model)):
            pass

    async def count_newer(self) -> None:
        """Ask the Hub which models have a newer version."""
        rows = (await self._client.outdated()).rows
        newer = sum(row.newer is not None for row in rows)
        hint = f"{NEWER} marks outdated models, u updates the selected one" if newer else None
        self._toast(f"{newer} of {len(rows)} models from the Hub have a newer version", hint)
