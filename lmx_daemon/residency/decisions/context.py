"""The context of a model beside a request: prompts that cannot fit, and a context that the request names. Pure."""

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Computation, Request
from lmx_daemon.contract.models import Model
from lmx_daemon.memory.need import Demand
from lmx_daemon.residency.decisions.plan import hopeless_prompt
from lmx_daemon.residency.decisions.resident import Resident


def check_context(request: Request, model: Model, resident: Resident | None, setting: int | None) -> None:
    """Raise ContextLengthError for a prompt that cannot fit, RequestError for a context that the model does not have.

    `resident` is the model in memory, if it is there; `setting` is the context of the settings. A token count passes.
    """
    if not isinstance(request, Computation):
        return
    asked = resident.demand.context if resident is not None else None
    longest = max(size or 0 for size in (model.context_length, setting, asked))
    if longest and (problem := hopeless_prompt(request.prompt, longest)) is not None:
        raise problem
    if request.context_length is None:
        return
    has = context_of(model, resident, setting)
    if has is not None and request.context_length > has:
        loaded = "is loaded with" if resident is not None else "has"
        raise RequestError(
            f"context_length: {model.id} {loaded} a context of {has} tokens, not {request.context_length}",
            param="context_length",
            hint=f"ask for at most {has}"
            + (f", or unload the model first: lmx unload {model.id}" if model.context_length != has else ""),
        )


def context_of(model: Model, resident: Resident | None, setting: int | None) -> int | None:
    """Return the context that the model has in memory, or may be loaded with; None if it is not known yet."""
    if resident is not None and resident.loaded is not None:
        return resident.loaded.capabilities.context_length
    asked = None if resident is None else resident.demand.context or setting
    return min((size for size in (model.context_length, asked) if size), default=None)


def demand_of(request: Request, setting: int | None) -> Demand:
    """Return the sizes of a load for a request: a context above that of the settings only if the request needs it."""
    asked = request.context_length if isinstance(request, Computation) else None
    return Demand(asked if asked is not None and setting is not None and asked > setting else None)
