"""Commands of the engine thread: frames of the daemon, and those that other threads of this process add."""

from dataclasses import dataclass

from lmx_daemon.contract.generation.requests import Decide, Generate
from lmx_daemon.contract.worker.messages import Grant, Load
from lmx_daemon.engines.mlx.grammar.token_grammar import CompiledGrammar
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt


@dataclass(frozen=True)
class Ready:
    """A request whose prompt is tokenized."""

    request: Generate | Decide
    prepared: PreparedPrompt
    arrived: float
    """Monotonic time of its arrival in the daemon, in seconds."""
    load_seconds: float
    """Time that it waited for its model to load."""
    grammar: CompiledGrammar | None = None
    """The grammar of its constraint."""


@dataclass(frozen=True)
class Drop:
    """The cancellation of the request with this id."""

    id: str


@dataclass(frozen=True)
class Stop:
    """The end of the engine thread."""

    flush_seconds: float
    """Time limit on writing the prefix cache to disk, in seconds."""


@dataclass(frozen=True)
class Wake:
    """The arrival of data that a waiting request needs."""


EngineCommand = Load | Grant | Ready | Drop | Stop | Wake
