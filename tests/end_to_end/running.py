"""A real daemon with real workers, in a home of its own."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from lmx_daemon.engines.mlx.prefix.disk_thread import LEFT_ALONE
from lmx_daemon.engines.mlx.prefix.sharing import FAILED

START_SECONDS = 30.0
LMX = [sys.executable, "-m", "lmx_cli.main"]


AWAKE = {"LMX_SERVER_PREVENT_SLEEP": "false"}
"""Tests do not need the machine awake, and some count the children of the daemon."""


def short_home() -> Path:
    """Return a directory whose socket path fits the 104 bytes that macOS allows. It is removed at exit."""
    home = Path(tempfile.mkdtemp(prefix="lmx-", dir="/tmp"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


@dataclass
class Daemon:
    """A process of `python -m lmx_daemon`, and access to its admin socket and its address."""

    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    config: str = ""
    program: list[str] = field(default_factory=lambda: ["-m", "lmx_daemon"])
    home: Path = field(default_factory=short_home)
    process: "subprocess.Popen[bytes] | None" = None
    address: str = ""

    def start(self) -> "Daemon":
        if self.config:
            self.home.mkdir(exist_ok=True)
            (self.home / "config.toml").write_text(self.config)
        arguments = self.arguments if "--port" in self.arguments else ["--port", "0", *self.arguments]
        self.process = subprocess.Popen(
            [sys.executable, *self.program, *arguments], env=AWAKE | self.env(), stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}"
            if self._listens():
                self.address = self.admin("GET", "/admin/status")["address"]
                return self
            time.sleep(0.03)
        raise AssertionError("the daemon did not answer")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.home / "lmx.sock")) == 0

    def env(self) -> dict[str, str]:
        return os.environ | {"LMX_HOME": str(self.home)} | self.environment

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request to the admin socket, and return the last line of its response."""
        with httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(self.home / "lmx.sock")), base_url="http://lmx", timeout=120
        ) as client:
            response = client.request(method, path, json=body)
            lines = response.text.strip().splitlines()
            return json.loads(lines[-1]) if lines else None

    def worker_pids(self) -> list[int]:
        return [instance["pid"] for instance in self.admin("GET", "/admin/instances") if instance.get("pid")]

    def lmx(self, *arguments: str, stdin: str = "", timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run the command line against this daemon's home."""
        return subprocess.run(
            [*LMX, *arguments], env=self.env(), input=stdin, capture_output=True, text=True, timeout=timeout
        )

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(self.address + path, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            log = "".join(file.read_text(errors="replace") for file in self.home.rglob("*.log*"))
            shutil.rmtree(self.home, ignore_errors=True)
        assert FAILED not in log and LEFT_ALONE not in log, log
        return code


PROBE = "lmx/guide"
"""Model that `wait_for_inspection` loads; its end is an incident of its own."""


def wait_for_inspection(daemon: Daemon) -> None:
    """Wait until the supervisor has inspected the workers once more: it unloads a model whose time is over."""
    daemon.admin("POST", "/admin/models/load", {"model": PROBE, "ttl": 0.05})

    def is_unloaded() -> bool:
        return all(instance["model"] != PROBE for instance in daemon.admin("GET", "/admin/instances"))

    wait_until(is_unloaded, 30, "the supervisor inspects the workers")


def incidents_of(daemon: Daemon) -> list[tuple[str, str]]:
    """Return kind and model of each incident, those of PROBE left out."""
    found = daemon.admin("GET", "/admin/status").get("incidents", [])
    return [(incident["kind"], incident["model"]) for incident in found if incident["model"] != PROBE]


def alive(pid: int) -> bool:
    """Return whether the process `pid` runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Any, seconds: float, what: str) -> float:
    """Wait until `condition()` is true, and return the seconds it took. Fails with `what`."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if condition():
            return time.monotonic() - begun
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")
