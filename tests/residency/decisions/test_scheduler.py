"""Tests of the scheduler's races, each as an order of events: plain calls with fake workers, without sleeps."""

from collections.abc import Callable

import msgspec
import pytest

from lmx_daemon.contract.admin.protocol import UnloadRequest
from lmx_daemon.contract.errors import (
    BusyError,
    ConflictError,
    ContextLengthError,
    CrashLoopError,
    ModelLoadError,
    NotFoundError,
    RequestError,
    ShuttingDownError,
    WorkerError,
)
from lmx_daemon.contract.generation.events import Delta, Finished, Loading
from lmx_daemon.contract.generation.requests import Count, Generate, Text
from lmx_daemon.contract.worker.messages import Load, LoadProgress, MemoryUse, Submit
from lmx_daemon.residency.decisions.plan import FAR_ALONG, RETRY_SECONDS
from tests.residency.fakes import GB, MB, ONE_FITS, FakeWorker, Harness, error_code, last_event

Make = Callable[..., Harness]


class FakeSpares:
    """Warm spares of which none is ready."""

    prepared = 0
    """Number of requests for new spares."""

    def take(self, kind: str) -> None:
        """Return nothing."""

    def prepare(self, *, when_calm: bool = False) -> None:
        """Count the call."""
        self.prepared += 1


class TestStart:
    def test_a_request_loads_its_model_and_is_sent_to_its_worker(self, harness: Harness) -> None:
        active = harness.ask("a")
        assert harness.states() == {"a": "loading"}
        worker = harness.worker("a")
        assert worker.submitted == []
        worker.load()
        assert worker.submitted == [active.id] and harness.states() == {"a": "ready"}

    def test_requests_for_a_loading_model_share_its_load_and_keep_their_order(self, harness: Harness) -> None:
        actives = [harness.ask("a") for _ in range(3)]
        assert len(harness.workers) == 1
        harness.worker("a").load()
        assert harness.worker("a").submitted == [active.id for active in actives]

    def test_a_request_for_a_loaded_model_is_sent_at_once(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.request("a")
        assert worker.submitted[-1] == active.id

    def test_the_time_of_a_load_is_sent_with_the_request(self, harness: Harness) -> None:
        harness.ask("a")
        harness.loop.advance(7.0)
        harness.worker("a").load()
        (submit,) = [message for message in harness.worker("a").sent if isinstance(message, Submit)]
        assert (submit.waited, submit.load_seconds) == (7.0, 7.0)

    def test_waiting_requests_receive_the_progress_of_the_load(self, harness: Harness) -> None:
        active = harness.ask("a")
        harness.worker("a").progress("weights", 0.25)
        event = last_event(active)
        assert isinstance(event, Loading) and (event.stage, event.fraction) == ("weights", 0.25)
        assert harness.instance("a").progress == 0.25

    def test_the_first_load_waits_for_the_backend_before_it_is_planned(self, make_harness: Make) -> None:
        harness = make_harness(ONE_FITS, backend="")
        harness.silent_workers = True
        harness.ask("a")
        assert harness.states() == {"a": "starting"} and harness.worker("a").command is None
        harness.worker("a").greet()
        assert harness.states() == {"a": "loading"} and harness.worker("a").command is not None
        assert harness.pool.accounts.backend == "cpu"

    def test_the_load_command_waits_for_the_imports(self, harness: Harness) -> None:
        harness.silent_workers = True
        harness.ask("a")
        assert harness.states() == {"a": "loading"} and harness.worker("a").command is None
        harness.worker("a").greet()
        assert harness.worker("a").command is not None

    def test_a_request_id_is_accepted_once(self, harness: Harness) -> None:
        harness.ask("a")
        with pytest.raises(ConflictError):
            harness.pool.submit(Generate(id="r1", model="b", prompt=Text(text="x")))
        assert harness.states() == {"a": "loading"}

    def test_a_model_with_a_known_problem_is_refused_at_once(self, harness: Harness) -> None:
        harness.problem = "weights are incomplete"
        with pytest.raises(ModelLoadError, match="weights are incomplete"):
            harness.request("a")
        assert harness.states() == {}

    def test_a_context_that_the_model_does_not_have_is_refused(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        assert harness.request("a", context_length=4096).id == worker.submitted[-1]
        with pytest.raises(RequestError, match="a is loaded with a context of 4096 tokens, not 4097") as refused:
            harness.request("a", context_length=4097)
        assert refused.value.param == "context_length" and "lmx unload a" in str(refused.value.hint)

    def test_a_context_that_is_being_loaded_is_compared_before_the_load_ends(self, harness: Harness) -> None:
        harness.load("a", context_length=512)
        assert harness.request("a", context_length=512)
        with pytest.raises(RequestError, match="a context of 512 tokens, not 513"):
            harness.request("a", context_length=513)

    @pytest.mark.parametrize(("asked", "loaded"), [(2048, 2048), (512, 1024)])
    def test_a_load_for_a_request_has_the_context_that_it_needs(
        self, make_harness: Make, asked: int, loaded: int
    ) -> None:
        harness = make_harness(ONE_FITS, context_length=1024)
        harness.ask("a", context_length=asked)
        command = harness.worker("a").command
        assert isinstance(command, Load) and command.options.context_length == loaded

    def test_a_token_count_of_any_length_is_accepted(self, harness: Harness) -> None:
        harness.load("a", context_length=512)
        text = Text(text="x" * 1_000_000)
        with pytest.raises(ContextLengthError):
            harness.pool.submit(Generate(id="r", model="a", prompt=text))
        assert harness.pool.submit(Count(id="c", model="a", prompt=text)).waiting

    def test_a_full_queue_is_refused(self, make_harness: Make) -> None:
        harness = make_harness(ONE_FITS, max_running=1)
        settings = harness.settings.current
        harness.settings.replace(
            msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, max_queued=1))
        )
        harness.ask("a")
        second = harness.ask("a")
        with pytest.raises(BusyError):
            harness.request("a")
        harness.release(second)
        harness.ask("a")


