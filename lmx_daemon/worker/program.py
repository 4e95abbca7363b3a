"""The main loop of every worker program: frames are dispatched, threads are watched, and the process ends in order.

An engine's `__main__` calls `run` with a function that opens its engine. Threads:

    main      receives frames and gives each to the submissions or to the engine
    engine    `Engine.run`: owns the model
    prompts   `Engine.prepare`: turns submitted requests into what the engine needs
    writer    sends frames and heartbeats
    hang-up   detects the end of the daemon

A worker is of no use without one of its threads, so the death of a thread ends the process.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from lmx_daemon.contract.errors import BusyError, LmxError, WorkerError
from lmx_daemon.contract.generation.events import Failed
from lmx_daemon.contract.worker.messages import (
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
from lmx_daemon.worker.heartbeat import HeartbeatCounters
from lmx_daemon.worker.link import HangUpWatcher, WorkerLink, exit_now, take_connection

LEAVE_SECONDS = 3.0
"""Limit on an orderly end after Leave or SIGTERM. An engine that is stuck in a step is abandoned then."""
HANG_UP_SECONDS = 0.8
"""The same limit once the daemon's end of the socket has closed, or a thread has died."""
EXIT_NO_ENGINE = 3
EXIT_FAILED = 4

SendFrame = Callable[[Any], None]


@dataclass(frozen=True)
class EngineInfo:
    """Description of an engine for the Hello frame."""

    name: str
    versions: dict[str, str] = field(default_factory=dict)
    backend: str = ""
    device_memory: int = 0


class Engine(Protocol):
    """Engine of a worker program. `run` and `prepare` have threads of their own; other threads call the rest."""

    @property
    def info(self) -> EngineInfo:
        """Description for the Hello frame."""
        ...

    @property
    def capacity(self) -> int:
        """Number of requests that may be open at once; 0 while no model serves."""
        ...

    def run(self) -> None:
        """Carry out commands until `stop`. An exception ends the process with an error."""
        ...

    def prepare(self) -> None:
        """Prepare submitted requests forever, in their order."""
        ...

    def command(self, frame: Load | Grant) -> None:
        """Pass a frame to the engine thread."""
        ...

    def drop(self, identity: str) -> None:
        """Pass the cancellation of a request that has been prepared to the engine thread."""
        ...

    def stop(self, flush_seconds: float) -> None:
        """Make `run` return. Writing to disk may take `flush_seconds` until then."""
        ...

    def close(self) -> None:
        """End the engine's child processes. Called after `run` has returned."""
        ...


OpenEngine = Callable[[SendFrame, HeartbeatCounters], Engine]
"""Function that imports an engine and returns it. Raises LmxError if it is missing."""


def run(open_engine: OpenEngine) -> None:
    """Run this process as a worker. Does not return."""
    connection = take_connection()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hang_up = HangUpWatcher(connection)
    counters = HeartbeatCounters()
    link = WorkerLink(connection, counters)
    try:
        engine = open_engine(link.send, counters)
    except LmxError as error:
        link.start()
        link.send(LoadFailed(error=error.body()))
        link.flush()
        exit_now(EXIT_NO_ENGINE)
    else:
        WorkerProgram(engine, link, counters).run(hang_up)


class WorkerProgram:
    """Dispatch of the daemon's frames, and the end of the process."""

    def __init__(self, engine: Engine, link: WorkerLink, counters: HeartbeatCounters) -> None:
        self._engine = engine
        self._link = link
        self._submissions = counters.submissions
        self._exit_code = 0

    def run(self, hang_up: HangUpWatcher) -> None:
        """Serve until the daemon sends Leave or closes its end of the socket."""
        threading.excepthook = self._on_thread_death
        hang_up.act = self._on_hang_up
        signal.signal(signal.SIGTERM, lambda *_: self._leave(LEAVE_SECONDS))
        self._link.start()
        self._link.send(hello(self._engine.info))
        threading.Thread(target=self._run_engine, name="engine", daemon=True).start()
        threading.Thread(target=self._engine.prepare, name="prompts", daemon=True).start()
        try:
            for message in self._link.messages():
                self._dispatch(message)
        except BaseException as error:  # the top of this thread
            self._fail("main", error)
        else:
            self._on_hang_up()
        threading.Event().wait()  # the engine thread or the timer ends the process

    def _dispatch(self, message: ToWorker) -> None:
        match message:
            case Load() | Grant():
                self._engine.command(message)
            case Submit():
                self._submit(message)
            case Cancel(id=identity):
                self._cancel(identity)
            case Leave():
                self._leave(LEAVE_SECONDS)

    def _submit(self, submit: Submit) -> None:
        capacity = self._engine.capacity
        if not capacity:
            error: LmxError = WorkerError("no model is loaded in this worker")
        elif len(self._submissions) >= capacity:
            error = BusyError(f"{capacity} requests are running or waiting already", retry_after=2.0)
        else:
            self._submissions.add(submit)
            return
        self._link.send(Events(events=(Failed(id=submit.request.id, error=error.body()),)))

    def _cancel(self, identity: str) -> None:
        event = self._submissions.cancel(identity, lambda: self._engine.drop(identity))
        if event is not None:
            self._link.send(Events(events=(event,)))

    def _run_engine(self) -> None:
        self._engine.run()
        self._link.flush()
        self._engine.close()
        exit_now(self._exit_code)

    def _leave(self, seconds: float) -> None:
        """Stop the engine in order, and end the process after `seconds` at the latest."""
        self._engine.stop(seconds / 2)
        timer = threading.Timer(seconds, lambda: exit_now(self._exit_code))
        timer.daemon = True
        timer.start()

    def _on_hang_up(self) -> None:
        self._leave(HANG_UP_SECONDS)

    def _on_thread_death(self, died: threading.ExceptHookArgs) -> None:
        name = died.thread.name if died.thread is not None else "unknown"
        self._fail(name, died.exc_value or died.exc_type())

    def _fail(self, thread: str, error: BaseException) -> None:
        """Report the death of a thread and end the process."""
        traceback.print_exception(error)
        reason = f"the {thread} thread ended: {type(error).__name__}: {error}"
        self._link.send(Log(level="error", message=reason), wait=False)
        self._link.flush()
        print(f"{LAST_WORDS}{reason}", file=sys.stderr, flush=True)
        if thread == "engine":
            exit_now(EXIT_FAILED)
        self._exit_code = EXIT_FAILED
        self._leave(HANG_UP_SECONDS)


def hello(info: EngineInfo) -> Hello:
    """Return the first frame of a worker."""
    return Hello(
        protocol=WORKER_PROTOCOL,
        engine=info.name,
        pid=os.getpid(),
        versions=info.versions,
        backend=info.backend,
        device_memory=info.device_memory,
    )
