"""Tests of the arrays of a snapshot that travel only when they have changed."""

from typing import Any

import msgspec

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.admin.revisions import with_unchanged, without_unchanged
from lmx_daemon.contract.admin.snapshot import Health, HostMemory, Revisions, Snapshot, Status
from lmx_daemon.contract.models import Model

STATUS = Status(version="1", protocol=2, pid=1, started_at=0.0, uptime=0.0, address="", home="", health=Health(ok=True))
MEMORY = HostMemory(total=1, available=1, cap=1, daemon=1, workers=1, models=1)
MODELS = tuple(Model(id=f"maker/m{number}", path="/m", source="hub") for number in range(3))
DOWNLOAD = Download(id="d", repo="maker/m", state="queued")


def snapshot(**fields: Any) -> Snapshot:
    return Snapshot(status=STATUS, memory=MEMORY, **fields)


def travel(sent: list[Snapshot]) -> tuple[list[int], list[Snapshot]]:
    """Return the sizes of the lines of one stream, and the snapshots that its reader puts together."""
    sizes, received = [], []
    seen: Revisions | None = None
    last: Snapshot | None = None
    for whole in sent:
        line = msgspec.json.encode(without_unchanged(whole, seen))
        seen = whole.revisions
        sizes.append(len(line))
        last = with_unchanged(msgspec.json.decode(line, type=Snapshot), last)
        received.append(last)
    return sizes, received


def test_the_reader_restores_every_snapshot_of_the_daemon() -> None:
    sent = [
        snapshot(models=MODELS, revisions=Revisions(models=1)),
        snapshot(models=MODELS, revisions=Revisions(models=1)),
        snapshot(models=MODELS, downloads=(DOWNLOAD,), revisions=Revisions(models=1, downloads=1)),
        snapshot(models=MODELS[:1], downloads=(DOWNLOAD,), revisions=Revisions(models=2, downloads=1)),
        snapshot(downloads=(DOWNLOAD,), revisions=Revisions(models=3, downloads=1)),
        snapshot(revisions=Revisions(models=3, downloads=2)),
    ]
    sizes, received = travel(sent)
    assert received == sent
    assert sizes[1] < sizes[0] / 1.5
    assert received[1].models is received[0].models


def test_a_stream_begins_with_all_arrays() -> None:
    whole = snapshot(models=MODELS, downloads=(DOWNLOAD,), revisions=Revisions(models=7, downloads=8))
    assert without_unchanged(whole, None) == whole
    assert with_unchanged(whole, None) == whole
