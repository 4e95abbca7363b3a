"""A child process for work on foreign data. It is reused, and killed when it uses too much time or memory.

Every read and write has a deadline. If something else ends the child, the request is tried a second time. The
child's side is child_program.py.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from lmx_daemon.contract.errors import WorkerError
from lmx_daemon.worker.child_program import EXIT_MEMORY, LENGTH, MAX_TEXT

START_SECONDS = 20.0
"""Limit on the start of a child on a busy machine; the deadline of an answer begins after it."""
EXIT_SECONDS = 1.0
"""Limit on the time between the end of a child's output and its exit."""
ATTEMPTS = 2
MAX_ANSWER = 6 * MAX_TEXT + 1024
"""Bytes of an answer. JSON writes a character with six bytes at most: `\\uXXXX`."""
POLL_SECONDS = 0.01
"""Interval at which the memory of a child is measured, if the child cannot limit it itself."""
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
READ_BYTES = 1 << 20


class Exhausted(Exception):
    """Error of a child that reached its limit of time or memory."""


class Gone(Exception):
    """Error of a child that ended without an answer. `how` is its exit code or the name of its signal."""

    def __init__(self, how: str = "", from_outside: bool = False) -> None:
        super().__init__(how)
        self.how = how
        self.from_outside = from_outside


def footprint(pid: int) -> int:
    """Return the bytes of address space or of memory that a process uses, whichever is more; 0 once it has ended."""
    try:
        used = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return max(int(used.vms), int(used.rss))


class KillableChild:
    """Program in a child process. One thread calls `ask`; any thread may call `kill`."""

    def __init__(
        self, module: str, seconds: float, memory_bytes: int, measure: Callable[[int], int] | None = None
    ) -> None:
        """Create a child of the program `module`, which calls `child_program.run`.

        `measure` returns the bytes that a process uses. By default, a child that cannot limit itself is measured with
        `footprint`.
        """
        self._module = module
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._measure = measure
        self._process: subprocess.Popen[bytes] | None = None
        self._greeted = False
        self._most = 0
        """Bytes above which the child is killed; 0 if it limits itself."""

    @property
    def patience(self) -> float:
        """Upper bound on the seconds that `ask` takes."""
        return ATTEMPTS * (self._seconds + START_SECONDS)

    def start(self) -> None:
        """Start the child ahead of its first use, without waiting for it."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module, str(self._seconds), str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
            # posix_spawn instead of fork: this process has threads of MLX and of Rust. Python's own descriptors are
            # closed all the same.
            close_fds=False,
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._greeted, self._most = False, 0

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the child's answer. Raises Exhausted, Gone, or WorkerError if it does not start."""
        body = json.dumps(request).encode()
        code: int | None = None
        for _ in range(ATTEMPTS):
            try:
                self.start()
                self._wait_for_greeting()
                return self._ask(body)
            except Exhausted:
                self.close()
                raise
            except Gone:
                code = self._exit_code()
                self.close()
                if code == EXIT_MEMORY:
                    raise Exhausted from None
        raise gone(code)

    def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def kill(self) -> None:
        """End the child while another thread may be waiting for it."""
        if (process := self._process) is not None:
            process.kill()

    def _exit_code(self) -> int | None:
        """Return the exit code of a child whose pipe has closed; None if it has not ended."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(EXIT_SECONDS)
        return None

    def _wait_for_greeting(self) -> None:
        if self._greeted:
            return
        assert self._process is not None
        try:
            greeting = self._read(time.monotonic() + START_SECONDS)
        except Exhausted:
            self.close()  # otherwise its late greeting would be read as the next answer
            raise WorkerError(f"{self._module} did not start", hint="try again; see the log") from None
        self._greeted = True
        if self._measure is None and not greeting.get("bounded"):
            self._measure = footprint
        if self._measure is not None:
            self._most = self._measure(self._process.pid) + self._memory_bytes

    def _ask(self, body: bytes) -> dict[str, Any]:
        """Send a request and return the answer. Raises Exhausted or Gone."""
        deadline = time.monotonic() + self._seconds
        self._write(LENGTH.pack(len(body)) + body, deadline)
        return self._read(deadline)

    def _write(self, data: bytes, deadline: float) -> None:
        assert self._process is not None and self._process.stdin is not None
        descriptor, left = self._process.stdin.fileno(), memoryview(data)
        while left:
            self._wait(descriptor, select.POLLOUT, deadline)
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:
                continue
            except OSError:
                raise Gone from None

    def _read(self, deadline: float) -> dict[str, Any]:
        """Return the next message. Raises Exhausted at the deadline, Gone at the child's end."""
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        data, wanted = bytearray(), LENGTH.size
        while len(data) < wanted:
            self._wait(descriptor, select.POLLIN, deadline)
            part = os.read(descriptor, READ_BYTES)
            if not part:
                raise Gone
            data += part
            if wanted == LENGTH.size and len(data) >= LENGTH.size:
                wanted += LENGTH.unpack_from(data)[0]
                if wanted > MAX_ANSWER:
                    raise Exhausted
        message = json.loads(memoryview(data)[LENGTH.size :].tobytes())
        if not isinstance(message, dict):
            raise Gone
        return message

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        """Wait until the pipe can be used. Raises Exhausted at the deadline, or above the bound on memory."""
        assert self._process is not None
        poll = select.poll()  # select() accepts no descriptor above 1023
        poll.register(descriptor, event)
        while (left := deadline - time.monotonic()) > 0:
            if poll.poll(1000 * (min(left, POLL_SECONDS) if self._most else left)):
                return
            if self._most and self._measure is not None and self._measure(self._process.pid) > self._most:
                break
        raise Exhausted


def gone(code: int | None) -> Gone:
    """Return the error for a child that ended with `code`, a negative number for a signal; None if it is unknown."""
    how = f"exit code {code}"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-code).name
    return Gone(how, from_outside=code is None or -code in FROM_OUTSIDE)
