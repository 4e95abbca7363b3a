"""The daemon of another machine, as LMX_HOST or `lmx --host` names it: its URL, API key and trusted certificates."""

import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from lmx_daemon.contract.addresses import is_loopback
from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.contract.frozen import Frozen

VARIABLE = "LMX_HOST"
KEY_VARIABLE = "LMX_API_KEY"
CA_VARIABLE = "SSL_CERT_FILE"
DEFAULT_PORT = 1234


class Remote(Frozen, frozen=True):
    """A daemon that is reached over TCP."""

    url: str
    """URL without a path, such as "https://box:1234"."""
    key: str = ""
    ca: str = ""
    """PEM file with the certificates that are trusted instead of the system's; "" for the system's."""


def remote_of(environ: Mapping[str, str]) -> Remote | None:
    """Return the daemon that the environment names; None for the one of this home. Raise ConfigError."""
    given = environ.get(VARIABLE, "").strip()
    if not given:
        return None
    return Remote(url=url_of(given), key=environ.get(KEY_VARIABLE, ""), ca=environ.get(CA_VARIABLE, ""))


def url_of(text: str) -> str:
    """Return the URL that a text such as "box", "box:1234" or "https://box" means. Raise ConfigError.

    Without a scheme, it is https, and http for this machine.
    """
    hint = "write it as https://NAME:PORT"
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
    except ValueError as error:
        raise ConfigError(f"{VARIABLE}: {text[:200]!r} is no URL: {error}", hint=hint) from None
    scheme = parts.scheme or ("http" if is_loopback(host) else "https")
    if not host or scheme not in ("http", "https") or parts.username or parts.path.strip("/") or parts.query:
        raise ConfigError(f"{VARIABLE}: {text[:200]!r} is no URL of a daemon", hint=hint)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def trusted(ca: str) -> ssl.SSLContext:
    """Return the context that trusts the certificates in a file only. Raise ConfigError."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"cannot read the trusted certificates in {ca}: {reason}",
            hint=f"give a PEM file: --ca FILE or {CA_VARIABLE}",
        ) from None
