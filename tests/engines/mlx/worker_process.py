"""A real worker process at the end of a real socketpair, driven by a test."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmx_daemon.contract.generation.events import Delta, Event, is_terminal
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, Request, Sampling, Text, TextPart
from lmx_daemon.contract.worker.frames import Decoder, Encoder
from lmx_daemon.contract.worker.messages import (
    Cancel,
    Events,
    FromWorker,
    Heartbeat,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Log,
    Memory,
    Submit,
    TextOptions,
)
from lmx_daemon.engines.mlx.prefix.disk_thread import LEFT_ALONE
from lmx_daemon.engines.mlx.prefix.sharing import FAILED

OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/libopenblas.so.0")
PATIENCE = 60.0


class WorkerProcess:
    """A worker's frames: messages are collected in `messages`, events by request in `events`."""

    def __init__(self, environment: dict[str, str] | None = None, left_open: Sequence[int] = ()) -> None:
        """`left_open` are descriptors that the worker inherits by mistake."""
        ours, theirs = socket.socketpair()
        extra = {"LD_PRELOAD": str(OPENBLAS), "OPENBLAS_NUM_THREADS": "1"} if OPENBLAS.exists() else {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lmx_daemon.engines.mlx"],
            stdin=theirs,
            pass_fds=left_open,
            env=os.environ | extra | (environment or {}),
        )
        theirs.close()
        self.connection = ours
        self._encoder, self._decoder = Encoder(), Decoder[FromWorker](FromWorker)
        self.messages: list[Any] = []
        self.events: dict[str, list[Event]] = {}
        self._count = 0

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        try:
            self.process.wait(3)
        finally:
            self.process.kill()
            self.process.wait()

    def send(self, message: Any) -> None:
        self.connection.sendall(self._encoder.encode(message))

    def read(self, until: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Receive frames until `until()` returns true."""
        deadline = time.monotonic() + seconds
        while not until():
            self.connection.settimeout(max(0.01, deadline - time.monotonic()))
            data = self.connection.recv(1 << 20)
            if not data:
                raise EOFError("the worker closed its end")
            for message in self._decoder.feed(data):
                match message:
                    case Events(events=events):
                        for event in events:
                            self.events.setdefault(event.id, []).append(event)
                    case Hello() | LoadProgress() | Loaded() | LoadFailed() | Log() | Heartbeat() | Memory():
                        for fault in (FAILED, LEFT_ALONE):
                            assert not isinstance(message, Log) or fault not in message.message, message
                        self.messages.append(message)

    def first(self, kind: type, seconds: float = PATIENCE) -> Any:
        self.read(lambda: any(isinstance(message, kind) for message in self.messages), seconds)
        return next(message for message in self.messages if isinstance(message, kind))

    def load(self, path: Path, **options: Any) -> Any:
        """Load a model and return Loaded or LoadFailed."""
        self.loaded_from = path
        self.send(Load(instance="test:1", model="test", path=str(path), options=TextOptions(**options)))
        kinds = (Loaded, LoadFailed)
        self.read(lambda: any(isinstance(message, kinds) for message in self.messages))
        return next(message for message in self.messages if isinstance(message, kinds))

    def submit(self, request: Request) -> str:
        self.send(Submit(request=request))
        self.events.setdefault(request.id, [])
        return request.id

    def cancel(self, identity: str) -> None:
        self.send(Cancel(id=identity))

    def name(self) -> str:
        self._count += 1
        return f"r{self._count}"

    def finish(self, *identities: str, seconds: float = PATIENCE) -> list[Event]:
        """Wait for the terminal events of all requests and return them in order."""
        self.read(lambda: all(self.terminal(i) is not None for i in identities), seconds)
        return [event for i in identities if (event := self.terminal(i)) is not None]

    def terminal(self, identity: str) -> Event | None:
        events = self.events.get(identity, [])
        return events[-1] if events and is_terminal(events[-1]) else None

    def deltas(self, identity: str) -> list[Delta]:
        return [event for event in self.events[identity] if isinstance(event, Delta)]

    def text(self, identity: str, choice: int = 0) -> str:
        return "".join(delta.content for delta in self.deltas(identity) if delta.choice == choice)

    def tokens(self, identity: str) -> list[int]:
        return [token for delta in self.deltas(identity) for token in delta.token_ids]


def completion(worker: WorkerProcess, text: str, **fields: Any) -> Generate:
    fields.setdefault("max_tokens", 12)
    return Generate(id=worker.name(), model="test", prompt=Text(text=text), token_ids=True, **fields)


def chat(worker: WorkerProcess, text: str, **fields: Any) -> Generate:
    messages = (Message(role="user", content=(TextPart(text=text),)),)
    fields.setdefault("max_tokens", 12)
    return Generate(id=worker.name(), model="test", prompt=Chat(messages=messages), token_ids=True, **fields)


def sampled(**fields: Any) -> Sampling:
    return Sampling(**fields)
