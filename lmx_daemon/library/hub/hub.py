"""What the Hub says of a repository: its commit and its files, every name and hash checked before it is used.

huggingface_hub does metadata, tokens and errors (imported when first needed: it takes 0.2 s); the bytes are fetch.py's.
"""

from collections.abc import Mapping
from itertools import islice
from urllib.parse import quote

from lmx_daemon.contract.errors import (
    AuthenticationError,
    HubError,
    LmxError,
    NotFoundError,
    RequestError,
    UntrustedModelError,
)
from lmx_daemon.library.disk.layout import COMMIT
from lmx_daemon.library.hub.names import checked_file
from lmx_daemon.library.pull.selection import chosen
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile

DEFAULT_ENDPOINT = "https://huggingface.co"
ASK_SECONDS = 10.0
MAX_FILES = 20_000
LOG_IN = "log in with: lmx login"


class TransientHubError(HubError):
    """Asking again later may help."""


def checked_endpoint(endpoint: str | None) -> str | None:
    """As a caller names it. Raises RequestError."""
    if endpoint is not None and not endpoint.startswith(("https://", "http://")):
        raise RequestError(f"{endpoint[:200]!r} is no address of a Hub", param="endpoint", hint="see HF_ENDPOINT")
    return endpoint


class Hub:
    """One endpoint, as one user."""

    def __init__(self, endpoint: str | None, environ: Mapping[str, str], token: str | None = None) -> None:
        self.endpoint = (endpoint or environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        self._offline = is_offline(environ)
        self._token = token

    def token(self) -> str | None:
        """The one that was given, else the Hub's own places: HF_TOKEN, or the file that a login leaves."""
        from huggingface_hub import get_token

        return self._token or get_token()

    def manifest(
        self, repo: str, revision: str | None, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
    ) -> Manifest:
        """Blocking. Raises NotFoundError, AuthenticationError, HubError, UntrustedModelError or RequestError."""
        self.refuse_if_offline()
        commit, files = self.listing(repo, revision)
        wanted, skipped = chosen(repo, files, include, exclude)
        return Manifest(
            repo=repo, commit=commit, files=wanted, skipped=skipped, revision=revision, endpoint=self.endpoint
        )

    def listing(self, repo: str, revision: str | None) -> tuple[str, list[ManifestFile]]:
        """(commit, its files). Blocking, two requests. Raises as `manifest` does."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, token=self.token() or False)
        try:
            commit = str(api.model_info(repo, revision=revision, timeout=ASK_SECONDS).sha)
            if not COMMIT.fullmatch(commit):
                raise HubError(f"the Hub names a commit that is none: {commit[:80]!r}")
            entries = list(islice(api.list_repo_tree(repo, recursive=True, revision=commit), MAX_FILES + 1))
        except LmxError:
            raise
        except Exception as error:  # whatever the library raises becomes one of ours
            raise self._error(repo, revision, error) from error
        if len(entries) > MAX_FILES:
            raise UntrustedModelError(f"{repo} has more than {MAX_FILES} files")
        return commit, [checked_file(entry) for entry in entries if hasattr(entry, "blob_id")]

    def url(self, manifest: Manifest, file: ManifestFile) -> str:
        return f"{self.endpoint}/{manifest.repo}/resolve/{manifest.commit}/{quote(file.path)}"

    def refuse_if_offline(self) -> None:
        if self._offline:
            raise HubError("HF_HUB_OFFLINE is set, so nothing is downloaded", hint="unset it to pull")

    def _error(self, repo: str, revision: str | None, error: Exception) -> LmxError:
        from huggingface_hub import errors

        page = f"{self.endpoint}/{repo}"
        if isinstance(error, errors.GatedRepoError):
            return AuthenticationError(
                f"{repo} is gated: its publisher has terms to accept",
                hint=f"accept at {page}, then {LOG_IN}",
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return NotFoundError(f"{repo} has no revision {revision!r}", param="revision", hint=f"see {page}/commits")
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401 and self.token():
            return AuthenticationError(f"the Hub does not accept the token (asked for {repo})", hint=LOG_IN)
        if isinstance(error, errors.RepositoryNotFoundError):
            return NotFoundError(
                f"the Hub has no model {repo}, or it is private",
                param="repo",
                hint=f"check the name; for a private or gated one {LOG_IN}",
            )
        said = " ".join(str(error).split()) or type(error).__name__
        message = f"cannot ask {self.endpoint} for {repo}: {said}"[:400]
        if status is None or status in (408, 429) or status >= 500:
            return TransientHubError(message, hint="check the network, and try again")
        if status in (401, 403):
            return AuthenticationError(message, hint=LOG_IN)
        return HubError(message)


def is_offline(environ: Mapping[str, str]) -> bool:
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in names)
