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


RUNNING_ONLY = ("ps", "unload", "status", "requests", "chats", "config reload")
"""Commands on the models, requests or records of a running daemon. Without a daemon, they end with exit code 3."""
WITHOUT_DAEMON = (
    "cache", "completion", "config", "doctor", "key", "login", "logout", "logs", "service", "stop", "version",
)  # fmt: skip
"""Commands that need no daemon. Every other command starts one in the background if none runs."""
