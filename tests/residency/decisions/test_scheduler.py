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
from tests.residency.fakes import GB, MB, ONE_FITS, FakeWorker, Floor, error_code, last_event

Make = Callable[..., Floor]


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
    def test_a_request_loads_its_model_and_is_sent_to_its_worker(self, floor: Floor) -> None:
        active = floor.ask("a")
        assert floor.states() == {"a": "loading"}
        worker = floor.worker("a")
        assert worker.submitted == []
        worker.load()
        assert worker.submitted == [active.id] and floor.states() == {"a": "ready"}

    def test_requests_for_a_loading_model_share_its_load_and_keep_their_order(self, floor: Floor) -> None:
        actives = [floor.ask("a") for _ in range(3)]
        assert len(floor.workers) == 1
        floor.worker("a").load()
        assert floor.worker("a").submitted == [active.id for active in actives]

    def test_a_request_for_a_loaded_model_is_sent_at_once(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.request("a")
        assert worker.submitted[-1] == active.id

    def test_the_time_of_a_load_is_sent_with_the_request(self, floor: Floor) -> None:
        floor.ask("a")
        floor.loop.advance(7.0)
        floor.worker("a").load()
        (submit,) = [message for message in floor.worker("a").sent if isinstance(message, Submit)]
        assert (submit.waited, submit.load_seconds) == (7.0, 7.0)

    def test_waiting_requests_receive_the_progress_of_the_load(self, floor: Floor) -> None:
        active = floor.ask("a")
        floor.worker("a").progress("weights", 0.25)
        event = last_event(active)
        assert isinstance(event, Loading) and (event.stage, event.fraction) == ("weights", 0.25)
        assert floor.instance("a").progress == 0.25

    def test_the_first_load_waits_for_the_backend_before_it_is_planned(self, make_floor: Make) -> None:
        floor = make_floor(ONE_FITS, backend="")
        floor.silent_workers = True
        floor.ask("a")
        assert floor.states() == {"a": "starting"} and floor.worker("a").command is None
        floor.worker("a").greet()
        assert floor.states() == {"a": "loading"} and floor.worker("a").command is not None
        assert floor.pool.accounts.backend == "cpu"

    def test_the_load_command_waits_for_the_imports(self, floor: Floor) -> None:
        floor.silent_workers = True
        floor.ask("a")
        assert floor.states() == {"a": "loading"} and floor.worker("a").command is None
        floor.worker("a").greet()
        assert floor.worker("a").command is not None

    def test_a_request_id_is_accepted_once(self, floor: Floor) -> None:
        floor.ask("a")
        with pytest.raises(ConflictError):
            floor.pool.submit(Generate(id="r1", model="b", prompt=Text(text="x")))
        assert floor.states() == {"a": "loading"}

    def test_a_model_with_a_known_problem_is_refused_at_once(self, floor: Floor) -> None:
        floor.problem = "weights are incomplete"
        with pytest.raises(ModelLoadError, match="weights are incomplete"):
            floor.request("a")
        assert floor.states() == {}

    def test_a_context_that_the_model_does_not_have_is_refused(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        assert floor.request("a", context_length=4096).id == worker.submitted[-1]
        with pytest.raises(RequestError, match="a is loaded with a context of 4096 tokens, not 4097") as refused:
            floor.request("a", context_length=4097)
        assert refused.value.param == "context_length" and "lmx unload a" in str(refused.value.hint)

    def test_a_context_that_is_being_loaded_is_compared_before_the_load_ends(self, floor: Floor) -> None:
        floor.load("a", context_length=512)
        assert floor.request("a", context_length=512)
        with pytest.raises(RequestError, match="a context of 512 tokens, not 513"):
            floor.request("a", context_length=513)

    @pytest.mark.parametrize(("asked", "loaded"), [(2048, 2048), (512, 1024)])
    def test_a_load_for_a_request_has_the_context_that_it_needs(
        self, make_floor: Make, asked: int, loaded: int
    ) -> None:
        floor = make_floor(ONE_FITS, context_length=1024)
        floor.ask("a", context_length=asked)
        command = floor.worker("a").command
        assert isinstance(command, Load) and command.options.context_length == loaded

    def test_a_token_count_of_any_length_is_accepted(self, floor: Floor) -> None:
        floor.load("a", context_length=512)
        text = Text(text="x" * 1_000_000)
        with pytest.raises(ContextLengthError):
            floor.pool.submit(Generate(id="r", model="a", prompt=text))
        assert floor.pool.submit(Count(id="c", model="a", prompt=text)).waiting

    def test_a_full_queue_is_refused(self, make_floor: Make) -> None:
        floor = make_floor(ONE_FITS, max_running=1)
        settings = floor.settings.current
        floor.settings.replace(
            msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, max_queued=1))
        )
        floor.ask("a")
        second = floor.ask("a")
        with pytest.raises(BusyError):
            floor.request("a")
        floor.release(second)
        floor.ask("a")


