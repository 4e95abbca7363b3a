"""Toasts for the differences between two snapshots."""

from typing import Any

import msgspec

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import Incident
from lmx_tui.notices import notices
from tests.screen_states import NOW, QWEN, quiet_snapshot, status


def crash(
    model: str = QWEN, at: float = NOW, kind: Any = "crashed", message: str = "the process ended [1]"
) -> Incident:
    return Incident(at=at, kind=kind, model=model, message=message)


def test_incidents_become_toasts() -> None:
    before, undone = quiet_snapshot(), crash(kind="undone", message="too big")
    failed = crash(kind="load failed", message="too big", at=NOW + 1)
    other = crash("a/b", kind="evicted", message="unloaded to make room for c")

    def with_incidents(*incidents: Incident) -> Snapshot:
        return msgspec.structs.replace(before, status=status(incidents=incidents))

    shown = list(notices(before, with_incidents(undone, failed, other), ()))
    assert [(one.text, one.severity) for one in shown] == [
        ("Qwen3-8B-4bit undone: too big", "error"),
        ("b evicted: unloaded to make room for c", "information"),
    ]
    many = with_incidents(*(crash(f"a/{number}") for number in range(9)))
    assert [one.text for one in notices(before, many, ())] == ["9 incidents with models"]
    assert not list(notices(None, many, ())) and not list(notices(many, many, ()))
    assert not list(notices(before, with_incidents(other), [other.message]))
