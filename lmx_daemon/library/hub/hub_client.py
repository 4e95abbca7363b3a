"""Short requests to the Hub, without retries because a user waits for the result.

The token is sent to the Hub's own origin only. Responses are limited in size and not trusted.
"""

import json
from collections.abc import Mapping
from typing import Any

import httpx2

from lmx_daemon.contract.errors import HubError, NotFoundError
from lmx_daemon.contract.text import encodable
from lmx_daemon.library.hub.addresses import origin
from lmx_daemon.library.hub.bounded_get import MAX_BYTES, Budget, bounded_get
from lmx_daemon.library.hub.hub import NO_HUB, Hub

RESPONSE_SECONDS = 15.0
"""Longest duration of a response, and of each read of it."""
CONNECT_SECONDS = 5.0
MAX_REDIRECTS = 3
MAX_MESSAGE = 300
"""Upper bound on the characters of an error's message."""


class HubClient:
    """A client for one group of requests, used in a `with` statement. Several threads may share it."""

    def __init__(self, hub: Hub) -> None:
        hub.refuse_if_offline()
        self._endpoint = hub.endpoint
        token = hub.token()
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(RESPONSE_SECONDS, connect=CONNECT_SECONDS),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            follow_redirects=False,
        )

    def __enter__(self) -> "HubClient":
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.close()

    def json(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of a path. Raises NotFoundError if it is missing or private, else HubError."""
        content = self.content(path, params)
        try:
            return encodable(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise HubError(f"{self._endpoint} does not respond like a Hub", hint=NO_HUB) from error

    def content(self, path: str, params: Mapping[str, Any] | None = None, most: int = MAX_BYTES) -> bytes:
        """Return the content of a path, which has at most `most` bytes. Raises the errors of `json`."""
        try:
            status, content = self._get(str(httpx2.URL(f"{self._endpoint}{path}", params=params)), most)
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise HubError(f"{self._endpoint} is not a valid address, or redirects to one", hint=NO_HUB) from error
        except httpx2.HTTPError as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            hint = "check the network; HF_ENDPOINT or `endpoint` in config.toml sets a mirror"
            raise HubError(f"cannot reach {self._endpoint}: {reason}"[:MAX_MESSAGE], hint=hint) from error
        if status in (401, 404):
            raise NotFoundError(f"the Hub has no {path.removeprefix('/api/models/')}, or it is private")
        if status != 200:
            raise HubError(f"{self._endpoint} responded with status {status}", hint="try again later")
        return content

    def _get(self, url: str, most: int) -> tuple[int, bytes]:
        home, budget = origin(url), Budget(RESPONSE_SECONDS, most=most)
        for _ in range(MAX_REDIRECTS):
            response = bounded_get(self._client, url, {}, budget)
            if not response.has_redirect_location:
                return response.status_code, response.content
            url = str(response.url.join(response.headers["location"]))
            if origin(url) != home:
                raise HubError(f"{self._endpoint} redirects to another host")
        raise HubError(f"{self._endpoint} redirects more than {MAX_REDIRECTS} times")
