"""The checks of `lmx doctor`: pure functions from facts to a state, a message and advice."""

from typing import Literal

from lmx_cli.doctor.facts import Facts, FolderFacts
from lmx_daemon.contract.admin.snapshot import CERTIFICATE_WARNING_SECONDS
from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.units import duration, size

CheckState = Literal["ok", "warning", "failed"]
LOW_DISK = 5 * 1024**3
FULL_DISK = 256 * 1024**2
OLDEST_PYTHON = (3, 11)


class CheckResult(Frozen, frozen=True):
    """Result of one check."""

    name: str
    state: CheckState
    message: str
    advice: str = ""
    figures: dict[str, float] = {}
    """Measured values; the names end in their units."""


def checks_of(facts: Facts) -> list[CheckResult]:
    """Return all checks in the order in which they are shown."""
    found = [
        _python(facts),
        _platform(facts),
        _engine(facts),
        *_blas(facts),
        *_memory(facts),
        _home(facts),
        _disk("disk of home", facts.home, "delete models or logs, or set LMX_HOME to another disk"),
        _disk("disk of models", facts.cache, "free space with: lmx prune, lmx rm; or move it: lmx move DIR"),
        _config(facts),
        _daemon(facts),
        _socket(facts),
        _port(facts),
        *_certificate(facts),
        _token(facts),
        _sleep(facts),
    ]
    return found if facts.hub_error is None else [*found, _hub(facts)]


def _python(facts: Facts) -> CheckResult:
    version = ".".join(map(str, facts.python))
    if facts.python[:2] < OLDEST_PYTHON:
        return CheckResult("python", "failed", f"{version} is too old", "install Python 3.11 or newer")
    return CheckResult("python", "ok", version)


def _platform(facts: Facts) -> CheckResult:
    text = f"{facts.platform} on {facts.machine}"
    if facts.platform == "darwin" and facts.machine != "arm64":
        return CheckResult("platform", "failed", text, "MLX needs Apple silicon and a Python for arm64")
    if facts.platform not in ("darwin", "linux"):
        return CheckResult("platform", "failed", text, "lmx runs on macOS and Linux")
    return CheckResult("platform", "ok", text)


def _engine(facts: Facts) -> CheckResult:
    engine = facts.engine
    if engine.error:
        return CheckResult("engine", "failed", engine.error, "install lmx again, with this Python")
    return CheckResult("engine", "ok", f"mlx {engine.mlx}, mlx-lm {engine.mlx_lm}, device {engine.device}")


def _blas(facts: Facts) -> list[CheckResult]:
    if facts.platform != "linux" or facts.engine.error or "cpu" not in facts.engine.device:
        return []
    if facts.engine.openblas is None:
        advice = "install OpenBLAS, which is up to 40 times faster: apt install libopenblas0-pthread"
        return [CheckResult("BLAS", "warning", "only the slow BLAS of MLX", advice)]
    return [CheckResult("BLAS", "ok", facts.engine.openblas)]


def _memory(facts: Facts) -> list[CheckResult]:
    engine = facts.engine
    if not engine.total:
        return []
    return [CheckResult("memory", "ok", f"{size(engine.cap)} of {size(engine.total)} for models ({engine.source})")]


def _home(facts: Facts) -> CheckResult:
    home = facts.home
    if not home.exists:
        return CheckResult("home", "ok", f"{home.path} is created at the first start")
    if not home.own:
        return CheckResult(
            "home", "failed", f"{home.path} belongs to another user", "set LMX_HOME to a directory of yours"
        )
    if not home.writable:
        return CheckResult("home", "failed", f"cannot write to {home.path}", f"chmod u+rwx {home.path}")
    if home.mode & 0o077:
        message = f"{home.path} can be read or changed by other users (mode {home.mode:03o})"
        return CheckResult("home", "warning", message, f"chmod 700 {home.path}")
    return CheckResult("home", "ok", home.path)


def _disk(name: str, folder: FolderFacts, advice: str) -> CheckResult:
    message = f"{size(folder.free)} free at {folder.path}"
    if folder.free < FULL_DISK:
        return CheckResult(name, "failed", message, advice)
    return CheckResult(name, "warning", message, advice) if folder.free < LOW_DISK else CheckResult(name, "ok", message)