class TestFailure:
    def test_a_worker_that_cannot_be_started_fails_its_requests(self, harness: Harness) -> None:
        harness.start_error = WorkerError("cannot start a worker")
        active = harness.ask("a")
        assert error_code(active) == "worker_failed" and harness.states() == {}
        assert harness.incidents() == [("load failed", "a")]

    def test_a_failed_load_fails_all_its_requests_and_ends_its_worker(self, harness: Harness) -> None:
        actives = [harness.ask("a"), harness.ask("a")]
        worker = harness.worker("a")
        worker.fail_load(ModelLoadError("a file is broken"))
        harness.loop.settle()
        assert [error_code(active) for active in actives] == ["model_load_failed"] * 2
        assert worker.leaving and harness.states() == {} and harness.incidents() == [("load failed", "a")]

    def test_a_crash_while_loading_fails_the_requests_and_counts(self, harness: Harness) -> None:
        active = harness.ask("a")
        harness.worker("a").end(WorkerError("SIGSEGV"))
        assert error_code(active) == "worker_failed" and harness.states() == {}
        assert harness.incidents() == [("crashed", "a"), ("load failed", "a")]

    def test_a_crash_before_the_imports_are_done_fails_the_requests(self, harness: Harness) -> None:
        harness.silent_workers = True
        active = harness.ask("a")
        harness.worker("a").end()
        assert error_code(active) == "worker_failed" and harness.states() == {}

    def test_a_crash_of_a_loaded_model_fails_its_requests_and_the_next_one_loads_it_again(
        self, harness: Harness
    ) -> None:
        worker = harness.loaded("a")
        first, second = harness.ask("a"), harness.ask("a")
        worker.end(WorkerError("SIGSEGV"))
        assert {error_code(first), error_code(second)} == {"worker_failed"}
        assert harness.states() == {} and harness.incidents() == [("crashed", "a")]
        harness.loaded("a")
        assert harness.instance("a").restarts == 1

    def test_a_crash_is_not_counted_for_a_worker_that_was_asked_to_leave(self, harness: Harness) -> None:
        harness.staying_workers = True
        worker = harness.loaded("a")
        harness.scheduler.on_unload(UnloadRequest(id="a"))
        harness.loop.settle()
        worker.end(WorkerError("SIGTERM"))
        assert harness.incidents() == [] and harness.states() == {}

    def test_a_load_that_ends_after_it_failed_has_no_effect(self, harness: Harness) -> None:
        harness.staying_workers = True
        harness.ask("a")
        worker = harness.worker("a")
        worker.fail_load(ModelLoadError("bad"))
        worker.load()
        worker.fail_load(ModelLoadError("bad"))
        assert harness.states() == {"a": "leaving"} and harness.incidents() == [("load failed", "a")]

    def test_the_memory_of_a_failed_load_is_taken_until_its_process_has_ended(self, harness: Harness) -> None:
        harness.staying_workers = True
        harness.ask("a")
        worker = harness.worker("a")
        worker.fail_load(ModelLoadError("bad"))
        harness.ask("b")
        assert harness.states() == {"a": "leaving", "b": "starting"}
        assert harness.instance("b").stage == "waiting for memory: a is busy"
        worker.end()
        harness.loop.settle()
        assert harness.states() == {"b": "loading"}


