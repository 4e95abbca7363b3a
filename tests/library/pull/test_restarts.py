"""Pulls over restarts and kills of the daemon."""

import json
from pathlib import Path

from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import SLOW, folder_of, pull, pull_process, until, until_state


class TestRestarts:
    async def test_queue_survives_a_restart(
        self, environ: dict[str, str], hub: StandIn, other_repos: list[str], tmp_path: Path
    ) -> None:
        """Check that running and waiting pulls continue, and that paused and failed ones keep their state."""
        settings, folder = LibrarySettings(reserve_bytes=0), tmp_path / "records"
        hub.faults(rate=SLOW)
        pulls = PullQueue(lambda: settings, environ, folder)
        failed = await pull(pulls, "queue/nothing")
        running = await pulls.start(PullRequest(repo=REPO))
        waits, paused = [await pulls.start(PullRequest(repo=repo)) for repo in other_repos[:2]]
        await pulls.pause(paused.id)
        await until(pulls, running.id, 500_000)
        await pulls.close()
        again = PullQueue(lambda: settings, environ, folder)
        assert {job.id: job.state for job in again.list()} == {
            running.id: "queued",
            waits.id: "queued",
            paused.id: "paused",
            failed.id: "failed",
        }
        assert again.get(running.id).done >= 500_000, "the progress is kept"
        hub.faults()
        again.open()
        await until_state(again, waits.id, "done")
        assert again.get(running.id).state == "done" and again.get(running.id).resumed >= 500_000
        assert (again.get(paused.id).state, again.get(failed.id).state) == ("paused", "failed")
        await again.close()

    async def test_paused_pull_survives_a_kill(self, environ: dict[str, str], hub: StandIn, tmp_path: Path) -> None:
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
        assert [job.state for job in pulls.list()] == ["paused"]
        hub.faults()
        assert (await pull(pulls)).id == changed["id"], "lmx pull continues the paused pull"

    async def test_cancellation_interrupted_by_a_kill_is_finished(
        self, environ: dict[str, str], slow_pulls: PullQueue, tmp_path: Path
    ) -> None:
        job = await slow_pulls.start(PullRequest(repo=REPO))
        await until(slow_pulls, job.id, 500_000)
        await slow_pulls.close()
        (record,) = (tmp_path / "records").glob("*.json")
        record.write_text(json.dumps(json.loads(record.read_text()) | {"wish": "cancelled"}))
        pulls = PullQueue(lambda: LibrarySettings(reserve_bytes=0), environ, tmp_path / "records")
        pulls.open()
        await pulls.close()
        assert not folder_of(environ).exists() and not list((tmp_path / "records").glob("*.json"))
