"""Whether a model fits this machine: the same plan as loading it, for models on disk and on the Hub."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmx_daemon.contract.library import Fit
from lmx_daemon.contract.types import MemoryPlan, Model
from lmx_daemon.memory.need import Demand, Device, Measured, plan_for
from lmx_daemon.memory.shape import ModelShape, Weights, guessed_weights, read_shape
from lmx_daemon.storage.safetensors import BITS

PLANNED_CONTEXT = 8_192
"""Tokens that keys and values of a model to be chosen are planned for, where nobody asks for another length."""


@dataclass(frozen=True)
class MachineCapacity:
    """What models may use here at most, what they are computed with, and the pool's answer for so many bytes."""

    cap: int
    device: Device
    fit: Callable[[int], Fit]
    measured: Callable[[Model], Measured | None] = lambda model: None
    """What a load has told of a model."""

    def plan(self, model: Model) -> MemoryPlan:
        """Of a model that is here: as loading it would plan. Blocking."""
        return plan_for(read_shape(Path(model.path)), Demand(), self.device, self.measured(model))


def plan(shape: ModelShape, machine: MachineCapacity, context: int | None = None) -> MemoryPlan:
    """Of a model on the Hub."""
    return plan_for(shape, Demand(context=context or PLANNED_CONTEXT), machine.device)


def remote_shape(config: Mapping[str, Any], by_type: Mapping[str, int], size: int | None) -> ModelShape | None:
    """Of a model on the Hub: its config, and how many numbers of each type its weights hold, or else their size."""
    if by_type and all(kind in BITS and count >= 0 for kind, count in by_type.items()):
        weights = Weights({kind: count * BITS[kind] // 8 for kind, count in by_type.items()}, "computed")
        return ModelShape(config, weights)
    return ModelShape(config, guessed_weights(size, config)) if size else None
