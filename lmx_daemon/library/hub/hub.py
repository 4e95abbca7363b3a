"""The Hub as the source of a repository: its commit and its files, with every name and hash checked before use.

huggingface_hub reads metadata and tokens; its import takes 0.2 s and is deferred. pull/fetch.py reads the files.
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
from lmx_daemon.library.pull.selection import select_files
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile

DEFAULT_ENDPOINT = "https://huggingface.co"
REQUEST_SECONDS = 10.0
MAX_FILES = 20_000
LOG_IN = "log in with: lmx login"


class TransientHubError(HubError):
    """Failure of a request that a later one may not have."""


def checked_endpoint(endpoint: str | None) -> str | None:
    """Return the address of a Hub that a request names. Raises RequestError."""
    if endpoint is not None and not endpoint.startswith(("https://", "http://")):
        raise RequestError(f"{endpoint[:200]!r} is not the address of a Hub", param="endpoint", hint="see HF_ENDPOINT")
    return endpoint


def without_credentials(endpoint: str) -> str:
    """Return the address without a user and password, because other programs and users can read manifests."""
    scheme, separator, rest = endpoint.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


class Hub:
    """One endpoint with one user's token."""

    def __init__(self, endpoint: str | None, environ: Mapping[str, str], token: str | None = None) -> None:
        self.endpoint = (endpoint or environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        self._offline = is_offline(environ)
        self._token = token

    def token(self) -> str | None:
        """Return the given token, else HF_TOKEN or the token of a login."""
        from huggingface_hub import get_token

        return self._token or get_token()

    def manifest(
        self, repo: str, revision: str | None, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
    ) -> Manifest:
        """Return the files to pull, pinned to a commit. Blocking.

        Raises NotFoundError, AuthenticationError, HubError, UntrustedModelError or RequestError.
        """
        self.refuse_if_offline()
        commit, files = self.listing(repo, revision)
        wanted, skipped = select_files(repo, files, include, exclude)
        return Manifest(
            repo=repo,
            commit=commit,
            files=wanted,
            skipped=skipped,
            revision=revision,
            endpoint=without_credentials(self.endpoint),
        )

    def listing(self, repo: str, revision: str | None) -> tuple[str, list[ManifestFile]]:
        """Return the commit and its files. Blocking, with two requests. Raises the errors of `manifest`."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, token=self.token() or False)
        try:
            commit = str(api.model_info(repo, revision=revision, timeout=REQUEST_SECONDS).sha)
            if not COMMIT.fullmatch(commit):
                raise HubError(f"the Hub returned an invalid commit: {commit[:80]!r}")
            entries = list(islice(api.list_repo_tree(repo, recursive=True, revision=commit), MAX_FILES + 1))
        except LmxError:
            raise
        except Exception as error:  # any error of huggingface_hub is translated
            raise self._error(repo, revision, error) from error
        if len(entries) > MAX_FILES:
            raise UntrustedModelError(f"{repo} has more than {MAX_FILES} files")
        return commit, [checked_file(entry) for entry in entries if hasattr(entry, "blob_id")]

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
