"""The request observer that makes OpenTelemetry traces. It is idle unless [traces] enabled is set.

A thread imports OpenTelemetry, which takes half a second, and makes the spans once a request has ended.
"""

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from lmx_daemon.contract.admin.snapshot import RequestRow
from lmx_daemon.contract.generation.events import Event, Started
from lmx_daemon.contract.generation.requests import Request
from lmx_daemon.settings.sections.traces import TraceSettings

MAX_WAITING = 1000
"""Number of requests that wait for the thread; traces of further ones are lost."""
CLOSE_SECONDS = 3.0
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
MISSING = "[traces] enabled is set, and OpenTelemetry is not installed; install it with: pip install 'lmx[otel]'"
LOGGER = logging.getLogger("lmx.traces")


class SpanWriter(Protocol):
    """The maker and sender of spans; see spans.py."""

    def write(self, request: Request, row: RequestRow, text: bool) -> None:
        """Make the spans of a request that has ended."""

    def close(self) -> None:
        """Send what waits."""


def otlp_writer(endpoint: str) -> SpanWriter:
    """Return a writer that sends spans to `endpoint`. Raise ImportError."""
    writer: SpanWriter = import_module("lmx_daemon.monitor.traces.spans").writer_to(endpoint)
    return writer


def is_installed() -> bool:
    """Return whether the packages of the extra are installed."""
    try:
        return all(find_spec(name) is not None for name in PACKAGES)
    except ModuleNotFoundError:
        return False


class Traces:
    """The traces of requests. `open_writer` returns the writer for an endpoint."""

    observes_events = False

    def __init__(
        self,
        settings: Callable[[], TraceSettings],
        open_writer: Callable[[str], SpanWriter] = otlp_writer,
        installed: Callable[[], bool] = is_installed,
    ) -> None:
        self._settings, self._open_writer, self._installed = settings, open_writer, installed
        self._ready = False
        """Whether traces are switched on and can be made."""
        self._waiting: queue.Queue[tuple[Request, RequestRow] | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None

    def configure(self) -> None:
        """Put the settings in force. Without the packages, log what has to be installed."""
        wanted = self._settings().enabled
        self._ready = wanted and self._installed()
        if wanted and not self._ready:
            LOGGER.error(MISSING)
        if self._ready and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lmx-traces", daemon=True)
            self._thread.start()

    def queued(self, request: Request) -> None:
        """Do nothing."""

    def started(self, request: Request, event: Started) -> None:
        """Do nothing."""

    def event(self, request: Request, event: Event) -> None:
        """Do nothing."""

    def ended(self, request: Request, row: RequestRow) -> None:
        """Hand the request to the thread."""
        if self._ready:
            with suppress(queue.Full):
                self._waiting.put_nowait((request, row))

    def refused(self, request: Request, row: RequestRow) -> None:
        """Hand the request to the thread."""
        self.ended(request, row)

    def close(self) -> None:
        """Send what waits. The wait is bounded, since the receiver may not answer."""
        if self._thread is not None:
            with suppress(queue.Full):
                self._waiting.put_nowait(None)
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        writer: SpanWriter | None = None
        endpoint = ""
        while (found := self._waiting.get()) is not None:
            settings = self._settings()
            try:
                if writer is None or settings.endpoint != endpoint:
                    if writer is not None:
                        writer.close()
                    writer, endpoint = self._open_writer(settings.endpoint), settings.endpoint
                writer.write(*found, settings.text)
            except Exception:  # a boundary: the top of the thread
                LOGGER.exception("a trace was not made")
        if writer is not None:
            writer.close()
