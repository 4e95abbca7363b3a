"""Tests of places in a full queue: which waiting request yields its place to a new one."""

import itertools
import random
from collections import Counter
from dataclasses import dataclass

import pytest

from lmx_daemon.contract.errors import BusyError
from lmx_daemon.contract.generation.events import Started
from lmx_daemon.contract.generation.requests import Count, Generate, Request, Text
from lmx_daemon.contract.shares import Share, share_of
from lmx_daemon.residency.requests.places import place_for, yielding
from lmx_daemon.settings.schema import EngineSettings, ServerSettings, Settings
from tests.residency.fakes import Harness, error_code

NUMBER = itertools.count()


@dataclass
class Held:
    """A request that holds a place."""

    request: Request
    arrived: float
    begun: bool = False
    closed: bool = False
    released: bool = False
    under_way: bool = True

    lookups: int = 0
    """Number of times that the share was looked up."""

    @property
    def share(self) -> Share:
        self.lookups += 1
        return share_of(self.request)


def request(tenant: str, client: str = "", user: str = "", priority: int = 0) -> Generate:
    return Generate(
        id=str(next(NUMBER)),
        model="a",
        prompt=Text(text="x"),
        tenant=tenant,
        client=client,
        user=user,
        priority=priority,
    )


def held(count: int, tenant: str, client: str = "", user: str = "", **fields: int) -> list[Held]:
    return [Held(request(tenant, client, user, **fields), next(NUMBER)) for _ in range(count)]


def test_the_newest_request_of_the_largest_share_yields() -> None:
    large, small = held(5, "a"), held(3, "b")
    assert yielding(request("c"), [*large, *small]) is large[-1]


def test_a_share_yields_only_while_it_stays_at_least_as_large() -> None:
    assert yielding(request("b"), [*(large := held(4, "a")), *held(2, "b")]) is large[-1]
    assert yielding(request("b"), [*held(3, "a"), *held(2, "b")]) is None
    assert yielding(request("b"), held(1, "a")) is None


def test_a_client_does_not_displace_its_own_requests() -> None:
    assert yielding(request("a"), [*held(5, "a"), *held(1, "b")]) is None


def test_a_request_that_has_begun_keeps_its_place() -> None:
    large = held(5, "a")
    for each in large[2:]:
        each.begun = True
    assert yielding(request("b"), large) is large[1]
    for each in large:
        each.begun = True
    other = held(2, "c")
    assert yielding(request("b"), [*large, *other]) is other[-1]


def test_the_lowest_priority_of_the_largest_share_yields_first() -> None:
    low = held(1, "a", priority=-3)
    assert yielding(request("b"), [*low, *held(4, "a")]) is low[0]


def test_programs_of_one_tenant_compete_for_its_places() -> None:
    flood, other = held(6, "http", "script/1"), held(1, "http", "editor/1")
    assert yielding(request("http", "editor/1"), [*flood, *other]) is flood[-1]
    assert yielding(request("http", "script/1"), [*flood, *other]) is None


def test_users_of_one_program_compete_for_its_places() -> None:
    flood = held(6, "http", "web/1", "eva")
    assert yielding(request("http", "web/1", "kim"), flood) is flood[-1]


def test_invented_program_names_take_no_place_of_another_tenant() -> None:
    flood = [each for name in range(6) for each in held(1, "http", f"script/{name}")]
    key = held(3, "key:one")
    assert yielding(request("http", "script/new"), [*flood, *key]) is None
    found = yielding(request("key:one"), [*flood, *key])
    assert found is not None and found.request.tenant == "http"


def test_token_counts_hold_places_too() -> None:
    counts = [Held(Count(id=str(n), model="a", prompt=Text(text="x"), tenant="a"), n) for n in range(3)]
    assert yielding(request("b"), counts) is counts[-1]


@pytest.mark.parametrize("seed", range(20))
def test_a_full_queue_becomes_fair_and_then_stable(seed: int) -> None:
    choice = random.Random(seed)
    queue = held(32, "flood")
    for _ in range(400):
        new = Held(request(choice.choice(["flood", "b", "c", "d"])), next(NUMBER))
        if (found := yielding(new.request, queue)) is not None:
            queue.remove(found)
            queue.append(new)
    assert set(Counter(each.request.tenant for each in queue if isinstance(each.request, Generate)).values()) == {8}


def test_a_refusal_reads_each_share_once_for_each_level() -> None:
    flood = held(256, "http", "script/1")
    with pytest.raises(BusyError):
        place_for(request("http", "script/1"), flood, 256)
    assert max(each.lookups for each in flood) <= len(share_of(flood[0].request))


def test_a_free_place_is_given_without_reading_shares() -> None:
    flood = held(255, "http", "script/1")
    assert place_for(request("http", "script/1"), flood, 256) is None
    assert sum(each.lookups for each in flood) == 0


class TestQueueOfAModel:
    """Tests of a model with three places: one to run, two to wait."""

    @pytest.fixture
    def crowded(self, harness: Harness) -> Harness:
        harness.settings.replace(
            Settings(engine=EngineSettings(warm_spare=False, max_running=1), server=ServerSettings(max_queued=2))
        )
        return harness

    def test_a_new_client_gets_a_place_from_the_client_that_filled_the_queue(self, crowded: Harness) -> None:
        worker = crowded.loaded("a")
        flood = [crowded.ask("a", tenant="flood") for _ in range(3)]
        worker.emit(Started(id=flood[0].id, prompt_tokens=1, cached_tokens=0, seed=1))
        newcomer = crowded.ask("a", tenant="other")
        assert error_code(flood[2]) == "queue_full" and worker.cancelled == [flood[2].id]
        assert worker.submitted[-1] == newcomer.id and not newcomer.closed
        with pytest.raises(BusyError):
            crowded.ask("a", tenant="flood")

    def test_a_new_client_gets_a_place_while_the_model_loads(self, crowded: Harness) -> None:
        flood = [crowded.ask("a", tenant="flood") for _ in range(3)]
        newcomer = crowded.ask("a", tenant="other")
        assert error_code(flood[2]) == "queue_full"
        crowded.worker("a").load()
        assert crowded.worker("a").submitted == [flood[0].id, flood[1].id, newcomer.id]

    def test_places_that_are_being_vacated_are_bounded(self, crowded: Harness) -> None:
        crowded.loaded("a")
        for number in range(4):
            crowded.release(crowded.ask("a", tenant=str(number)))
        last = [crowded.ask("a", tenant="last") for _ in range(2)]
        with pytest.raises(BusyError):
            crowded.ask("a", tenant="new")
        assert not any(each.closed for each in last)
