"""One worker process seen from asyncio: starts it, loads a model in it, routes events to requests, notices its end.

It decides nothing: when to start, restart or end a worker is the pool's.
"""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lmx_daemon.contract.errors import ConflictError, LmxError, ModelLoadError, RequestError, WorkerError, error_from
from lmx_daemon.contract.events import is_terminal
from lmx_daemon.contract.worker.frames import Decoder, Encoder, FrameError
from lmx_daemon.contract.worker.messages import (
    WORKER_PROTOCOL,
    Cancel,
    Events,
    FromWorker,
    Grant,
    Heartbeat,
    Hello,
    Leave,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Log,
    Memory,
    MemoryUse,
    Submit,
)
from lmx_daemon.residency.active_request import ActiveRequest
from lmx_daemon.residency.fate import fate_of
from lmx_daemon.residency.plan import Beat

READ_BYTES = 256 * 1024
SOCKET_BYTES = 256 * 1024
"""Buffer of each end of the socket, in each direction; the default on macOS is 8 kB."""

OnLog = Callable[[str, Log], None]


class Output(Protocol):
    """Where a worker prints; see monitor.worker_log.Output."""

    sink: int

    def started(self) -> None: ...

    def last_words(self) -> str: ...


OnProgress = Callable[[LoadProgress], None]


class Worker:
    """Made by `Worker.start`. `ended` is done when the process is gone; its requests have failed by then."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        connection: socket.socket,
        output: Output,
        on_log: OnLog,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        """In the log: its model's id, once it has one."""
        self.requests: dict[str, ActiveRequest] = {}
        self.memory = MemoryUse()
        self.heartbeat = Heartbeat(steps=0, busy=False)
        self.hello: Hello | None = None
        self.ended: asyncio.Future[LmxError] = loop.create_future()
        self.leaving = False
        """It was asked to leave: its end is no crash."""
        self._process = process
        self._connection = connection
        self._output = output
        self._on_log = on_log
        self._on_progress: OnProgress | None = None
        self._encoder = Encoder()
        self._ready: asyncio.Future[Hello] = loop.create_future()
        self._loaded: asyncio.Future[Loaded] | None = None
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
        open_output: Callable[[], Output],
        on_log: OnLog,
    ) -> "Worker":
        """Start `program`, a command line; `ready` returns when its imports are done. Raises WorkerError."""
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
                    start_new_session=True,  # a Ctrl-C in the daemon's terminal is the daemon's
                )
        except OSError as error:
            raise WorkerError(f"cannot start a worker: {error}") from error
        return cls(name, process, ours, output, on_log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def beat(self) -> Beat:
        """What is known of its progress: the engine's steps and the preparation of prompts must both advance."""
        progressed_at = min(self._stepped_at, self._prepared_at)
        return Beat(self._heard_at, progressed_at, self.heartbeat.busy or self.heartbeat.preparing)

    async def ready(self) -> Hello:
        """Waits for its imports. Raises EngineMissingError or WorkerError."""
        return await asyncio.shield(self._ready)

    async def load(self, command: Load, on_progress: OnProgress) -> Loaded:
        """Raises what made the load fail."""
        await self.ready()
        self._loaded = asyncio.get_running_loop().create_future()
        self._on_progress = on_progress
        self._send(command)
        try:
            return await self._loaded
        finally:
            self._on_progress = None

    def submit(self, active: ActiveRequest, load_seconds: float) -> None:
        """Give a request to the worker. Raises RequestError if no frame can hold it, and ConflictError if the worker
        still has one with its id, whose events could not be told from its own."""
        if active.id in self.requests:
            raise ConflictError(f"a request with the id {active.id} is running already", param="id")
        waited = time.monotonic() - active.arrived
        try:
            frame = self._encoder.encode(Submit(request=active.request, waited=waited, load_seconds=load_seconds))
        except FrameError as error:
            raise RequestError(f"the request cannot be handed on: {error.message}") from error
        self.requests[active.id] = active
        self._write(frame)

    def cancel(self, active: ActiveRequest) -> None:
        self._send(Cancel(id=active.id))

    def grant(self, cache_bytes: int) -> None:
        """So much memory for keys and values, from now on."""
        self._send(Grant(cache_bytes=cache_bytes))

    def fail(self, error: LmxError) -> None:
        """Every active of this worker fails now."""
        requests, self.requests = list(self.requests.values()), {}
        for active in requests:
            active.fail(error)

    async def leave(self, seconds: float) -> None:
        """Asks it to leave, then tells it to, then ends it: `seconds` between each."""
        self.leaving = True
        self._send(Leave())
        for number in (signal.SIGTERM, signal.SIGKILL, None):
            done, _ = await asyncio.wait([self.ended], timeout=seconds)
            if done or number is None:
                return
            self.kill(number)

    def kill(self, number: int) -> None:
        try:
            self._process.send_signal(number)
        except ProcessLookupError:
            return

    def _send(self, message: Any) -> None:
        self._write(self._encoder.encode(message))

    def _write(self, frame: bytes) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame)

    async def _read(self) -> None:
        """Take the worker's messages until its end, which is noted whatever happens here."""
        broken: Exception | None = None
        try:
            await self._take_all()
        except OSError:
            pass
        except Exception as error:  # no frame may leave a worker that nothing reads, and requests that wait for it
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
        error = fate_of(code, self._output.last_words())
        if broken is not None:
            error = WorkerError(f"the model's process sent a broken message: {broken}", hint="try again; see the log")
        for waiting in (self._ready, self._loaded):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # whoever waits gets it; nobody waiting is no fault
        self.fail(error)
        self.ended.set_result(error)

    def _take(self, message: FromWorker) -> None:
        match message:
            case Events(events=events):
                for event in events:
                    active = self.requests.get(event.id)
                    if active is not None:
                        if is_terminal(event):
                            del self.requests[event.id]
                        active.put(event)
            case Heartbeat():
                self._note(message)
            case Memory(use=use):
                self.memory = use
            case Log():
                self._on_log(self.name, message)
            case LoadProgress():
                if self._on_progress is not None:
                    self._on_progress(message)
            case Loaded():
                self.memory = message.memory
                if self._loaded is not None and not self._loaded.done():
                    self._loaded.set_result(message)
            case LoadFailed(error=error):
                waiting = self._loaded if self._ready.done() else self._ready
                if waiting is not None and not waiting.done():
                    waiting.set_exception(error_from(error))
                    waiting.exception()
            case Hello():
                self._welcome(message)

    def _note(self, beat: Heartbeat) -> None:
        now, before = time.monotonic(), self.heartbeat
        if beat.steps != before.steps or not beat.busy or not before.busy:
            self._stepped_at = now
        if beat.prepared != before.prepared or not beat.preparing or not before.preparing:
            self._prepared_at = now
        self._heard_at, self.heartbeat = now, beat

    def _welcome(self, hello: Hello) -> None:
        self.hello = hello
        self._heard_at = self._stepped_at = self._prepared_at = time.monotonic()
        if self._ready.done():
            return
        if hello.protocol == WORKER_PROTOCOL:
            self._ready.set_result(hello)
        else:
            self._ready.set_exception(
                ModelLoadError(
                    f"the worker speaks protocol {hello.protocol}, the daemon {WORKER_PROTOCOL}",
                    hint="restart the daemon: lmx stop, then lmx serve",
                )
            )


def connected_sockets() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a socketpair with room for SOCKET_BYTES each. Raises OSError."""
    ends = socket.socketpair()
    for end in ends:
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BYTES)
    return ends
