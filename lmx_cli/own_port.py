"""Access of programs of this machine to the public port of the own daemon: the address without TLS, and an API key."""

from typing import NamedTuple

from lmx_daemon.client.client import Client
from lmx_daemon.contract.admin.keys import KeyRequest
from lmx_daemon.contract.admin.snapshot import Status
from lmx_daemon.contract.errors import DiskError, LmxError
from lmx_daemon.settings.layers import read_settings
from lmx_daemon.settings.paths import Home
from lmx_daemon.storage.durable import read_regular, write_file

NEW_KEY = "a key that is made then"
"""Text in place of a key that would be made."""
NAME = "lmx on this machine"
"""Name of the key that is made where one is required."""
MAX_BYTES = 1000


class OwnPort(NamedTuple):
    """Address and key that a program of this machine uses."""

    address: str
    """URL without /v1."""
    key: str | None
    """Key of the daemon; None if no key is required."""


async def own_port(client: Client, home: Home, status: Status, *, make: bool = True) -> OwnPort:
    """Return the access to the daemon of `status`. Raise LmxError where only TLS is served.

    Where a key is required and the settings have none, one with the scopes infer and read is made, kept in the home for
    its owner only, and used again. Without `make`, NEW_KEY stands for a new one.
    """
    address = reachable(status.address)
    if address.startswith("https:"):
        raise LmxError(
            f"{address} speaks TLS with a certificate for other names than this address",
            hint="give programs of this machine a port without TLS: lmx config set server.plain_port 1235; lmx restart",
        )
    configured = read_settings(home).server.api_key
    if configured or not status.api_key:
        return OwnPort(address, configured)
    return OwnPort(address, await _own_key(client, home, make))


def reachable(address: str) -> str:
    """Return the address at which a program of this machine reaches a server that may listen on every address."""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


async def _own_key(client: Client, home: Home, make: bool) -> str:
    """Return the kept key if the daemon has it, else a new one."""
    file = home.launch / "key"
    try:
        kept = read_regular(file, MAX_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError):
        kept = ""
    if any(kept.startswith(f"lmx_{key.id}_") for key in await client.keys()):
        return kept
    if not make:
        return NEW_KEY
    made = await client.create_key(KeyRequest(name=NAME))
    try:
        home.launch.mkdir(mode=0o700, exist_ok=True)
        write_file(file, made.secret.encode(), 0o600)
    except OSError as error:
        await client.revoke_key(made.key.id)
        raise DiskError(f"cannot write {file}: {error.strerror or error}", hint=f"see: ls -l {home.launch}") from error
    return made.secret
