"""`lmx outdated` and `lmx update`: newer commits on the Hub, and their pull. The old revision stays until then."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from lmx_daemon.contract.admin.library.hub import Outdated, OutdatedRow
from lmx_daemon.contract.admin.library.pulls import Download, PullRequest
from lmx_daemon.contract.errors import HubError, LmxError, NotFoundError, RequestError
from lmx_daemon.contract.models import Model
from lmx_daemon.library.catalog.model_registry import ModelRegistry
from lmx_daemon.library.disk.layout import COMMIT
from lmx_daemon.library.hub.hub import Hub
from lmx_daemon.library.hub.hub_client import HubClient
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.storage.versions import VersionedState

PARALLEL = 8
"""Number of simultaneous requests."""
LOGGER = logging.getLogger("lmx.updates")
STATE = VersionedState(Outdated)


class Updates:
    """Newer commits of installed models. `retire` moves a replaced revision to the trash."""

    def __init__(self, registry: ModelRegistry, pulls: PullQueue, file: Path, retire: Callable[[Model], bool]) -> None:
        self._registry = registry
        self._pulls = pulls
        self._file = file
        self._retire = retire
        self._known = STATE.read(file) or Outdated()

    @property
    def checked_at(self) -> float | None:
        """Time of the last check; None before the first."""
        return self._known.checked_at or None

    def newer(self, model: Model) -> str | None:
        """Return the newest commit on the Hub at the last check, if it differs from the installed one."""
        if model.source != "hub":
            return None
        found = next((row.newer for row in self._known.rows if row.id == model.id), None)
        return found if found != model.revision else None

    def check(self, hub: Hub) -> Outdated:
        """Request the newest commit of every pulled model. Blocking. Raises HubError when every request fails."""
        models = [model for model in self._registry.catalog.refresh() if model.source == "hub"]
        with HubClient(hub) as client, ThreadPoolExecutor(PARALLEL, thread_name_prefix="updates") as threads:
            answers = list(threads.map(lambda model: _newest(client, model), models))
        faults = [answer for answer in answers if isinstance(answer, HubError)]
        if faults and len(faults) == len(answers):
            raise faults[0]
        rows = tuple(map(_row, models, answers))
        self._known = Outdated(rows=rows, checked_at=time.time())
        with suppress(OSError):  # the result is then known until the daemon stops
            STATE.write(self._file, self._known)
        self._registry.catalog.refresh()
        return self._known

    async def update(self, name: str, endpoint: str | None = None) -> AsyncGenerator[Download]:
        """Pull the main branch, and yield the pull's progress. Unchanged files are not fetched.

        The replaced revision then moves to the trash, unless it is in use. Raises ModelNotFoundError, RequestError.
        """
        model = await self._registry.catalog.seek_part(name)
        if model.source != "hub":
            raise RequestError(f"{model.id} was not pulled from the Hub, so it cannot be updated")
        job = await self._pulls.start(PullRequest(repo=model.id, endpoint=endpoint))
        async for download in self._pulls.watch(job.id):
            job = download
            if job.state != "done":
                yield job
        if job.state == "done":
            await asyncio.to_thread(self._replace, model)
            yield job

    def _replace(self, model: Model) -> None:
        try:
            self._retire(model)
        except (OSError, LmxError) as error:
            LOGGER.warning("%s: the replaced revision %s stays: %s", model.id, model.revision, error)


def _newest(client: HubClient, model: Model) -> str | NotFoundError | HubError:
    """Return the newest commit on the Hub, or the error of the request."""
    try:
        info = client.json(f"/api/models/{quote(model.id)}", {"expand": "sha"})
    except (NotFoundError, HubError) as error:
        return error
    return str(info.get("sha")) if isinstance(info, dict) else ""


def _row(model: Model, newest: str | NotFoundError | HubError) -> OutdatedRow:
    row = OutdatedRow(id=model.id, commit=model.revision or "")
    match newest:
        case NotFoundError():
            return msgspec.structs.replace(row, error="is no longer on the Hub, or is private")
        case HubError():
            return msgspec.structs.replace(row, error=newest.message)
    return msgspec.structs.replace(row, newer=newest if COMMIT.fullmatch(newest) and newest != row.commit else None)