class TestFailure:
    def test_a_worker_that_cannot_be_started_fails_its_requests(self, floor: Floor) -> None:
        floor.start_error = WorkerError("cannot start a worker")
        active = floor.ask("a")
        assert error_code(active) == "worker_failed" and floor.states() == {}
        assert floor.incidents() == [("load failed", "a")]

    def test_a_failed_load_fails_all_its_requests_and_ends_its_worker(self, floor: Floor) -> None:
        actives = [floor.ask("a"), floor.ask("a")]
        worker = floor.worker("a")
        worker.fail_load(ModelLoadError("a file is broken"))
        floor.loop.settle()
        assert [error_code(active) for active in actives] == ["model_load_failed"] * 2
        assert worker.leaving and floor.states() == {} and floor.incidents() == [("load failed", "a")]

    def test_a_crash_while_loading_fails_the_requests_and_counts(self, floor: Floor) -> None:
        active = floor.ask("a")
        floor.worker("a").end(WorkerError("SIGSEGV"))
        assert error_code(active) == "worker_failed" and floor.states() == {}
        assert floor.incidents() == [("crashed", "a"), ("load failed", "a")]

    def test_a_crash_before_the_imports_are_done_fails_the_requests(self, floor: Floor) -> None:
        floor.silent_workers = True
        active = floor.ask("a")
        floor.worker("a").end()
        assert error_code(active) == "worker_failed" and floor.states() == {}

    def test_a_crash_of_a_loaded_model_fails_its_requests_and_the_next_one_loads_it_again(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        first, second = floor.ask("a"), floor.ask("a")
        worker.end(WorkerError("SIGSEGV"))
        assert {error_code(first), error_code(second)} == {"worker_failed"}
        assert floor.states() == {} and floor.incidents() == [("crashed", "a")]
        floor.loaded("a")
        assert floor.instance("a").restarts == 1

    def test_a_crash_is_not_counted_for_a_worker_that_was_asked_to_leave(self, floor: Floor) -> None:
        floor.staying_workers = True
        worker = floor.loaded("a")
        floor.scheduler.on_unload(UnloadRequest(id="a"))
        floor.loop.settle()
        worker.end(WorkerError("SIGTERM"))
        assert floor.incidents() == [] and floor.states() == {}

    def test_a_load_that_ends_after_it_failed_has_no_effect(self, floor: Floor) -> None:
        floor.staying_workers = True
        floor.ask("a")
        worker = floor.worker("a")
        worker.fail_load(ModelLoadError("bad"))
        worker.load()
        worker.fail_load(ModelLoadError("bad"))
        assert floor.states() == {"a": "leaving"} and floor.incidents() == [("load failed", "a")]

    def test_the_memory_of_a_failed_load_is_taken_until_its_process_has_ended(self, floor: Floor) -> None:
        floor.staying_workers = True
        floor.ask("a")
        worker = floor.worker("a")
        worker.fail_load(ModelLoadError("bad"))
        floor.ask("b")
        assert floor.states() == {"a": "leaving", "b": "starting"}
        assert floor.instance("b").stage == "waiting for memory: a is busy"
        worker.end()
        floor.loop.settle()
        assert floor.states() == {"b": "loading"}


class TestSpares:
    def test_a_spare_is_prepared_after_each_load_whatever_its_end(self, make_floor: Make) -> None:
        floor = make_floor(ONE_FITS, backend="")
        spares = FakeSpares()
        floor.pool._effects._spares = spares
        floor.silent_workers = True
        floor.release(floor.ask("a"))  # a process was requested, and the load had not begun
        assert len(floor.workers) == 1 and spares.prepared == 1
        floor.silent_workers = False
        floor.loaded("a")
        assert spares.prepared == 2
        floor.ask("b")
        floor.worker("b").end()
        assert spares.prepared == 3


class TestRestart:
    def test_the_second_crash_delays_the_next_start(self, floor: Floor) -> None:
        for _ in range(2):
            floor.ask("a")
            floor.worker("a").end()
        floor.ask("a")
        assert floor.states() == {"a": "starting"} and len(floor.workers) == 2
        floor.loop.advance(0.9)
        assert len(floor.workers) == 2
        floor.loop.advance(0.2)
        assert len(floor.workers) == 3 and floor.states() == {"a": "loading"}

    def test_a_request_that_leaves_during_the_delay_withdraws_the_start(self, floor: Floor) -> None:
        for _ in range(2):
            floor.ask("a")
            floor.worker("a").end()
        floor.release(floor.ask("a"))
        floor.loop.advance(10)
        assert floor.states() == {} and len(floor.workers) == 2

    def test_the_third_crash_refuses_the_model_until_the_window_has_passed(self, floor: Floor) -> None:
        for _ in range(3):
            floor.ask("a")
            floor.loop.advance(5)
            floor.worker("a").end()
        with pytest.raises(CrashLoopError) as refused:
            floor.request("a")
        assert refused.value.retry_after == pytest.approx(290.0)
        floor.loop.advance(291)
        floor.loaded("a")

    def test_a_new_instance_waits_for_the_end_of_the_last_process_of_its_model(self, floor: Floor) -> None:
        floor.staying_workers = True
        old = floor.loaded("a")
        floor.scheduler.on_unload(UnloadRequest(id="a"))
        active = floor.ask("a")
        assert [instance.state for instance in floor.pool.instances()] == ["leaving", "starting"]
        assert len(floor.workers) == 1
        old.end()
        floor.loop.settle()
        floor.worker("a").load()
        assert floor.worker("a").submitted == [active.id]


class TestCancel:
    def test_a_cancellation_before_the_files_are_read_starts_no_process(self, floor: Floor) -> None:
        floor.pool.release(floor.request("a"))
        floor.loop.settle()
        assert floor.workers == [] and floor.states() == {}

    @pytest.mark.parametrize("steps", range(1, 4))
    def test_a_cancellation_after_any_step_leaves_nothing(self, floor: Floor, steps: int) -> None:
        active = floor.request("a")
        for _ in range(steps):
            floor.loop.step()
        floor.pool.release(active)
        floor.tick(RETRY_SECONDS + 1)
        assert floor.states() == {} and not any(worker.alive for worker in floor.workers)
        assert isinstance(last_event(active), Finished)

    def test_a_process_that_arrives_after_its_load_was_cancelled_is_ended(self, floor: Floor) -> None:
        floor.request("a")
        floor.loop.step()  # the files are read, and a process was requested
        floor.scheduler.on_unload(UnloadRequest(id="a"))
        assert floor.states() == {}
        floor.loop.settle()
        assert len(floor.workers) == 1 and not floor.workers[0].alive and floor.incidents() == []

    def test_a_request_is_cancelled_while_others_still_wait(self, floor: Floor) -> None:
        first, second = floor.ask("a"), floor.ask("a")
        floor.release(first)
        floor.tick(RETRY_SECONDS + 1)
        floor.worker("a").load()
        assert floor.worker("a").submitted == [second.id]

    def test_a_running_request_is_cancelled_at_its_worker(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.ask("a")
        floor.release(active)
        assert worker.cancelled == [active.id] and floor.pool.requests.has(active.id)
        worker.finish(active.id)
        assert not floor.pool.requests.has(active.id)

    def test_a_model_is_in_use_until_its_worker_confirms_the_cancellation(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.ask("a")
        floor.release(active)
        floor.ask("b")
        assert floor.states() == {"a": "ready", "b": "starting"}
        worker.finish(active.id)
        floor.loop.settle()
        assert floor.states() == {"b": "loading"}

    def test_a_request_whose_reader_stalls_is_cancelled(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.ask("a")
        worker.emit(Delta(id=active.id, content="x", tokens=1))
        floor.tick(31)
        assert worker.cancelled == [active.id]

    def test_a_worker_cannot_end_the_requests_of_another(self, wide: Floor) -> None:
        first, other = wide.loaded("a"), wide.loaded("b")
        active = wide.ask("a")
        other.finish(active.id)
        assert not active.closed
        first.finish(active.id)
        assert active.closed


class TestWithdrawal:
    def test_a_running_load_waits_for_the_next_attempt_of_the_client(self, floor: Floor) -> None:
        floor.release(floor.ask("a"))
        floor.tick(RETRY_SECONDS - 1)
        assert floor.states() == {"a": "loading"}
        floor.tick(2)
        assert floor.states() == {} and any("the load was withdrawn" in line for line in floor.lines)
        assert floor.incidents() == []

    def test_a_new_request_keeps_a_load_that_no_request_waited_for(self, floor: Floor) -> None:
        floor.release(floor.ask("a"))
        floor.tick(RETRY_SECONDS - 1)
        floor.ask("a")
        floor.tick(2)
        assert floor.states() == {"a": "loading"} and len(floor.workers) == 1

    def test_an_explicit_load_keeps_what_a_request_began(self, floor: Floor) -> None:
        active = floor.ask("a")
        floor.load("a")
        floor.release(active)
        floor.tick(RETRY_SECONDS + 1)
        assert floor.states() == {"a": "loading"}

    def test_a_load_that_is_far_along_is_completed_if_nothing_was_evicted(self, floor: Floor) -> None:
        active = floor.ask("a")
        floor.worker("a").progress("weights", FAR_ALONG + 0.1)
        floor.release(active)
        floor.tick(RETRY_SECONDS + 1)
        floor.worker("a").load()
        assert floor.states() == {"a": "ready"}

    def test_an_evicted_model_returns_when_the_load_is_withdrawn(self, floor: Floor) -> None:
        floor.loaded("a")
        active = floor.ask("b")
        floor.worker("b").progress("weights", FAR_ALONG + 0.1)
        floor.release(active)
        floor.tick(RETRY_SECONDS + 1)
        assert floor.states() == {"a": "loading"}
        floor.worker("a").load()
        assert floor.states() == {"a": "ready"}
        assert floor.incidents() == [("evicted", "a"), ("restored", "a")]

    def test_a_load_that_waits_for_memory_ends_with_its_last_request(self, floor: Floor) -> None:
        busy = floor.loaded("a")
        floor.ask("a")
        first, second = floor.ask("b"), floor.ask("b")
        floor.release(first)
        assert floor.states() == {"a": "ready", "b": "starting"}
        floor.release(second)
        assert floor.states() == {"a": "ready"}
        busy.finish()
        floor.tick(1)
        assert floor.states() == {"a": "ready"} and len(floor.workers) == 1

    def test_a_request_whose_deadline_passes_needs_no_load(self, floor: Floor) -> None:
        floor.loaded("a")
        floor.ask("a")
        late = floor.ask("b", queue_deadline=0.1)
        floor.loop.advance(0.2)
        assert error_code(late) == "deadline_exceeded" and floor.states() == {"a": "ready"}

    def test_the_deadline_of_an_earlier_request_does_not_end_one_with_its_id(self, floor: Floor) -> None:
        floor.load("a")
        first = floor.pool.submit(Generate(id="same", model="a", prompt=Text(text="x"), queue_deadline=1.0))
        floor.loop.advance(0.5)
        floor.release(first)
        second = floor.pool.submit(Generate(id="same", model="a", prompt=Text(text="x"), queue_deadline=1.0))
        floor.loop.advance(0.7)
        assert not second.closed
        floor.loop.advance(0.4)
        assert error_code(second) == "deadline_exceeded"


class TestEviction:
    def test_the_least_recently_used_idle_model_leaves(self, wide: Floor) -> None:
        wide.loaded("a")
        wide.loaded("b")
        wide.loaded("a")
        wide.ask("c")
        assert wide.states() == {"a": "ready", "c": "loading"} and wide.incidents() == [("evicted", "b")]

    def test_the_load_begins_once_the_evicted_process_has_ended(self, floor: Floor) -> None:
        floor.staying_workers = True
        old = floor.loaded("a")
        floor.ask("b")
        assert floor.states() == {"a": "leaving", "b": "loading"} and floor.worker("b").command is None
        assert floor.instance("b").stage == "making room: a leaves"
        old.end()
        assert floor.worker("b").command is not None

    def test_a_request_for_a_model_that_is_being_evicted_loads_it_again_afterwards(self, floor: Floor) -> None:
        floor.staying_workers = True
        old = floor.loaded("a")
        first = floor.ask("b")
        again = floor.ask("a")
        assert old.submitted.count(again.id) == 0
        old.end()
        floor.worker("b").load()
        assert floor.instance("a").state == "starting"
        floor.staying_workers = False
        floor.worker("b").stays = False
        floor.worker("b").finish(first.id)
        floor.loop.settle()
        floor.worker("a").load()
        assert floor.worker("a").submitted == [again.id] and floor.states() == {"a": "ready"}

    def test_a_request_that_arrives_first_keeps_its_model(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.request("a")
        floor.ask("b")
        assert floor.states() == {"a": "ready", "b": "starting"}
        worker.finish(active.id)
        floor.loop.settle()
        assert floor.states() == {"b": "loading"}

    def test_a_request_that_leaves_at_once_evicts_nothing(self, floor: Floor) -> None:
        floor.loaded("a")
        floor.pool.release(floor.request("b"))
        floor.tick(1)
        assert floor.states() == {"a": "ready"} and floor.incidents() == []

    def test_an_evicted_model_returns_when_the_load_fails(self, floor: Floor) -> None:
        floor.loaded("a")
        active = floor.ask("b")
        floor.worker("b").end(WorkerError("SIGSEGV"))
        assert error_code(active) == "worker_failed"
        floor.loop.settle()
        floor.worker("a").load()
        assert floor.states() == {"a": "ready"}
        assert floor.incidents()[-1] == ("restored", "a")

    def test_a_restored_model_evicts_nothing(self, wide: Floor) -> None:
        wide.loaded("a")
        wide.loaded("b")
        wide.ask("c")
        floor_worker = wide.worker("c")
        wide.machine.cap = ONE_FITS  # other programs have taken memory
        floor_worker.end()
        wide.loop.settle()
        assert wide.states() == {"b": "ready"}
        assert any("needs the memory of another" in line for line in wide.lines)

    def test_a_load_that_waits_longer_than_allowed_fails(self, make_floor: Make) -> None:
        floor = make_floor(ONE_FITS, memory_wait_seconds=3.0)
        floor.loaded("a")
        floor.ask("a")
        late = floor.ask("b")
        floor.loop.advance(2.9)
        assert not late.closed
        floor.loop.advance(0.2)
        assert error_code(late) == "queue_full" and floor.states() == {"a": "ready"}

    def test_a_refused_load_does_not_delay_a_load_that_fits(self, wide: Floor) -> None:
        wide.loaded("a")
        wide.ask("a")
        wide.load("b", context_length=100_000, slots=32)
        assert wide.states() == {"a": "ready"}  # b is refused: no eviction would make it fit
        wide.loaded("c")
        assert wide.states() == {"a": "ready", "c": "ready"}

    def test_one_model_is_loaded_at_a_time(self, wide: Floor) -> None:
        wide.ask("a")
        wide.ask("b")
        assert wide.states() == {"a": "loading", "b": "starting"}
        wide.worker("a").load()
        wide.loop.settle()
        assert wide.states() == {"a": "ready", "b": "loading"}

    def test_a_pinned_model_stays(self, floor: Floor) -> None:
        floor.load("a", pin=True)
        floor.worker("a").load()
        assert error_code(floor.ask("b")) == "out_of_memory" and floor.states() == {"a": "ready"}

    def test_a_load_that_takes_more_than_planned_is_undone(self, wide: Floor) -> None:
        wide.loaded("a")
        active = wide.ask("b")
        worker = wide.worker("b")
        worker.memory = MemoryUse(active=1500 * MB, weights=1500 * MB, resident=1500 * MB)
        worker.load()
        assert error_code(active) == "out_of_memory"
        assert wide.incidents() == [("undone", "b"), ("load failed", "b")]
        wide.loop.settle()
        assert wide.states() == {"a": "ready"}


class TestUnload:
    def test_an_unload_waits_for_running_requests(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.ask("a")
        floor.scheduler.on_unload(UnloadRequest(id="a"))
        floor.tick(5)
        assert worker.alive and floor.states() == {"a": "leaving"}
        worker.finish(active.id)
        floor.loop.settle()
        assert not worker.alive and floor.states() == {} and not isinstance(last_event(active), type(None))

    def test_a_request_during_the_wait_is_answered_by_the_leaving_process(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        first = floor.ask("a")
        floor.scheduler.on_unload(UnloadRequest(id="a"))
        second = floor.ask("a")
        assert second.at_worker and len(floor.states()) == 1
        worker.finish(first.id)
        floor.loop.settle()
        assert worker.alive
        worker.finish(second.id)
        floor.loop.settle()
        assert not worker.alive and floor.states() == {}

    def test_a_load_during_the_wait_keeps_the_model(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.ask("a")
        floor.scheduler.on_unload(UnloadRequest(id="a"))
        floor.load("a")
        worker.finish(active.id)
        floor.loop.settle()
        assert worker.alive and floor.states() == {"a": "ready"}

    def test_a_forced_unload_fails_the_running_requests(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.ask("a")
        floor.scheduler.on_unload(UnloadRequest(id="a", force=True))
        floor.loop.settle()
        assert error_code(active) == "cancelled" and not worker.alive

    def test_a_crash_while_requests_are_waited_for_counts(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.ask("a")
        floor.scheduler.on_unload(UnloadRequest(id="a"))
        worker.end(WorkerError("SIGSEGV"))
        assert error_code(active) == "worker_failed" and floor.incidents() == [("crashed", "a")]
        assert floor.states() == {}

    def test_a_model_that_is_unloaded_while_it_waits_for_memory_delays_no_other(self, floor: Floor) -> None:
        floor.staying_workers = True
        old = floor.loaded("a")
        active = floor.ask("b")
        floor.staying_workers = False
        floor.worker("b").stays = False
        floor.scheduler.on_unload(UnloadRequest(id="b"))
        floor.loop.settle()
        assert error_code(active) == "cancelled"
        old.end()
        floor.loop.settle()
        floor.worker("a").load()
        assert floor.states() == {"a": "ready"} and floor.incidents()[-1] == ("restored", "a")

    def test_an_unload_of_an_unknown_model_is_refused_with_the_loaded_ones(self, floor: Floor) -> None:
        floor.loaded("a")
        with pytest.raises(NotFoundError) as refused:
            floor.scheduler.on_unload(UnloadRequest(id="b"))
        assert refused.value.hint is not None and refused.value.hint.startswith("loaded: a:")


class TestExpiry:
    def test_a_model_that_is_not_used_for_its_time_to_live_is_unloaded(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        floor.load("a", ttl=10.0)
        floor.tick(9)
        assert floor.states() == {"a": "ready"}
        floor.tick(2)
        assert floor.states() == {} and not worker.alive and floor.incidents() == [("expired", "a")]

    def test_a_model_in_use_does_not_expire(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.ask("a", ttl=1.0)
        floor.tick(5)
        assert floor.states() == {"a": "ready"}
        worker.finish(active.id)
        floor.release(active)
        floor.tick(2)
        assert floor.states() == {}

    def test_a_request_that_arrives_while_the_process_leaves_is_served_by_the_next(self, floor: Floor) -> None:
        floor.staying_workers = True
        old = floor.loaded("a")
        floor.load("a", ttl=1.0)
        floor.tick(2)
        assert old.leaving and floor.states() == {"a": "leaving"}
        active = floor.ask("a")
        old.end()
        floor.loop.settle()
        floor.worker("a").load()
        assert floor.worker("a").submitted == [active.id]


class TestDrain:
    def test_new_requests_and_loads_are_refused(self, floor: Floor) -> None:
        floor.scheduler.on_drain(10.0)
        with pytest.raises(ShuttingDownError):
            floor.request("a")
        with pytest.raises(ShuttingDownError):
            floor.load("a")
        assert not floor.pool.health().ok

    def test_running_requests_may_end_before_the_deadline(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        active = floor.ask("a")
        floor.scheduler.on_drain(10.0)
        floor.loop.advance(9.0)
        assert floor.pool.requests.busy()
        worker.finish(active.id)
        assert isinstance(last_event(active), Finished) and not floor.pool.requests.busy()

    def test_a_request_that_waits_for_a_load_is_served_before_the_deadline(self, floor: Floor) -> None:
        active = floor.ask("a")
        floor.scheduler.on_drain(10.0)
        floor.worker("a").load()
        floor.worker("a").finish(active.id)
        assert isinstance(last_event(active), Finished)

    def test_after_the_deadline_all_requests_fail(self, wide: Floor) -> None:
        wide.loaded("a")
        actives = [wide.ask("a"), wide.ask("b")]
        wide.scheduler.on_drain(10.0)
        wide.loop.advance(10.1)
        assert [error_code(active) for active in actives] == ["shutting_down"] * 2
        assert not wide.pool.requests.busy()

    def test_an_evicted_model_is_not_restored(self, floor: Floor) -> None:
        floor.loaded("a")
        floor.ask("b")
        floor.scheduler.on_drain(10.0)
        floor.worker("b").end()
        floor.loop.settle()
        assert floor.states() == {}

    def test_the_end_of_the_daemon_cancels_all_loads(self, wide: Floor) -> None:
        wide.load("a")
        wide.load("b")
        wide.scheduler.on_close()
        wide.loop.settle()
        assert wide.states() == {} and len(wide.workers) == 1

    def test_a_worker_that_ends_with_the_daemon_is_no_incident(self, wide: Floor) -> None:
        worker = wide.loaded("a")
        wide.scheduler.on_close()
        worker.end()
        wide.loop.settle()
        assert wide.states() == {} and wide.incidents() == []


class TestMemory:
    def test_the_last_use_of_a_model_is_the_end_of_its_last_reader(self, floor: Floor) -> None:
        worker = floor.loaded("a")
        floor.load("a", ttl=10.0)
        active = floor.ask("a")
        floor.tick(20)
        worker.finish(active.id)
        floor.release(active)
        floor.tick(9)
        assert floor.states() == {"a": "ready"}

    def test_the_only_model_is_granted_all_free_memory(self, make_floor: Make) -> None:
        floor = make_floor(9 * GB)
        first = floor.loaded("a")
        assert first.command is not None and first.command.options.cache_bytes > 4 * GB
        floor.loaded("b")
        assert first.grants and first.grants[-1] < first.command.options.cache_bytes

    def test_a_grant_that_changes_during_the_load_is_sent_once_the_model_is_ready(self, make_floor: Make) -> None:
        floor = make_floor(9 * GB)
        floor.ask("a")
        worker = floor.worker("a")
        assert worker.command is not None
        floor.machine.cap = 4 * GB
        floor.tick()
        assert worker.grants == []
        worker.load()
        assert worker.grants and worker.grants[0] < worker.command.options.cache_bytes / 2


def test_progress_after_the_load_was_cancelled_has_no_effect(floor: Floor) -> None:
    floor.staying_workers = True
    floor.ask("a")
    worker: FakeWorker = floor.worker("a")
    floor.scheduler.on_unload(UnloadRequest(id="a"))
    floor.scheduler.on_load_progress(worker.instance, LoadProgress(stage="weights", fraction=0.5))
    assert floor.instance("a").stage != "weights"


def test_an_internal_error_fails_the_requests_and_is_raised_for_the_log(floor: Floor) -> None:
    active = floor.request("a")
    floor.pool._effects._clear = lambda model: 1 / 0
    with pytest.raises(ZeroDivisionError):
        floor.loop.settle()
    assert error_code(active) == "model_load_failed" and floor.states() == {}