def _config(facts: Facts) -> CheckResult:
    if facts.config_error:
        return CheckResult(
            "config", "failed", facts.config_error, facts.config_hint or "correct it with: lmx config edit"
        )
    if facts.daemon is not None and facts.daemon.config_waiting:
        keys = ", ".join(facts.daemon.config_waiting)
        return CheckResult("config", "warning", f"{keys}: changed, but not in force yet", "run: lmx restart")
    return CheckResult("config", "ok", "valid")


def _daemon(facts: Facts) -> CheckResult:
    status = facts.daemon
    if facts.daemon_error:
        return CheckResult("daemon", "failed", facts.daemon_error, "see: lmx logs; then: lmx restart")
    if status is None:
        return CheckResult(
            "daemon", "warning", "not running", "start it with: lmx serve --detach, or lmx service install"
        )
    if status.version != facts.version:
        message = f"the daemon has version {status.version}, this command has {facts.version}"
        return CheckResult("daemon", "failed", message, "run: lmx restart")
    if not status.health.ok:
        return CheckResult("daemon", "failed", f"unhealthy: {status.health.reason}", "see: lmx logs --level warning")
    return CheckResult("daemon", "ok", f"{status.version}, running for {duration(status.uptime)} (pid {status.pid})")


def _socket(facts: Facts) -> CheckResult:
    found = facts.socket
    if found.exists and found.mode & 0o077:
        message = f"{found.path} is open to other users (mode {found.mode:03o})"
        return CheckResult("socket", "failed", message, f"chmod 600 {found.path}")
    if found.exists and facts.daemon is None and not facts.daemon_error:
        return CheckResult("socket", "ok", "left by a daemon that was killed; the next start replaces it")
    return CheckResult("socket", "ok", found.path if found.exists else "none, since no daemon runs")


def _port(facts: Facts) -> CheckResult:
    if facts.daemon is not None:
        return CheckResult("port", "ok", f"lmx serves at {facts.daemon.address}")
    if facts.port_taken:
        by = f" by {facts.port_holder}" if facts.port_holder else ""
        advice = f"stop {facts.port_holder or 'that program'}, or choose another: lmx config set server.port PORT"
        return CheckResult("port", "failed", f"{facts.port} is in use{by}", advice)
    return CheckResult("port", "ok", f"{facts.port} is free" if facts.port else "chosen at each start")


def _certificate(facts: Facts) -> list[CheckResult]:
    if facts.certificate_error:
        return [CheckResult("certificate", "failed", facts.certificate_error, facts.certificate_hint)]
    if facts.unencrypted:
        message = "other machines reach the port, and API keys are sent to it unencrypted"
        return [CheckResult("certificate", "warning", message, "set server.tls_certificate, or use a TLS proxy")]
    if facts.certificate_left is None:
        return []
    message = f"expires in {duration(facts.certificate_left)}"
    if facts.certificate_left < CERTIFICATE_WARNING_SECONDS:
        return [CheckResult("certificate", "warning", message, "renew it; a running daemon uses the new file")]
    return [CheckResult("certificate", "ok", message)]


def _token(facts: Facts) -> CheckResult:
    token = facts.token
    if token.exists and token.mode & 0o077:
        message = f"{token.path} can be read by other users (mode {token.mode:03o})"
        return CheckResult("Hub token", "warning", message, f"chmod 600 {token.path}")
    if facts.token_variable:
        return CheckResult("Hub token", "ok", "from HF_TOKEN")
    return CheckResult("Hub token", "ok", token.path if token.exists else "none; gated models need one: lmx login")


def _sleep(facts: Facts) -> CheckResult:
    sleep = facts.sleep
    if not sleep.enabled:
        return CheckResult("sleep", "ok", "not prevented (server.prevent_sleep is false)")
    if sleep.error:
        message = f"the machine may fall asleep while requests run: {sleep.error}"
        return CheckResult("sleep", "warning", message, "if it never sleeps: lmx config set server.prevent_sleep false")
    return CheckResult("sleep", "ok", f"prevented by {sleep.means} while requests or downloads are in progress")


def _hub(facts: Facts) -> CheckResult:
    if facts.hub_error:
        return CheckResult("Hub", "failed", facts.hub_error, "check the network, HTTPS_PROXY and library.endpoint")
    return CheckResult("Hub", "ok", "reachable")
