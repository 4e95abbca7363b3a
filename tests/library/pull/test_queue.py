"""The queue: decided by pure functions, kept through everything, paused, resumed, reordered, retried, cancelled."""

import asyncio
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConflictError, DiskError, ErrorBody, JobNotFoundError, RequestError
from lmx_daemon.contract.pulls import Download, PullRequest
from lmx_daemon.library.pull import decisions, runner
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.pull.records import PullRecord, PullRecords
from lmx_daemon.library.pull.run import PullOutcome
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import WHOLE, folder_of, partials, pull, pull_process, visible

SLOW = 1_500_000


def job(identity: str, place: int, wish: str = "run", repo: str = "") -> PullRecord:
    return PullRecord(id=identity, repo=repo or f"maker/{identity}", state=wish, rank=place)  # type: ignore[arg-type]


class TestDecisions:
    def test_the_first_that_are_to_run_begin(self) -> None:
        jobs = [job("c", 3), job("a", 1, "pause"), job("b", 2), job("d", 4, "failed")]
        assert decisions.to_start(jobs, (), 1) == ["b"]
        assert decisions.to_start(jobs, (), 9) == ["b", "c"]
        assert decisions.to_start(jobs, ("b",), 1) == []
        assert decisions.to_start(jobs, ("b",), 2) == ["c"]

    def test_two_of_one_repository_never_run_together(self) -> None:
        jobs = [job("a", 1, repo="x/y"), job("b", 2, repo="x/y"), job("c", 3)]
        assert decisions.to_start(jobs, (), 3) == ["a", "c"]
        assert decisions.to_start(jobs, ("a",), 3) == ["c"]

    @pytest.mark.parametrize(("position", "order"), [(0, "cab"), (1, "acb"), (2, "abc"), (99, "abc"), (-5, "cab")])
    def test_moving(self, position: int, order: str) -> None:
        jobs = {name: job(name, place) for place, name in enumerate("abc", 1)}
        for changed in decisions.moved(list(jobs.values()), (), "c", position):
            jobs[changed.id] = changed
        assert "".join(record.id for record in decisions.in_order(jobs.values())) == order

    def test_what_runs_is_not_moved(self) -> None:
        jobs = [job("a", 1), job("b", 2), job("c", 3)]
        assert [(record.id, record.rank) for record in decisions.moved(jobs, ("a",), "c", 0)] == [("c", 1)]

    def test_the_same_is_the_same_in_every_respect(self) -> None:
        known = PullRecord(id="1", repo="a/b", revision="v1", include=("*.json",), state="failed")
        assert decisions.same_as([known], PullRecord(id="2", repo="a/b", revision="v1", include=("*.json",))) is known
        assert decisions.same_as([known], PullRecord(id="2", repo="a/b", include=("*.json",))) is None
        assert decisions.same_as([known], PullRecord(id="2", repo="a/b", revision="v1")) is None

    @pytest.mark.parametrize(
        ("verb", "wish"), [("pause", "done"), ("resume", "done"), ("cancel", "done"), ("move", "failed")]
    )
    def test_what_makes_no_sense(self, verb: decisions.Command, wish: str) -> None:
        with pytest.raises(ConflictError):
            decisions.check(job("a", 1, wish), verb)

    def test_a_wish_that_came_meanwhile_is_not_lost(self) -> None:
        told, broken = Download(id="a", repo="a/b", state="downloading", rate=9.0), ErrorBody(code="x", message="no")
        stopped, failed, whole = PullOutcome(None, stopped=True), PullOutcome(None, error=broken), PullOutcome(None)
        after = {
            (wish, outcome): decisions.after_run(job("a", 1, wish), outcome, told, 5.0).state
            for wish in ("run", "pause", "cancelled")
            for outcome in (stopped, failed, whole)
        }
        assert [after["run", o] for o in (stopped, failed, whole)] == ["run", "failed", "done"]
        assert [after["pause", o] for o in (stopped, failed, whole)] == ["pause", "pause", "done"]
        assert [after["cancelled", o] for o in (stopped, failed, whole)] == ["cancelled", "cancelled", "done"]

    def test_only_so_many_ended_ones_are_kept(self) -> None:
        jobs = [
            PullRecord(id=str(n), repo="a/b", state="done", ended_at=float(n)) for n in range(decisions.KEPT_ENDED + 3)
        ]
        assert decisions.to_forget([*jobs, job("z", 1, "failed")]) == ["0", "1", "2"]


