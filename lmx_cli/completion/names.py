"""Names that exist on this machine, from the running daemon, else from the files, within a bound of time.

The daemon is asked through http.client, since the import of the client library takes longer than the whole completion.
"""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import msgspec

from lmx_cli.completion.words import NameKind
from lmx_daemon.contract.admin.protocol import PROTOCOL, PROTOCOL_HEADER
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.settings.paths import Home, hub_cache

SECONDS = 1.5
"""Time limit for all names together."""
SHOWN = re.compile(r"[\w./:@+-]+")
"""Form of the names that are offered: a shell needs no quotes for them."""
MAX_BYTES = 16 * 1024 * 1024
MAX_FILE_BYTES = 1024 * 1024
MAX_FOLDERS = 2000
BUILT_IN = "lmx/guide"
ROUTED = ("auto", "default")


def names_of(home: Home, environ: Mapping[str, str], kind: NameKind, before: str) -> list[str]:
    """Return the names of a kind, within SECONDS. Names that a shell would need to quote are left out."""
    found: list[str] = []

    def collect() -> None:
        with suppress(OSError, ValueError, HTTPException, LmxError, msgspec.MsgspecError):
            found.extend(KINDS[kind](home, environ, before))

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return [name for name in dict.fromkeys(found) if SHOWN.fullmatch(name)]


# ---- kinds ----


def _models(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    return [*_installed(home, environ), *_aliases(home, environ, before)]


def _for_chat(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    presets = [f"preset:{name}" for name in _presets(home, environ, before)]
    return [*_models(home, environ, before), *ROUTED, *presets]


def _installed(home: Home, environ: Mapping[str, str]) -> list[str]:
    rows = asked(home, "/admin/models")
    return list(on_disk(home, environ)) if rows is None else [row["id"] for row in rows]


def _loaded(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    return [row["model"] for row in asked(home, "/admin/instances") or ()]


def _aliases(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    rows = asked(home, "/admin/aliases")
    if rows is not None:
        return [row["name"] for row in rows]
    from lmx_daemon.settings.layers import read_settings

    saved = msgspec.json.decode(_content(home.aliases) or b"{}").get("aliases", {})
    return [*saved, *read_settings(home).router.aliases]


def _presets(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    return [file.stem for file in sorted(home.presets.glob("*.toml"))]


def _settings(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    from lmx_daemon.settings.keys import keys

    models = _installed(home, environ) if any(key.named for key in keys()) else []
    named = [f"{key.section}.{model}.{key.name}" for key in keys() if key.named for model in models]
    return [*(key.path for key in keys() if not key.named), *named]


def _values(home: Home, environ: Mapping[str, str], before: str) -> Sequence[str]:
    from lmx_daemon.settings.choice import choose

    key = choose(before).key
    return key.choices or (("true", "false") if key.type == "boolean" else ())


def _pulls(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    return [row["repo"] for row in asked(home, "/admin/pulls") or ()]


def _stored(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    from lmx_daemon.storage.prefixes import stored_prefixes

    return [each.model for each in stored_prefixes(home.prefixes)]


def _agents(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    from lmx_cli.launch.agents import AGENTS

    return list(AGENTS)


def _reports(home: Home, environ: Mapping[str, str], before: str) -> list[str]:
    return [file.stem for file in sorted(home.benchmarks.glob("*.json"))]


KINDS: Mapping[NameKind, Callable[[Home, Mapping[str, str], str], Sequence[str]]] = {
    "agent": _agents,
    "alias": _aliases,
    "chat": _for_chat,
    "loaded": _loaded,
    "model": _models,
    "preset": _presets,
    "pull": _pulls,
    "report": _reports,
    "setting": _settings,
    "stored": _stored,
    "value": _values,
}


# ---- sources ----


class _SocketConnection(HTTPConnection):
    """HTTP over the admin socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("lmx", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


def asked(home: Home, path: str) -> list[dict[str, Any]] | None:
    """Return the rows of a route of the running daemon; None if no daemon answers."""
    if not home.socket.exists():
        return None
    connection = _SocketConnection(home.socket)
    try:
        connection.request("GET", path, headers={PROTOCOL_HEADER: str(PROTOCOL)})
        answer = connection.getresponse()
        if answer.status != 200:
            return None
        return msgspec.json.decode(answer.read(MAX_BYTES), type=list[dict[str, Any]])
    except (OSError, HTTPException, msgspec.MsgspecError):
        return None
    finally:
        connection.close()


def on_disk(home: Home, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the ids of folders that hold models, without a look into their files: the daemon describes them."""
    from lmx_daemon.settings.layers import read_settings

    yield BUILT_IN
    cache = hub_cache(environ, read_settings(home).library.cache)
    for folder in _names_in(cache):
        kind, *parts = folder.split("--")
        if kind == "models" and len(parts) == 2 and (cache / folder / "snapshots").is_dir():
            yield "/".join(parts)
    lmstudio = Path(os.path.expanduser(environ.get("HOME") or "~")) / ".lmstudio" / "models"
    for root in (home.root / "models", lmstudio):
        for owner in _names_in(root):
            yield from (f"{owner}/{name}" for name in _names_in(root / owner) if (root / owner / name).is_dir())


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))[:MAX_FOLDERS]
    except OSError:
        return []


def _content(file: Path) -> bytes | None:
    from lmx_daemon.storage.durable import read_regular

    try:
        return read_regular(file, MAX_FILE_BYTES)
    except OSError:
        return None
