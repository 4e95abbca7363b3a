"""The worker program of each engine kind, with its memory plans, its load options, and whether it has a warm spare.

The library chooses a model's kind from the format and the config of its files. All that depends on the kind is here:
another engine needs its own folder below engines/ and one entry in PROGRAMS.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lmx_daemon.contract.models import MemoryPlan
from lmx_daemon.contract.worker.messages import EngineKind, LoadOptions, TextOptions
from lmx_daemon.memory.need import Demand, Device, Measured, most_bytes, plan_for
from lmx_daemon.memory.shape import ModelShape
from lmx_daemon.residency.decisions.plan import reduced
from lmx_daemon.residency.requests.places import places
from lmx_daemon.settings.schema import Settings

LEAST_STEP = 64
"""Minimum number of prompt tokens in a step of a model that ran out of memory."""


@dataclass(frozen=True)
class LoadLimits:
    """Sizes of one load that the scheduler has decided."""

    demand: Demand
    cache_bytes: int
    """Bytes granted for keys and values."""
    out_of_memory: int
    """Number of times that the model ran out of memory within `restart_window_seconds`."""
    prefixes: Path
    """Folder of stored prompt prefixes."""


class PlanMemory(Protocol):
    """Function that returns the memory plan of a load."""

    def __call__(
        self, shape: ModelShape, demand: Demand, device: Device, measured: Measured | None = None, /
    ) -> MemoryPlan:
        """Return the plan."""


class LimitMemory(Protocol):
    """Function that returns the bytes above which a worker process is ended as a runaway."""

    def __call__(
        self,
        shape: ModelShape,
        plan: MemoryPlan,
        device: Device,
        measured: Measured | None,
        /,
        *,
        granted: int,
        context: int,
        slots: int,
    ) -> int:
        """Return the limit."""


@dataclass(frozen=True)
class EngineProgram:
    """The program that runs models of one engine kind."""

    module: str
    """Module that Python runs as the worker program."""
    options: Callable[[Settings, LoadLimits], LoadOptions]
    """Function that returns the options of a load."""
    plan: PlanMemory = plan_for
    most: LimitMemory = most_bytes
    warm_spare: bool = False
    """Whether a process with its imports done is kept for the next load."""

    @property
    def command(self) -> tuple[str, ...]:
        """Command line of a worker."""
        return sys.executable, "-m", self.module


def text_options(settings: Settings, limits: LoadLimits) -> TextOptions:
    """Return the options of a text model."""
    engine = settings.engine
    return TextOptions(
        context_length=limits.demand.context or engine.context_length,
        max_running=limits.demand.slots or engine.max_running,
        max_waiting=2 * places(settings),  # the daemon limits the queue, and gives places away before they are vacated
        prefill_step=reduced(engine.prefill_step, LEAST_STEP, limits.out_of_memory),
        prefix_cache_bytes=engine.prefix_cache_bytes,
        prefix_disk_bytes=engine.prefix_disk_bytes,
        prefix_disk_path=str(limits.prefixes),
        sanitize_control_tokens=engine.sanitize_control_tokens,
        cache_bytes=limits.cache_bytes,
        wired=str(engine.wired),
    )


PROGRAMS: Mapping[EngineKind, EngineProgram] = {
    "text": EngineProgram("lmx_daemon.engines.mlx", text_options, warm_spare=True),
}
