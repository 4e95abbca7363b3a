"""The context of a loaded model, for the lists of models of every dialect."""

from collections.abc import Sequence

from lmx_daemon.contract.models import Instance, Model


def loaded_context(instances: Sequence[Instance], model: Model) -> int | None:
    """Return the number of tokens that fit into the model's loaded instance; None if it is not loaded."""
    for instance in instances:
        if instance.model == model.id and instance.state == "ready" and instance.capabilities is not None:
            return instance.capabilities.context_length
    return None
