"""The model that the router has chosen for a request, and the request as it goes to that model."""

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from lmx_daemon.contract.models import Model
from lmx_daemon.contract.preset import Preset
from lmx_daemon.contract.requests import Count, Decide, Generate
from lmx_daemon.router.apply_preset import with_preset

A = TypeVar("A", bound=Generate | Decide | Count)


@dataclass(frozen=True)
class Route:
    """The way of one request."""

    asked: str
    """Name that the request gave."""
    model: Model
    reason: str = ""
    """Rule that led to the model, and the models that were skipped; "" for the model's own id."""
    preset: Preset | None = None
    """Values for what the request leaves open."""

    def applied(self, request: A) -> A:
        """Return the request for the chosen model. One that named its id, and no preset, is returned as it is."""
        if self.preset is not None:
            request = with_preset(request, self.preset)
        if request.model == self.model.id:
            return request
        return msgspec.structs.replace(
            request, model=self.model.id, asked=request.asked or self.asked, routed=request.routed or self.reason
        )
