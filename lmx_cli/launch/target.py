"""The server and the model that an agent uses, and the files of its configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

NO_KEY = "lmx"
"""Key for agents if the server has none; most agents refuse an empty one."""
MAX_OUTPUT = 32_000
"""Largest answer that an agent requests, in tokens."""


@dataclass(frozen=True)
class AgentTarget:
    """A model on a server. `address` is a URL without /v1."""

    address: str
    key: str
    model: str
    context: int
    """Context length in tokens, the answer included."""
    images: bool = False

    @property
    def output(self) -> int:
        """Largest answer in tokens: a quarter of the context, so that the conversation keeps the rest."""
        return min(MAX_OUTPUT, self.context // 4)

    @property
    def compaction(self) -> int:
        """Tokens of a conversation at which an agent shortens it: an answer and a tenth of the rest remain free."""
        return (self.context - self.output) * 9 // 10


@dataclass(frozen=True)
class Places:
    """Folders that contain configurations."""

    user: Path
    """Home folder of the user."""
    own: Path
    """Folder of lmx for files that only `lmx launch` reads and writes."""
    variables: Mapping[str, str]
    """Environment variables, some of which move a configuration."""

    @property
    def config(self) -> Path:
        """Folder of configurations by the XDG convention."""
        given = self.variables.get("XDG_CONFIG_HOME", "")
        return Path(given) if given.startswith("/") else self.user / ".config"


Form = Literal["toml", "json"]


@dataclass(frozen=True)
class ConfigFile:
    """A configuration file of an agent, and the values that it must have. Other values of the file stay."""

    path: Path
    form: Form
    values: Mapping[str, Any]
