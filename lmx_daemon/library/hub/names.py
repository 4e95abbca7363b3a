"""Checks of names from outside: repositories, revisions, files of a repository.

A name that passes is safe as a part of a path in the cache and of a URL of the Hub.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from lmx_daemon.contract.errors import HubError, RequestError, UntrustedModelError
from lmx_daemon.library.disk.layout import COMMIT
from lmx_daemon.library.hub.addresses import origin
from lmx_daemon.library.verify.manifest import ManifestFile

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"})
OTHER_PAGES = ("datasets", "spaces", "collections", "papers", "docs", "api")
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
MAX_FILE_BYTES = 4 * 1000**4
EXAMPLE = "give it as owner/name, for example mlx-community/Qwen3-0.6B-4bit"


def parse_reference(text: str, endpoint: str = "") -> tuple[str, str | None]:
    """Return the repository and the revision that a user typed: `owner/name`, `owner/name@revision`, or a page's URL.

    "https://" may be missing from the URL. Raises RequestError.
    """
    text = text.strip()
    host = text.partition("://")[2] or text
    host = host.partition("/")[0].lower()
    hosts = HOSTS | {origin(endpoint)[1]} - {""}
    if "://" not in text and host not in hosts:
        repo, _, revision = text.partition("@")
        return checked_repository(repo), checked_revision(revision)
    if host not in hosts or not text.lower().startswith(("https://", "http://", host)):
        raise RequestError(f"{text[:200]!r} is not on the Hugging Face Hub", param="repo", hint=EXAMPLE)
    path = urlsplit(text if "://" in text else f"https://{text}").path
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] in OTHER_PAGES:
        raise RequestError(f"{text[:200]!r} is not the page of a model", param="repo", hint=EXAMPLE)
    revision = parts[3] if len(parts) > 3 and parts[2] in ("tree", "blob", "resolve", "raw", "commit") else ""
    return checked_repository("/".join(parts[:2]).removesuffix(".git")), checked_revision(revision)


def checked_repository(text: str) -> str:
    """Return a valid repository id. Raises RequestError."""
    if not REPOSITORY.fullmatch(text) or ".." in text or "--" in text or text.endswith((".git", ".", "-")):
        raise RequestError(f"{text[:200]!r} is not a repository id", param="repo", hint=EXAMPLE)
    return text


def checked_revision(text: str | None) -> str | None:
    """Return a valid branch, tag or commit; None for the main branch. Raises RequestError."""
    if not text or text == "main":
        return None
    wrong = not REVISION.fullmatch(text) or ".." in text or "//" in text or text.endswith(("/", ".lock", "."))
    if wrong:
        raise RequestError(f"{text[:200]!r} is not a revision", param="revision")
    return text


def checked_commit(info: Any) -> str:
    """Return the commit that the Hub's description of a repository names. Raises HubError."""
    commit = info.get("sha") if isinstance(info, Mapping) else None
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise HubError(f"the Hub returned an invalid commit: {str(commit)[:80]!r}")
    return commit


def checked_file(entry: Mapping[str, Any]) -> ManifestFile:
    """Return an entry of the Hub's listing after checks of its path, hash and size. Raises UntrustedModelError."""
    path, size, blob_id, large = (entry.get(name) for name in ("path", "size", "oid", "lfs"))
    if not isinstance(path, str):
        raise UntrustedModelError("the Hub lists a file without a path")
    parts = PurePosixPath(path).parts
    if (
        not parts
        or path.startswith("/")
        or "\\" in path
        or len(path.encode(errors="replace")) > MAX_PATH_BYTES
        or any(part in ("..", ".") or len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in parts)
        or not path.isprintable()
        or str(PurePosixPath(path)) != path
    ):
        raise UntrustedModelError(f"the repository has a file with the unsafe name {path[:200]!r}")
    sha256 = large.get("oid") if isinstance(large, Mapping) else large
    if not _matches(COMMIT, blob_id) or not (sha256 is None or _matches(SHA256, sha256)):
        raise UntrustedModelError(f"the Hub states no valid hash for {path}")
    if type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
        raise UntrustedModelError(f"the Hub states no valid size for {path}")
    return ManifestFile(path=path, size=size, sha256=sha256, git_sha1=blob_id)


def _matches(form: "re.Pattern[str]", value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def refuse_collisions(files: Iterable[ManifestFile]) -> None:
    """Raise UntrustedModelError when two paths are equal on a file system that ignores case or Unicode forms."""
    taken: set[str] = set()
    folders: set[str] = set()
    for file in files:
        plain = unicodedata.normalize("NFC", file.path).casefold()
        above = {str(folder) for folder in PurePosixPath(plain).parents}
        if plain in taken or plain in folders or above & taken:
            raise UntrustedModelError(
                f"two files of the repository have the same path on some disks: {file.path[:200]!r}"
            )
        taken.add(plain)
        folders |= above
