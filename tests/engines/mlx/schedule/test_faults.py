"""Requests that fail, and errors that they get, after a step that raised."""

from lmx_daemon.contract.generation.requests import Generate, Tokens
from lmx_daemon.engines.mlx.schedule.faults import MAX_FAILED_STEPS, MAX_FAILURES, Faults, failure_of, requests_to_fail
from lmx_daemon.engines.mlx.text.answer import AnswerRecord
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt


def request(name: str) -> AnswerRecord:
    return AnswerRecord(Generate(id=name, model="m", prompt=Tokens(ids=(1,))), PreparedPrompt([1], []), 0.0, 0.0, 0)


class TestRequestsToFail:
    def test_request_that_ran_alone_fails(self) -> None:
        alone = request("a")
        assert requests_to_fail([alone]) == [alone]

    def test_several_requests_are_quarantined_and_do_not_fail(self) -> None:
        several = [request("a"), request("b")]
        assert requests_to_fail(several) == []
        assert all(each.quarantined for each in several)

    def test_request_fails_after_too_many_failed_steps(self) -> None:
        old = request("old")
        for _ in range(MAX_FAILURES - 1):
            assert requests_to_fail([old, request("new")]) == []
        assert requests_to_fail([old, request("new")]) == [old]


class TestFaults:
    def test_too_many_failed_steps_in_a_row_question_the_process(self) -> None:
        faults = Faults()
        assert [faults.step_failed() for _ in range(MAX_FAILED_STEPS)] == [True] * (MAX_FAILED_STEPS - 1) + [False]

    def test_successful_step_resets_the_count(self) -> None:
        faults = Faults()
        for _ in range(3 * MAX_FAILED_STEPS):
            assert faults.step_failed()
            faults.step_succeeded()


def test_out_of_memory_is_distinguished_from_other_errors() -> None:
    assert failure_of(MemoryError()).code == "out_of_memory"
    assert failure_of(RuntimeError("[malloc] Unable to allocate")).code == "out_of_memory"
    metal = "[METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPU...)"
    assert failure_of(RuntimeError(metal)).code == "out_of_memory"
    assert "RuntimeError: shapes" in failure_of(RuntimeError("shapes")).message
