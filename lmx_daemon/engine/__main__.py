"""`python -m lmx_daemon.engine --socket-fd N`: the worker program, one for each loaded model.

Main thread: reads frames. Threads beside it: the engine (owns MLX), prompts (templates and tokens), the writer.
The daemon starts it with one end of a socketpair; when that closes, the worker is gone within a second.
"""

import argparse
import importlib.metadata
import os
import platform as system
import queue
import resource
import signal
import socket
import threading
import time
import traceback
from typing import Any

from lmx_daemon.contract.errors import BusyError, EngineMissingError, LmxError, WorkerError
from lmx_daemon.contract.frames import (
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
)
from lmx_daemon.contract.generation import Count, Counted, Event, Failed, Generate
from lmx_daemon.engine.commands import Drop, Ready, Stop
from lmx_daemon.engine.link import Link, Pulse, leave, leave_with
from lmx_daemon.engine.missing import mending_command

LEAVE_SECONDS = 3.0
"""After Leave or SIGTERM, an engine stuck in a step is left behind so soon."""
EXIT_NO_ENGINE = 3
EXIT_ENGINE_FAILED = 4


def main() -> None:
    parser = argparse.ArgumentParser(prog="lmx_daemon.engine")
    parser.add_argument("--socket-fd", type=int, required=True)
    connection = socket.socket(fileno=parser.parse_args().socket_fd)
    os.environ["HF_HUB_OFFLINE"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_with(connection)
    pulse = Pulse()
    link = Link(connection, pulse)
    try:
        versions, backend, device_memory = import_engine()
    except (ImportError, OSError, RuntimeError) as error:
        missing = EngineMissingError(f"MLX is missing or broken: {error}", hint=f"mend it with: {mending_command()}")
        link.start()
        link.send(LoadFailed(error=missing.body()))
        link.flush()
        leave(EXIT_NO_ENGINE)
    Worker(link, pulse).run(
        Hello(
            protocol=WORKER_PROTOCOL,
            engine="mlx-lm",
            pid=os.getpid(),
            versions=versions,
            backend=backend,
            device_memory=device_memory,
        )
    )


def import_engine() -> tuple[dict[str, str], str, int]:
    """Imports MLX and mlx-lm. Returns versions, backend and the device's memory."""
    real = resource.setrlimit
    resource.setrlimit = lambda *_: None  # mlx_lm lowers the limit of open files, soft and hard, when it is imported
    try:
        import mlx_lm  # noqa: F401

        from lmx_daemon.engine import platform
    finally:
        resource.setrlimit = real
    versions = {
        "python": system.python_version(),
        "mlx": importlib.metadata.version("mlx"),
        "mlx-lm": importlib.metadata.version("mlx-lm"),
    }
    return versions, platform.describe(), platform.device_memory()


class Worker:
    """Takes the daemon's frames and hands them to the thread they are for."""

    def __init__(self, link: Link, pulse: Pulse) -> None:
        from lmx_daemon.engine.runner import Runner

        self._link = link
        self._pulse = pulse
        self._runner = Runner(link.send, pulse, self._on_loaded)
        self._prompts: queue.SimpleQueue[tuple[Submit, float]] = queue.SimpleQueue()
        self._builder: Any = None
        self._child: Any = None
        self._max_open = 0

    def run(self, hello: Hello) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._leave())
        self._link.start()
        self._link.send(hello)
        threading.Thread(target=self._run_engine, name="engine", daemon=True).start()
        threading.Thread(target=self._run_prompts, name="prompts", daemon=True).start()
        for message in self._link.messages():
            match message:
                case Load() | Grant():
                    self._runner.inbox.put(message)
                case Submit():
                    self._submit(message)
                case Cancel(id=identity):
                    self._cancel(identity)
                case Leave():
                    self._leave()
        if self._child is not None:
            self._child.close()
        leave()

    def _submit(self, submit: Submit) -> None:
        request = submit.request
        if self._builder is None or not self._runner.serves:
            error: LmxError = WorkerError("no model is loaded in this worker")
        elif len(self._pulse.open) >= self._max_open:
            error = BusyError(f"{self._max_open} requests are running or waiting already", retry_after=2.0)
        else:
            self._pulse.open.add(request.id)
            self._prompts.put((submit, time.monotonic() - submit.waited))
            return
        self._tell(Failed(id=request.id, error=error.body()))

    def _cancel(self, identity: str) -> None:
        if identity in self._pulse.open:
            self._pulse.dropped.add(identity)
            self._runner.inbox.put(Drop(identity))

    def _leave(self) -> None:
        self._runner.inbox.put(Stop())
        timer = threading.Timer(LEAVE_SECONDS, leave)
        timer.daemon = True
        timer.start()

    def _tell(self, event: Event) -> None:
        self._pulse.closed(event.id)
        self._link.send(Events(events=(event,)))

    def _on_loaded(self, loaded: Any, command: Load) -> None:
        """On the engine thread, before the warm-up, beside which the template child starts."""
        from lmx_daemon.engine.parts import can_be_cut
        from lmx_daemon.engine.prompt import PromptBuilder
        from lmx_daemon.engine.template import TemplateChild

        options = command.options
        if self._child is not None:  # of a load whose warm-up failed
            self._child.close()
        self._child = TemplateChild(options.template_seconds, options.template_memory_bytes)
        if loaded.capabilities.chat:
            self._child.start()
        self._max_open = options.max_running + options.max_waiting
        self._builder = PromptBuilder(
            loaded.tokenizer,
            loaded.capabilities.context_length,
            loaded.vocabulary,
            self._child,
            marks_opening=not can_be_cut(loaded.model),
        )

    def _run_engine(self) -> None:
        try:
            self._runner.run()
        except BaseException as error:
            traceback.print_exc()
            self._link.send(Log(level="error", message=f"the engine stopped: {type(error).__name__}: {error}"))
            self._link.flush()
            leave(EXIT_ENGINE_FAILED)
        self._link.flush()
        if self._child is not None:
            self._child.close()
        leave()

    def _run_prompts(self) -> None:
        while True:
            self._prepare(*self._prompts.get())

    def _prepare(self, submit: Submit, arrived: float) -> None:
        request = submit.request
        try:
            prepared = self._builder.build(request.prompt)
        except LmxError as error:
            self._tell(Failed(id=request.id, error=error.body()))
            return
        except Exception as error:  # a tokenizer of a foreign repository may raise anything
            traceback.print_exc()
            failure = WorkerError(f"the prompt could not be prepared: {type(error).__name__}: {error}")
            self._tell(Failed(id=request.id, error=failure.body()))
            return
        match request:
            case Count():
                self._tell(Counted(id=request.id, tokens=len(prepared.tokens)))
            case Generate():
                self._runner.inbox.put(Ready(request, prepared, arrived, submit.load_seconds))


if __name__ == "__main__":
    main()
