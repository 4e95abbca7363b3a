"""The API keys of one home: $LMX_HOME/keys.json, with the SHA-256 of each secret and no secret.

The daemon and the command line write the file under one lock. It does not know what a scope allows.
"""

import fcntl
import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lmx_daemon.contract.admin.keys import ApiKey, CreatedKey, KeyRequest
from lmx_daemon.contract.errors import AuthenticationError, DiskError, LmxError, NotFoundError, RequestError
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.storage.durable import open_owned, read_regular
from lmx_daemon.storage.failed_write import failed_write
from lmx_daemon.storage.state import MAX_BYTES, UNREADABLE
from lmx_daemon.storage.versions import VersionedState

SECRET = re.compile(r"lmx_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
"""Form of the text that clients send: the id of the key and 256 random bits."""
USE_SECONDS = 3600.0
"""Precision of the time of the last use. The file is written at most once in this time for each key in use."""
NO_HASH = "0" * 64
"""Hash that no secret has. A key that does not exist takes the same comparison as one that does."""
LOGGER = logging.getLogger("lmx.keys")


class StoredKey(Frozen, frozen=True):
    """An API key, and the SHA-256 of its secret in hexadecimal form."""

    key: ApiKey
    hash: str


class KeyFile(Frozen, frozen=True):
    """Content of the file."""

    keys: tuple[StoredKey, ...] = ()


STATE = VersionedState(KeyFile)


class KeyStore:
    """The API keys of one home. A change is on the disk before it takes effect."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        """Read `file`. If it is damaged, it is renamed, and no key is valid."""
        self._file, self._clock = file, clock
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, StoredKey] = {}
        self._used: dict[str, float] = {}
        self._unsaved = False
        self._changing = threading.Lock()
        self.refresh()

    def verify(self, secret: str) -> ApiKey:
        """Return the key of a secret. Raise AuthenticationError if there is none or if it has expired."""
        form = SECRET.fullmatch(secret)
        stored = self._keys.get(form[1]) if form else None
        if not hmac.compare_digest(hash_of(secret), stored.hash if stored else NO_HASH) or stored is None:
            raise AuthenticationError("the API key is not valid", hint="lmx key list shows the keys that exist")
        key, now = stored.key, self._clock()
        if key.expires_at is not None and now >= key.expires_at:
            raise AuthenticationError(f"the API key {key.id} has expired", hint="make a new one: lmx key create NAME")
        if now - self._used.get(key.id, key.used_at or 0.0) >= USE_SECONDS:
            self._used[key.id] = now
            self._unsaved = True
        return key

    def rows(self) -> list[ApiKey]:
        """Return all keys, expired ones included."""
        return [self._with_use(stored).key for stored in self._keys.values()]

    def create(self, asked: KeyRequest) -> CreatedKey:
        """Make a key. Blocking. Raise RequestError, DiskError; then nothing has changed."""
        if not asked.name.isprintable() or not asked.name.strip():
            raise RequestError("the name of an API key must be printable text", param="name")
        if asked.min_priority > asked.max_priority:
            raise RequestError("the lowest priority is above the highest one", param="min_priority")
        now = self._clock()
        with self._change() as keys:
            identity = secrets.token_hex(4)
            while identity in keys:
                identity = secrets.token_hex(4)
            fields = msgspec.structs.asdict(asked)
            seconds = fields.pop("seconds")
            fields["scopes"] = tuple(dict.fromkeys(asked.scopes))
            key = ApiKey(id=identity, created_at=now, expires_at=None if seconds is None else now + seconds, **fields)
            secret = f"lmx_{identity}_{secrets.token_urlsafe(32)}"
            keys[identity] = StoredKey(key=key, hash=hash_of(secret))
        return CreatedKey(key=key, secret=secret)

    def revoke(self, identity: str) -> ApiKey:
        """Remove a key by its id, and return it. Blocking. Raise NotFoundError, DiskError; then nothing has changed."""
        with self._change() as keys:
            if identity not in keys:
                raise NotFoundError(f"there is no API key {identity!r}", hint="lmx key list shows the ids", param="id")
            return keys.pop(identity).key

    def refresh(self) -> bool:
        """Read the file if another program has changed it. Blocking. Return whether the keys are those of the file."""
        with self._changing:
            return self._refresh()

    def look(self) -> None:
        """Read a changed file, and write the times of use if one has changed. Blocking."""
        self.refresh()
        if self._unsaved:
            self._unsaved = False
            try:
                with self._change():
                    pass
            except LmxError as error:
                LOGGER.warning("the last use of API keys was not written: %s", error.message)

    def _refresh(self) -> bool:
        found = signature(self._file)
        if found == self._seen:
            return True
        content = STATE.read(self._file, loss="no API key is valid until a new one is made: lmx key create")
        if content is None and self._file.exists():  # a passing fault such as too many open files; tried again later
            return False
        self._keys = {stored.key.id: stored for stored in content.keys} if content else {}
        self._seen = found
        return True

    @contextmanager
    def _change(self) -> Iterator[dict[str, StoredKey]]:
        """Yield a copy of the keys under the lock of writers, and put what it holds at the end in the file."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._changing, open_owned(self._file.with_name("keys.lock"), "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._refresh():
                    raise DiskError(f"{self._file} cannot be read at the moment", hint="try again")
                keys = {identity: self._with_use(stored) for identity, stored in self._keys.items()}
                yield keys
                STATE.write(self._file, KeyFile(keys=tuple(keys.values())))
                self._keys, self._seen = keys, signature(self._file)
        except OSError as error:
            raise failed_write("the API keys were not written", self._file, error) from error

    def _with_use(self, stored: StoredKey) -> StoredKey:
        used = self._used.get(stored.key.id)
        if used is None or used <= (stored.key.used_at or 0.0):
            return stored
        return msgspec.structs.replace(stored, key=msgspec.structs.replace(stored.key, used_at=used))


def hash_of(secret: str) -> str:
    """Return the SHA-256 of a secret. A slow hash is of no use for 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def has_key(file: Path) -> bool:
    """Return whether the file holds a key. It is not changed, and a damaged one holds none. Raises NewerStateError."""
    try:
        return bool(STATE.decode(read_regular(file, MAX_BYTES), file).keys)
    except (OSError, *UNREADABLE):
        return False


def signature(file: Path) -> tuple[int, int, int] | None:
    """Return a value that changes with the content of the file, or None if there is no file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
