"""Options `--host` and `--ca` for a daemon on another machine, and the commands that do not accept them."""

import os

from lmx_daemon.contract.errors import UsageError

HOST_VARIABLE, CA_VARIABLE = "LMX_HOST", "SSL_CERT_FILE"
LOCAL_COMMANDS = frozenset(
    {"cache", "demo", "doctor", "import", "launch", "login", "logout", "move", "restart", "serve", "service"}
)
"""Commands that read or change files or processes of this machine."""


def choose_daemon(host: str | None, ca: str | None, command: str | None) -> None:
    """Make this command use the daemon that the options name.

    Raise UsageError for a command that works locally only, and ConfigError for a host that is not an address.
    """
    if host is not None:
        from lmx_daemon.client.remote import url_of

        url_of(host)
        os.environ[HOST_VARIABLE] = host
    if ca is not None:
        os.environ[CA_VARIABLE] = ca
    if command in LOCAL_COMMANDS:
        refuse_remote(f"lmx {command}")


def is_remote() -> bool:
    """Return whether the daemon of this command is on another machine."""
    return bool(os.environ.get(HOST_VARIABLE, "").strip())


def refuse_remote(what: str) -> None:
    """Raise UsageError if the daemon is on another machine."""
    if is_remote():
        raise UsageError(
            f"{what} works on this machine only, but --host or {HOST_VARIABLE} is {os.environ[HOST_VARIABLE][:200]!r}",
            hint=f"run the command on that machine, or leave out --host and unset {HOST_VARIABLE}",
        )
