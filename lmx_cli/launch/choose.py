"""The choice of a model for an agent: one that calls tools and whose context is long enough."""

from collections.abc import Sequence

from lmx_cli.launch.agents import Agent
from lmx_daemon.contract.admin.names import AliasRow
from lmx_daemon.contract.errors import LmxError, ModelNotFoundError, UnsupportedError
from lmx_daemon.contract.models import GUIDE, Instance, Model

CONTEXTS = (131_072, 65_536, 32_768)
"""Context lengths to try if the default is too short for the agent or does not fit into memory."""


def named(name: str, models: Sequence[Model], aliases: Sequence[AliasRow]) -> Model:
    """Return the model that `name` means: an id, an alias, or a part of one id. Raises ModelNotFoundError."""
    by_id = {model.id: model for model in models}
    meant = next((row.model for row in aliases if row.name == name), None) or name
    if meant in by_id:
        return by_id[meant]
    found = [model for model in models if name.lower() in model.id.lower()]
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelNotFoundError(
            f"{name} is a part of {len(found)} models", hint=", ".join(model.id for model in found)
        )
    raise ModelNotFoundError(f"{name} is not installed", hint="`lmx ls` lists the models on disk")


def candidates(agent: Agent, models: Sequence[Model], instances: Sequence[Instance]) -> list[Model]:
    """Return the models that the agent can use: loaded ones first, then by size. Raises LmxError if there is none."""
    loaded = {instance.model for instance in instances if instance.state == "ready"}
    found = [model for model in models if model.id != GUIDE and shortcoming(agent, model) is None]
    if not found:
        needs = "calls tools and has" if agent.tools else "has"
        raise LmxError(
            f"no installed model suits {agent.name}: it needs one that {needs} a context of {agent.minimum:,} tokens",
            hint="`lmx search coder --tools --fits` finds one, and `lmx pull ID` installs it",
        )
    return sorted(found, key=lambda model: (model.id not in loaded, -(model.parameters or 0), -model.size, model.id))


def check(agent: Agent, model: Model) -> None:
    """Raise UnsupportedError if the agent cannot use the model."""
    if (reason := shortcoming(agent, model)) is not None:
        raise UnsupportedError(
            f"{model.id} does not suit {agent.name}: {reason}",
            hint="leave out --model, and lmx chooses a model that does",
        )


def shortcoming(agent: Agent, model: Model) -> str | None:
    """Return the reason why the agent cannot use the model, or None."""
    if model.problem is not None:
        return model.problem
    if not model.chat or model.embedding:
        return "it is not a chat model"
    if agent.tools and not model.tools:
        return "it was not trained to call tools"
    if model.context_length is not None and model.context_length < agent.minimum:
        return f"its context has {model.context_length:,} tokens, and {agent.minimum:,} are needed"
    return None


def contexts(agent: Agent, model: Model) -> list[int | None]:
    """Return the context lengths to try for a load: None, which is the default of the settings, then the longest."""
    longest = model.context_length or 0
    return [None, *(length for length in CONTEXTS if agent.minimum < length <= longest), agent.minimum]
