"""Tests of placement: plain calls, and a state machine of models that are loaded, used and unloaded."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lmx_daemon.memory.budget import MemoryBudget
from lmx_daemon.residency.decisions.loading.placement import (
    Claim,
    Fits,
    Refused,
    Waits,
    excess,
    free_bytes,
    grants,
    place,
)

ROOM = MemoryBudget(cap=100)


def claim(name: str, size: int, used: float = 0.0, *, idle: bool = True, pinned: bool = False) -> Claim:
    return Claim(name, size, held=size, idle=idle, pinned=pinned, used_at=used)


class TestFitting:
    def test_a_model_that_fits_evicts_nothing(self) -> None:
        assert place(60, ROOM, [claim("a", 40)]) == Fits(60)

    def test_the_least_recently_used_model_leaves(self) -> None:
        assert place(50, ROOM, [claim("new", 40, 2.0), claim("old", 40, 1.0)]) == Fits(60, ("old",))

    def test_no_model_is_evicted_that_need_not_be(self) -> None:
        claims = [claim("small", 10, 1.0), claim("large", 80, 2.0)]
        assert place(80, ROOM, claims) == Fits(90, ("large",))

    def test_a_busy_model_is_waited_for(self) -> None:
        assert place(80, ROOM, [claim("busy", 40, idle=False)]) == Waits(("busy",))

    def test_an_idle_model_leaves_before_a_busy_one_is_waited_for(self) -> None:
        claims = [claim("busy", 40, 1.0, idle=False), claim("idle", 40, 2.0)]
        assert place(60, ROOM, claims) == Fits(60, ("idle",))

    def test_a_pinned_model_stays(self) -> None:
        assert place(80, ROOM, [claim("pinned", 40, pinned=True)]) == Refused(60)
        assert place(80, ROOM, [claim("pinned", 40, pinned=True, idle=False)]) == Refused(60)

    def test_a_model_is_refused_when_memory_is_insufficient(self) -> None:
        assert place(101, ROOM, []) == Refused(100)


class TestAvailableMemory:
    def test_the_memory_of_other_programs_is_not_free(self) -> None:
        assert place(50, MemoryBudget(cap=100, available=30), []) == Refused(30)

    def test_memory_that_an_evicted_model_returns_is_free(self) -> None:
        assert place(50, MemoryBudget(cap=100, available=30), [claim("a", 20)]) == Fits(50, ("a",))

    def test_memory_that_was_promised_to_others_is_not_free(self) -> None:
        promised = Claim("a", 40, held=10)
        assert free_bytes(MemoryBudget(cap=100, available=90), [promised]) == 60
        assert free_bytes(MemoryBudget(cap=100, available=50), [promised]) == 20

    def test_prefixes_are_dropped_before_a_model_leaves(self) -> None:
        assert place(
            50, MemoryBudget(cap=100, available=30), [Claim("a", 20, held=20, droppable=20, idle=True)]
        ) == Fits(50)


def test_excess_is_what_models_take_above_the_limit() -> None:
    assert excess(ROOM, [claim("a", 60), claim("b", 30)]) == 0
    assert excess(ROOM, [claim("a", 60), claim("b", 55)]) == 15


def test_free_memory_is_shared_equally() -> None:
    claims = [claim("a", 40), claim("b", 20)]
    assert grants(ROOM, claims, {"a": 10, "b": 5}) == {"a": 30, "b": 25}
    assert grants(MemoryBudget(cap=50), claims, {"a": 10, "b": 5}) == {"a": 10, "b": 5}


class Machine(RuleBasedStateMachine):
    """Models of any size, which are loaded, used and pinned in any order. Each decision is carried out at once."""

    def __init__(self) -> None:
        super().__init__()
        self.room = MemoryBudget(cap=1000, available=900)
        self.claims: dict[str, Claim] = {}
        self.clock = 0.0
        self.count = 0

    def tick(self) -> float:
        self.clock += 1.0
        return self.clock

    @rule(need=st.integers(1, 1200), held=st.floats(0.0, 1.0), pinned=st.booleans())
    def load(self, need: int, held: float, pinned: bool) -> None:
        before = list(self.claims.values())
        decision = place(need, self.room, before)
        match decision:
            case Fits(free=free, evict=evict):
                assert free >= need
                for name in evict:
                    gone = self.claims.pop(name)
                    assert gone.idle and not gone.pinned
                    self.give(gone.held + gone.droppable)
                for name in evict:  # each eviction was needed
                    others = set(evict) - {name}
                    assert free_bytes(MemoryBudget(1000, self.available_before(before)), before, others) < need
                taken = int(need * held)
                self.count += 1
                self.claims[f"m{self.count}"] = Claim(
                    f"m{self.count}", need, held=taken, pinned=pinned, used_at=self.tick()
                )
                self.give(-taken)
            case Waits(busy=busy):
                assert busy and all(not self.claims[name].idle and not self.claims[name].pinned for name in busy)
                movable = {c.id for c in before if not c.pinned}
                assert free_bytes(self.room, before, movable) >= need
            case Refused(free=free):
                assert free < need

    def available_before(self, before: list[Claim]) -> int:
        assert self.room.available is not None
        gone = sum(c.held + c.droppable for c in before if c.id not in self.claims)
        return self.room.available - gone

    def give(self, size: int) -> None:
        assert self.room.available is not None
        self.room = replace(self.room, available=self.room.available + size)

    @rule(pick=st.integers(0, 50), idle=st.booleans())
    def work(self, pick: int, idle: bool) -> None:
        if self.claims:
            name = sorted(self.claims)[pick % len(self.claims)]
            self.claims[name] = replace(self.claims[name], idle=idle, used_at=self.tick())

    @rule(pick=st.integers(0, 50))
    def grow(self, pick: int) -> None:
        """Raise the use of a model to the bytes of its claim."""
        if self.claims:
            name = sorted(self.claims)[pick % len(self.claims)]
            found = self.claims[name]
            self.give(found.held - found.bytes)
            self.claims[name] = replace(found, held=found.bytes)

    @rule(pick=st.integers(0, 50))
    def unload(self, pick: int) -> None:
        if self.claims:
            gone = self.claims.pop(sorted(self.claims)[pick % len(self.claims)])
            self.give(gone.held + gone.droppable)

    @invariant()
    def models_stay_below_the_limit(self) -> None:
        claims = list(self.claims.values())
        assert sum(c.bytes for c in claims) <= self.room.cap
        assert self.room.available is not None and self.room.available >= 0
        assert excess(self.room, claims) == 0
        planned = {c.id: c.bytes // 4 for c in claims}
        given = grants(self.room, claims, planned)
        assert sum(given[c.id] - planned[c.id] for c in claims) <= max(0, free_bytes(self.room, claims))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
