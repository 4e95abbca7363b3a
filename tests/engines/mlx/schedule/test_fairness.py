"""The order of waiting requests: priority, then the client with the fewest running choices, then arrival."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.engines.mlx.schedule.fairness import fair_order


@dataclass(frozen=True)
class Waiting:
    computation: Generate


def ask(
    name: str, tenant: str = "local", *, client: str = "", user: str = "", priority: int = 0, choices: int = 1
) -> Waiting:
    fields = {"tenant": tenant, "client": client, "user": user, "priority": priority, "choices": choices}
    return Waiting(Generate(id=name, model="m", prompt=Text(text="x"), **fields))


def order(waiting: list[Waiting], running: list[Waiting] | None = None) -> str:
    return " ".join(each.computation.id for each in fair_order(waiting, running or []))


def test_requests_of_one_client_start_in_order_of_arrival() -> None:
    assert order([ask("1"), ask("2"), ask("3")]) == "1 2 3"


def test_many_requests_of_one_client_do_not_delay_another_client() -> None:
    many = [ask(f"a{n}", "a") for n in range(4)]
    assert order([*many, ask("b0", "b")]) == "a0 b0 a1 a2 a3"
    assert order([*many, ask("b0", "b")], [ask("a9", "a")] * 3) == "b0 a0 a1 a2 a3"
    assert order([*many, ask("c0", "a", client="other")], [ask("a9", "a")]) == "c0 a0 a1 a2 a3"


def test_invented_names_of_programs_and_users_take_nothing_from_another_tenant() -> None:
    programs = [ask(f"p{n}", "a", client=f"program {n}") for n in range(4)]
    users = [ask(f"u{n}", "a", client="one", user=f"user {n}") for n in range(4)]
    others = [ask(f"b{n}", "b") for n in range(2)]
    assert order([*programs, *others]) == "p0 b0 p1 b1 p2 p3"
    assert order([*users, *others]) == "u0 b0 u1 b1 u2 u3"


def test_invented_users_take_nothing_from_another_program_of_the_tenant() -> None:
    users = [ask(f"u{n}", "a", client="one", user=f"user {n}") for n in range(4)]
    assert order([*users, *(ask(f"c{n}", "a", client="two") for n in range(2))]) == "u0 c0 u1 c1 u2 u3"


def test_users_of_one_program_take_turns() -> None:
    many = [ask(f"x{n}", "a", client="one", user="x") for n in range(3)]
    assert order([*many, ask("y0", "a", client="one", user="y")]) == "x0 y0 x1 x2"


def test_each_choice_counts() -> None:
    assert order([ask("a0", "a", choices=4), ask("a1", "a"), *(ask(f"b{n}", "b") for n in range(5))]) == (
        "a0 b0 b1 b2 b3 a1 b4"
    )


def test_higher_priority_starts_first() -> None:
    assert order([ask("1"), ask("2", priority=5), ask("3", "b", priority=-1)], [ask("r")] * 9) == "2 1 3"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 1)), max_size=12),
    st.lists(st.sampled_from("abc"), max_size=6),
)
def test_every_request_starts_and_each_client_keeps_its_order(asked: list[tuple[str, int]], busy: list[str]) -> None:
    waiting = [ask(str(n), tenant, priority=priority) for n, (tenant, priority) in enumerate(asked)]
    found = list(fair_order(waiting, [ask("r", tenant) for tenant in busy]))
    assert sorted(found, key=waiting.index) == waiting
    priorities = [one.computation.priority for one in found]
    assert priorities == sorted(priorities, reverse=True)
    for tenant in "abc":
        for priority in (-1, 0, 1):
            mine = [one for one in found if (one.computation.tenant, one.computation.priority) == (tenant, priority)]
            assert mine == sorted(mine, key=waiting.index)
