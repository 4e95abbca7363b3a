"""The Hub as the source of a repository: its commit and its files, with every name and hash checked before use.

huggingface_hub reads tokens and error responses; its import takes 0.2 s and is deferred. pull/fetch.py reads the files.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from lmx_daemon.contract.errors import (
    AuthenticationError,
    HubError,
    LmxError,
    NotFoundError,
    UntrustedModelError,
)
from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.hub.addresses import origin, without_credentials
from lmx_daemon.library.hub.bounded_get import Budget, bounded_get
from lmx_daemon.library.hub.names import checked_commit, checked_file
from lmx_daemon.library.pull.selection import select_files
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile

DEFAULT_ENDPOINT = "https://huggingface.co"
REQUEST_SECONDS = 10.0
LISTING_SECONDS = 120.0
"""Longest duration of all requests for the listing of one repository."""
MAX_FILES = 20_000
MAX_REDIRECTS = 5
LOG_IN = "log in with: lmx login"
NO_HUB = "check HF_ENDPOINT, or `endpoint` in config.toml; the response has a wrong form"


class TransientHubError(HubError):
    """Failure of a request that a later one may not have."""


class Hub:
    """Endpoint with one user's token."""

    def __init__(self, endpoint: str | None, environ: Mapping[str, str], token: str | None = None) -> None:
        self.endpoint = valid_text(endpoint or environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        self._offline = is_offline(environ)
        self._token = token

    def token(self) -> str | None:
        """Return the given token, else HF_TOKEN or the token of a login."""
        from huggingface_hub import get_token

        return self._token or get_token()

    def manifest(
        self,
        repo: str,
        revision: str | None,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        check: Callable[[], None] = lambda: None,
    ) -> Manifest:
        """Return the files to pull, pinned to a commit. Blocking; `check` runs for each chunk, and may raise.

        Raises NotFoundError, AuthenticationError, HubError, UntrustedModelError or RequestError.
        """
        self.refuse_if_offline()
        commit, files = self.listing(repo, revision, Budget(LISTING_SECONDS, check))
        wanted, skipped = select_files(repo, files, include, exclude)
        return Manifest(
            repo=repo,
            commit=commit,
            files=wanted,
            skipped=skipped,
            revision=revision,
            endpoint=without_credentials(self.endpoint),
        )

    def listing(self, repo: str, revision: str | None, budget: Budget) -> tuple[str, list[ManifestFile]]:
        """Return the commit and its files. Blocking. Raises the errors of `manifest`."""
        page = f"{self.endpoint}/api/models/{repo}"
        about = page if revision is None else f"{page}/revision/{quote(revision, safe='')}"
        try:
            with httpx2.Client(timeout=REQUEST_SECONDS) as client:
                commit = checked_commit(self._get(client, about, budget).json())
                entries = self._rows(client, f"{page}/tree/{commit}?recursive=true", budget)
        except LmxError:
            raise
        except Exception as error:  # any error of huggingface_hub is translated
            raise self._error(repo, revision, error) from error
        if len(entries) > MAX_FILES:
            raise UntrustedModelError(f"{repo} has more than {MAX_FILES} files")
        if not all(isinstance(entry, dict) for entry in entries):
            raise HubError(f"the Hub lists no files for {repo}", hint=NO_HUB)
        return commit, [checked_file(entry) for entry in entries if entry.get("type") == "file"]

    def _rows(self, client: httpx2.Client, url: str, budget: Budget) -> list[Any]:
        """Return the rows of a listing, page by page; one more than MAX_FILES if there are more."""
        rows: list[Any] = []
        while url and len(rows) <= MAX_FILES:
            response = self._get(client, url, budget)
            rows += response.json()
            following = response.links.get("next", {}).get("url")
            url = str(response.url.join(following)) if following else ""
        return rows

    def _get(self, client: httpx2.Client, url: str, budget: Budget) -> httpx2.Response:
        """Return a successful response. Redirects and pages may lead to another host, which never gets the token."""
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        for _ in range(MAX_REDIRECTS):
            own = origin(url) == origin(self.endpoint)
            response = bounded_get(client, url, build_hf_headers(token=(own and self.token()) or False), budget)
            if not response.has_redirect_location:
                hf_raise_for_status(response)
                return response
            url = str(response.url.join(response.headers["location"]))
        raise HubError(f"{self.endpoint} redirects more than {MAX_REDIRECTS} times")

    def url(self, manifest: Manifest, file: ManifestFile) -> str:
        """Return the address of a file."""
        return f"{self.endpoint}/{manifest.repo}/resolve/{manifest.commit}/{quote(file.path)}"

    def refuse_if_offline(self) -> None:
        """Raise HubError when HF_HUB_OFFLINE is set."""
        if self._offline:
            raise HubError("HF_HUB_OFFLINE is set, so nothing is downloaded", hint="unset it to pull")

    def _error(self, repo: str, revision: str | None, error: Exception) -> LmxError:
        from huggingface_hub import errors

        page = f"{self.endpoint}/{repo}"
        if isinstance(error, errors.GatedRepoError):
            return AuthenticationError(
                f"{repo} is gated: its publisher requires that you accept terms",
                hint=f"accept at {page}, then {LOG_IN}",
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return NotFoundError(f"{repo} has no revision {revision!r}", param="revision", hint=f"see {page}/commits")
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401 and self.token():
            return AuthenticationError(f"the Hub does not accept the token (for {repo})", hint=LOG_IN)
        if isinstance(error, errors.RepositoryNotFoundError):
            return NotFoundError(
                f"the Hub has no model {repo}, or it is private",
                param="repo",
                hint=f"check the name; for a private or gated one {LOG_IN}",
            )
        if status is None and not isinstance(error, httpx2.HTTPError | OSError):
            return HubError(f"{self.endpoint} does not respond like a Hub to a request for {repo}", hint=NO_HUB)
        reason = " ".join(str(error).split()) or type(error).__name__
        failed = (
            f"cannot reach {self.endpoint} for {repo}" if status is None else f"cannot get {repo} from {self.endpoint}"
        )
        message = f"{failed}: {reason}"[:400]
        if status is None or status in (408, 429) or status >= 500:
            return TransientHubError(message, hint="check the network, and try again")
        if status in (401, 403):
            return AuthenticationError(message, hint=LOG_IN)
        return HubError(message)


def is_offline(environ: Mapping[str, str]) -> bool:
    """Return whether a variable of the Hub's tools forbids requests."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in names)
