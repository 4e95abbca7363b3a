"""What a service runs: the program, its environment and its log. It does not know the files of launchd or systemd."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.paths import Home

MARK = "Written by `lmx service install`; `lmx service uninstall` removes it."
"""Comment in each file that lmx writes. A file without it belongs to another program or to the user."""
CARRIED = ("HF_HOME", "HF_HUB_CACHE")
"""Variables that locate the Hub cache. The service gets them as they are at its installation."""
STOP_MARGIN = 30.0
"""Seconds for the daemon to end its workers after the drain, before it is killed."""


@dataclass(frozen=True)
class ServicePlan:
    """The process that a service keeps running."""

    program: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    """File of what the process prints itself, such as the reason why it cannot start."""
    stop_seconds: int
    """Seconds between the request to stop and the kill."""


def service_plan(home: Home, environ: Mapping[str, str], drain_seconds: float) -> ServicePlan:
    """Return the plan for the daemon of `home`, run by this Python. Raises ConfigError for control characters."""
    environment = {"LMX_HOME": str(home.root)} | {name: environ[name] for name in CARRIED if environ.get(name)}
    for value in (sys.executable, *environment.values()):
        if not value.isprintable():
            raise ConfigError(
                f"{value!r} contains control characters, which a service file cannot hold",
                hint="rename the folder, or unset the variable",
            )
    program = (sys.executable, "-m", "lmx_daemon")
    return ServicePlan(program, environment, home.logs / "service.log", int(drain_seconds + STOP_MARGIN))


def left_out(environ: Mapping[str, str]) -> list[str]:
    """Return the variables with settings or secrets that this shell has and the service will not have."""
    return sorted(
        name
        for name in environ
        if name == "HF_TOKEN" or (name.startswith("LMX_") and name not in ("LMX_HOME", "LMX_DEBUG"))
    )
