"""Tests of the router behind the real HTTP app: every dialect, the header, the log line and the errors."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.admin.library.pulls import Download, PullRequest
from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.errors import HubError
from lmx_daemon.contract.generation.events import Event, Started
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.contract.models import Model
from lmx_daemon.http.management import ModelManagement
from lmx_daemon.monitor.request_log import summary
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.pool import Pool
from lmx_daemon.settings.schema import EngineSettings, Settings
from lmx_daemon.settings.source import SettingsSource
from tests.http.asgi import Answer, ask, public_app_over
from tests.residency.fakes import ONE_FITS, FakeMachine
from tests.residency.test_over_http import AnsweringWorker
from tests.residency.waiting import until
from tests.router.routing import NamedModels, NoPulls, router_over

ALIASES = {"code": ("org/missing", "org/big", "org/small"), "claude-*": "org/small", "nothing": ("a/b", "c/d")}
MESSAGES = [{"role": "user", "content": "x"}]
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x", "store": False},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 4},
    "/api/v0/chat/completions": {"messages": MESSAGES},
    "/api/v1/chat": {"input": "x", "store": False},
    "/api/chat": {"messages": MESSAGES, "stream": False},
    "/api/generate": {"prompt": "x", "stream": False},
}
OWN_NAMES = {"/api/v1/chat": "model_instance_id"}
"""Names of the model's field in the answer, where it is not `model`."""


class Ends:
    """An observer that keeps the rows of requests that ended."""

    observes_events = False

    def __init__(self) -> None:
        self.rows: list[RequestRow] = []

    def queued(self, request: Request) -> None: ...

    def started(self, request: Request, event: Started) -> None: ...

    def event(self, request: Request, event: Event) -> None: ...

    def refused(self, request: Request, row: RequestRow) -> None: ...

    def ended(self, request: Request, row: RequestRow) -> None:
        self.rows.append(row)


