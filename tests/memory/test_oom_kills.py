"""Tests of the recognition of OOM kills by the kernel, with files as the kernel writes them."""

from pathlib import Path

import pytest

from lmx_daemon.memory.oom_kills import WINDOW_SECONDS, OomKills


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def events(kills: int) -> str:
    return f"low 0\nhigh 0\nmax 12\noom 3\noom_kill {kills}\noom_group_kill 0\n"


def test_a_kill_is_recent_until_the_window_has_passed(tmp_path: Path) -> None:
    file, clock = tmp_path / "memory.events", Clock()
    file.write_text(events(4))
    kills = OomKills([tmp_path], tmp_path / "vmstat", clock)
    assert not kills.recent()
    file.write_text(events(5))
    assert kills.recent()
    for _ in range(int(WINDOW_SECONDS) + 2):
        clock.now += 1.0
        kills.sample()
    assert not kills.recent()


def test_a_kill_counts_also_if_samples_are_late(tmp_path: Path) -> None:
    file, clock = tmp_path / "memory.events", Clock()
    file.write_text(events(0))
    kills = OomKills([tmp_path], tmp_path / "vmstat", clock)
    clock.now += 60.0
    file.write_text(events(1))
    assert kills.recent()


def test_the_narrowest_control_group_with_a_counter_is_read(tmp_path: Path) -> None:
    narrow, wide, machine = tmp_path / "narrow", tmp_path / "wide", tmp_path / "vmstat"
    for folder in (narrow, wide):
        folder.mkdir()
    (narrow / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    (wide / "memory.events").write_text(events(0))
    machine.write_text("pgfault 7\noom_kill 0\n")
    kills = OomKills([narrow, wide], machine)
    (wide / "memory.events").write_text(events(1))
    machine.write_text("pgfault 7\noom_kill 1\n")
    assert not kills.recent(), "kills of other programs do not count"
    (narrow / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert kills.recent()


def test_without_control_groups_the_machines_counter_is_read(tmp_path: Path) -> None:
    machine = tmp_path / "vmstat"
    machine.write_text("pgfault 7\noom_kill 2\n")
    kills = OomKills([tmp_path / "none"], machine)
    machine.write_text("pgfault 7\noom_kill 3\n")
    assert kills.recent()


@pytest.mark.parametrize("content", [None, b"", b"oom_kill many\n", b"\xff\xfe"])
def test_a_system_without_a_counter_reports_none(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "memory.events"
    if content is not None:
        file.write_bytes(content)
    kills = OomKills([tmp_path], tmp_path / "vmstat")
    kills.sample()
    assert not kills.recent()
