"""Facts that the checks of `lmx doctor` need, as data. This module does not know how they are read."""

from lmx_daemon.contract.admin.snapshot import Status
from lmx_daemon.contract.frozen import Frozen


class EngineFacts(Frozen, frozen=True):
    """Answer of a child process that has imported MLX and computed with it."""

    mlx: str = ""
    mlx_lm: str = ""
    device: str = ""
    openblas: str | None = None
    """Path of the OpenBLAS that workers preload on Linux."""
    total: int = 0
    cap: int = 0
    """Upper bound on the bytes that lmx plans to use."""
    source: str = ""
    error: str = ""


class SleepFacts(Frozen, frozen=True):
    """Result of one attempt to prevent this machine from sleeping."""

    means: str = ""
    error: str = ""
    """Reason why sleep cannot be prevented; "" if it can."""
    enabled: bool = True


class FolderFacts(Frozen, frozen=True):
    """A folder, or the nearest existing one above it."""

    path: str
    exists: bool = True
    own: bool = True
    """Whether the folder belongs to this user."""
    mode: int = 0o700
    writable: bool = True
    free: int = 0
    """Free bytes of its disk."""


class FileFacts(Frozen, frozen=True):
    """A file that may hold a secret, or a socket."""

    path: str
    exists: bool = False
    mode: int = 0o600


class Facts(Frozen, frozen=True):
    """Everything that is checked, at one moment."""

    version: str
    python: tuple[int, int, int]
    platform: str
    """Value of sys.platform."""
    machine: str
    engine: EngineFacts
    home: FolderFacts
    cache: FolderFacts
    """The Hub cache."""
    token: FileFacts
    socket: FileFacts
    sleep: SleepFacts = SleepFacts()
    token_variable: bool = False
    """Whether HF_TOKEN is set."""
    config_error: str = ""
    config_hint: str = ""
    daemon: Status | None = None
    daemon_error: str = ""
    port: int = 0
    port_taken: bool = False
    port_holder: str = ""
    """Program on the port, if the system shows it."""
    certificate_error: str = ""
    """Reason why the configured certificate cannot be used; "" if it can."""
    certificate_hint: str = ""
    certificate_left: float | None = None
    """Seconds until the certificate expires; None without TLS."""
    unencrypted: bool = False
    """Whether other machines can reach the port without TLS."""
    hub_error: str | None = None
    """Reason why the Hub cannot be reached; "" if it can, None if it was not checked."""
