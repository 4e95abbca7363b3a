"""The acts of `lmx doctor`: facts are read from files, ports, the daemon and child processes. Nothing is changed."""

import asyncio
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from lmx_cli.doctor.facts import EngineFacts, Facts, FileFacts, FolderFacts, SleepFacts
from lmx_daemon.contract.addresses import is_loopback
from lmx_daemon.contract.admin.snapshot import Status
from lmx_daemon.contract.errors import ConfigError, LmxError
from lmx_daemon.contract.text import without_secrets
from lmx_daemon.contract.version import VERSION
from lmx_daemon.settings.layers import read_settings
from lmx_daemon.settings.network import take_certificates
from lmx_daemon.settings.paths import Home, hub_cache, hub_folder
from lmx_daemon.settings.schema import ServerSettings, Settings
from lmx_daemon.storage.certificates import certificate_files, read_certificate

ENGINE_SECONDS = 60.0
"""Time limit of the child process; the first import of MLX from a cold disk takes many seconds."""
SLEEP_SECONDS = 20.0
ASLEEP = SleepFacts(enabled=False)
HUB_SECONDS = 10.0
PROBE_SECONDS = 1.0
DEFAULT_ENDPOINT = "https://huggingface.co"
PROBE = """
import importlib.metadata, json, os, sys
from lmx_daemon.memory.host import Host
from lmx_daemon.residency.workers.environment import find_openblas
from lmx_daemon.settings.layers import read_settings
from lmx_daemon.settings.values.memory_limit import MemoryLimit
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import ServerSettings, Settings
from lmx_daemon.storage.certificates import certificate_files, read_certificate
from lmx_daemon.contract.errors import ConfigError
import mlx.core as mx
assert mx.sum(mx.ones(8)).item() == 8
try:
    memory = read_settings(Home.from_environment()).engine.memory
except ConfigError:
    memory = Settings().engine.memory
host = Host(lambda: MemoryLimit(memory))
device = mx.default_device()
if device.type == mx.gpu:
    about = mx.device_info()
    names = ("max_recommended_working_set_size", "total_memory", "memory_size")
    host.device_memory = next((int(about[name]) for name in names if name in about), None)
limits = host.limits()
print(json.dumps({
    "mlx": importlib.metadata.version("mlx"), "mlx_lm": importlib.metadata.version("mlx-lm"),
    "device": "gpu" if device.type == mx.gpu else "cpu",
    "openblas": find_openblas() if sys.platform == "linux" else None,
    "total": limits.total, "cap": limits.cap, "source": limits.source,
}))
"""
"""Program of the child process: it computes with MLX, and plans memory as the daemon does."""
SLEEP_PROBE = """
import json
from lmx_daemon.power.inhibitor import trial
means, error = trial()
print(json.dumps({"means": means, "error": error}))
"""


def examine(home: Home, environ: Mapping[str, str], *, online: bool = False) -> Facts:
    """Return the facts about this machine. Changes nothing."""
    settings, error, hint = Settings(), "", ""
    try:
        settings = read_settings(home)
    except ConfigError as fault:
        error, hint = fault.message, fault.hint or ""
    daemon, daemon_error = _daemon(home)
    port, host = settings.server.port, settings.server.host
    certificate = certificate_facts(settings.server)
    taken = daemon is None and port > 0 and _answers(host, port)
    return Facts(
        version=VERSION,
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        platform=sys.platform,
        machine=platform.machine(),
        engine=engine_facts([sys.executable, "-c", PROBE]),
        home=folder_facts(home.root),
        cache=folder_facts(hub_cache(environ, settings.library.cache)),
        token=file_facts(Path(environ.get("HF_TOKEN_PATH") or hub_folder(environ) / "token").expanduser()),
        socket=file_facts(home.socket),
        sleep=sleep_facts([sys.executable, "-c", SLEEP_PROBE]) if settings.server.prevent_sleep else ASLEEP,
        token_variable=bool(environ.get("HF_TOKEN")),
        config_error=error,
        config_hint=hint,
        daemon=daemon,
        daemon_error=daemon_error,
        port=port,
        port_taken=taken,
        port_holder=_holder(port) if taken else "",
        certificate_error=certificate[0],
        certificate_hint=certificate[1],
        certificate_left=certificate[2],
        unencrypted=settings.server.tls_certificate is None and not is_loopback(host),
        hub_error=_hub_error(environ.get("HF_ENDPOINT") or settings.library.endpoint) if online else None,
    )


