"""The queue of pulls: commands, races and restarts."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.contract.errors import ConflictError, DiskError, JobNotFoundError, RequestError
from lmx_daemon.library.pull import pull_runner
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.pull.records import PullRecords
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import (
    WHOLE,
    folder_of,
    held_up,
    partials,
    pull,
    pull_process,
    slow_disk,
    until,
    until_state,
    visible,
)


class TestQueue:
    async def test_pulls_run_one_at_a_time_in_order(self, slow_pulls: PullQueue, other_repos: list[str]) -> None:
        jobs = [await slow_pulls.start(PullRequest(repo=repo)) for repo in other_repos]
        assert [job.position for job in slow_pulls.list()] == [None, 0, 1]
        ended = []
        async with asyncio.timeout(20):
            while len(ended) < 3:
                running = [job for job in slow_pulls.list() if job.state in ("downloading", "verifying")]
                assert len(running) <= 1
                ended += [job.id for job in slow_pulls.list() if job.state == "done" and job.id not in ended]
                await asyncio.sleep(0.01)
        assert ended == [job.id for job in jobs]

    async def test_moved_pull_runs_earlier(self, slow_pulls: PullQueue, other_repos: list[str]) -> None:
        first, second, third = [await slow_pulls.start(PullRequest(repo=repo)) for repo in other_repos]
        assert [job.id for job in await slow_pulls.move(third.id, 0)] == [first.id, third.id, second.id]
        async for _ in slow_pulls.watch(second.id):
            pass
        ended = {job.id: job.ended_at or 0 for job in slow_pulls.list()}
        assert ended[first.id] < ended[third.id] < ended[second.id]

    async def test_pause_starts_the_next_pull_and_resume_continues(
        self, slow_pulls: PullQueue, hub: StandIn, other_repos: list[str]
    ) -> None:
        first = await slow_pulls.start(PullRequest(repo=REPO))
        second = await slow_pulls.start(PullRequest(repo=other_repos[0]))
        await until(slow_pulls, first.id, 700_000)
        paused = await slow_pulls.pause(first.id)
        assert paused.state == "paused" and 700_000 <= paused.done < paused.total
        await until_state(slow_pulls, second.id, "done")
        assert slow_pulls.get(first.id).state == "paused"
        hub.faults()
        hub.requests()
        assert (await slow_pulls.resume(first.id)).error is None
        await until_state(slow_pulls, first.id, "done")
        asked = hub.requests()
        assert next(r["range"] for r in asked if r["path"].startswith("/cdn/")) != "bytes=0-"
        assert not [r for r in asked if r["path"].startswith("/api/")], "the pull keeps its commit"

    async def test_pause_wakes_a_thread_that_waits_for_bytes(self, slow_pulls: PullQueue, hub: StandIn) -> None:
        """Pause a pull to which the Hub sends no more bytes."""
        hub.faults(stall_after=0.3, stall_seconds=8)
        job = await slow_pulls.start(PullRequest(repo=REPO))
        await until(slow_pulls, job.id, 900_000)
        async with asyncio.timeout(4):
            await slow_pulls.pause(job.id)
            assert not slow_pulls._runner.running

    async def test_cancel_deletes_the_fetched_bytes(
        self, slow_pulls: PullQueue, environ: dict[str, str], tmp_path: Path
    ) -> None:
        job = await slow_pulls.start(PullRequest(repo=REPO))
        await until(slow_pulls, job.id, 500_000)
        assert partials(environ)
        assert (await slow_pulls.cancel(job.id)).state == "cancelled"
        assert not slow_pulls._runner.running, "no task that could write is left"
        assert not folder_of(environ).exists()
        assert not list((tmp_path / "records").glob("*.json"))
        with pytest.raises(ConflictError):
            await slow_pulls.pause(job.id)

    async def test_cancel_keeps_the_files_of_a_snapshot(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        await pull(pulls)
        (hub.root / REPO / "vocab.json").write_bytes(os.urandom(900_000))
        hub.faults(status=503, status_on=f"/{REPO}/resolve", status_times=99)
        job = await pulls.start(PullRequest(repo=REPO))
        await until_state(pulls, job.id, "retrying")
        await pulls.cancel(job.id)
        (hub.root / REPO / "vocab.json").unlink()
        snapshot = next(folder_of(environ).glob("snapshots/*"))
        assert visible(environ) == WHOLE and all((snapshot / name).is_file() for name in WHOLE)

    async def test_failed_pull_is_retried(self, pulls: PullQueue, hub: StandIn) -> None:
        hub.faults(corrupt_at=100)
        failed = await pull(pulls)
        assert failed.state == "failed"
        hub.faults()
        again = await pulls.retry(failed.id)
        assert again.id == failed.id and again.error is None
        await until_state(pulls, failed.id, "done")

    async def test_clear_removes_ended_pulls(
        self, slow_pulls: PullQueue, other_repos: list[str], tmp_path: Path
    ) -> None:
        done = await pull(slow_pulls, other_repos[0])
        waiting = await slow_pulls.start(PullRequest(repo=REPO, paused=True))
        assert [job.id for job in await slow_pulls.clear()] == [waiting.id]
        with pytest.raises(JobNotFoundError):
            slow_pulls.get(done.id)
        assert [file.stem for file in (tmp_path / "records").glob("*.json")] == [waiting.id]

    async def test_request_with_another_mirror_continues_the_same_pull(
        self, pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        failed = await pulls.start(PullRequest(repo=REPO, endpoint="http://127.0.0.1:9", paused=True))
        again = await pulls.start(PullRequest(repo=REPO, endpoint=hub.endpoint))
        assert again.id == failed.id
        await until_state(pulls, failed.id, "done")
        with pytest.raises(RequestError):
            await pulls.start(PullRequest(repo=REPO, endpoint="file:///etc"))

    async def test_rate_limit_slows_a_pull(self, pulls: PullQueue, hub: StandIn) -> None:
        pulls.limit.set(2_000_000)
        job = await pulls.start(PullRequest(repo=REPO))
        await until(pulls, job.id, 1_000_000)
        assert pulls.get(job.id).state == "downloading", "3.2 MB take 1.6 s at this rate"
        pulls.limit.set(None)
        await until_state(pulls, job.id, "done")

    async def test_changed_schedule_applies_to_a_running_pull(
        self, environ: dict[str, str], hub: StandIn, tmp_path: Path
    ) -> None:
        settings = [LibrarySettings(reserve_bytes=0, rate_schedule={"00:00-24:00": "20 kB/s"})]
        pulls = PullQueue(lambda: settings[0], environ, tmp_path / "records")
        job = await pulls.start(PullRequest(repo=REPO))
        await until(pulls, job.id, 1)
        settings[0] = LibrarySettings(reserve_bytes=0)  # 3.2 MB would take 160 s at the former rate
        await until_state(pulls, job.id, "done")

    async def test_newer_commit_does_not_disturb_a_pinned_pull(
        self, slow_pulls: PullQueue, hub: StandIn, environ: dict[str, str]
    ) -> None:
        job = await slow_pulls.start(PullRequest(repo=REPO))
        await until(slow_pulls, job.id, 500_000)
        old = slow_pulls.get(job.id).revision
        await slow_pulls.pause(job.id)
        hub.faults(head="b" * 40)
        await slow_pulls.resume(job.id)
        await until_state(slow_pulls, job.id, "done")
        assert slow_pulls.get(job.id).revision == old
        assert [path.name for path in folder_of(environ).glob("snapshots/*")] == [old]

    async def test_pull_of_a_removed_commit_fails_and_a_retry_gets_the_newest(
        self, slow_pulls: PullQueue, hub: StandIn
    ) -> None:
        job = await slow_pulls.start(PullRequest(repo=REPO))
        await until(slow_pulls, job.id, 500_000)
        await slow_pulls.pause(job.id)
        (hub.root / REPO / "tokenizer.json").write_text('{"new": 1}')
        hub.faults()
        await slow_pulls.resume(job.id)
        await until_state(slow_pulls, job.id, "failed")
        error = slow_pulls.get(job.id).error
        assert error is not None and error.code == "not_found" and "pull again" in (error.hint or "")
        await slow_pulls.retry(job.id)
        await until_state(slow_pulls, job.id, "done")


class TestRaces:
    """Commands that arrive while a record is being written, or cannot be written."""

    async def test_second_request_is_answered_once_the_record_is_written(
        self, pulls: PullQueue, hub: StandIn, tmp_path: Path
    ) -> None:
        with slow_disk(pulls):
            first = asyncio.create_task(pulls.start(PullRequest(repo=REPO, paused=True)))
            second = asyncio.create_task(pulls.start(PullRequest(repo=REPO, paused=True)))
            await held_up(pulls, 1)
            assert not first.done() and not second.done(), "a request is acknowledged only once its record is written"
        assert (await first).id == (await second).id
        assert len(list((tmp_path / "records").glob("*.json"))) == 1

    async def test_retry_during_the_deletion_of_a_cancelled_pull_starts_it_again(
        self, slow_pulls: PullQueue, hub: StandIn, tmp_path: Path
    ) -> None:
        job = await slow_pulls.start(PullRequest(repo=REPO))
        await until(slow_pulls, job.id, 500_000)
        await slow_pulls.pause(job.id)
        with slow_disk(slow_pulls):  # the retry arrives before the cancellation is written
            cancelling = asyncio.create_task(slow_pulls.cancel(job.id))
            retrying = asyncio.create_task(slow_pulls.retry(job.id))
            await held_up(slow_pulls, 2)
        await asyncio.gather(cancelling, retrying)
        assert [file.stem for file in (tmp_path / "records").glob("*.json")] == [job.id], (
            "the record of the acknowledged retry is kept"
        )
        hub.faults()
        await until_state(slow_pulls, job.id, "done")

    async def test_pause_during_a_move_is_recorded_in_the_new_order(
        self, pulls: PullQueue, other_repos: list[str], tmp_path: Path
    ) -> None:
        first, second, third = [await pulls.start(PullRequest(repo=repo, paused=True)) for repo in other_repos]
        pulls._runner._closing = True  # no pull starts
        await pulls.resume(second.id)
        with slow_disk(pulls):
            moving = asyncio.create_task(pulls.move(third.id, 0))
            await asyncio.sleep(0)
            pausing = asyncio.create_task(pulls.pause(second.id))
            await held_up(pulls, 2)
        await asyncio.gather(moving, pausing)
        assert pulls.get(second.id).state == "paused"
        again = PullRecords(tmp_path / "records")
        assert [(r.id, r.state) for r in again] == [(job.id, "pause") for job in (third, first, second)]

    async def test_retry_during_a_clear_keeps_the_pull(
        self, pulls: PullQueue, other_repos: list[str], tmp_path: Path
    ) -> None:
        done = [await pull(pulls, repo) for repo in other_repos]
        pulls._runner._closing = True
        with slow_disk(pulls):
            clearing = asyncio.create_task(pulls.clear())
            await asyncio.sleep(0)
            retrying = asyncio.create_task(pulls.retry(done[2].id))
            await held_up(pulls, 2)
        await asyncio.gather(clearing, retrying)
        assert [record.id for record in PullRecords(tmp_path / "records")] == [done[2].id]

    async def test_cancel_works_on_a_disk_that_accepts_no_record(
        self, slow_pulls: PullQueue, other_repos: list[str], environ: dict[str, str], tmp_path: Path
    ) -> None:
        """Replace the file of a record by a folder, so that it cannot be written.

        A pause fails and changes nothing. A cancellation deletes the files anyway, and the queue continues.
        """
        job, waits = [await slow_pulls.start(PullRequest(repo=repo)) for repo in (REPO, other_repos[0])]
        await until(slow_pulls, job.id, 500_000)
        file = tmp_path / "records" / f"{job.id}.json"
        file.unlink()
        (file / "in the way").mkdir(parents=True)
        with pytest.raises(DiskError):
            await slow_pulls.pause(job.id)
        assert slow_pulls.get(job.id).state == "downloading"
        assert (await slow_pulls.cancel(job.id)).state == "cancelled"
        assert not folder_of(environ).exists()
        await until_state(slow_pulls, waits.id, "done")


async def test_close_does_not_wait_for_a_disk_that_hangs(pulls: PullQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_runner, "CLOSE_SECONDS", 0.1)
    pulls._runner._discards.append(asyncio.create_task(asyncio.Event().wait()))  # type: ignore[arg-type]
    async with asyncio.timeout(2):
        await pulls.close()


async def test_two_processes_fetch_each_file_once(hub: StandIn, environ: dict[str, str], tmp_path: Path) -> None:
    hub.faults(rate=4_000_000)
    both = [pull_process(environ, tmp_path / name) for name in ("one", "two")]
    assert [process.communicate(timeout=30)[0].split()[1] for process in both] == ["done", "done"]
    assert len([r for r in hub.requests() if r["path"].startswith("/cdn/")]) == 1
    shutil.rmtree(tmp_path / "one")


def test_unknown_pull_is_not_found(pulls: PullQueue) -> None:
    with pytest.raises(JobNotFoundError):
        pulls.get("unknown")
