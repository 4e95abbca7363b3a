"""Decisions about the queue of pulls."""

import pytest

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.errors import ConflictError, ErrorBody
from lmx_daemon.library.pull import decisions
from lmx_daemon.library.pull.pull_run import PullOutcome
from lmx_daemon.library.pull.records import PullRecord


def job(identity: str, place: int, state: str = "run", repo: str = "") -> PullRecord:
    return PullRecord(id=identity, repo=repo or f"maker/{identity}", state=state, rank=place)  # type: ignore[arg-type]


class TestDecisions:
    def test_first_pulls_of_the_queue_start(self) -> None:
        jobs = [job("c", 3), job("a", 1, "pause"), job("b", 2), job("d", 4, "failed")]
        assert decisions.to_start(jobs, (), 1) == ["b"]
        assert decisions.to_start(jobs, (), 9) == ["b", "c"]
        assert decisions.to_start(jobs, ("b",), 1) == []
        assert decisions.to_start(jobs, ("b",), 2) == ["c"]

    def test_two_pulls_of_one_repository_never_run_together(self) -> None:
        jobs = [job("a", 1, repo="x/y"), job("b", 2, repo="x/y"), job("c", 3)]
        assert decisions.to_start(jobs, (), 3) == ["a", "c"]
        assert decisions.to_start(jobs, ("a",), 3) == ["c"]

    @pytest.mark.parametrize(("position", "order"), [(0, "cab"), (1, "acb"), (2, "abc"), (99, "abc"), (-5, "cab")])
    def test_moved_pull_gets_its_position(self, position: int, order: str) -> None:
        jobs = {name: job(name, place) for place, name in enumerate("abc", 1)}
        for changed in decisions.moved(list(jobs.values()), (), "c", position):
            jobs[changed.id] = changed
        assert "".join(record.id for record in decisions.in_order(jobs.values())) == order

    def test_running_pull_is_not_moved(self) -> None:
        jobs = [job("a", 1), job("b", 2), job("c", 3)]
        assert [(record.id, record.rank) for record in decisions.moved(jobs, ("a",), "c", 0)] == [("c", 1)]

    def test_same_pull_has_equal_revision_and_patterns(self) -> None:
        known = PullRecord(id="1", repo="a/b", revision="v1", include=("*.json",), state="failed")
        assert decisions.same_as([known], PullRecord(id="2", repo="a/b", revision="v1", include=("*.json",))) is known
        assert decisions.same_as([known], PullRecord(id="2", repo="a/b", include=("*.json",))) is None
        assert decisions.same_as([known], PullRecord(id="2", repo="a/b", revision="v1")) is None

    @pytest.mark.parametrize(
        ("verb", "state"), [("pause", "done"), ("resume", "done"), ("cancel", "done"), ("move", "failed")]
    )
    def test_command_without_meaning_is_refused(self, verb: decisions.PullCommand, state: str) -> None:
        with pytest.raises(ConflictError):
            decisions.check(job("a", 1, state), verb)

    def test_command_that_arrived_during_a_run_is_kept(self) -> None:
        download = Download(id="a", repo="a/b", state="downloading", rate=9.0)
        broken = ErrorBody(code="x", message="no")
        stopped, failed, whole = PullOutcome(None, stopped=True), PullOutcome(None, error=broken), PullOutcome(None)
        after = {
            (state, outcome): decisions.after_run(job("a", 1, state), outcome, download, 5.0).state
            for state in ("run", "pause", "cancelled")
            for outcome in (stopped, failed, whole)
        }
        assert [after["run", o] for o in (stopped, failed, whole)] == ["run", "failed", "done"]
        assert [after["pause", o] for o in (stopped, failed, whole)] == ["pause", "pause", "done"]
        assert [after["cancelled", o] for o in (stopped, failed, whole)] == ["cancelled", "cancelled", "done"]

    def test_oldest_ended_pulls_are_forgotten(self) -> None:
        jobs = [
            PullRecord(id=str(n), repo="a/b", state="done", ended_at=float(n)) for n in range(decisions.KEPT_ENDED + 3)
        ]
        assert decisions.to_forget([*jobs, job("z", 1, "failed")]) == ["0", "1", "2"]
