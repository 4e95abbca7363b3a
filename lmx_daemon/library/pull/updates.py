"""`lmx outdated`, `lmx update`: whether upstream has a newer commit, and bringing it. The old one stays until then."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from lmx_daemon.contract.errors import HubError, LmxError, NotFoundError, RequestError
from lmx_daemon.contract.library import Outdated, OutdatedRow
from lmx_daemon.contract.pulls import Download, PullRequest
from lmx_daemon.contract.types import Model
from lmx_daemon.library.catalog.registry import ModelRegistry
from lmx_daemon.library.disk.layout import COMMIT
from lmx_daemon.library.hub.client import HubClient
from lmx_daemon.library.hub.hub import Hub
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.storage.state import json_of, read_state, write_state

TOGETHER = 8
LOGGER = logging.getLogger("lmx.updates")


class Updates:
    def __init__(self, registry: ModelRegistry, pulls: PullQueue, file: Path, retire: Callable[[Model], bool]) -> None:
        self._registry = registry
        self._pulls = pulls
        self._file = file
        self._retire = retire
        self._known = read_state(file, json_of(Outdated)) or Outdated()

    @property
    def checked_at(self) -> float | None:
        return self._known.checked_at or None

    def newer(self, model: Model) -> str | None:
        """Upstream's commit as it was last heard of, where it is another one."""
        if model.source != "hub":
            return None
        found = next((row.newer for row in self._known.rows if row.id == model.id), None)
        return found if found != model.revision else None

    def check(self, hub: Hub) -> Outdated:
        """Asks for every model that came from the Hub. Blocking. Raises HubError where it cannot be asked at all."""
        models = [model for model in self._registry.catalog.refresh() if model.source == "hub"]
        with HubClient(hub) as asking, ThreadPoolExecutor(TOGETHER, thread_name_prefix="updates") as threads:
            answers = list(threads.map(lambda model: _newest(asking, model), models))
        faults = [answer for answer in answers if isinstance(answer, HubError)]
        if faults and len(faults) == len(answers):
            raise faults[0]
        rows = tuple(map(_row, models, answers))
        self._known = Outdated(rows=rows, checked_at=time.time())
        with suppress(OSError):  # then it is known until the daemon stops
            write_state(self._file, msgspec.json.encode(self._known))
        self._registry.catalog.refresh()
        return self._known

    async def update(self, name: str, endpoint: str | None = None) -> AsyncGenerator[Download]:
        """Pull the main branch; what is the same is not fetched. Then the old revision goes to the trash, unless it is
        in use. Other revisions stay."""
        model = await self._registry.catalog.seek(name)
        if model.source != "hub":
            raise RequestError(f"{model.id} did not come from the Hub, so there is nothing to update it from")
        job = await self._pulls.start(PullRequest(repo=model.id, endpoint=endpoint))
        async for told in self._pulls.watch(job.id):
            job = told
            if told.state != "done":
                yield told
        if job.state == "done":
            await asyncio.to_thread(self._replace, model)
            yield job

    def _replace(self, model: Model) -> None:
        try:
            self._retire(model)
        except (OSError, LmxError) as error:
            LOGGER.warning("%s: the replaced revision %s stays: %s", model.id, model.revision, error)


def _newest(asking: HubClient, model: Model) -> str | NotFoundError | HubError:
    """Upstream's commit, or why it is not known."""
    try:
        info = asking.json(f"/api/models/{quote(model.id)}", {"expand": "sha"})
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
