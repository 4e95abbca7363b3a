"""Clients of the daemon for commands. A command that can do without a daemon does not start one."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmx_daemon.client.client import Client


async def started() -> "Client":
    """Return a client of the daemon, which is started if none runs."""
    from lmx_daemon.client.client import Client
    from lmx_daemon.client.spawn import find_or_start
    from lmx_daemon.settings.paths import Home

    home = Home.from_environment()
    await find_or_start(home)
    return Client.of(home)
