"""Who fits into memory, who goes, who waits, and what is left for everybody's cache: pure functions of figures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lmx_daemon.memory.budget import MemoryBudget


@dataclass(frozen=True)
class Claim:
    """What one model in memory, or on its way there, holds and may need."""

    id: str
    bytes: int
    """What it must be able to take: weights, scratch, and a cache of the size that was planned or is in use."""
    held: int = 0
    """What it has taken by now, leaving out what it would drop if it were asked to."""
    droppable: int = 0
    """Prefixes and freed buffers."""
    idle: bool = False
    """Nobody waits for it and nothing runs."""
    pinned: bool = False
    used_at: float = 0.0


@dataclass(frozen=True)
class Fits:
    """It may be loaded once those in `evict` are gone; `free` bytes are left for it then."""

    free: int
    evict: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waits:
    """It will fit when these are idle."""

    busy: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """It does not fit, whoever leaves."""

    free: int
    """At most, with everything gone that may go."""


Decision = Fits | Waits | Refused


def free_bytes(room: MemoryBudget, claims: Collection[Claim], gone: Collection[str] = ()) -> int:
    """What is left for another model when those in `gone` have left; negative where it is too much already."""
    staying = [claim for claim in claims if claim.id not in gone]
    planned = room.cap - sum(claim.bytes for claim in staying)
    available = 0 if room.pressure == "critical" else room.available
    if available is None:
        return planned
    given_back = sum(claim.held + claim.droppable for claim in claims if claim.id in gone)
    still_to_take = sum(max(0, claim.bytes - claim.held) - claim.droppable for claim in staying)
    return min(planned, available + given_back - still_to_take)


def place(need: int, room: MemoryBudget, claims: Sequence[Claim]) -> Decision:
    """What to do for a model that needs `need` bytes: the least recently used goes first, if it is idle and not pinned,
    and nobody goes in vain."""
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
    """By how many bytes the truth is worse than what is allowed; 0 where all is well."""
    return max(0, -free_bytes(room, claims))


def grants(room: MemoryBudget, claims: Sequence[Claim], planned: Mapping[str, int]) -> dict[str, int]:
    """Return bytes for the caches of each model: the planned ones and, without pressure, an equal share of what is
    free. A smaller grant makes a worker drop stored prefixes."""
    if room.pressure != "normal":
        return {claim.id: planned[claim.id] for claim in claims if claim.id in planned}
    share = max(0, free_bytes(room, claims)) // max(1, len(claims))
    return {claim.id: planned[claim.id] + share for claim in claims if claim.id in planned}
