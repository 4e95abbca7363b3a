"""The model that the router has chosen for a request, and the request with that model's id and a preset's values."""

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from lmx_daemon.contract.generation.preset import Preset
from lmx_daemon.contract.generation.requests import Count, Decide, Generate
from lmx_daemon.contract.models import Model
from lmx_daemon.router.apply_preset import with_preset

A = TypeVar("A", bound=Generate | Decide | Count)


@dataclass(frozen=True)
class Route:
    """The model that answers one request, and the preset that applies."""

    asked: str
    """Name of the model in the request."""
    model: Model
    reason: str = ""
    """Rule that led to the model, and the models that were skipped; "" for the model's own id."""
    preset: Preset | None = None
    """Values for fields that the request does not set."""

    def applied(self, request: A) -> A:
        """Return the request for the chosen model. Without a preset, a request with the model's id is not copied."""
        if self.preset is not None:
            request = with_preset(request, self.preset)
        if request.model == self.model.id:
            return request
        return msgspec.structs.replace(
            request, model=self.model.id, asked=request.asked or self.asked, routed=request.routed or self.reason
        )