class TestRecords:
    async def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        records = PullRecords(tmp_path / "new")
        record = PullRecord(id="a", repo="x/y", state="failed", error=ErrorBody(code="hub_error", message="no"))
        await records.keep(record)
        await records.keep(job("b", -1))
        assert list(PullRecords(tmp_path / "new")) == [job("b", -1), record]
        await records.forget("a")
        await records.forget("a")
        assert [left.id for left in PullRecords(tmp_path / "new")] == ["b"] == [left.id for left in records]

    @pytest.mark.parametrize(
        "content",
        [b"", b"{}", b"[1]", b"\xff\xfe", b"[" * 9999, b'{"id": "y", "repo": "a/b"}'],
        ids=["empty", "no fields", "a list", "not UTF-8", "nested", "another id"],
    )
    def test_an_unreadable_record_is_kept_aside(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_bytes(content)
        assert list(PullRecords(tmp_path)) == []
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [content]

    async def test_a_home_that_cannot_be_written(self, environ: dict[str, str], tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        pulls = PullQueue(LibrarySettings, environ, tmp_path / "file" / "records")
        with pytest.raises(DiskError):
            await pulls.start(PullRequest(repo=REPO))
        assert pulls.list() == []


@pytest.fixture
async def slowly(hub: StandIn, pulls: PullQueue) -> AsyncIterator[PullQueue]:
    hub.faults(rate=SLOW)
    yield pulls
    await pulls.close()


@pytest.fixture(scope="module")
def others(hub_process: StandIn) -> list[str]:
    """More repositories, small ones."""
    repos = ["queue/a", "queue/b", "queue/c"]
    for repo in repos:
        folder = hub_process.root / repo
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(os.urandom(200_000))
    return repos


async def until(pulls: PullQueue, identity: str, count: int) -> None:
    async with asyncio.timeout(20):
        while pulls.get(identity).done < count:
            await asyncio.sleep(0.01)


async def until_state(pulls: PullQueue, identity: str, state: str) -> None:
    async with asyncio.timeout(20):
        while pulls.get(identity).state != state:
            await asyncio.sleep(0.01)


@contextmanager
def held_up(pulls: PullQueue) -> Iterator[None]:
    """The disk is slow: what is written waits until the end of it."""
    gate = threading.Event()
    pulls._records._writer.submit(gate.wait)
    try:
        yield
    finally:
        gate.set()


class TestTheQueue:
    async def test_one_at_a_time_in_order(self, slowly: PullQueue, others: list[str]) -> None:
        jobs = [await slowly.start(PullRequest(repo=repo)) for repo in others]
        assert [told.position for told in slowly.list()] == [None, 0, 1]
        ended = []
        async with asyncio.timeout(20):
            while len(ended) < 3:
                running = [told for told in slowly.list() if told.state in ("downloading", "verifying")]
                assert len(running) <= 1
                ended += [told.id for told in slowly.list() if told.state == "done" and told.id not in ended]
                await asyncio.sleep(0.01)
        assert ended == [told.id for told in jobs]

    async def test_reordering(self, slowly: PullQueue, others: list[str]) -> None:
        first, second, third = [await slowly.start(PullRequest(repo=repo)) for repo in others]
        assert [told.id for told in await slowly.move(third.id, 0)] == [first.id, third.id, second.id]
        async for _ in slowly.watch(second.id):
            pass
        ended = {told.id: told.ended_at or 0 for told in slowly.list()}
        assert ended[first.id] < ended[third.id] < ended[second.id]

    async def test_pause_lets_the_next_begin_and_resume_goes_on(
        self, slowly: PullQueue, hub: StandIn, others: list[str]
    ) -> None:
        first = await slowly.start(PullRequest(repo=REPO))
        second = await slowly.start(PullRequest(repo=others[0]))
        await until(slowly, first.id, 700_000)
        paused = await slowly.pause(first.id)
        assert paused.state == "paused" and 700_000 <= paused.done < paused.total
        await until_state(slowly, second.id, "done")
        assert slowly.get(first.id).state == "paused"
        hub.faults()
        hub.requests()
        assert (await slowly.resume(first.id)).error is None
        await until_state(slowly, first.id, "done")
        asked = hub.requests()
        assert next(r["range"] for r in asked if r["path"].startswith("/cdn/")) != "bytes=0-"
        assert not [r for r in asked if r["path"].startswith("/api/")], "the commit was pinned"

    async def test_pausing_takes_no_longer_than_the_line(self, slowly: PullQueue, hub: StandIn) -> None:
        """A thread that waits for bytes that do not come is woken."""
        hub.faults(stall_after=0.3, stall_seconds=8)
        told = await slowly.start(PullRequest(repo=REPO))
        await until(slowly, told.id, 900_000)
        async with asyncio.timeout(4):
            await slowly.pause(told.id)
            assert not slowly._runner.running

    async def test_cancel_deletes_what_was_fetched(
        self, slowly: PullQueue, environ: dict[str, str], tmp_path: Path
    ) -> None:
        told = await slowly.start(PullRequest(repo=REPO))
        await until(slowly, told.id, 500_000)
        assert partials(environ)
        assert (await slowly.cancel(told.id)).state == "cancelled"
        await asyncio.sleep(0.1)
        assert not folder_of(environ).exists()
        assert not list((tmp_path / "records").glob("*.json"))
        with pytest.raises(ConflictError):
            await slowly.pause(told.id)

    async def test_cancel_leaves_what_a_snapshot_needs(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        await pull(pulls)
        (hub.root / REPO / "vocab.json").write_bytes(os.urandom(900_000))
        hub.faults(status=503, status_on=f"/{REPO}/resolve", status_times=99)
        told = await pulls.start(PullRequest(repo=REPO))
        await until_state(pulls, told.id, "retrying")
        await pulls.cancel(told.id)
        (hub.root / REPO / "vocab.json").unlink()
        snapshot = next(folder_of(environ).glob("snapshots/*"))
        assert visible(environ) == WHOLE and all((snapshot / name).is_file() for name in WHOLE)

    async def test_a_failed_one_is_retried(self, pulls: PullQueue, hub: StandIn) -> None:
        hub.faults(corrupt_at=100)
        failed = await pull(pulls)
        assert failed.state == "failed"
        hub.faults()
        again = await pulls.retry(failed.id)
        assert again.id == failed.id and again.error is None
        await until_state(pulls, failed.id, "done")

    async def test_clear_forgets_the_ended(self, slowly: PullQueue, others: list[str], tmp_path: Path) -> None:
        done = await pull(slowly, others[0])
        waiting = await slowly.start(PullRequest(repo=REPO, paused=True))
        assert [told.id for told in await slowly.clear()] == [waiting.id]
        with pytest.raises(JobNotFoundError):
            slowly.get(done.id)
        assert [file.stem for file in (tmp_path / "records").glob("*.json")] == [waiting.id]

    async def test_another_mirror_goes_on_with_the_same_job(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        failed = await pulls.start(PullRequest(repo=REPO, endpoint="http://127.0.0.1:9", paused=True))
        again = await pulls.start(PullRequest(repo=REPO, endpoint=hub.endpoint))
        assert again.id == failed.id
        await until_state(pulls, failed.id, "done")
        with pytest.raises(RequestError):
            await pulls.start(PullRequest(repo=REPO, endpoint="file:///etc"))

    async def test_a_bound_on_the_speed(self, pulls: PullQueue, hub: StandIn) -> None:
        pulls.limit(2_000_000)
        told = await pulls.start(PullRequest(repo=REPO))
        await until(pulls, told.id, 1_000_000)
        assert pulls.get(told.id).state == "downloading", "3.2 MB do not come at once"
        pulls.limit(None)
        await until_state(pulls, told.id, "done")

    async def test_a_newer_commit_does_not_disturb_a_pull_under_way(
        self, slowly: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        told = await slowly.start(PullRequest(repo=REPO))
        await until(slowly, told.id, 500_000)
        old = slowly.get(told.id).revision
        await slowly.pause(told.id)
        hub.faults(head="b" * 40)
        await slowly.resume(told.id)
        await until_state(slowly, told.id, "done")
        assert slowly.get(told.id).revision == old
        assert [path.name for path in folder_of(environ).glob("snapshots/*")] == [old]

    async def test_a_commit_that_vanishes_under_way(self, slowly: PullQueue, hub: StandIn) -> None:
        told = await slowly.start(PullRequest(repo=REPO))
        await until(slowly, told.id, 500_000)
        await slowly.pause(told.id)
        (hub.root / REPO / "tokenizer.json").write_text('{"new": 1}')
        hub.faults()
        await slowly.resume(told.id)
        await until_state(slowly, told.id, "failed")
        error = slowly.get(told.id).error
        assert error is not None and error.code == "not_found" and "pull again" in (error.hint or "")
        await slowly.retry(told.id)
        await until_state(slowly, told.id, "done")


class TestWhatComesMeanwhile:
    """Each of these needs the disk to be slow, or to refuse, at one moment: the records' writer is held up for it."""

    async def test_the_second_to_ask_is_answered_when_the_first_is_written(
        self, pulls: PullQueue, hub: StandIn, tmp_path: Path
    ) -> None:
        with held_up(pulls):
            first = asyncio.create_task(pulls.start(PullRequest(repo=REPO, paused=True)))
            second = asyncio.create_task(pulls.start(PullRequest(repo=REPO, paused=True)))
            await asyncio.sleep(0.05)
            assert not first.done() and not second.done(), "nothing is acknowledged that a kill would lose"
        assert (await first).id == (await second).id
        assert len(list((tmp_path / "records").glob("*.json"))) == 1

    async def test_a_retry_while_a_cancelled_one_is_cleared_away(
        self, slowly: PullQueue, hub: StandIn, tmp_path: Path
    ) -> None:
        told = await slowly.start(PullRequest(repo=REPO))
        await until(slowly, told.id, 500_000)
        await slowly.pause(told.id)
        with held_up(slowly):  # its cancelling is written, and its files are deleted, while the retry comes
            cancelling = asyncio.create_task(slowly.cancel(told.id))
            retrying = asyncio.create_task(slowly.retry(told.id))
            await asyncio.sleep(0.2)
        await asyncio.gather(cancelling, retrying)
        assert [file.stem for file in (tmp_path / "records").glob("*.json")] == [told.id], "it was acknowledged"
        hub.faults()
        await until_state(slowly, told.id, "done")

    async def test_a_pause_while_the_queue_is_reordered(
        self, pulls: PullQueue, others: list[str], tmp_path: Path
    ) -> None:
        first, second, third = [await pulls.start(PullRequest(repo=repo, paused=True)) for repo in others]
        pulls._runner._closing = True  # nothing begins
        await pulls.resume(second.id)
        with held_up(pulls):
            moving = asyncio.create_task(pulls.move(third.id, 0))
            await asyncio.sleep(0)
            pausing = asyncio.create_task(pulls.pause(second.id))
            await asyncio.sleep(0.05)
        await asyncio.gather(moving, pausing)
        assert pulls.get(second.id).state == "paused"
        again = PullRecords(tmp_path / "records")
        assert [(r.id, r.state) for r in again] == [(job.id, "pause") for job in (third, first, second)]

    async def test_a_retry_while_the_ended_are_cleared(
        self, pulls: PullQueue, others: list[str], tmp_path: Path
    ) -> None:
        done = [await pull(pulls, repo) for repo in others]
        pulls._runner._closing = True
        with held_up(pulls):
            clearing = asyncio.create_task(pulls.clear())
            await asyncio.sleep(0)
            retrying = asyncio.create_task(pulls.retry(done[2].id))
            await asyncio.sleep(0.05)
        await asyncio.gather(clearing, retrying)
        assert [record.id for record in PullRecords(tmp_path / "records")] == [done[2].id]

    async def test_a_disk_that_takes_no_record(
        self, slowly: PullQueue, others: list[str], environ: dict[str, str], tmp_path: Path
    ) -> None:
        """A folder in the place of a record's file: a pause says so and changes nothing; a cancel frees the disk all
        the same, and the queue goes on."""
        told, waits = [await slowly.start(PullRequest(repo=repo)) for repo in (REPO, others[0])]
        await until(slowly, told.id, 500_000)
        file = tmp_path / "records" / f"{told.id}.json"
        file.unlink()
        (file / "in the way").mkdir(parents=True)
        with pytest.raises(DiskError):
            await slowly.pause(told.id)
        assert slowly.get(told.id).state == "downloading"
        assert (await slowly.cancel(told.id)).state == "cancelled"
        assert not folder_of(environ).exists()
        await until_state(slowly, waits.id, "done")


class TestRestarts:
    async def test_the_queue_survives(
        self, environ: dict[str, str], hub: StandIn, others: list[str], tmp_path: Path
    ) -> None:
        """What runs and waits goes on, what was paused or has failed stays so."""
        settings, folder = LibrarySettings(reserve_bytes=0), tmp_path / "records"
        hub.faults(rate=SLOW)
        pulls = PullQueue(lambda: settings, environ, folder)
        failed = await pull(pulls, "queue/nothing")
        running = await pulls.start(PullRequest(repo=REPO))
        waits, paused = [await pulls.start(PullRequest(repo=repo)) for repo in others[:2]]
        await pulls.pause(paused.id)
        await until(pulls, running.id, 500_000)
        await pulls.close()
        again = PullQueue(lambda: settings, environ, folder)
        assert {told.id: told.state for told in again.list()} == {
            running.id: "queued",
            waits.id: "queued",
            paused.id: "paused",
            failed.id: "failed",
        }
        assert again.get(running.id).done >= 500_000, "it is told how far it was"
        hub.faults()
        again.open()
        await until_state(again, waits.id, "done")
        assert again.get(running.id).state == "done" and again.get(running.id).resumed >= 500_000
        assert (again.get(paused.id).state, again.get(failed.id).state) == ("paused", "failed")
        await again.close()

    async def test_killed_while_a_pull_is_paused(self, environ: dict[str, str], hub: StandIn, tmp_path: Path) -> None:
        hub.faults(rate=SLOW)
        process = pull_process(environ, tmp_path / "records")
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        process.kill()
        process.communicate()
        (record,) = (tmp_path / "records").glob("*.json")
        changed = json.loads(record.read_text()) | {"wish": "pause"}
        record.write_text(json.dumps(changed))
        pulls = PullQueue(lambda: LibrarySettings(reserve_bytes=0), environ, tmp_path / "records")
        pulls.open()
        assert [told.state for told in pulls.list()] == ["paused"]
        hub.faults()
        assert (await pull(pulls)).id == changed["id"], "lmx pull goes on with it"

    async def test_a_cancel_that_was_killed_is_finished(
        self, environ: dict[str, str], slowly: PullQueue, tmp_path: Path
    ) -> None:
        told = await slowly.start(PullRequest(repo=REPO))
        await until(slowly, told.id, 500_000)
        await slowly.close()
        (record,) = (tmp_path / "records").glob("*.json")
        record.write_text(json.dumps(json.loads(record.read_text()) | {"wish": "cancelled"}))
        pulls = PullQueue(lambda: LibrarySettings(reserve_bytes=0), environ, tmp_path / "records")
        pulls.open()
        await pulls.close()
        assert not folder_of(environ).exists() and not list((tmp_path / "records").glob("*.json"))


async def test_close_leaves_a_deletion_behind_that_waits_for_a_disk(
    pulls: PullQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CLOSE_SECONDS", 0.1)
    pulls._runner._discards.append(asyncio.create_task(asyncio.Event().wait()))  # type: ignore[arg-type]
    async with asyncio.timeout(2):
        await pulls.close()


async def test_two_processes_fetch_once(hub: StandIn, environ: dict[str, str], tmp_path: Path) -> None:
    hub.faults(rate=4_000_000)
    both = [pull_process(environ, tmp_path / name) for name in ("one", "two")]
    assert [process.communicate(timeout=30)[0].split()[1] for process in both] == ["done", "done"]
    assert len([r for r in hub.requests() if r["path"].startswith("/cdn/")]) == 1
    shutil.rmtree(tmp_path / "one")


def test_an_unknown_job(pulls: PullQueue) -> None:
    with pytest.raises(JobNotFoundError):
        pulls.get("nobody")
