"""Memory plans of models on the disk and on the Hub, and whether they fit this machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmx_daemon.contract.admin.library.files import Fit
from lmx_daemon.contract.models import MemoryPlan, Model
from lmx_daemon.memory.need import Demand, Device, Measured, plan_for
from lmx_daemon.memory.shape import ModelShape, Weights, guessed_weights, read_shape
from lmx_daemon.storage.foreign.safetensors import BITS

PLANNED_CONTEXT = 8_192
"""Context length for which models on the Hub are planned by default, in tokens."""


@dataclass(frozen=True)
class MachineCapacity:
    """The memory that models may use on this machine, and the device that computes them."""

    cap: int
    """Bytes for all models together."""
    device: Device
    fit: Callable[[int], Fit]
    """Returns whether a number of bytes fits beside the loaded models."""
    measured: Callable[[Model], Measured | None] = lambda model: None
    """Returns the measurements of earlier loads of a model."""

    def plan(self, model: Model) -> MemoryPlan:
        """Return the memory plan of a load of an installed model. Blocking."""
        return plan_for(read_shape(Path(model.path)), Demand(), self.device, self.measured(model))


def plan_remote(shape: ModelShape, machine: MachineCapacity, context: int | None = None) -> MemoryPlan:
    """Return the memory plan of a model on the Hub."""
    return plan_for(shape, Demand(context=context or PLANNED_CONTEXT), machine.device)


def remote_shape(config: Mapping[str, Any], by_type: Mapping[str, int], size: int | None) -> ModelShape | None:
    """Return the shape of a model on the Hub, from its number of elements by type, else from its size."""
    if by_type and all(kind in BITS and count >= 0 for kind, count in by_type.items()):
        weights = Weights({kind: count * BITS[kind] // 8 for kind, count in by_type.items()}, "computed")
        return ModelShape(config, weights)
    return ModelShape(config, guessed_weights(size, config)) if size else None
