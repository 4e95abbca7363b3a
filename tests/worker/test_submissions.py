"""Submissions: which thread ends a request, and when."""

import time
from typing import Any

from lmx_daemon.contract.generation.events import Failed, Finished
from lmx_daemon.contract.generation.requests import Generate, Tokens
from lmx_daemon.contract.worker.messages import Submit
from lmx_daemon.worker.heartbeat import HeartbeatCounters
from lmx_daemon.worker.submissions import Submission, Submissions


def added(submissions: Submissions, identity: str = "a", waited: float = 0.0, **fields: Any) -> Submission:
    request = Generate(id=identity, model="m", prompt=Tokens(ids=(1,)), **fields)
    submissions.add(Submit(request=request, waited=waited))
    return submissions._open[identity]


class TestOrder:
    """Order of the commands that the engine's inbox receives, represented by calls of `drop` and `act`."""

    def test_a_cancel_in_preparation_ends_the_request_without_the_engine(self) -> None:
        submissions, inbox = Submissions(), list[str]()
        first = added(submissions, choices=2)
        event = submissions.cancel("a", lambda: inbox.append("drop"))
        assert isinstance(event, Finished) and len(event.endings) == 2 and event.reason == "cancelled"
        submissions.hand_over(first, lambda: inbox.append("ready"))
        assert inbox == [] and not submissions.end(first) and len(submissions) == 0

    def test_a_cancel_comes_after_its_request_and_before_the_next_one_with_its_id(self) -> None:
        submissions, inbox = Submissions(), list[str]()
        first = added(submissions)
        submissions.hand_over(first, lambda: inbox.append("first"))
        assert submissions.cancel("a", lambda: inbox.append("drop")) is None
        submissions.closed("a")  # the engine had ended it before the drop arrived
        second = added(submissions)
        assert not submissions.is_preparing(first) and submissions.is_preparing(second)
        submissions.hand_over(second, lambda: inbox.append("second"))
        assert inbox == ["first", "drop", "second"]

    def test_a_cancel_of_an_ended_request_does_nothing(self) -> None:
        submissions, inbox = Submissions(), list[str]()
        submissions.hand_over(added(submissions), lambda: None)
        submissions.closed("a")
        assert submissions.cancel("a", lambda: inbox.append("drop")) is None
        submissions.hand_over(added(submissions), lambda: inbox.append("ready"))
        assert inbox == ["ready"]

    def test_requests_are_prepared_in_the_order_of_arrival(self) -> None:
        submissions = Submissions()
        first, second = added(submissions, "a"), added(submissions, "b")
        assert submissions.next() is first and submissions.preparing == 2
        assert submissions.end(first) and submissions.next() is second

    def test_the_wait_for_a_request_ends_after_its_patience(self) -> None:
        assert Submissions().next(0.01) is None


class TestDeadlines:
    def test_an_overdue_request_ends(self) -> None:
        submissions = Submissions()
        added(submissions, "a", waited=2.0, deadline=1.0)
        added(submissions, "b", waited=2.0, queue_deadline=1.0)
        added(submissions, "c", deadline=1.0)
        added(submissions, "d")
        events = submissions.overdue(time.monotonic())
        assert [event.id for event in events] == ["a", "b"] and len(submissions) == 2
        assert all(isinstance(event, Failed) and event.error.code == "deadline_exceeded" for event in events)

    def test_a_prepared_request_is_left_to_the_engine(self) -> None:
        submissions = Submissions()
        submissions.hand_over(added(submissions, waited=2.0, deadline=1.0), lambda: None)
        assert submissions.overdue(time.monotonic()) == [] and len(submissions) == 1


class TestHeartbeatCounters:
    def test_preparation_without_progress_shows_in_the_heartbeat(self) -> None:
        counters = HeartbeatCounters()
        added(counters.submissions)
        with counters.preparation():
            first, second = counters.heartbeat(), counters.heartbeat()
            assert first.preparing and first.prepared == second.prepared and first.waiting == 1
            counters.advance(0.0)
            assert counters.heartbeat().prepared > second.prepared
        assert not counters.heartbeat().preparing

    def test_a_long_call_counts_as_progress_within_its_credit(self) -> None:
        counters = HeartbeatCounters()
        with counters.preparation():
            counters.advance(0.05)
            assert counters.heartbeat().prepared < counters.heartbeat().prepared
            time.sleep(0.06)
            assert counters.heartbeat().prepared == counters.heartbeat().prepared
