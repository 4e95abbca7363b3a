"""Listings of a hostile Hub: pages without an end, pages elsewhere, and responses that are too large or too slow."""

from urllib.parse import quote

import pytest

from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.contract.errors import HubError, UntrustedModelError
from lmx_daemon.library.hub.bounded_get import MAX_BYTES, Budget
from lmx_daemon.library.hub.hub import Hub
from lmx_daemon.library.pull.pull_queue import PullQueue
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import pull, until_state

FILE = {"type": "file", "oid": "0" * 40, "size": 1}


async def test_token_is_not_sent_to_the_host_of_a_next_page(
    hub: StandIn, environ: dict[str, str], pulls: PullQueue
) -> None:
    hub.faults(link=f"{hub.endpoint.replace('127.0.0.1', 'localhost')}/api/elsewhere")
    await pull(pulls, token="hf_secret")
    sent = {asked["path"]: asked["auth"] for asked in hub.requests() if asked["path"].startswith("/api/")}
    assert sent.pop("/api/elsewhere") is False and all(sent.values())


def test_pages_without_an_end_are_refused(hub: StandIn, environ: dict[str, str]) -> None:
    hub.faults(
        link=f"/api/models/{quote(REPO)}/tree/main", tree=[FILE | {"path": f"{number}.json"} for number in range(2000)]
    )
    with pytest.raises(UntrustedModelError, match="more than 20000 files"):
        Hub(None, environ).manifest(REPO, None)


def test_empty_pages_end_with_the_budget(hub: StandIn, environ: dict[str, str]) -> None:
    hub.faults(link=f"/api/models/{quote(REPO)}/tree/main", tree=[])
    with pytest.raises(HubError, match="took longer than 1 s"):
        Hub(None, environ).listing(REPO, None, Budget(1.0))


def test_listing_above_the_limit_is_refused(hub: StandIn, environ: dict[str, str]) -> None:
    hub.faults(padding=MAX_BYTES + 1)
    with pytest.raises(HubError, match="more than 33554432 bytes"):
        Hub(None, environ).manifest(REPO, None)


def test_listing_that_arrives_slowly_is_refused(hub: StandIn, environ: dict[str, str]) -> None:
    hub.faults(padding=1_000_000, pause=0.1)
    with pytest.raises(HubError, match="took longer than 1 s"):
        Hub(None, environ).listing(REPO, None, Budget(1.0))


async def test_pull_is_cancelled_during_a_slow_listing(hub: StandIn, pulls: PullQueue) -> None:
    hub.faults(padding=1_000_000, pause=0.1)
    job = await pulls.start(PullRequest(repo=REPO))
    assert job.id in pulls._runner.running
    await pulls.cancel(job.id)
    await until_state(pulls, job.id, "cancelled")
    assert job.id not in pulls._runner.running, "its thread has ended"
