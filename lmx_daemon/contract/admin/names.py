"""Aliases as the admin socket lists and changes them."""

from typing import Literal

from lmx_daemon.contract.frozen import Frozen


class AliasRow(Frozen, frozen=True):
    """An alias or a pattern, and the models that it lists."""

    name: str
    models: tuple[str, ...]
    source: Literal["config", "saved"] = "saved"
    """Source of the alias. "saved" is made by `lmx alias set` or by a client of Ollama."""
    model: str | None = None
    """Id of the first model that is installed; None if none is."""


class AliasChange(Frozen, frozen=True):
    """Creation or replacement of an alias."""

    name: str
    models: tuple[str, ...]


class AliasName(Frozen, frozen=True):
    """The name of an alias."""

    name: str
