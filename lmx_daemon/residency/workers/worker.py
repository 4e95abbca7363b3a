"""The asyncio side of a worker process: its start, its socket, its messages as events, and its end.

It does not decide anything: the scheduler decides when to start, use or end a worker.
"""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from lmx_daemon.contract.errors import LmxError, ModelLoadError, RequestError, WorkerError, error_from
from lmx_daemon.contract.worker.frames import Decoder, Encoder, FrameError
from lmx_daemon.contract.worker.messages import (
    WORKER_PROTOCOL,
    Events,
    FromWorker,
    Heartbeat,
    Hello,
    Leave,
    Loaded,
    LoadFailed,
    LoadProgress,
    Log,
    Memory,
    MemoryUse,
    ToWorker,
)
from lmx_daemon.residency.decisions.plan import Beat
from lmx_daemon.residency.effects import ProcessEvents
from lmx_daemon.residency.incidents import OnLog
from lmx_daemon.residency.workers.fate import fate_of

READ_BYTES = 256 * 1024
"""Maximum number of bytes that are read from the socket at once."""
SOCKET_BYTES = 256 * 1024
"""Buffer of each end of the socket, in each direction. The default on macOS is 8 KiB."""


class ProcessOutput(Protocol):
    """Destination of a worker's output; see `monitor.worker_log.WorkerOutput`."""

    sink: int
    """File descriptor for stdout and stderr."""

    def started(self) -> None:
        """Close the daemon's copy of the descriptor."""

    def last_words(self) -> str:
        """Return the end of the worker's output."""
        ...


