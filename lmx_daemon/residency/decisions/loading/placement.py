"""Placement of models in memory: fits, evictions and waits, and the bytes that are left for caches. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lmx_daemon.memory.budget import MemoryBudget


@dataclass(frozen=True)
class Claim:
    """The memory of one model that is loaded or loading: the bytes that it holds and those that it may need."""

    id: str
    bytes: int
    """Bytes that the model must be able to use: weights, scratch, and a cache of the planned or used size."""
    held: int = 0
    """Bytes that the model uses now, without `droppable`."""
    droppable: int = 0
    """Bytes of stored prefixes and freed buffers, which the model can drop on demand."""
    idle: bool = False
    """Whether the model has no waiting and no running request."""
    pinned: bool = False
    """Whether the model may not be unloaded for another one."""
    used_at: float = 0.0
    """Time of the model's last use."""


@dataclass(frozen=True)
class Fits:
    """Decision that a model may be loaded."""

    free: int
    """Bytes that are free for the model once the models of `evict` are unloaded."""
    evict: tuple[str, ...] = ()
    """Ids of the models to unload first."""


@dataclass(frozen=True)
class Waits:
    """Decision that a model has to wait."""

    busy: tuple[str, ...]
    """Ids of the busy models whose memory is needed."""


@dataclass(frozen=True)
class Refused:
    """Decision that a model does not fit, even after all possible evictions."""

    free: int
    """Maximum number of bytes that would be free, after all possible evictions."""


Decision = Fits | Waits | Refused


def free_bytes(room: MemoryBudget, claims: Collection[Claim], gone: Collection[str] = ()) -> int:
    """Return the bytes that are free for another model once the models `gone` are unloaded.

    The result is negative if the models use more memory than they share.
    """
    staying = [claim for claim in claims if claim.id not in gone]
    planned = room.cap - sum(claim.bytes for claim in staying)
    available = 0 if room.pressure == "critical" else room.available
    if available is None:
        return planned
    given_back = sum(claim.held + claim.droppable for claim in claims if claim.id in gone)
    still_to_take = sum(max(0, claim.bytes - claim.held) - claim.droppable for claim in staying)
    return min(planned, available + given_back - still_to_take)


def place(need: int, room: MemoryBudget, claims: Sequence[Claim]) -> Decision:
    """Return the decision for a model that needs `need` bytes.

    Models that leave are idle and not pinned, the least recently used first. No model leaves unless the load fits then.
    """
    gone: list[Claim] = []
    leaving = sorted((c for c in claims if c.idle and not c.pinned), key=lambda claim: claim.used_at)

    def fits(without: Collection[Claim]) -> bool:
        return free_bytes(room, claims, {claim.id for claim in without}) >= need

    for claim in leaving:
        if fits(gone):
            break
        gone.append(claim)
    if fits(gone):
        for claim in sorted(gone, key=lambda claim: -claim.used_at):
            if fits(fewer := [other for other in gone if other is not claim]):
                gone = fewer
        names = tuple(claim.id for claim in gone)
        return Fits(free_bytes(room, claims, names), names)
    busy = tuple(claim for claim in claims if not claim.idle and not claim.pinned)
    if fits((*gone, *busy)):
        return Waits(tuple(claim.id for claim in busy))
    return Refused(max(0, free_bytes(room, claims, {claim.id for claim in (*gone, *busy)})))


def excess(room: MemoryBudget, claims: Sequence[Claim]) -> int:
    """Return by how many bytes the models take more than is allowed; 0 if they do not."""
    return max(0, -free_bytes(room, claims))


def grants(room: MemoryBudget, claims: Sequence[Claim], planned: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes for each model's cache: the planned ones and, without pressure, an equal share of what is free.

    A smaller grant makes a worker drop stored prefixes.
    """
    if room.pressure != "normal":
        return {claim.id: planned[claim.id] for claim in claims if claim.id in planned}
    share = max(0, free_bytes(room, claims)) // max(1, len(claims))
    return {claim.id: planned[claim.id] + share for claim in claims if claim.id in planned}
