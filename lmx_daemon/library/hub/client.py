"""Small questions to the Hub: JSON in a second or two, or a reason why not. No retries: somebody waits for the answer.

The token goes to the Hub's own origin and nowhere else; what comes back is bounded and trusted for nothing.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from lmx_daemon.contract.errors import HubError, NotFoundError
from lmx_daemon.contract.text import encodable
from lmx_daemon.library.hub.hub import Hub

ANSWER_SECONDS = 15.0
CONNECT_SECONDS = 5.0
MAX_BYTES = 32 * 1024 * 1024
MAX_REDIRECTS = 3


class HubClient:
    """Use in a `with`. One for each round of questions; any number of threads may ask."""

    def __init__(self, hub: Hub) -> None:
        hub.refuse_if_offline()
        self._endpoint = hub.endpoint
        token = hub.token()
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            follow_redirects=False,
        )

    def __enter__(self) -> "HubClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def json(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Raises NotFoundError for what is not there, or is private; HubError for everything else that goes wrong."""
        url = str(httpx2.URL(f"{self._endpoint}{path}", params=params))
        try:
            status, content = self._get(url)
        except httpx2.HTTPError as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            hint = "check the network; a mirror is named by HF_ENDPOINT, or by `endpoint` in config.toml"
            raise HubError(f"cannot ask {self._endpoint}: {reason}"[:300], hint=hint) from error
        if status in (401, 404):
            raise NotFoundError(f"the Hub has no {path.removeprefix('/api/models/')}, or it is private")
        if status != 200:
            raise HubError(f"cannot ask {self._endpoint}: it answers {status}", hint="try again later")
        try:
            return encodable(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise HubError(f"{self._endpoint} does not answer as a Hub does", hint="check HF_ENDPOINT") from error

    def _get(self, url: str) -> tuple[int, bytes]:
        origin = urlsplit(url)[:2]
        for _ in range(MAX_REDIRECTS):
            with self._client.stream("GET", url) as response:
                if not response.has_redirect_location:
                    return response.status_code, _bounded(response)
                url = str(response.url.join(response.headers["location"]))
            if urlsplit(url)[:2] != origin:
                raise HubError(f"{self._endpoint} sends questions to another host")
        raise HubError(f"{self._endpoint} redirects for ever")


def _bounded(response: httpx2.Response) -> bytes:
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise HubError("the Hub answers with more than anybody would read")
    return bytes(content)