class TestSpares:
    def test_a_spare_is_prepared_after_each_load_whatever_its_end(self, make_harness: Make) -> None:
        harness = make_harness(ONE_FITS, backend="")
        spares = FakeSpares()
        harness.pool._effects._spares = spares
        harness.silent_workers = True
        harness.release(harness.ask("a"))  # a process was requested, and the load had not begun
        assert len(harness.workers) == 1 and spares.prepared == 1
        harness.silent_workers = False
        harness.loaded("a")
        assert spares.prepared == 2
        harness.ask("b")
        harness.worker("b").end()
        assert spares.prepared == 3


class TestRestart:
    def test_the_second_crash_delays_the_next_start(self, harness: Harness) -> None:
        for _ in range(2):
            harness.ask("a")
            harness.worker("a").end()
        harness.ask("a")
        assert harness.states() == {"a": "starting"} and len(harness.workers) == 2
        harness.loop.advance(0.9)
        assert len(harness.workers) == 2
        harness.loop.advance(0.2)
        assert len(harness.workers) == 3 and harness.states() == {"a": "loading"}

    def test_a_request_that_leaves_during_the_delay_withdraws_the_start(self, harness: Harness) -> None:
        for _ in range(2):
            harness.ask("a")
            harness.worker("a").end()
        harness.release(harness.ask("a"))
        harness.loop.advance(10)
        assert harness.states() == {} and len(harness.workers) == 2

    def test_the_third_crash_refuses_the_model_until_the_window_has_passed(self, harness: Harness) -> None:
        for _ in range(3):
            harness.ask("a")
            harness.loop.advance(5)
            harness.worker("a").end()
        with pytest.raises(CrashLoopError) as refused:
            harness.request("a")
        assert refused.value.retry_after == pytest.approx(290.0)
        harness.loop.advance(291)
        harness.loaded("a")

    def test_a_new_instance_waits_for_the_end_of_the_last_process_of_its_model(self, harness: Harness) -> None:
        harness.staying_workers = True
        old = harness.loaded("a")
        harness.scheduler.on_unload(UnloadRequest(id="a"))
        active = harness.ask("a")
        assert [instance.state for instance in harness.pool.instances()] == ["leaving", "starting"]
        assert len(harness.workers) == 1
        old.end()
        harness.loop.settle()
        harness.worker("a").load()
        assert harness.worker("a").submitted == [active.id]


