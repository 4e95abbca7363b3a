"""The service on Linux: a unit of systemd's user instance."""

import os
from pathlib import Path

from lmx_cli.service.plan import MARK, ServicePlan
from lmx_cli.service.system import ServiceState, checked, run

UNIT = "lmx.service"
CONTROL = ("systemctl", "--user")
PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "MainPID", "NRestarts")
TEMPLATE = """\
# {mark}
[Unit]
Description=lmx, a server for MLX models
StartLimitIntervalSec=600
StartLimitBurst=8

[Service]
Type=exec
ExecStart={program}
{environment}
Restart=on-failure
# The delay grows from 2 s to 60 s. systemd before 254 ignores the next two lines, and waits 2 s each time.
RestartSec=2
RestartSteps=6
RestartMaxDelaySec=60
# Only the daemon is asked to stop: it drains its requests, and ends its workers itself.
KillMode=mixed
TimeoutStopSec={stop_seconds}
# The OOM kill of one worker must not stop the daemon.
OOMPolicy=continue
UMask=0077
StandardOutput=append:{log}
StandardError=append:{log}

[Install]
WantedBy=default.target
"""


class Systemd:
    """systemd's user instance, reached by `systemctl --user`."""

    name = "systemd"

    def __init__(self) -> None:
        self.file = (
            Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "systemd" / "user" / UNIT
        )

    def content(self, plan: ServicePlan) -> bytes:
        return unit_text(plan).encode()

    def load(self) -> None:
        checked((*CONTROL, "daemon-reload"))
        checked((*CONTROL, "enable", UNIT))
        run((*CONTROL, "reset-failed", UNIT))  # else a unit beyond its start limit would not start
        checked((*CONTROL, "start", UNIT))

    def unload(self) -> None:
        if self.state().loaded:
            checked((*CONTROL, "disable", "--now", UNIT))

    def forget(self) -> None:
        checked((*CONTROL, "daemon-reload"))
        run((*CONTROL, "reset-failed", UNIT))

    def start(self) -> None:
        run((*CONTROL, "reset-failed", UNIT))
        checked((*CONTROL, "start", UNIT))

    def state(self) -> ServiceState:
        return state_of(checked((*CONTROL, "show", UNIT, f"--property={','.join(PROPERTIES)}")))


def unit_text(plan: ServicePlan) -> str:
    """Return the unit of the plan (systemd.unit(5), systemd.service(5), systemd.exec(5))."""
    return TEMPLATE.format(
        mark=MARK,
        program=" ".join(_quoted(part.replace("$", "$$")) for part in plan.program),
        environment="\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in plan.environment.items()),
        stop_seconds=plan.stop_seconds,
        log=str(plan.log).replace("%", "%%"),
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def state_of(shown: str) -> ServiceState:
    """Return the state that the properties in `systemctl show` describe."""
    found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    result, code = found.get("Result", "success"), found.get("ExecMainStatus", "0")
    detail = f"{found.get('ActiveState', 'unknown')} ({found.get('SubState', 'unknown')})"
    if result != "success":
        detail += f", last end: {result}, exit code {code}"
    return ServiceState(
        loaded=found.get("LoadState") == "loaded",
        pid=int(found.get("MainPID", "0") or 0) or None,
        restarts=int(found.get("NRestarts", "0") or 0),
        detail=detail,
    )