class Worker:
    """A worker process, made by `Worker.start`. Once it is assigned, its messages go to `ProcessEvents`."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        connection: socket.socket,
        output: ProcessOutput,
        on_log: OnLog,
        oom_killed: Callable[[], bool],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        """Name in the log: the model's id, once the process is assigned."""
        self.memory = MemoryUse()
        self.heartbeat = Heartbeat(steps=0, busy=False)
        self.hello: Hello | None = None
        self.ended: asyncio.Future[LmxError] = loop.create_future()
        """Set with the cause at the end of the process."""
        self._process = process
        self._connection = connection
        self._output = output
        self._on_log = on_log
        self._oom_killed = oom_killed
        self._killed = False
        """Whether the daemon itself sent SIGKILL."""
        self._instance = ""
        self._events: ProcessEvents | None = None
        self._encoder = Encoder()
        self._ready: asyncio.Future[Hello] = loop.create_future()
        self._writer: asyncio.StreamWriter | None = None
        now = time.monotonic()
        self._heard_at = self._stepped_at = self._prepared_at = now
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        name: str,
        program: Sequence[str],
        environment: Mapping[str, str],
        open_output: Callable[[], ProcessOutput],
        on_log: OnLog,
        oom_killed: Callable[[], bool] = lambda: False,
    ) -> "Worker":
        """Start `program`, a command line; `ready` returns when its imports are done. Raise WorkerError.

        `oom_killed` returns whether there was an OOM kill a moment ago.
        """
        try:
            with contextlib.ExitStack() as opened:
                output = open_output()
                opened.callback(output.started)
                ours, theirs = connected_sockets()
                opened.callback(theirs.close)
                process = await asyncio.create_subprocess_exec(
                    *program,
                    stdin=theirs.fileno(),  # pass_fds would make uvloop fork this process and its threads on macOS
                    stdout=output.sink,
                    stderr=output.sink,
                    env=dict(environment),
                    start_new_session=True,  # Ctrl-C in the daemon's terminal reaches only the daemon
                )
        except OSError as error:
            raise WorkerError(f"cannot start a worker: {error}") from error
        return cls(name, process, ours, output, on_log, oom_killed)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Return whether the process has not ended."""
        return not self.ended.done()

    def beat(self) -> Beat:
        """Return the signs of progress: engine steps and the preparation of prompts must both advance."""
        progressed_at = min(self._stepped_at, self._prepared_at)
        return Beat(self._heard_at, progressed_at, self.heartbeat.busy or self.heartbeat.preparing)

    async def ready(self) -> Hello:
        """Return once the imports are done. Raise EngineMissingError or WorkerError."""
        return await asyncio.shield(self._ready)

    def assign(self, instance: str, model: str, events: ProcessEvents) -> None:
        """Give the process to an instance of `model`. From now on its messages are events of that instance."""
        self.name, self._instance, self._events = model, instance, events

    def send(self, message: ToWorker) -> None:
        """Send a message. Raise RequestError if no frame can hold it."""
        try:
            frame = self._encoder.encode(message)
        except FrameError as error:
            raise RequestError(f"the request cannot be handed on: {error.message}") from error
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame)

    async def leave(self, seconds: float) -> None:
        """Ask the process to exit, and wait for its end. It gets SIGTERM and SIGKILL, `seconds` after each other."""
        self.send(Leave())
        for number in (signal.SIGTERM, signal.SIGKILL, None):
            done, _ = await asyncio.wait([self.ended], timeout=seconds)
            if done or number is None:
                return
            self.kill(number)

    def kill(self, number: int) -> None:
        """Send a signal to the process, if it has not ended."""
        self._killed = self._killed or number == signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _read(self) -> None:
        """Read the worker's messages until its end. The end is handled also after an error."""
        broken: Exception | None = None
        try:
            await self._take_all()
        except OSError:
            pass
        except Exception as error:  # otherwise the requests of the worker would wait for ever
            broken = error
            self.kill(signal.SIGTERM)
        if self._writer is not None:
            self._writer.close()
        await self._end(broken)

    async def _take_all(self) -> None:
        decoder: Decoder[FromWorker] = Decoder(FromWorker)
        reader, self._writer = await asyncio.open_connection(sock=self._connection, limit=READ_BYTES)
        while data := await reader.read(READ_BYTES):
            for message in decoder.feed(data):
                self._take(message)

    async def _end(self, broken: Exception | None) -> None:
        code = await self._process.wait()
        error = fate_of(code, self._output.last_words(), oom_killed=not self._killed and self._oom_killed())
        if broken is not None:
            error = WorkerError(f"the model's process sent a broken message: {broken}", hint="try again; see the log")
        self._fail_start(error)
        self.ended.set_result(error)
        if self._events is not None:
            self._events.on_worker_ended(self._instance, error)

    def _take(self, message: FromWorker) -> None:
        match message:
            case Events(events=events):
                if self._events is not None:
                    self._events.on_events(self._instance, events)
            case Heartbeat():
                self._note(message)
            case Memory(use=use):
                self.memory = use
            case Log():
                self._on_log(self.name, message)
            case LoadProgress():
                if self._events is not None:
                    self._events.on_load_progress(self._instance, message)
            case Loaded():
                self.memory = message.memory
                if self._events is not None:
                    self._events.on_loaded(self._instance, message)
            case LoadFailed(error=error):
                self._fail(error_from(error))
            case Hello():
                self._welcome(message)

    def _fail(self, error: LmxError) -> None:
        """Report a failure before the model was loaded."""
        self._fail_start(error)
        if self._events is not None:
            self._events.on_load_failed(self._instance, error)

    def _fail_start(self, error: LmxError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # an unread exception of a future is logged, and there may be no reader

    def _note(self, beat: Heartbeat) -> None:
        now, before = time.monotonic(), self.heartbeat
        if beat.steps != before.steps or not beat.busy or not before.busy:
            self._stepped_at = now
        if beat.prepared != before.prepared or not beat.preparing or not before.preparing:
            self._prepared_at = now
        self._heard_at, self.heartbeat = now, beat

    def _welcome(self, hello: Hello) -> None:
        self._heard_at = self._stepped_at = self._prepared_at = time.monotonic()
        if self._ready.done():
            return
        if hello.protocol != WORKER_PROTOCOL:
            self._fail(
                ModelLoadError(
                    f"the worker has protocol {hello.protocol}, the daemon {WORKER_PROTOCOL}",
                    hint="restart the daemon: lmx stop, then lmx serve",
                )
            )
            return
        self.hello = hello
        self._ready.set_result(hello)
        if self._events is not None:
            self._events.on_hello(self._instance)


def connected_sockets() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a socketpair with buffers of SOCKET_BYTES. Raise OSError."""
    ends = socket.socketpair()
    for end in ends:
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BYTES)
    return ends