class TestCancel:
    def test_a_cancellation_before_the_files_are_read_starts_no_process(self, harness: Harness) -> None:
        harness.pool.release(harness.request("a"))
        harness.loop.settle()
        assert harness.workers == [] and harness.states() == {}

    @pytest.mark.parametrize("steps", range(1, 4))
    def test_a_cancellation_after_any_step_leaves_nothing(self, harness: Harness, steps: int) -> None:
        active = harness.request("a")
        for _ in range(steps):
            harness.loop.step()
        harness.pool.release(active)
        harness.tick(RETRY_SECONDS + 1)
        assert harness.states() == {} and not any(worker.alive for worker in harness.workers)
        assert isinstance(last_event(active), Finished)

    def test_a_process_that_arrives_after_its_load_was_cancelled_is_ended(self, harness: Harness) -> None:
        harness.request("a")
        harness.loop.step()  # the files are read, and a process was requested
        harness.scheduler.on_unload(UnloadRequest(id="a"))
        assert harness.states() == {}
        harness.loop.settle()
        assert len(harness.workers) == 1 and not harness.workers[0].alive and harness.incidents() == []

    def test_a_request_is_cancelled_while_others_still_wait(self, harness: Harness) -> None:
        first, second = harness.ask("a"), harness.ask("a")
        harness.release(first)
        harness.tick(RETRY_SECONDS + 1)
        harness.worker("a").load()
        assert harness.worker("a").submitted == [second.id]

    def test_a_running_request_is_cancelled_at_its_worker(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a")
        harness.release(active)
        assert worker.cancelled == [active.id] and harness.pool.requests.has(active.id)
        worker.finish(active.id)
        assert not harness.pool.requests.has(active.id)

    def test_a_model_is_in_use_until_its_worker_confirms_the_cancellation(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a")
        harness.release(active)
        harness.ask("b")
        assert harness.states() == {"a": "ready", "b": "starting"}
        worker.finish(active.id)
        harness.loop.settle()
        assert harness.states() == {"b": "loading"}

    def test_a_request_whose_reader_stalls_is_cancelled(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a")
        worker.emit(Delta(id=active.id, content="x", tokens=1))
        harness.tick(31)
        assert worker.cancelled == [active.id]

    def test_a_worker_cannot_end_the_requests_of_another(self, harness_for_two: Harness) -> None:
        first, other = harness_for_two.loaded("a"), harness_for_two.loaded("b")
        active = harness_for_two.ask("a")
        other.finish(active.id)
        assert not active.closed
        first.finish(active.id)
        assert active.closed


class TestWithdrawal:
    def test_a_running_load_waits_for_the_next_attempt_of_the_client(self, harness: Harness) -> None:
        harness.release(harness.ask("a"))
        harness.tick(RETRY_SECONDS - 1)
        assert harness.states() == {"a": "loading"}
        harness.tick(2)
        assert harness.states() == {} and any("the load was withdrawn" in line for line in harness.lines)
        assert harness.incidents() == []

    def test_a_new_request_keeps_a_load_that_no_request_waited_for(self, harness: Harness) -> None:
        harness.release(harness.ask("a"))
        harness.tick(RETRY_SECONDS - 1)
        harness.ask("a")
        harness.tick(2)
        assert harness.states() == {"a": "loading"} and len(harness.workers) == 1

    def test_an_explicit_load_keeps_what_a_request_began(self, harness: Harness) -> None:
        active = harness.ask("a")
        harness.load("a")
        harness.release(active)
        harness.tick(RETRY_SECONDS + 1)
        assert harness.states() == {"a": "loading"}

    def test_a_load_that_is_far_along_is_completed_if_nothing_was_evicted(self, harness: Harness) -> None:
        active = harness.ask("a")
        harness.worker("a").progress("weights", FAR_ALONG + 0.1)
        harness.release(active)
        harness.tick(RETRY_SECONDS + 1)
        harness.worker("a").load()
        assert harness.states() == {"a": "ready"}

    def test_an_evicted_model_returns_when_the_load_is_withdrawn(self, harness: Harness) -> None:
        harness.loaded("a")
        active = harness.ask("b")
        harness.worker("b").progress("weights", FAR_ALONG + 0.1)
        harness.release(active)
        harness.tick(RETRY_SECONDS + 1)
        assert harness.states() == {"a": "loading"}
        harness.worker("a").load()
        assert harness.states() == {"a": "ready"}
        assert harness.incidents() == [("evicted", "a"), ("restored", "a")]

    def test_a_load_that_waits_for_memory_ends_with_its_last_request(self, harness: Harness) -> None:
        busy = harness.loaded("a")
        harness.ask("a")
        first, second = harness.ask("b"), harness.ask("b")
        harness.release(first)
        assert harness.states() == {"a": "ready", "b": "starting"}
        harness.release(second)
        assert harness.states() == {"a": "ready"}
        busy.finish()
        harness.tick(1)
        assert harness.states() == {"a": "ready"} and len(harness.workers) == 1

    def test_a_request_whose_deadline_passes_needs_no_load(self, harness: Harness) -> None:
        harness.loaded("a")
        harness.ask("a")
        late = harness.ask("b", queue_deadline=0.1)
        harness.loop.advance(0.2)
        assert error_code(late) == "deadline_exceeded" and harness.states() == {"a": "ready"}

    def test_the_deadline_of_an_earlier_request_does_not_end_one_with_its_id(self, harness: Harness) -> None:
        harness.load("a")
        first = harness.pool.submit(Generate(id="same", model="a", prompt=Text(text="x"), queue_deadline=1.0))
        harness.loop.advance(0.5)
        harness.release(first)
        second = harness.pool.submit(Generate(id="same", model="a", prompt=Text(text="x"), queue_deadline=1.0))
        harness.loop.advance(0.7)
        assert not second.closed
        harness.loop.advance(0.4)
        assert error_code(second) == "deadline_exceeded"


class TestEviction:
    def test_the_least_recently_used_idle_model_leaves(self, harness_for_two: Harness) -> None:
        harness_for_two.loaded("a")
        harness_for_two.loaded("b")
        harness_for_two.loaded("a")
        harness_for_two.ask("c")
        assert harness_for_two.states() == {"a": "ready", "c": "loading"} and harness_for_two.incidents() == [
            ("evicted", "b")
        ]

    def test_the_load_begins_once_the_evicted_process_has_ended(self, harness: Harness) -> None:
        harness.staying_workers = True
        old = harness.loaded("a")
        harness.ask("b")
        assert harness.states() == {"a": "leaving", "b": "loading"} and harness.worker("b").command is None
        assert harness.instance("b").stage == "making room: a leaves"
        old.end()
        assert harness.worker("b").command is not None

    def test_a_request_for_a_model_that_is_being_evicted_loads_it_again_afterwards(self, harness: Harness) -> None:
        harness.staying_workers = True
        old = harness.loaded("a")
        first = harness.ask("b")
        again = harness.ask("a")
        assert old.submitted.count(again.id) == 0
        old.end()
        harness.worker("b").load()
        assert harness.instance("a").state == "starting"
        harness.staying_workers = False
        harness.worker("b").stays = False
        harness.worker("b").finish(first.id)
        harness.loop.settle()
        harness.worker("a").load()
        assert harness.worker("a").submitted == [again.id] and harness.states() == {"a": "ready"}

    def test_a_request_that_arrives_first_keeps_its_model(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.request("a")
        harness.ask("b")
        assert harness.states() == {"a": "ready", "b": "starting"}
        worker.finish(active.id)
        harness.loop.settle()
        assert harness.states() == {"b": "loading"}

    def test_a_request_that_leaves_at_once_evicts_nothing(self, harness: Harness) -> None:
        harness.loaded("a")
        harness.pool.release(harness.request("b"))
        harness.tick(1)
        assert harness.states() == {"a": "ready"} and harness.incidents() == []

    def test_an_evicted_model_returns_when_the_load_fails(self, harness: Harness) -> None:
        harness.loaded("a")
        active = harness.ask("b")
        harness.worker("b").end(WorkerError("SIGSEGV"))
        assert error_code(active) == "worker_failed"
        harness.loop.settle()
        harness.worker("a").load()
        assert harness.states() == {"a": "ready"}
        assert harness.incidents()[-1] == ("restored", "a")

    def test_a_restored_model_evicts_nothing(self, harness_for_two: Harness) -> None:
        harness_for_two.loaded("a")
        harness_for_two.loaded("b")
        harness_for_two.ask("c")
        floor_worker = harness_for_two.worker("c")
        harness_for_two.machine.cap = ONE_FITS  # other programs have taken memory
        floor_worker.end()
        harness_for_two.loop.settle()
        assert harness_for_two.states() == {"b": "ready"}
        assert any("needs the memory of another" in line for line in harness_for_two.lines)

    def test_a_load_that_waits_longer_than_allowed_fails(self, make_harness: Make) -> None:
        harness = make_harness(ONE_FITS, memory_wait_seconds=3.0)
        harness.loaded("a")
        harness.ask("a")
        late = harness.ask("b")
        harness.loop.advance(2.9)
        assert not late.closed
        harness.loop.advance(0.2)
        assert error_code(late) == "queue_full" and harness.states() == {"a": "ready"}

    def test_a_refused_load_does_not_delay_a_load_that_fits(self, harness_for_two: Harness) -> None:
        harness_for_two.loaded("a")
        harness_for_two.ask("a")
        harness_for_two.load("b", context_length=100_000, slots=32)
        assert harness_for_two.states() == {"a": "ready"}  # b is refused: no eviction would make it fit
        harness_for_two.loaded("c")
        assert harness_for_two.states() == {"a": "ready", "c": "ready"}

    def test_one_model_is_loaded_at_a_time(self, harness_for_two: Harness) -> None:
        harness_for_two.ask("a")
        harness_for_two.ask("b")
        assert harness_for_two.states() == {"a": "loading", "b": "starting"}
        harness_for_two.worker("a").load()
        harness_for_two.loop.settle()
        assert harness_for_two.states() == {"a": "ready", "b": "loading"}

    def test_a_pinned_model_stays(self, harness: Harness) -> None:
        harness.load("a", pin=True)
        harness.worker("a").load()
        assert error_code(harness.ask("b")) == "out_of_memory" and harness.states() == {"a": "ready"}

    def test_a_load_that_takes_more_than_planned_is_undone(self, harness_for_two: Harness) -> None:
        harness_for_two.loaded("a")
        active = harness_for_two.ask("b")
        worker = harness_for_two.worker("b")
        worker.memory = MemoryUse(active=1500 * MB, weights=1500 * MB, resident=1500 * MB)
        worker.load()
        assert error_code(active) == "out_of_memory"
        assert harness_for_two.incidents() == [("undone", "b"), ("load failed", "b")]
        harness_for_two.loop.settle()
        assert harness_for_two.states() == {"a": "ready"}


class TestUnload:
    def test_an_unload_waits_for_running_requests(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a")
        harness.scheduler.on_unload(UnloadRequest(id="a"))
        harness.tick(5)
        assert worker.alive and harness.states() == {"a": "leaving"}
        worker.finish(active.id)
        harness.loop.settle()
        assert not worker.alive and harness.states() == {} and not isinstance(last_event(active), type(None))

    def test_a_request_during_the_wait_is_answered_by_the_leaving_process(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        first = harness.ask("a")
        harness.scheduler.on_unload(UnloadRequest(id="a"))
        second = harness.ask("a")
        assert second.at_worker and len(harness.states()) == 1
        worker.finish(first.id)
        harness.loop.settle()
        assert worker.alive
        worker.finish(second.id)
        harness.loop.settle()
        assert not worker.alive and harness.states() == {}

    def test_a_load_during_the_wait_keeps_the_model(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a")
        harness.scheduler.on_unload(UnloadRequest(id="a"))
        harness.load("a")
        worker.finish(active.id)
        harness.loop.settle()
        assert worker.alive and harness.states() == {"a": "ready"}

    def test_a_forced_unload_fails_the_running_requests(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a")
        harness.scheduler.on_unload(UnloadRequest(id="a", force=True))
        harness.loop.settle()
        assert error_code(active) == "cancelled" and not worker.alive

    def test_a_crash_while_requests_are_waited_for_counts(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a")
        harness.scheduler.on_unload(UnloadRequest(id="a"))
        worker.end(WorkerError("SIGSEGV"))
        assert error_code(active) == "worker_failed" and harness.incidents() == [("crashed", "a")]
        assert harness.states() == {}

    def test_a_model_that_is_unloaded_while_it_waits_for_memory_delays_no_other(self, harness: Harness) -> None:
        harness.staying_workers = True
        old = harness.loaded("a")
        active = harness.ask("b")
        harness.staying_workers = False
        harness.worker("b").stays = False
        harness.scheduler.on_unload(UnloadRequest(id="b"))
        harness.loop.settle()
        assert error_code(active) == "cancelled"
        old.end()
        harness.loop.settle()
        harness.worker("a").load()
        assert harness.states() == {"a": "ready"} and harness.incidents()[-1] == ("restored", "a")

    def test_an_unload_of_an_unknown_model_is_refused_with_the_loaded_ones(self, harness: Harness) -> None:
        harness.loaded("a")
        with pytest.raises(NotFoundError) as refused:
            harness.scheduler.on_unload(UnloadRequest(id="b"))
        assert refused.value.hint is not None and refused.value.hint.startswith("loaded: a:")


class TestExpiry:
    def test_a_model_that_is_not_used_for_its_time_to_live_is_unloaded(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        harness.load("a", ttl=10.0)
        harness.tick(9)
        assert harness.states() == {"a": "ready"}
        harness.tick(2)
        assert harness.states() == {} and not worker.alive and harness.incidents() == [("expired", "a")]

    def test_a_model_in_use_does_not_expire(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a", ttl=1.0)
        harness.tick(5)
        assert harness.states() == {"a": "ready"}
        worker.finish(active.id)
        harness.release(active)
        harness.tick(2)
        assert harness.states() == {}

    def test_a_request_that_arrives_while_the_process_leaves_is_served_by_the_next(self, harness: Harness) -> None:
        harness.staying_workers = True
        old = harness.loaded("a")
        harness.load("a", ttl=1.0)
        harness.tick(2)
        assert old.leaving and harness.states() == {"a": "leaving"}
        active = harness.ask("a")
        old.end()
        harness.loop.settle()
        harness.worker("a").load()
        assert harness.worker("a").submitted == [active.id]


class TestDrain:
    def test_new_requests_and_loads_are_refused(self, harness: Harness) -> None:
        harness.scheduler.on_drain(10.0)
        with pytest.raises(ShuttingDownError):
            harness.request("a")
        with pytest.raises(ShuttingDownError):
            harness.load("a")
        assert not harness.pool.health().ok

    def test_running_requests_may_end_before_the_deadline(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        active = harness.ask("a")
        harness.scheduler.on_drain(10.0)
        harness.loop.advance(9.0)
        assert harness.pool.requests.busy()
        worker.finish(active.id)
        assert isinstance(last_event(active), Finished) and not harness.pool.requests.busy()

    def test_a_request_that_waits_for_a_load_is_served_before_the_deadline(self, harness: Harness) -> None:
        active = harness.ask("a")
        harness.scheduler.on_drain(10.0)
        harness.worker("a").load()
        harness.worker("a").finish(active.id)
        assert isinstance(last_event(active), Finished)

    def test_after_the_deadline_all_requests_fail(self, harness_for_two: Harness) -> None:
        harness_for_two.loaded("a")
        actives = [harness_for_two.ask("a"), harness_for_two.ask("b")]
        harness_for_two.scheduler.on_drain(10.0)
        harness_for_two.loop.advance(10.1)
        assert [error_code(active) for active in actives] == ["shutting_down"] * 2
        assert not harness_for_two.pool.requests.busy()

    def test_an_evicted_model_is_not_restored(self, harness: Harness) -> None:
        harness.loaded("a")
        harness.ask("b")
        harness.scheduler.on_drain(10.0)
        harness.worker("b").end()
        harness.loop.settle()
        assert harness.states() == {}

    def test_the_end_of_the_daemon_cancels_all_loads(self, harness_for_two: Harness) -> None:
        harness_for_two.load("a")
        harness_for_two.load("b")
        harness_for_two.scheduler.on_close()
        harness_for_two.loop.settle()
        assert harness_for_two.states() == {} and len(harness_for_two.workers) == 1

    def test_a_worker_that_ends_with_the_daemon_is_no_incident(self, harness_for_two: Harness) -> None:
        worker = harness_for_two.loaded("a")
        harness_for_two.scheduler.on_close()
        worker.end()
        harness_for_two.loop.settle()
        assert harness_for_two.states() == {} and harness_for_two.incidents() == []


class TestMemory:
    def test_the_last_use_of_a_model_is_the_end_of_its_last_reader(self, harness: Harness) -> None:
        worker = harness.loaded("a")
        harness.load("a", ttl=10.0)
        active = harness.ask("a")
        harness.tick(20)
        worker.finish(active.id)
        harness.release(active)
        harness.tick(9)
        assert harness.states() == {"a": "ready"}

    def test_the_only_model_is_granted_all_free_memory(self, make_harness: Make) -> None:
        harness = make_harness(9 * GB)
        first = harness.loaded("a")
        assert first.command is not None and first.command.options.cache_bytes > 4 * GB
        harness.loaded("b")
        assert first.grants and first.grants[-1] < first.command.options.cache_bytes

    def test_a_grant_that_changes_during_the_load_is_sent_once_the_model_is_ready(self, make_harness: Make) -> None:
        harness = make_harness(9 * GB)
        harness.ask("a")
        worker = harness.worker("a")
        assert worker.command is not None
        harness.machine.cap = 4 * GB
        harness.tick()
        assert worker.grants == []
        worker.load()
        assert worker.grants and worker.grants[0] < worker.command.options.cache_bytes / 2


def test_progress_after_the_load_was_cancelled_has_no_effect(harness: Harness) -> None:
    harness.staying_workers = True
    harness.ask("a")
    worker: FakeWorker = harness.worker("a")
    harness.scheduler.on_unload(UnloadRequest(id="a"))
    harness.scheduler.on_load_progress(worker.instance, LoadProgress(stage="weights", fraction=0.5))
    assert harness.instance("a").stage != "weights"


def test_an_internal_error_fails_the_requests_and_is_raised_for_the_log(harness: Harness) -> None:
    active = harness.request("a")
    harness.pool._effects._clear = lambda model: 1 / 0
    with pytest.raises(ZeroDivisionError):
        harness.loop.settle()
    assert error_code(active) == "model_load_failed" and harness.states() == {}