def certificate_facts(server: ServerSettings) -> tuple[str, str, float | None]:
    """Return the fault of the configured certificate, a hint, and the seconds until the certificate expires."""
    try:
        files = certificate_files(server.tls_certificate, server.tls_key)
        return "", "", None if files is None else read_certificate(files).expires_at - time.time()
    except ConfigError as error:
        return error.message, error.hint or "", None


def engine_facts(command: list[str], seconds: float = ENGINE_SECONDS) -> EngineFacts:
    """Run the program that imports MLX, and return its answer. A crash or a hang is an error in the facts."""
    try:
        ended = subprocess.run(command, capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return EngineFacts(error=f"the import of MLX did not end within {seconds:.0f} s")
    except OSError as error:
        return EngineFacts(error=f"cannot start Python: {error.strerror or error}")
    if ended.returncode < 0:
        return EngineFacts(error=f"the import of MLX was ended by signal {-ended.returncode}")
    if ended.returncode > 0:
        lines = ended.stderr.decode(errors="replace").strip().splitlines()
        return EngineFacts(error=f"MLX cannot be used: {lines[-1] if lines else f'exit code {ended.returncode}'}")
    try:
        return msgspec.json.decode(ended.stdout.strip().splitlines()[-1], type=EngineFacts)
    except (msgspec.MsgspecError, IndexError):
        return EngineFacts(error="the program that imports MLX printed no answer")


def sleep_facts(command: list[str], seconds: float = SLEEP_SECONDS) -> SleepFacts:
    """Run the program that tries to prevent sleep, and return its answer."""
    try:
        ended = subprocess.run(command, capture_output=True, timeout=seconds, stdin=subprocess.DEVNULL, check=True)
        return msgspec.json.decode(ended.stdout, type=SleepFacts)
    except (subprocess.SubprocessError, OSError, msgspec.MsgspecError) as error:
        return SleepFacts(error=f"the trial failed: {' '.join(str(error).split())}")


def folder_facts(path: Path) -> FolderFacts:
    """Return the facts about a folder. If it does not exist, only the free bytes of its future disk are stated."""
    existing = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    try:
        found, free = existing.stat(), shutil.disk_usage(existing).free
    except OSError:
        return FolderFacts(path=str(path), writable=False)
    if existing != path:
        return FolderFacts(path=str(path), exists=False, free=free)
    own = found.st_uid == os.geteuid()
    writable = os.access(path, os.W_OK | os.X_OK)
    return FolderFacts(path=str(path), own=own, mode=stat.S_IMODE(found.st_mode), writable=writable, free=free)


def file_facts(path: Path) -> FileFacts:
    """Return the facts about a file or a socket."""
    try:
        return FileFacts(path=str(path), exists=True, mode=stat.S_IMODE(path.stat().st_mode))
    except OSError:
        return FileFacts(path=str(path))


def _daemon(home: Home) -> tuple[Status | None, str]:
    from lmx_daemon.client.spawn import find_daemon

    try:
        return asyncio.run(find_daemon(home)), ""
    except LmxError as error:
        return None, error.message


def _answers(host: str, port: int) -> bool:
    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        with socket.create_connection((address, port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def _holder(port: int) -> str:
    """Return the name and process id of the program that listens on the port; "" if the system does not show it."""
    import psutil

    try:
        for found in psutil.net_connections("tcp"):
            if found.laddr and found.laddr.port == port and found.status == psutil.CONN_LISTEN and found.pid:
                return f"{psutil.Process(found.pid).name()} (pid {found.pid})"
    except (psutil.Error, OSError):
        return ""
    return ""


def _hub_error(endpoint: str | None) -> str:
    import httpx2

    address = (endpoint or DEFAULT_ENDPOINT).rstrip("/")
    if fault := take_certificates(os.environ):
        return fault
    try:
        answer = httpx2.head(f"{address}/api/models?limit=1", timeout=HUB_SECONDS, follow_redirects=True)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return without_secrets(f"cannot reach {address}: {' '.join(str(error).split())}")
    return without_secrets(f"{address} answered {answer.status_code}") if answer.status_code >= 500 else ""
