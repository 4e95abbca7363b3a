"""Errors of loads that do not fit, with the figures of memory and the possible remedies. Pure."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from lmx_daemon.contract.errors import BusyError, ConflictError, NotFoundError, OutOfMemoryError
from lmx_daemon.contract.models import Alternative, MemoryPlan
from lmx_daemon.contract.units import size
from lmx_daemon.memory.budget import MemoryBudget
from lmx_daemon.memory.need import Demand
from lmx_daemon.residency.decisions.loading.placement import Claim, free_bytes

SMALLEST_CONTEXT = 512
"""Context in tokens below which no smaller one is proposed."""
RETRY_SECONDS = 10.0
"""Time after which a client may repeat a request whose wait for memory has failed."""


def refusal(
    name: str, plan: MemoryPlan, room: MemoryBudget, claims: Iterable[Claim], smaller: Demand | None
) -> OutOfMemoryError:
    """Return the error of a model that does not fit. `smaller` is a demand that would fit."""
    known = list(claims)
    hints = [_hint(name, choice) for choice in alternatives(plan, room, known, smaller)]
    if not hints:
        hints.append("use a smaller model, or one with fewer bits")
    return OutOfMemoryError(
        f"{name} does not fit into memory: it needs {size(plan.bytes)}, {figures_of(plan)}; {there_is(room, known)}",
        hint="; or ".join(hints),
        param="model",
    )


def alternatives(
    plan: MemoryPlan, room: MemoryBudget, claims: Iterable[Claim], smaller: Demand | None
) -> tuple[Alternative, ...]:
    """Return the remedies of a refused load: the demand `smaller`, and the smallest pinned model to unload."""
    known = list(claims)
    found = [] if smaller is None else [Alternative(context=smaller.context, slots=smaller.slots)]
    movable = {claim.id for claim in known if not claim.pinned}
    for claim in sorted((claim for claim in known if claim.pinned), key=lambda claim: claim.bytes):
        if free_bytes(room, known, {claim.id, *movable}) >= plan.bytes:
            found.append(Alternative(unload=claim.id, frees=claim.bytes))
            break
    return tuple(found)


def _hint(name: str, choice: Alternative) -> str:
    if choice.unload is not None:
        model = choice.unload.rpartition(":")[0]
        return f"{model} is pinned and holds {size(choice.frees)}; unload it with: lmx unload {model}"
    slots = f" --slots {choice.slots}" if choice.slots else ""
    return f"it fits with: lmx load {name} --context {choice.context}{slots}"


def wait_over(name: str, plan: MemoryPlan, seconds: float, busy: Iterable[str]) -> BusyError:
    """Return the error of a load that has waited for `busy` models for too long."""
    names = ", ".join(identity.rpartition(":")[0] for identity in busy)
    return BusyError(
        f"{name} needs {size(plan.bytes)} that {names} did not release within {seconds:.0f} s",
        hint="try again when it is idle, or unload it",
        retry_after=RETRY_SECONDS,
    )


def queue_is_full(name: str, waiting: int) -> BusyError:
    """Return the error of a request for a model that has `waiting` requests already."""
    return BusyError(f"{waiting} requests run or wait for {name} already", hint="try again soon", retry_after=2.0)


def place_yielded(name: str) -> BusyError:
    """Return the error of a waiting request whose place went to another client."""
    return BusyError(
        f"the queue of {name} is full, and other clients wait as well: this request yielded its place",
        hint="try again soon, with fewer requests at once",
        retry_after=2.0,
    )


def not_loaded(name: str, loaded: Sequence[str]) -> NotFoundError:
    """Return the error of an unload of a model that is not in memory."""
    hint = f"loaded: {', '.join(loaded)}" if loaded else "no model is loaded"
    return NotFoundError(f"{name} is not loaded", hint=hint)


def loaded_differently(name: str, loaded: Demand, asked: Demand) -> ConflictError | None:
    """Return the error of a load with other sizes than those of the loaded model; None if they agree."""
    sizes = (("a context of", asked.context, loaded.context), ("slots:", asked.slots, loaded.slots))
    for words, wanted, has in sizes:
        if wanted is not None and wanted != has:
            return ConflictError(
                f"{name} is loaded already, not with {words} {wanted}", hint=f"unload it first: lmx unload {name}"
            )
    return None


def worse_than_planned(name: str, plan: MemoryPlan, held: int, over: int) -> OutOfMemoryError:
    """Return the error of a load that exceeds its plan, and exceeds the memory of all models by `over` bytes."""
    return OutOfMemoryError(
        f"{name} takes {size(held)}, but {size(plan.bytes)} were planned: this exceeds the memory by {size(over)}. "
        "It was unloaded again",
        hint="try again: the next load uses the measured size and makes room first; or unload another model",
        param="model",
    )


def outgrown(name: str, held: int, most: int) -> OutOfMemoryError:
    """Return the error of a worker that exceeded its limit of memory."""
    return OutOfMemoryError(
        f"{name} held {size(held)} of memory, but may hold {size(most)}, and was ended",
        hint="if this repeats, the model's files are at fault: lmx verify, or use another version of the model",
        param="model",
    )


def smaller_demand(plan: MemoryPlan, free: int, need: Callable[[Demand], int]) -> Demand | None:
    """Return a demand that fits into `free` bytes, with fewer slots or else a shorter context; else None.

    `need` returns the number of bytes that a demand requires.
    """
    if slots := bisect_right(range(1, plan.slots), free, key=lambda slots: need(Demand(plan.context, slots))):
        return Demand(plan.context, slots)
    context = plan.context // 2
    while context >= SMALLEST_CONTEXT:
        if need(Demand(context, 1)) <= free:
            return Demand(context, 1 if plan.slots > 1 else None)
        context //= 2
    return None


def figures_of(plan: MemoryPlan) -> str:
    """Return the figures of a plan, each with its basis."""
    sequences = f"{plan.slots} x " if plan.slots > 1 else ""
    figures = {
        "weights": plan.weights,
        f"cache of {sequences}{plan.context} tokens": plan.cache,
        "scratch": plan.scratch,
    }
    parts = [f"{name} {size(figure.bytes)} ({figure.basis})" for name, figure in figures.items()]
    return ", ".join(parts)


def there_is(room: MemoryBudget, claims: list[Claim]) -> str:
    """Return a text on the memory that is or can be made free, and on limits besides the models in memory."""
    movable = {claim.id for claim in claims if not claim.pinned}
    free, most = free_bytes(room, claims), free_bytes(room, claims, movable)
    if room.available is not None and most < free_bytes(MemoryBudget(room.cap), claims, movable):
        cause = f"; other programs leave {size(room.available)}"
    else:
        cause = ""
    if room.pressure == "critical":
        cause = f"{cause}; the system reports critical memory pressure"
    if most > max(0, free):
        return f"{size(max(0, most))} of {size(room.cap)} can be made free at most{cause}"
    return f"{size(max(0, free))} of {size(room.cap)} are free{cause}"
