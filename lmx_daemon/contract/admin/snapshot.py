"""The state of the daemon at one moment: the Snapshot, from which every screen is drawn, and its parts without models.

Sizes are bytes, times are seconds (wall-clock if the name ends in `_at`), rates are per second.
"""

from typing import Any, Literal

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.generation.events import Timings
from lmx_daemon.contract.models import Incident, Instance, Model

RequestState = Literal["queued", "loading", "prefill", "decode", "finished", "failed", "cancelled"]


class RequestRow(Frozen, frozen=True):
    """State of a request for the monitor; it never contains text of the request."""

    id: str
    model: str
    state: RequestState
    instance: str = ""
    client: str = ""
    route: str = ""
    tenant: str = ""
    started_at: float = 0.0
    age: float = 0.0
    position: int | None = None
    progress: float | None = None
    """Progress of loading or prefill, 0 to 1."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    truncated_tokens: int = 0
    """Number of tokens that an overflow policy left out of the prompt."""
    first_difference: int | None = None
    miss: str = ""
    """Reason for a cache miss; see Started."""
    completion_tokens: int = 0
    max_tokens: int | None = None
    rate: float = 0.0
    first_token: float | None = None
    error: ErrorBody | None = None
    finish: str = ""
    """Reason for the end of the first choice; "" until the end."""
    timings: Timings | None = None
    """Durations of the stages; None until the end."""
    asked: str = ""
    """Name that the client gave, if it is not the id of the model."""
    routed: str = ""
    """Rule by which the router chose the model, and the models that it skipped."""


class HostMemory(Frozen, frozen=True):
    """Memory of the machine in bytes, limits of control groups included."""

    total: int
    available: int
    cap: int
    """Maximum that lmx plans to use."""
    daemon: int
    """Memory of the daemon process."""
    workers: int
    """Memory of all workers, the spare included; see Instance.held."""
    models: int
    """Active memory of MLX over all models."""
    claimed: int = 0
    """Memory that loaded models hold or are entitled to; the rest of `cap` is free for other models."""
    source: str = ""
    """Origin of `total`: "physical", "cgroup" or "device"."""
    pressure: str = "normal"
    """Memory pressure as reported by the system: "normal", "warning" or "critical"."""


class Series(Frozen, frozen=True):
    """Samples, one per second, oldest first, at most SERIES_SECONDS; all lists have the same length."""

    memory: tuple[int, ...] = ()
    decode: tuple[float, ...] = ()
    prefill: tuple[float, ...] = ()
    running: tuple[int, ...] = ()
    cpu: tuple[float, ...] = ()
    """Load of the machine's CPUs in percent of all of them."""


SERIES_SECONDS = 300


CERTIFICATE_WARNING_SECONDS = 21 * 86_400.0
"""Time before a certificate expires from which `lmx status` and `lmx doctor` advise to renew it."""


class Health(Frozen, frozen=True):
    """Health of the daemon and its workers."""

    ok: bool
    """False while a worker with work makes no progress, or while the daemon is shutting down."""
    reason: str | None = None


class Status(Frozen, frozen=True):
    """State of the daemon process."""

    version: str
    protocol: int
    pid: int
    started_at: float
    uptime: float
    address: str
    """URL of the public port: "http://127.0.0.1:1234"."""
    home: str
    health: Health
    other_addresses: tuple[str, ...] = ()
    """Further URLs of the public port, such as that of ::1."""
    versions: dict[str, str] = {}
    """Versions of mlx, mlx-lm and python in the last worker."""
    backend: str = ""
    """Device and library of the computation: "cpu, OpenBLAS"."""
    platform: str = ""
    draining: bool = False
    spare: str = "off"
    """"off", "starting", "warm", or the reason why there is none."""
    log_file: str = ""
    api_key: bool = False
    """Whether requests on the public port need an API key."""
    tls_expires_at: float | None = None
    """Unix time at which the certificate of the public port expires; None without TLS."""
    config_fault: str = ""
    """Reason why config.toml as it is now is not in force; empty if it is."""
    config_waiting: tuple[str, ...] = ()
    """Settings whose new values take effect at the next start."""
    incidents: tuple[Incident, ...] = ()
    """Most recent incidents, oldest first."""


class Revisions(Frozen, frozen=True):
    """Revision numbers of a snapshot's large arrays; see revisions.py."""

    models: int = 0
    downloads: int = 0


class Snapshot(Frozen, frozen=True):
    """Everything that a screen shows, at one moment."""

    status: Status
    memory: HostMemory
    models: tuple[Model, ...] = ()
    instances: tuple[Instance, ...] = ()
    requests: tuple[RequestRow, ...] = ()
    downloads: tuple[Download, ...] = ()
    series: Series = Series()
    taken_at: float = 0.0
    revisions: Revisions = Revisions()
    chats: int = 0
    """Number that changes when the list of chats does."""


class LogLine(Frozen, frozen=True):
    """Line of the daemon's log."""

    at: float
    level: str
    source: str
    """"daemon", "http", "worker lmx/guide"."""
    message: str
    request: str | None = None
    data: dict[str, Any] = {}
    """Figures of a request, or the traceback of an error."""
