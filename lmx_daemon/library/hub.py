"""What the Hub says of a repository: a manifest pinned to a commit, every name and hash checked before it is used.

huggingface_hub does metadata, tokens and errors (imported when first needed: it takes 0.2 s); the bytes are fetch.py's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from lmx_daemon.contract.errors import HubError, NotFoundError, RequestError, UntrustedModelError

DEFAULT_ENDPOINT = "https://huggingface.co"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}")
SHA256, SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
WANTED = (".safetensors", ".json", ".jinja", ".txt", ".model", ".tiktoken", ".jsonl")
WANTED_NAMES = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt")
MAX_NAME = 255


@dataclass(frozen=True)
class RemoteFile:
    """One file of the manifest. `sha256` for large files, else `git_sha1`."""

    path: str
    size: int
    sha256: str | None
    git_sha1: str

    @property
    def blob(self) -> str:
        """The name of its blob in the cache: its hash, never what a header says."""
        return self.sha256 or self.git_sha1


@dataclass(frozen=True)
class Manifest:
    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    skipped: tuple[str, ...]


class Hub:
    def __init__(self, endpoint: str | None, environ: Mapping[str, str]) -> None:
        self.endpoint = (endpoint or environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        self._offline = environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")

    def token(self) -> str | None:
        from huggingface_hub import get_token

        return get_token()

    def manifest(self, repo: str, revision: str | None) -> Manifest:
        """Blocking. Raises NotFoundError, HubError, UntrustedModelError or RequestError."""
        if self._offline:
            raise HubError("HF_HUB_OFFLINE is set, so nothing is downloaded", hint="unset it to pull")
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint)
        try:
            info = api.model_info(repo, revision=revision)
            entries = list(api.list_repo_tree(repo, recursive=True, revision=info.sha))
        except Exception as error:  # whatever the library raises becomes one of ours
            raise self._error(repo, revision, error) from error
        commit = str(info.sha)
        if not SHA1.fullmatch(commit):
            raise HubError(f"the Hub names a commit that is none: {commit[:80]!r}")
        return chosen(repo, commit, [checked(entry) for entry in entries if hasattr(entry, "blob_id")])

    def url(self, manifest: Manifest, file: RemoteFile) -> str:
        from urllib.parse import quote

        return f"{self.endpoint}/{manifest.repo}/resolve/{manifest.commit}/{quote(file.path)}"

    def _error(self, repo: str, revision: str | None, error: Exception) -> Exception:
        from huggingface_hub import errors

        if isinstance(error, errors.GatedRepoError):
            return HubError(
                f"{repo} is gated", hint=f"accept its terms at {self.endpoint}/{repo}, then log in: hf auth login"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return NotFoundError(f"{repo} has no revision {revision!r}", param="revision")
        if isinstance(error, errors.RepositoryNotFoundError):
            return NotFoundError(
                f"the Hub has no model {repo}, or it is private",
                param="repo",
                hint="check the name; for a private or gated one log in: hf auth login",
            )
        return HubError(
            f"cannot ask {self.endpoint} for {repo}: {error}"[:500], hint="check the network, and try again"
        )


def repository_of(text: str) -> str:
    """A repository's id from what a user typed: the id, or the Hub's own URL. Raises RequestError."""
    if "://" in text:
        parts = urlsplit(text)
        if parts.hostname not in ("huggingface.co", "hf.co", "www.huggingface.co"):
            raise RequestError(
                f"{text[:200]!r} is not on the Hugging Face Hub", param="repo", hint="give its id, as owner/name"
            )
        text = "/".join(parts.path.strip("/").split("/")[:2])
    if not REPOSITORY.fullmatch(text) or ".." in text or "--" in text:
        raise RequestError(
            f"{text[:200]!r} is not a repository's id",
            param="repo",
            hint="give it as owner/name, for example mlx-community/Qwen3-0.6B-4bit",
        )
    return text


def checked(entry: Any) -> RemoteFile:
    """An entry of the Hub's listing, proved to be harmless. Raises UntrustedModelError."""
    path, size = str(entry.path), entry.size
    parts = PurePosixPath(path).parts
    if (
        not parts
        or path.startswith("/")
        or "\\" in path
        or any(part in ("..", ".") or len(part.encode()) > MAX_NAME or not part.isprintable() for part in parts)
        or str(PurePosixPath(path)) != path
    ):
        raise UntrustedModelError(f"the repository names a file {path[:200]!r}, which lmx does not write")
    sha256 = entry.lfs.sha256 if entry.lfs else None
    if not SHA1.fullmatch(str(entry.blob_id)) or (sha256 is not None and not SHA256.fullmatch(str(sha256))):
        raise UntrustedModelError(f"the Hub gives no proper hash for {path}")
    if not isinstance(size, int) or size < 0:
        raise UntrustedModelError(f"the Hub gives no proper size for {path}")
    return RemoteFile(path, size, sha256, str(entry.blob_id))


def chosen(repo: str, commit: str, files: list[RemoteFile]) -> Manifest:
    """The files that an MLX model needs. Raises UntrustedModelError where it is none that lmx can run."""
    names = [file.path for file in files]
    if not any(name.endswith(".safetensors") for name in names):
        kind = "GGUF files" if any(name.endswith(".gguf") for name in names) else "no safetensors weights"
        raise UntrustedModelError(
            f"{repo} has {kind}, and lmx runs MLX's safetensors",
            hint="look for an MLX version, for example in mlx-community",
        )
    wanted = [file for file in files if _is_wanted(file.path)]
    skipped = tuple(file.path for file in files if not _is_wanted(file.path))
    return Manifest(repo, commit, tuple(wanted), skipped)


def _is_wanted(path: str) -> bool:
    """At the top level only: mlx-lm reads no folders."""
    return "/" not in path and (path.endswith(WANTED) or path in WANTED_NAMES)
