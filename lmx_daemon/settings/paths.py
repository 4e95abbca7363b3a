"""The paths under $LMX_HOME (default ~/.lmx), the Hub cache, and checks of folders that settings name."""

import os
from collections.abc import Mapping
from pathlib import Path

from lmx_daemon.contract.errors import ConfigError, StartupError

PARTS = (
    "aliases.json", "answers", "benchmarks", "cache", "chat_lines.json", "chats", "config.lock", "config.toml",
    "config.toml.bak", "history", "keys.json", "keys.lock", "launch", "library", "lmx.lock", "lmx.sock", "logs",
    "measured.json", "models", "presets", "pulls", "start.lock", "themes", "trash", "tui.json",
)  # fmt: skip
"""Names of the entries that lmx reads and writes in its home."""
WRITTEN = (
    "benchmarks", "cache", "cache/prefix", "chats", "history", "launch", "library", "library/hub", "library/proofs",
    "logs", "presets", "pulls", "trash",
)  # fmt: skip
"""Folders of the home in which lmx writes and deletes files without being asked, so that none may be a link."""


class Home:
    """The paths under $LMX_HOME."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.toml"
        self.config_backup = root / "config.toml.bak"
        self.config_lock = root / "config.lock"
        self.socket = root / "lmx.sock"
        self.lock = root / "lmx.lock"
        self.start_lock = root / "start.lock"
        self.measured = root / "measured.json"
        self.pulls = root / "pulls"
        self.aliases = root / "aliases.json"
        self.keys = root / "keys.json"
        self.presets = root / "presets"
        self.launch = root / "launch"
        self.themes = root / "themes"
        self.choices = root / "tui.json"
        self.logs = root / "logs"
        self.prefixes = root / "cache" / "prefix"
        self.log_file = self.logs / "daemon.log"
        self.worker_log_file = self.logs / "workers.log"
        self.benchmarks = root / "benchmarks"
        self.caches = root / "cache"
        self.answers = root / "answers" / "answers.db"
        self.history = root / "history" / "requests.db"
        self.chat_lines = root / "chat_lines.json"
        self.chats = root / "chats" / "chats.db"

    @classmethod
    def from_environment(cls) -> "Home":
        """Return the home that LMX_HOME names, ~/.lmx by default. Raises ConfigError."""
        return cls(home_path(os.environ.get("LMX_HOME") or "~/.lmx"))

    def make(self) -> None:
        """Create missing folders for their owner only. The mode of an existing home is not changed.

        Raises ConfigError if the home is not usable, if it or an entry of it belongs to another user, or if a folder
        in it is a link.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_foreign(self.root, PARTS)
            refuse_linked(self.root, WRITTEN)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot use {self.root} as lmx's home: {error.strerror or error}",
                hint="set LMX_HOME to a directory you can write to",
            ) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise ConfigError(f"cannot write to {self.root}", hint="set LMX_HOME to a directory you can write to")


def already_running(home: Home) -> StartupError:
    """Return the error of a daemon whose home is locked by another one."""
    return StartupError(
        f"another lmx daemon uses {home.root} already", hint="stop it with: lmx stop, or set another LMX_HOME"
    )


def home_path(text: str) -> Path:
    """Return the absolute path of the home that LMX_HOME names. Raises ConfigError."""
    hint = "set LMX_HOME to a directory of yours"
    try:
        path = Path(text).expanduser().absolute()
        str(path).encode()
    except RuntimeError:
        raise ConfigError(f"LMX_HOME is {text!r}, and there is no such user", hint=hint) from None
    except UnicodeEncodeError:
        raise ConfigError(f"LMX_HOME is {text!r}, which is not UTF-8", hint=hint) from None
    return path


def refuse_foreign(root: Path, names: tuple[str, ...]) -> None:
    """Raise ConfigError if `root`, or an entry of it with one of the `names`, belongs to another user.

    Links are not followed, since a link of another user could point to any file. Raises OSError.
    """
    own = os.geteuid()
    _refuse(root, root.stat().st_uid, own)
    for name in names:
        try:
            owner = (root / name).lstat().st_uid
        except FileNotFoundError:
            continue
        if not (name == "config.toml" and owner == 0):  # an administrator may provide it
            _refuse(root / name, owner, own)


def refuse_linked(root: Path, names: tuple[str, ...]) -> None:
    """Raise ConfigError if an entry of `root` with one of the `names` is a link. `root` itself may be one."""
    for name in names:
        if (root / name).is_symlink():
            raise ConfigError(
                f"{root / name} is a link, and lmx changes nothing behind a link in its home",
                hint="replace the link by a real folder, or set LMX_HOME to a folder on the other disk",
            )


def hub_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the Hub's tools, which holds the cache and the token by default."""
    home = environ.get("HF_HOME")
    base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(home)) if home else Path(os.path.expanduser(base)) / "huggingface"


def hub_cache(environ: Mapping[str, str], chosen: str | None = None) -> Path:
    """Return the Hub cache: the folder `chosen` in the settings, else the one that huggingface_hub uses."""
    if cache := chosen or environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(os.path.expanduser(cache))
    return hub_folder(environ) / "hub"


def check_cache(text: str) -> None:
    """Raise ValueError for a text that is not the absolute path of a folder, `~` allowed."""
    check_folder(text)
    if not Path(text).expanduser().is_absolute():
        raise ValueError(f"{text!r} must be an absolute path, such as /Volumes/Models/hub or ~/models")


def check_folder(text: str) -> None:
    """Raise ValueError for a text that cannot be the path of a folder."""
    if "\0" in text:
        raise ValueError(f"{text!r} cannot be a folder: it contains a NUL character")
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r} cannot be a folder: there is no such user") from None


def _refuse(path: Path, owner: int, own: int) -> None:
    if owner != own:
        raise ConfigError(
            f"{path} belongs to another user (uid {owner}, lmx runs as {own})",
            hint="set LMX_HOME to a directory of your own, or give that one to this user with chown",
        )
