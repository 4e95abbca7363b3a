"""What the engine thread is told: the daemon's own frames, and what the other threads of this process add to them."""

from dataclasses import dataclass

from lmx_daemon.contract.frames import Grant, Load
from lmx_daemon.contract.generation import Generate
from lmx_daemon.engines.mlx.text.prompt import PreparedPrompt


@dataclass(frozen=True)
class Ready:
    """A request whose prompt is tokens now."""

    request: Generate
    prepared: PreparedPrompt
    arrived: float
    load_seconds: float


@dataclass(frozen=True)
class Drop:
    """The request with this id is wanted no more."""

    id: str


@dataclass(frozen=True)
class Stop:
    """End the engine thread."""

    flush_seconds: float
    """Limit on writing the prefix cache to disk."""


@dataclass(frozen=True)
class Wake:
    """What a waiting request needs has come."""


Command = Load | Grant | Ready | Drop | Stop | Wake
