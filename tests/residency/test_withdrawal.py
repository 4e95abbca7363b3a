"""Loads that no request waits for any more."""

import asyncio
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.worker.messages import LoadProgress
from lmx_daemon.residency import plan
from lmx_daemon.residency.plan import RETRY_SECONDS, Load, Purpose, is_withdrawn, may_evict
from tests.residency.fakes import MB, Floor, until

ONE_FITS, TWO_FIT = 900 * MB, 1800 * MB


def load(purpose: Purpose = "requests", waiting: int = 0, **fields: object) -> Load:
    state = {"begun": True, "evicts": False, "progress": 0.0, "unneeded_for": RETRY_SECONDS} | fields
    return Load(purpose, waiting, **state)  # type: ignore[arg-type]


class TestTheDecision:
    def test_nothing_is_withdrawn_while_a_request_waits(self) -> None:
        assert not is_withdrawn(load(waiting=1, begun=False))

    @pytest.mark.parametrize("purpose", ["load", "restore"])
    def test_an_explicit_load_and_a_restored_one_need_no_request(self, purpose: Purpose) -> None:
        assert not is_withdrawn(load(purpose, begun=False))

    def test_before_it_begins_it_is_withdrawn_at_once(self) -> None:
        assert is_withdrawn(load(begun=False, unneeded_for=0.0))

    def test_a_running_load_waits_for_the_clients_next_attempt(self) -> None:
        assert not is_withdrawn(load(unneeded_for=RETRY_SECONDS - 1))
        assert is_withdrawn(load())

    def test_a_load_that_is_far_along_is_completed_if_nothing_was_evicted(self) -> None:
        assert not is_withdrawn(load(progress=0.6))
        assert is_withdrawn(load(progress=0.6, evicts=True))

    def test_evictions_need_an_explicit_load_or_a_request(self) -> None:
        assert may_evict("load", 0) and may_evict("requests", 1) and may_evict("restore", 1)
        assert not may_evict("requests", 0) and not may_evict("restore", 0)


class TestThePool:
    async def test_a_load_that_waits_for_memory_ends_with_its_last_request(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, ONE_FITS)
        busy = await floor.loaded("a")
        running = floor.ask("a")
        first, second = floor.ask("b"), floor.ask("b")
        await until(lambda: any("waiting for memory" in i.stage for i in floor.pool.instances()))
        floor.pool.release(first)
        assert floor.states() == {"a": "ready", "b": "starting"}
        floor.pool.release(second)
        await until(lambda: floor.states() == {"a": "ready"})
        floor.pool.release(running)
        await asyncio.sleep(0.3)  # three attempts to place a load
        assert floor.states() == {"a": "ready"} and busy.alive and len(floor.workers) == 1
        assert any("b: the load was withdrawn" in line for line in floor.lines)

    async def test_a_request_that_leaves_at_once_evicts_nothing(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, ONE_FITS)
        await floor.loaded("a")
        floor.pool.release(floor.ask("b"))
        await asyncio.sleep(0.3)
        assert floor.states() == {"a": "ready"}

    async def test_a_request_whose_deadline_passes_needs_no_load(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, ONE_FITS)
        await floor.loaded("a")
        floor.ask("a")
        late = floor.ask("b", queue_deadline=0.1)
        await until(lambda: late.closed)
        await until(lambda: floor.states() == {"a": "ready"})

    async def test_an_evicted_model_returns_when_the_load_is_withdrawn(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plan, "RETRY_SECONDS", 0.1)
        floor = Floor(tmp_path, ONE_FITS)
        floor.pool.open()
        await floor.loaded("a")
        active = floor.ask("b")
        await floor.loading("b")
        floor.pool.release(active)
        (await floor.loading("a")).proceed.set()
        await until(lambda: floor.states() == {"a": "ready"})
        await floor.pool.close()

    async def test_a_load_without_eviction_that_is_far_along_is_completed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plan, "RETRY_SECONDS", 0.1)
        floor = Floor(tmp_path, TWO_FIT)
        floor.pool.open()
        active = floor.ask("a")
        worker = await floor.loading("a")
        worker.report(LoadProgress(stage="weights", fraction=0.7))
        floor.pool.release(active)
        await asyncio.sleep(0.8)
        worker.proceed.set()
        await until(lambda: floor.states() == {"a": "ready"})
        await floor.pool.close()

    async def test_an_explicit_load_keeps_what_a_request_began(self, tmp_path: Path) -> None:
        floor = Floor(tmp_path, ONE_FITS)
        busy = await floor.loaded("a")
        running = floor.ask("a")
        active = floor.ask("b")

        async def load_it() -> None:
            async for _ in floor.pool.load(LoadRequest(model="b")):
                pass

        loading = asyncio.ensure_future(load_it())
        await asyncio.sleep(0.05)
        floor.pool.release(active)
        floor.pool.release(running)
        (await floor.loading("b")).proceed.set()
        await loading
        assert floor.states() == {"b": "ready"} and not busy.alive

    async def test_a_model_that_is_unloaded_while_room_is_made_for_it_holds_up_no_other(self, tmp_path: Path) -> None:
        """The worker has ended by the time it would be given the load command, and never answers it."""
        floor = Floor(tmp_path, ONE_FITS)
        old = await floor.loaded("a")
        left = asyncio.Event()

        async def slowly(seconds: float) -> None:
            old.leaving = True
            await left.wait()
            old.end()

        old.leave = slowly  # type: ignore[method-assign]
        active = floor.ask("b")
        await until(lambda: floor.states().get("b") == "loading" and len(floor.workers) == 2)
        resident = next(resident for resident in floor.pool._residents if resident.model.id == "b")
        unloading = asyncio.ensure_future(floor.pool.loader.unload(resident, True))
        left.set()
        await unloading
        await until(lambda: active.closed)
        (await floor.loading("a")).proceed.set()  # the lock of the loads is free
        await until(lambda: floor.states() == {"a": "ready"})
