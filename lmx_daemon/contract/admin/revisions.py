"""The rule by which large arrays of a Snapshot are sent: only when their revision has changed. Pure.

The daemon leaves out arrays that the reader of a stream has already; the client library adds them again, so that a
screen always receives whole snapshots. A stream begins with all arrays. Revisions are comparable within one daemon
process only.
"""

import msgspec

from lmx_daemon.contract.admin.snapshot import Revisions, Snapshot

ARRAYS = Revisions.__struct_fields__
"""Names of the arrays, which are fields of Snapshot and of Revisions."""


def without_unchanged(snapshot: Snapshot, sent: Revisions | None) -> Snapshot:
    """Return the snapshot without the arrays whose revision is the same in `sent`, the last ones of this stream."""
    if sent is None:
        return snapshot
    return msgspec.structs.replace(snapshot, **{name: () for name in _same(snapshot.revisions, sent)})


def with_unchanged(update: Snapshot, last: Snapshot | None) -> Snapshot:
    """Return the update with unchanged arrays taken from `last`, the snapshot before it in this stream."""
    if last is None:
        return update
    same = _same(update.revisions, last.revisions)
    return msgspec.structs.replace(update, **{name: getattr(last, name) for name in same})


def _same(one: Revisions, other: Revisions) -> list[str]:
    return [name for name in ARRAYS if getattr(one, name) == getattr(other, name)]
