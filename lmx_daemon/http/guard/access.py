"""The identity of a request on the public port, from its headers, the settings and the API keys."""

import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from lmx_daemon.contract.addresses import is_loopback
from lmx_daemon.contract.admin.keys import ApiKey
from lmx_daemon.contract.errors import AuthenticationError
from lmx_daemon.contract.principal import Principal
from lmx_daemon.http.guard.asgi import first
from lmx_daemon.http.guard.principals import ANONYMOUS, KEY_HOLDER, KEYLESS, KEYLESS_MANAGER, key_principal
from lmx_daemon.settings.schema import ServerSettings

OPEN_PATHS = frozenset({"/", "/api/hello", "/health"})
"""Paths that need no key. Clients probe them before they send one, and the answers contain only the state."""
KEY_PREFIX = "lmx_"
"""Prefix of each key of `lmx key create`. Any other text is a placeholder if no key is required."""
SEND_HINT = "send it as: Authorization: Bearer KEY (or x-api-key: KEY); lmx key create NAME makes one"

Verify = Callable[[str], ApiKey]
"""Return the API key of a secret, or raise AuthenticationError."""


def no_keys(secret: str) -> ApiKey:
    """Raise AuthenticationError, since there are no keys."""
    raise AuthenticationError("the API key is not valid")


class Access:
    """The check of credentials. A key in a request is checked even if none is required."""

    def __init__(self, settings: Callable[[], ServerSettings], bound: str, verify: Verify = no_keys) -> None:
        self._settings = settings
        self._verify = verify
        self._exposed = is_exposed(bound)

    def principal(self, path: str, headers: list[tuple[bytes, bytes]]) -> Principal:
        """Return the identity that a request acts for. Raise AuthenticationError."""
        settings = self._settings()
        required = needs_key(settings, self._exposed)
        if path in OPEN_PATHS:
            return ANONYMOUS if required else KEYLESS
        given = credentials(headers)
        if settings.api_key and any(equal(each, settings.api_key) for each in given):
            return KEY_HOLDER
        refusal = AuthenticationError("the API key is missing or wrong", hint=SEND_HINT)
        made = [each for each in given if each.startswith(KEY_PREFIX)]
        for secret in made:
            try:
                return key_principal(self._verify(secret))
            except AuthenticationError as error:
                refusal = error
        if required or made:
            raise refusal
        return KEYLESS_MANAGER if settings.manage_over_tcp else KEYLESS


def is_exposed(bound: str) -> bool:
    """Return whether other machines reach the URL."""
    return not is_loopback(urlsplit(bound).hostname or "")


def needs_key(settings: ServerSettings, exposed: bool) -> bool:
    """Return whether requests on the public port need an API key."""
    return bool(settings.api_key) or settings.require_key or exposed


def credentials(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """Return the keys that the headers contain.

    Anthropic's clients send both headers where their environment has a key of Anthropic as well.
    """
    bearer, plain = first(headers, b"authorization") or "", first(headers, b"x-api-key") or ""
    return [key for key in (bearer[7:].strip() if bearer[:7].lower() == "bearer " else "", plain.strip()) if key]


def equal(given: str, key: str) -> bool:
    """Return whether a header's text is `key`, in a time that does not depend on the text."""
    return hmac.compare_digest(given.encode("latin-1"), key.encode())
