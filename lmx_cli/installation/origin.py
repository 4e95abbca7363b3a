"""How lmx was installed, and the commands that update and remove it. Pure: it decides from facts and runs nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

Installer = Literal["checkout", "uv tool", "pipx", "Homebrew", "pip", "uv pip"]


@dataclass(frozen=True)
class InstallationFacts:
    """Facts about the installed package and its Python environment, as they state them."""

    python: str
    """Path of the interpreter."""
    prefix: Path
    """Folder of the environment."""
    installer: str = ""
    """Program that has installed the package, as its metadata name it."""
    source: str = ""
    """Address that was installed, if it was not taken from a package index."""
    editable: bool = False
    receipts: Sequence[str] = ()
    """Names of the files in `prefix` that tool installers leave there."""


@dataclass(frozen=True)
class InstallationCommands:
    """The commands for one installation. An empty one has to be typed by the user, as `advice` describes it."""

    origin: Installer
    update: tuple[str, ...]
    uninstall: tuple[str, ...]
    advice: str = ""


def commands_for(facts: InstallationFacts) -> InstallationCommands:
    """Return the commands that fit the installation."""
    pip = ("uv", "pip") if facts.installer == "uv" else (facts.python, "-m", "pip")
    uninstall = (
        (*pip, "uninstall", "--python", facts.python, "lmx") if pip[0] == "uv" else (*pip, "uninstall", "-y", "lmx")
    )
    if "uv-receipt.toml" in facts.receipts:
        return InstallationCommands("uv tool", ("uv", "tool", "upgrade", "lmx"), ("uv", "tool", "uninstall", "lmx"))
    if "pipx_metadata.json" in facts.receipts:
        return InstallationCommands("pipx", ("pipx", "upgrade", "lmx"), ("pipx", "uninstall", "lmx"))
    if "Cellar" in facts.prefix.parts:
        return InstallationCommands("Homebrew", ("brew", "upgrade", "lmx"), ("brew", "uninstall", "lmx"))
    if facts.editable:
        place = unquote(facts.source.removeprefix("file://"))
        advice = f"lmx runs from the checkout {place}; update it with: git -C {place} pull, and install it again"
        return InstallationCommands("checkout", (), uninstall, advice)
    target = ("--python", facts.python) if pip[0] == "uv" else ()
    update = (*pip, "install", *target, "--upgrade", facts.source or "lmx")
    return InstallationCommands("uv pip" if pip[0] == "uv" else "pip", update, uninstall)
