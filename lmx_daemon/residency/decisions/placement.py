"""Placement in memory: which model fits, which one leaves, which one waits, and what is left for caches. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lmx_daemon.memory.budget import MemoryBudget


@dataclass(frozen=True)
class Claim:
    """The memory of one model that is loaded or on its way there: what it holds and what it may need."""

    id: str
    bytes: int
    """Bytes that it must be able to take: weights, scratch, and a cache of the size that was planned or is in use."""
    held: int = 0
    """Bytes that it has taken by now, without `droppable`."""
    droppable: int = 0
    """Bytes of stored prefixes and freed buffers, which it would drop on demand."""
    idle: bool = False
    """Whether no request waits for it or runs."""
    pinned: bool = False
    """Whether it may not be unloaded for another model."""
    used_at: float = 0.0
    """Time of its last use."""


@dataclass(frozen=True)
class Fits:
    """Decision that a model may be loaded."""

    free: int
    """Bytes that are left for it once `evict` have gone."""
    evict: tuple[str, ...] = ()
    """Ids of the models that have to leave first."""


@dataclass(frozen=True)
class Waits:
    """Decision that a model has to wait."""

    busy: tuple[str, ...]
    """Ids of the models that are in the way until they are idle."""


@dataclass(frozen=True)
class Refused:
    """Decision that a model does not fit, whatever leaves."""

    free: int
    """Bytes that would be free, at most, once all models have left that may leave."""


Decision = Fits | Waits | Refused


def free_bytes(room: MemoryBudget, claims: Collection[Claim], gone: Collection[str] = ()) -> int:
    """Return the bytes that are left for another model once the models `gone` have left.

    The result is negative if the models take more than there is.
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
