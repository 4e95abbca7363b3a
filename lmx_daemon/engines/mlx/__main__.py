"""`python -m lmx_daemon.engines.mlx`: the worker program, one for each loaded model.

Main thread: reads frames. Threads beside it: the engine (owns MLX), prompts (templates and tokens), the writer.
The daemon starts it with one end of a socketpair as descriptor 0; when that closes, the worker is gone within a second.
A thread that dies ends the worker, which would be of no use without it.
"""

import contextlib
import importlib.metadata
import os
import platform as system
import resource
import signal
import socket
import sys
import threading
import traceback
from typing import Any

from lmx_daemon.contract.errors import BusyError, EngineMissingError, LmxError, WorkerError
from lmx_daemon.contract.frames import (
    LAST_WORDS,
    WORKER_PROTOCOL,
    Cancel,
    Events,
    Grant,
    Hello,
    Leave,
    Load,
    LoadFailed,
    Log,
    Submit,
    ToWorker,
)
from lmx_daemon.contract.generation import Failed
from lmx_daemon.engines.mlx.commands import Drop, Stop
from lmx_daemon.engines.mlx.install_hint import repair_command
from lmx_daemon.engines.mlx.text.prompt_thread import PromptThread
from lmx_daemon.worker.link import HangUpWatcher, HeartbeatCounters, WorkerLink, exit_now
from lmx_daemon.worker.template_child import TemplateChild

LEAVE_SECONDS = 3.0
"""Limit on an orderly end after Leave or SIGTERM: an engine stuck in a step is left behind."""
HANG_UP_SECONDS = 0.8
"""The same once the daemon's end of the socket has closed, or a thread has died."""
EXIT_NO_ENGINE = 3
EXIT_FAILED = 4