class RoutedDaemon:
    """The public app over fake workers; memory holds one model."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.models = NamedModels(folder)
        self.models.add("org/big", size=30)
        self.models.add("org/small", size=1)
        self.workers: list[AnsweringWorker] = []
        self.holds = False
        self.ends = Ends()
        self.pulls = NoPulls()
        self.settings = SettingsSource(Settings(engine=EngineSettings(warm_spare=False, max_restarts=1)))
        self.pool = Pool(
            self.settings,
            find=self.find,
            clear=lambda model: False,
            start=self.start,
            host=FakeMachine(ONE_FITS, folder),
            measurements=Measurements(folder / "measured.json"),
            prefixes=folder / "prefix",
            incidents=Incidents(lambda name, log: None),
            observers=[self.ends],
        )
        router = router_over(self.pool, self.models, self.pulls, **{"aliases": ALIASES} | settings)
        nothing: Any = None
        management = ModelManagement(self.pool, nothing, nothing, router)
        self.app = public_app_over(self.pool, folder=folder, router=router, management=management)

    def find(self, name: str) -> Model:
        return self.models.find(name)

    async def start(self, name: str, kind: Any) -> Any:
        worker = AnsweringWorker(1000 + len(self.workers), self.pool.background)
        worker.holds = self.holds
        self.workers.append(worker)
        return worker

    async def post(self, model: str, path: str = "/v1/chat/completions", **fields: Any) -> Answer:
        return await ask(self.app, "POST", path, {"model": model} | ROUTES[path] | fields)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[RoutedDaemon]:
    daemon = RoutedDaemon(tmp_path)
    daemon.pool.open()
    yield daemon
    await daemon.pool.close()


@pytest.mark.parametrize("path", ROUTES)
async def test_request_of_every_dialect_is_routed_and_answered_with_the_requested_name(
    daemon: RoutedDaemon, path: str
) -> None:
    answer = await daemon.post("code", path)
    assert answer.status == 200, answer.body
    assert answer.headers["x-lmx-model"] == "org/big"
    assert answer.json()[OWN_NAMES.get(path, "model")] == "code"
    (row,) = daemon.ends.rows
    assert (row.model, row.asked) == ("org/big", "code")
    assert row.routed == "alias code; skipped org/missing: not_installed"
    assert "asked for code (alias code; skipped org/missing: not_installed)" in summary(row)


async def test_header_is_on_a_stream_and_on_an_error_of_the_chosen_model(daemon: RoutedDaemon) -> None:
    streamed = await daemon.post("claude-haiku-4-5", stream=True)
    assert (streamed.status, streamed.headers["x-lmx-model"]) == (200, "org/small")
    daemon.workers[0].end()
    refused = await daemon.post("claude-haiku-4-5")
    assert (refused.status, refused.headers["x-lmx-model"]) == (503, "org/small")


async def test_request_with_the_id_of_a_model_has_no_rule_in_its_record(daemon: RoutedDaemon) -> None:
    answer = await daemon.post("org/small")
    assert answer.headers["x-lmx-model"] == "org/small"
    (row,) = daemon.ends.rows
    assert (row.asked, row.routed) == ("", "") and "asked" not in summary(row)


async def test_several_prompts_of_one_request_go_to_one_model(daemon: RoutedDaemon) -> None:
    answer = await daemon.post("code", "/v1/completions", prompt=["x", "y"])
    assert answer.status == 200 and len(answer.json()["choices"]) == 2
    assert {row.model for row in daemon.ends.rows} == {"org/big"}


async def test_model_that_keeps_crashing_is_skipped(daemon: RoutedDaemon) -> None:
    assert (await daemon.post("code")).headers["x-lmx-model"] == "org/big"
    daemon.workers[0].end()
    answer = await daemon.post("code")
    assert (answer.status, answer.headers["x-lmx-model"]) == (200, "org/small")
    assert daemon.ends.rows[-1].routed.endswith("org/big: failing")


async def test_full_queue_leads_to_the_next_model(daemon: RoutedDaemon) -> None:
    daemon.settings.replace(
        Settings(
            engine=EngineSettings(warm_spare=False, max_running=1, memory_wait_seconds=600),
            server=type(Settings().server)(max_queued=0),
        )
    )
    daemon.holds = True
    first = asyncio.create_task(daemon.post("code"))
    await until(lambda: daemon.workers and daemon.workers[0].submitted)
    second = asyncio.create_task(daemon.post("code"))
    await until(lambda: any(row.model == "org/small" for row in daemon.pool.requests.rows()))
    (row,) = [row for row in daemon.pool.requests.rows() if row.model == "org/small"]
    assert row.routed.endswith("org/big: overloaded")
    for task in (first, second):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_error_for_an_unknown_name_lists_similar_aliases_and_models(daemon: RoutedDaemon) -> None:
    answer = await daemon.post("cod")
    assert answer.status == 404 and "similar names: code" in answer.json()["error"]["message"]
    assert "org/small" in (await daemon.post("org/smal1")).json()["error"]["message"]
    assert daemon.models.scans == 2


async def test_alias_without_an_installed_model_is_an_error_that_names_its_models(daemon: RoutedDaemon) -> None:
    answer = await daemon.post("nothing")
    assert answer.status == 404
    assert answer.json()["error"]["message"] == "'nothing' means a/b, c/d, and no such model is installed"
    assert "lmx pull a/b" in answer.json()["error"]["hint"]


async def test_model_that_was_installed_a_moment_ago_is_found_by_a_scan(daemon: RoutedDaemon) -> None:
    daemon.models.later = ["a/b"]
    assert (await daemon.post("nothing")).headers["x-lmx-model"] == "a/b"
    scans = daemon.models.scans
    assert (await daemon.post("nothing")).status == 200 and daemon.models.scans == scans


class Pulls(NoPulls):
    """A queue of pulls that records the requested repositories."""

    async def start(self, request: PullRequest) -> Download:
        self.downloads.append(Download(id="j1", repo=request.repo, state="queued"))
        return self.downloads[-1]


async def test_missing_model_is_downloaded_only_if_the_setting_allows_it(tmp_path: Path) -> None:
    daemon = RoutedDaemon(tmp_path, download_missing=True)
    daemon.pulls.__class__ = Pulls
    answer = await daemon.post("nothing")
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert answer.json()["error"]["code"] == "model_downloading"
    assert [each.repo for each in daemon.pulls.downloads] == ["a/b"]
    await daemon.post("nothing")
    assert len(daemon.pulls.downloads) == 1
    assert (await daemon.post("unknown")).status == 404, "the name is not a repository"
    failed = Download(id="j1", repo="a/b", state="failed", error=HubError("no such repository").body())
    daemon.pulls.downloads = [failed]
    assert (await daemon.post("nothing")).status == HubError.status and daemon.pulls.downloads == [failed]
    await daemon.pool.close()
