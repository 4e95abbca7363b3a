"""The service on macOS: an agent of launchd in the user's session."""

import os
import plistlib
import re
import time
from pathlib import Path

from lmx_cli.service.plan import MARK, ServicePlan
from lmx_cli.service.system import COMMAND_SECONDS, ServiceState, checked, run
from lmx_daemon.contract.errors import LmxError

LABEL = "lmx.daemon"
THROTTLE_SECONDS = 20
"""Shortest time between two starts. launchd has no growing delay."""
POLL_SECONDS = 0.1
FIELD = re.compile(r"^\t(state|pid|runs|last exit code) = (.+)$", re.MULTILINE)
"""A field of the service itself in `launchctl print`; fields of nested objects are indented further."""


class Launchd:
    """launchd's domain of the logged-in user, reached by `launchctl`."""

    name = "launchd"

    def __init__(self) -> None:
        self.file = Path("~/Library/LaunchAgents").expanduser() / f"{LABEL}.plist"
        self._domain = f"gui/{os.getuid()}"
        self._target = f"{self._domain}/{LABEL}"

    def content(self, plan: ServicePlan) -> bytes:
        return agent_plist(plan)

    def load(self) -> None:
        checked(("launchctl", "enable", self._target))  # an earlier `launchctl disable` would outlive the file
        if self.state().loaded:
            self.start()
        else:
            checked(("launchctl", "bootstrap", self._domain, str(self.file)))

    def unload(self) -> None:
        if not self.state().loaded:
            return
        run(("launchctl", "bootout", self._target))  # it can return before the process has ended, with an exit code
        deadline = time.monotonic() + COMMAND_SECONDS
        while self.state().loaded:
            if time.monotonic() > deadline:
                raise LmxError(
                    f"launchd did not remove {LABEL} within {COMMAND_SECONDS:.0f} s",
                    hint=f"see: launchctl print gui/$UID/{LABEL}",
                )
            time.sleep(POLL_SECONDS)

    def forget(self) -> None:
        """Do nothing: launchd reads a file only at a bootstrap and at login."""

    def start(self) -> None:
        checked(("launchctl", "kickstart", self._target))

    def state(self) -> ServiceState:
        ended = run(("launchctl", "print", self._target))
        return state_of(ended.stdout) if ended.returncode == 0 else ServiceState(detail="not loaded")


def agent_plist(plan: ServicePlan) -> bytes:
    """Return the property list of the plan (launchd.plist(5))."""
    content = plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(plan.program),
            "EnvironmentVariables": dict(plan.environment),
            "RunAtLoad": True,
            # A crash starts it again, `lmx stop` does not.
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": THROTTLE_SECONDS,
            # The default limits the CPU and the disk of an agent, which would slow every answer.
            "ProcessType": "Interactive",
            "ExitTimeOut": plan.stop_seconds,
            "Umask": 0o077,
            "StandardOutPath": str(plan.log),
            "StandardErrorPath": str(plan.log),
        },
        sort_keys=False,
    )
    return content.replace(b"<plist ", f"<!-- {MARK} -->\n<plist ".encode(), 1)


def state_of(printed: str) -> ServiceState:
    """Return the state that `launchctl print` describes."""
    found = dict(FIELD.findall(printed))
    pid, runs = found.get("pid", ""), found.get("runs", "")
    code = found.get("last exit code", "")
    return ServiceState(
        loaded=True,
        pid=int(pid) if pid.isdigit() else None,
        restarts=max(0, int(runs) - 1) if runs.isdigit() else 0,
        detail=found.get("state", "unknown") + (f", last exit code {code}" if code[:1].isdigit() else ""),
    )