def main() -> None:
    connection = take_connection()
    os.environ["HF_HUB_OFFLINE"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hang_up = HangUpWatcher(connection)
    counters = HeartbeatCounters()
    link = WorkerLink(connection, counters)
    try:
        versions, backend, device_memory = import_engine()
    except (ImportError, OSError, RuntimeError) as error:
        missing = EngineMissingError(f"MLX is missing or broken: {error}", hint=f"mend it with: {repair_command()}")
        link.start()
        link.send(LoadFailed(error=missing.body()))
        link.flush()
        exit_now(EXIT_NO_ENGINE)
    Worker(link, counters).run(
        Hello(
            protocol=WORKER_PROTOCOL,
            engine="mlx-lm",
            pid=os.getpid(),
            versions=versions,
            backend=backend,
            device_memory=device_memory,
        ),
        hang_up,
    )


def take_connection() -> socket.socket:
    """Return the socket that descriptor 0 is, and leave an empty stdin to foreign code and child processes."""
    connection = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as empty:
        os.dup2(empty.fileno(), 0)
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the one of the listing itself
            # uvloop leaves copies of 0 to 2; a child that had one would hide this process's end from the daemon.
            os.set_inheritable(int(name), int(name) < 3)
    return connection


def import_engine() -> tuple[dict[str, str], str, int]:
    """Imports MLX and mlx-lm. Returns versions, backend and the device's memory."""
    real = resource.setrlimit
    resource.setrlimit = lambda *_: None  # mlx_lm lowers the limit of open files, soft and hard, when it is imported
    try:
        import mlx_lm  # noqa: F401

        from lmx_daemon.engines.mlx import platform
    finally:
        resource.setrlimit = real
    versions = {
        "python": system.python_version(),
        "mlx": importlib.metadata.version("mlx"),
        "mlx-lm": importlib.metadata.version("mlx-lm"),
    }
    return versions, platform.describe(), platform.device_memory()


class Worker:
    """Reads the daemon's frames and gives each to the thread that it concerns."""

    def __init__(self, link: WorkerLink, counters: HeartbeatCounters) -> None:
        from lmx_daemon.engines.mlx.runner import Runner

        self._link = link
        self._counters = counters
        self._runner = Runner(link.send, counters, self._on_loaded)
        self._preparation = PromptThread(counters, link.send, self._runner.inbox.put)
        self._child: TemplateChild | None = None
        self._max_open = 0
        self._exit_code = 0

    def run(self, hello: Hello, hang_up: HangUpWatcher) -> None:
        """Serve until the daemon asks for the end, or its end of the socket closes."""
        threading.excepthook = self._on_thread_death
        hang_up.act = self._on_hang_up
        signal.signal(signal.SIGTERM, lambda *_: self._leave(LEAVE_SECONDS))
        self._link.start()
        self._link.send(hello)
        threading.Thread(target=self._run_engine, name="engine", daemon=True).start()
        threading.Thread(target=self._preparation.run, name="prompts", daemon=True).start()
        try:
            for message in self._link.messages():
                self._take(message)
        except BaseException as error:
            self._fail("main", error)
        else:
            self._on_hang_up()
        threading.Event().wait()  # the engine thread or the timer ends the process

    def _take(self, message: ToWorker) -> None:
        match message:
            case Load() | Grant():
                self._runner.inbox.put(message)
            case Submit():
                self._submit(message)
            case Cancel(id=identity):
                self._cancel(identity)
            case Leave():
                self._leave(LEAVE_SECONDS)

    def _submit(self, submit: Submit) -> None:
        submissions = self._counters.submissions
        if self._preparation.builder is None or not self._runner.serves:
            error: LmxError = WorkerError("no model is loaded in this worker")
        elif len(submissions) >= self._max_open:
            error = BusyError(f"{self._max_open} requests are running or waiting already", retry_after=2.0)
        else:
            submissions.add(submit)
            return
        self._link.send(Events(events=(Failed(id=submit.request.id, error=error.body()),)))

    def _cancel(self, identity: str) -> None:
        event = self._counters.submissions.cancel(identity, lambda: self._runner.inbox.put(Drop(identity)))
        if event is not None:
            self._link.send(Events(events=(event,)))

    def _leave(self, seconds: float) -> None:
        """Ask the engine thread to end in order, and end the process after `seconds` at the latest."""
        self._runner.inbox.put(Stop(flush_seconds=seconds / 2))
        timer = threading.Timer(seconds, lambda: exit_now(self._exit_code))
        timer.daemon = True
        timer.start()

    def _on_hang_up(self) -> None:
        self._leave(HANG_UP_SECONDS)

    def _on_thread_death(self, died: threading.ExceptHookArgs) -> None:
        name = died.thread.name if died.thread is not None else "unknown"
        self._fail(name, died.exc_value or died.exc_type())

    def _fail(self, thread: str, error: BaseException) -> None:
        """End the worker, which is of no use without one of its threads, and report why."""
        traceback.print_exception(error)
        reason = f"the {thread} thread ended: {type(error).__name__}: {error}"
        self._link.send(Log(level="error", message=reason), wait=False)
        self._link.flush()
        print(f"{LAST_WORDS}{reason}", file=sys.stderr, flush=True)
        if thread == "engine":
            exit_now(EXIT_FAILED)
        self._exit_code = EXIT_FAILED
        self._leave(HANG_UP_SECONDS)

    def _on_loaded(self, loaded: Any, command: Load) -> None:
        """On the engine thread, before the warm-up, beside which the template child starts."""
        from lmx_daemon.engines.mlx.prefix.cache_layout import can_be_cut
        from lmx_daemon.engines.mlx.text.prompt import PromptBuilder

        options = command.options
        if self._child is not None:  # of a load whose warm-up failed
            self._child.close()
        self._child = TemplateChild(options.template_seconds, options.template_memory_bytes)
        if loaded.capabilities.chat:
            self._child.start()
        self._max_open = options.max_running + options.max_waiting
        self._preparation.builder = PromptBuilder(
            loaded.tokenizer,
            loaded.capabilities.context_length,
            loaded.vocabulary,
            self._child,
            marks_opening=not can_be_cut(loaded.model),
            progress=self._preparation.progress,
            sanitize=options.sanitize_control_tokens,
        )

    def _run_engine(self) -> None:
        self._runner.run()
        self._link.flush()
        if self._child is not None:
            self._child.kill()
        exit_now(self._exit_code)


if __name__ == "__main__":
    main()
