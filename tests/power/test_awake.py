"""When the machine is kept awake, with a faked inhibitor and a faked clock."""

from dataclasses import dataclass, field

import pytest

from lmx_daemon.power.awake import RELEASE_SECONDS, RETRY_SECONDS, Awake


@dataclass
class FakeInhibitor:
    ended: str | None = None
    released: bool = False

    def failure(self) -> str | None:
        return self.ended

    def release(self) -> None:
        self.released = True


@dataclass
class Machine:
    """The work, the setting and the clock, and the inhibitors that were started."""

    now: float = 100.0
    busy: bool = False
    enabled: bool = True
    refusal: str = ""
    started: list[FakeInhibitor] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)

    def awake(self) -> Awake:
        return Awake(
            lambda: self.enabled, lambda: self.busy, self.reports.append, start=self._start, clock=lambda: self.now
        )

    def _start(self) -> FakeInhibitor:
        if self.refusal:
            raise OSError(0, self.refusal)
        self.started.append(FakeInhibitor())
        return self.started[-1]


@pytest.fixture
def machine() -> Machine:
    return Machine()


async def test_machine_without_work_may_sleep(machine: Machine) -> None:
    await machine.awake().look()
    assert machine.started == []


async def test_work_keeps_the_machine_awake_until_a_while_after_its_end(machine: Machine) -> None:
    awake = machine.awake()
    machine.busy = True
    for _ in range(3):
        await awake.look()
        machine.now += 1.0
    (held,) = machine.started
    machine.busy = False
    machine.now += RELEASE_SECONDS - 2.0
    await awake.look()
    assert not held.released
    machine.now += 2.0
    await awake.look()
    assert held.released
    machine.busy = True
    await awake.look()
    assert len(machine.started) == 2


async def test_setting_switches_it_off_and_on_during_work(machine: Machine) -> None:
    awake = machine.awake()
    machine.busy = True
    machine.enabled = False
    await awake.look()
    assert machine.started == []
    machine.enabled = True
    await awake.look()
    machine.enabled = False
    await awake.look()
    assert machine.started[0].released


async def test_shutdown_releases(machine: Machine) -> None:
    awake = machine.awake()
    machine.busy = True
    await awake.look()
    await awake.close()
    await awake.close()
    assert machine.started[0].released


async def test_inhibitor_that_ends_is_reported_once_and_tried_again_later(machine: Machine) -> None:
    awake = machine.awake()
    machine.busy = True
    for _ in range(2):
        await awake.look()
        machine.started[-1].ended = "systemd-inhibit: no bus"
        await awake.look()
        before = len(machine.started)
        machine.now += RETRY_SECONDS - 1
        await awake.look()
        assert len(machine.started) == before
        machine.now += 1
    assert len(machine.started) == 2
    assert machine.reports == ["the machine may fall asleep while requests run: systemd-inhibit: no bus"]


async def test_machine_without_the_program_is_reported_once(machine: Machine) -> None:
    awake, machine.busy, machine.refusal = machine.awake(), True, "caffeinate is not installed"
    for _ in range(3):
        await awake.look()
        machine.now += RETRY_SECONDS
    assert machine.reports == ["the machine may fall asleep while requests run: caffeinate is not installed"]
    machine.refusal = ""
    await awake.look()
    assert len(machine.started) == 1
