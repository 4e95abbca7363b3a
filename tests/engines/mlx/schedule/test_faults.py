"""Whom a step that raised costs."""

from lmx_daemon.contract.generation import Generate, Tokens
from lmx_daemon.engines.mlx.schedule.faults import MAX_FAILED_STEPS, MAX_FAILURES, Faults, failure_of, requests_to_fail
from lmx_daemon.engines.mlx.text.answer import EngineRequest
from lmx_daemon.engines.mlx.text.prompt import PreparedPrompt


def answer(name: str) -> EngineRequest:
    return EngineRequest(Generate(id=name, model="m", prompt=Tokens(ids=(1,))), PreparedPrompt([1], []), 0.0, 0.0, 0)


class TestGuilty:
    def test_whoever_failed_alone(self) -> None:
        alone = answer("a")
        assert requests_to_fail([alone]) == [alone]

    def test_nobody_of_several_and_all_are_suspects(self) -> None:
        several = [answer("a"), answer("b")]
        assert requests_to_fail(several) == []
        assert all(each.quarantined for each in several)

    def test_who_has_failed_too_often(self) -> None:
        old = answer("old")
        for _ in range(MAX_FAILURES - 1):
            assert requests_to_fail([old, answer("new")]) == []
        assert requests_to_fail([old, answer("new")]) == [old]


class TestFaults:
    def test_so_many_in_a_row_are_the_end(self) -> None:
        faults = Faults()
        assert [faults.step_failed() for _ in range(MAX_FAILED_STEPS)] == [True] * (MAX_FAILED_STEPS - 1) + [False]

    def test_one_good_step_begins_anew(self) -> None:
        faults = Faults()
        for _ in range(3 * MAX_FAILED_STEPS):
            assert faults.step_failed()
            faults.step_succeeded()


def test_memory_is_told_from_arithmetic() -> None:
    assert failure_of(MemoryError()).code == "out_of_memory"
    assert failure_of(RuntimeError("[malloc] Unable to allocate")).code == "out_of_memory"
    metal = "[METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPU...)"
    assert failure_of(RuntimeError(metal)).code == "out_of_memory"
    assert "RuntimeError: shapes" in failure_of(RuntimeError("shapes")).message
