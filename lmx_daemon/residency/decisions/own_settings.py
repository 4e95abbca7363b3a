"""The settings of one model: they hold where a request or a load names nothing itself. Pure."""

import msgspec

from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.generation.requests import Chat, Generate, Request
from lmx_daemon.contract.models import Model
from lmx_daemon.memory.need import Demand
from lmx_daemon.residency.decisions.context import demand_of
from lmx_daemon.settings.schema import ModelSettings, Settings

NONE = ModelSettings()
"""Settings of a model without a table."""
SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip


def of_model(settings: Settings, model: Model) -> ModelSettings:
    """Return the settings of a model."""
    return settings.models.get(model.id, NONE)


def with_own_settings(request: Request, own: ModelSettings) -> Request:
    """Return the request with the model's values for fields that are not set."""
    if own is NONE:
        return request
    prompt = request.prompt
    if isinstance(prompt, Chat):
        thinking = own.thinking if prompt.thinking is None else prompt.thinking
        arguments = {**own.template, **prompt.template_arguments}
        prompt = msgspec.structs.replace(prompt, thinking=thinking, template_arguments=arguments)
    if not isinstance(request, Generate):
        return msgspec.structs.replace(request, prompt=prompt)
    given = {name: getattr(own, name) for name in SAMPLING if getattr(request.sampling, name) is None}
    return msgspec.structs.replace(
        request,
        prompt=prompt,
        sampling=msgspec.structs.replace(request.sampling, **given),
        max_tokens=own.max_tokens if request.max_tokens is None else request.max_tokens,
        thinking_budget=own.thinking_budget if request.thinking_budget is None else request.thinking_budget,
    )


def with_own_sizes(request: LoadRequest, own: ModelSettings) -> LoadRequest:
    """Return the load with the model's values for fields that are not set."""
    return msgspec.structs.replace(
        request,
        context_length=request.context_length or own.context,
        slots=request.slots or own.parallel,
        ttl=own.ttl if request.ttl is None else request.ttl,
        pin=own.pin if request.pin is None else request.pin,
    )


def context_setting(settings: Settings, own: ModelSettings) -> int | None:
    """Return the context that the settings give a model; None leaves it to the model."""
    return own.context or settings.engine.context_length


def demand_for(request: Request, settings: Settings, own: ModelSettings) -> Demand:
    """Return the sizes of a load that a request causes."""
    asked = demand_of(request, context_setting(settings, own)).context
    return Demand(asked or own.context, own.parallel)


def idle_limit(request: Request, settings: Settings, own: ModelSettings) -> float:
    """Return the seconds without use after which a model is unloaded that a request loads."""
    asked = request.ttl if isinstance(request, Generate) else None
    return next(each for each in (asked, own.ttl, settings.engine.idle_seconds) if each is not None)
