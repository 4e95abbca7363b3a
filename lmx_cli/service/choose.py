"""The choice of the operating system's service control."""

import sys

from lmx_cli.service.system import ServiceSystem
from lmx_daemon.contract.errors import UnsupportedError


def service_system(platform: str = sys.platform) -> ServiceSystem:
    """Return the service control of the platform. Raises UnsupportedError."""
    if platform == "darwin":
        from lmx_cli.service.launchd import Launchd

        return Launchd()
    if platform == "linux":
        from lmx_cli.service.systemd import Systemd

        return Systemd()
    raise UnsupportedError(f"lmx has no service for {platform}", hint="start the daemon with: lmx serve --detach")
