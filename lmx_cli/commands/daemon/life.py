"""`lmx serve`, `stop`, `status`: start, stop and state of the daemon, which runs as a process of its own."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lmx_cli.commands.memory.models import load_model
from lmx_cli.commands.options import JSON
from lmx_cli.output import ExitCode, Output
from lmx_cli.remote import is_remote
from lmx_daemon.contract.units import duration, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmx_daemon.contract.admin.snapshot import RequestRow, Snapshot, Status
    from lmx_daemon.settings.paths import Home

STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
SHOWN_INCIDENTS = 5
WAITING_STATES = ("queued", "loading")
RUNNING_STATES = ("prefill", "decode")
SILENT_DISK = "the disk of the prefix cache does not answer; prompts are computed without it"


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def serve(
        model: Annotated[
            list[str],
            typer.Option(default_factory=list, show_default=False, help="Model to load at start. Repeatable."),
        ],
        host: str | None = typer.Option(None, help="Address to bind. Addresses other than loopback need an API key."),
        port: int | None = typer.Option(None, min=0, max=65535, help="Port. Default: the configured one, else 1234."),
        api_key: str | None = typer.Option(None, help="Key that clients must send. Also read from LMX_API_KEY."),
        detach: bool = typer.Option(False, "--detach", help="Run in the background."),
    ) -> int:
        """Serve models over HTTP on port 1234 until interrupted."""
        arguments = [] if host is None else ["--host", host]
        if port is not None:
            arguments += ["--port", str(port)]
        if api_key is not None:
            os.environ["LMX_API_KEY"] = api_key  # not on the command line, where every user could read it
        if detach:
            return asyncio.run(_detach(output, model, arguments, bool(arguments) or api_key is not None))
        arguments += [flag for name in model for flag in ("--model", name)]
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "lmx_daemon", "--console", *arguments])

    @app.command()
    def stop(json: bool = JSON) -> int:
        """Stop the daemon. Running streams can finish until a deadline."""
        return asyncio.run(_stop(output, json))

    @app.command()
    def status(json: bool = JSON) -> int:
        """Show whether the daemon runs, its address and its health."""
        return asyncio.run(_status(output, json))


async def _detach(output: Output, models: list[str], arguments: list[str], has_options: bool) -> int:
    """Start the daemon unless it runs, and load the models from this process, which can then report each result."""
    from lmx_daemon.client.spawn import find_daemon, start_daemon
    from lmx_daemon.contract.admin.protocol import LoadRequest
    from lmx_daemon.contract.errors import LmxError, StartupError
    from lmx_daemon.settings.paths import Home

    home = Home.from_environment()
    running = await find_daemon(home)
    if running is not None and has_options:
        raise StartupError(
            f"a daemon already runs at {running.address} (pid {running.pid})",
            hint="stop it first with: lmx stop; without --host, --port and --api-key, it is used as it is",
        )
    status = running or await start_daemon(home, arguments)
    output.text(f"lmx serves at {status.address}/v1 (pid {status.pid})")
    if running is not None:
        output.note("it was running already")
    code = ExitCode.OK
    for name in models:
        try:
            await load_model(output, LoadRequest(model=name, pin=True))
        except LmxError as error:
            output.error(error)
            code = ExitCode.ERROR
    return code


async def _stop(output: Output, json: bool) -> int:
    from lmx_daemon.client.spawn import find_daemon
    from lmx_daemon.settings.paths import Home

    home = Home.from_environment()
    status = await find_daemon(home)
    if status is not None:
        await stop_daemon(home, status)
    if json:  # the daemon of another machine still drains
        output.json({"was_running": status is not None, "running": status is not None and is_remote()})
    elif status is None:
        output.text("lmx is not running")
    else:
        output.text("it stops" if is_remote() else "stopped")
    return ExitCode.OK


async def stop_daemon(home: "Home", status: "Status") -> None:
    """Request the daemon to drain and stop, and return when its process has ended. Raises LmxError."""
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.errors import LmxError

    async with Client.of(home) as client:
        await client.shutdown()
    if is_remote():  # its process is not one of this machine
        return
    deadline = asyncio.get_running_loop().time() + STOP_SECONDS
    while _alive(status.pid):
        if asyncio.get_running_loop().time() > deadline:
            raise LmxError(
                f"the daemon (pid {status.pid}) still runs after {STOP_SECONDS:.0f} s",
                hint=f"it may wait for streams; to end it at once: kill -9 {status.pid}",
            )
        await asyncio.sleep(POLL_SECONDS)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie, which a parent did not wait for, counts as ended
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return sys.platform != "linux"


async def _status(output: Output, json: bool) -> int:
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.errors import DaemonSilentError, DaemonUnreachableError
    from lmx_daemon.settings.paths import Home

    home = Home.from_environment()
    try:
        async with Client.of(home) as client:
            snapshot = await client.snapshot()
    except DaemonSilentError:
        raise
    except DaemonUnreachableError as error:
        if json:
            output.json({"running": False})
        else:
            output.text("lmx is not running")
            output.note(f"hint: {error.hint}")
        return ExitCode.NOT_RUNNING
    status, memory = snapshot.status, snapshot.memory
    if json:
        output.json({"running": True, "status": status, "memory": memory, "instances": snapshot.instances})
        return ExitCode.OK
    rows = _status_rows(snapshot) + _incident_rows(snapshot)
    output.fields(rows)
    return ExitCode.OK


def _status_rows(snapshot: "Snapshot") -> list[tuple[str, str]]:
    status, memory = snapshot.status, snapshot.memory
    health = "ok" if status.health.ok else f"unhealthy: {status.health.reason}"
    planned = f"{size(memory.claimed)} of {size(memory.cap)} planned for models"
    used = f"{size(memory.workers + memory.daemon)} in lmx's processes"
    addresses = " and ".join(f"{each}/v1" for each in (status.address, *status.other_addresses))
    pressure = "" if memory.pressure == "normal" else f", memory pressure: {memory.pressure}"
    machine = f"{memory.source} {size(memory.total)}, {size(memory.available)} available{pressure}"
    return [
        ("lmx", f"{status.version}, running for {duration(status.uptime)} (pid {status.pid})"),
        ("health", health + (", draining" if status.draining else "")),
        ("address", addresses + (" (API key required)" if status.api_key else "")),
        *_certificate_rows(status, snapshot.taken_at),
        ("home", status.home),
        ("log", status.log_file),
        *((("config", f"not in force: {status.config_fault}"),) if status.config_fault else ()),
        *((("restart", f"needed for {', '.join(status.config_waiting)}"),) if status.config_waiting else ()),
        ("engine", ", ".join(f"{name} {version}" for name, version in status.versions.items()) or "not started yet"),
        ("backend", status.backend or "not known until a worker starts"),
        ("spare", status.spare),
        ("memory", f"{planned}, {used} ({machine})"),
        ("models", ", ".join(f"{i.model} ({i.state})" for i in snapshot.instances) or "none loaded"),
        ("requests", _requests_text(snapshot.requests)),
        *((f"  {instance.model}", instance.note) for instance in snapshot.instances if instance.note),
        *((f"  {each.model}", SILENT_DISK) for each in snapshot.instances if each.memory.prefix_disk_silent),
    ]


def _certificate_rows(status: "Status", now: float) -> list[tuple[str, str]]:
    """Return the row about the certificate of the public port; none without TLS."""
    from lmx_daemon.contract.admin.snapshot import CERTIFICATE_WARNING_SECONDS

    if status.tls_expires_at is None:
        return []
    left = status.tls_expires_at - now
    if left <= 0:
        return [("certificate", f"expired {duration(-left)} ago; renew it, and lmx uses the new file")]
    return [
        ("certificate", f"expires in {duration(left)}" + ("; renew it" if left < CERTIFICATE_WARNING_SECONDS else ""))
    ]


def _requests_text(requests: "Sequence[RequestRow]") -> str:
    """Return the counts of requests under way and in the queue."""
    waiting = sum(request.state in WAITING_STATES for request in requests)
    running = sum(request.state in RUNNING_STATES for request in requests)
    return f"{running} running, {waiting} in the queue"


def _incident_rows(snapshot: "Snapshot") -> list[tuple[str, str]]:
    """Return the latest incidents as rows, the newest first."""
    latest = reversed(snapshot.status.incidents[-SHOWN_INCIDENTS:])
    return [
        (
            "happened" if number == 0 else "",
            f"{duration(snapshot.taken_at - incident.at)} ago: {incident.model}: "
            + incident.message.removeprefix(f"{incident.model} "),
        )
        for number, incident in enumerate(latest)
    ]
