"""The engine thread: it owns all of MLX, carries out the commands of its inbox, loads the model and runs the scheduler.

It has no access to sockets (frames leave through `send`) or to templates (prompts arrive as tokens).
"""

import gc
import queue
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import psutil

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.worker.messages import Grant, Load, Loaded, LoadFailed, LoadProgress, Log, Memory, MemoryUse
from lmx_daemon.engines.mlx import platform
from lmx_daemon.engines.mlx.commands import Drop, EngineCommand, Ready, Stop, Wake
from lmx_daemon.engines.mlx.load.failure import load_failure
from lmx_daemon.engines.mlx.load.model import LoadedModel, load
from lmx_daemon.engines.mlx.load.probe import probe_model
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing, open_sharing
from lmx_daemon.engines.mlx.schedule.queue import RequestQueue
from lmx_daemon.engines.mlx.schedule.scheduler import Scheduler
from lmx_daemon.engines.mlx.text.families.choose import with_family
from lmx_daemon.worker.heartbeat import HeartbeatCounters

MEMORY_SECONDS = 1.0
"""Seconds between two measurements of memory."""
DISK_CHECK_SECONDS = 0.1
"""Seconds between two checks whether the disk answers that all queued requests wait for."""


class Runner:
    """The engine thread of one worker.

    `on_loaded` is called in this thread, before the warm-up and before the Loaded frame is sent.
    """

    def __init__(
        self, send: Callable[[Any], None], counters: HeartbeatCounters, on_loaded: Callable[[LoadedModel, Load], None]
    ) -> None:
        self.inbox: queue.SimpleQueue[EngineCommand] = queue.SimpleQueue()
        self._send = send
        self._counters = counters
        self._on_loaded = on_loaded
        self._weights = 0
        self._prefixes = PrefixSharing()
        self._scheduler: Scheduler | None = None
        """Set once a model is loaded."""
        self._memory = MemoryUse()
        self._memory_at = 0.0
        self._process = psutil.Process()

    @property
    def serves(self) -> bool:
        """Return whether a model is loaded and warm."""
        return self._scheduler is not None

    def run(self) -> None:
        """Run until Stop, then release memory. Raise if no step works any more."""
        while (stop := self._take_commands()) is None:
            if self._scheduler is not None:
                self._scheduler.turn()
                self._report_memory(self._scheduler)
        self._prefixes.close(stop.flush_seconds)
        platform.release()

    def _take_commands(self) -> Stop | None:
        """Carry out the commands in the inbox, and return Stop if it is one of them. Wait only if there is no work."""
        idle = self._scheduler is None or self._scheduler.idle
        patience = DISK_CHECK_SECONDS if self._scheduler is not None and self._scheduler.waits else MEMORY_SECONDS
        while True:
            try:
                command = self.inbox.get(timeout=patience) if idle else self.inbox.get_nowait()
            except queue.Empty:
                return None
            idle = False
            match command:
                case Stop():
                    return command
                case Wake():
                    pass
                case Load():
                    self._load(command)
                case Grant() | Drop() | Ready():
                    self._pass_on(command)

    def _pass_on(self, command: Grant | Drop | Ready) -> None:
        if self._scheduler is None:  # no request can exist before the load
            return
        match command:
            case Grant(cache_bytes=granted):
                self._scheduler.grant(granted)
            case Drop(id=identity):
                self._scheduler.drop(identity)
            case Ready():
                self._scheduler.receive(command)

    # ---- the load ----

    def _load(self, command: Load) -> None:
        self._counters.busy = True
        try:
            self._send(self._load_model(command))
            gc.freeze()  # the model stays; scanning it in every collection would delay streams
            self._prefixes.read_ahead()
        except BaseException as error:  # model files and code may raise anything, including panics and SystemExit
            if not isinstance(error, LmxError) or error.__cause__ is not None:
                traceback.print_exc()
            self._send(LoadFailed(error=load_failure(error, Path(command.path)).body()))
        finally:
            self._counters.busy = False

    def _load_model(self, command: Load) -> Loaded:
        """Load and warm up the model. Raise whatever makes the load fail."""
        begun = time.monotonic()
        path, options = Path(command.path), command.options
        loaded = load(path, options, self._progress, command.trusted)
        loaded.capabilities = with_family(loaded.capabilities, loaded.tokenizer)
        platform.backend().bound_caches(loaded.weights)
        self._weights = loaded.weights
        self._prefixes = open_sharing(loaded, path, command.model, options, self._warn, lambda: self.inbox.put(Wake()))
        self._warming_up()
        self._on_loaded(loaded, command)
        abilities = probe_model(loaded.model, self._warming_up)
        waiting = RequestQueue(abilities.cache, options.cache_bytes, loaded.capabilities.context_length)
        self._scheduler = Scheduler(
            loaded,
            abilities,
            command.instance,
            options,
            waiting,
            self._prefixes,
            counters=self._counters,
            send=self._send,
            on_progress=self._warming_up,
        )
        self._measure()
        return Loaded(
            capabilities=loaded.capabilities,
            memory=self._memory,
            seconds=time.monotonic() - begun,
            dtype=loaded.dtype,
            note=loaded.note,
            cache=abilities.cache,
        )

    def _progress(self, stage: str, fraction: float | None) -> None:
        self._counters.steps += 1
        self._send(LoadProgress(stage=stage, fraction=fraction))

    def _warming_up(self) -> None:
        self._progress("warming up", None)

    def _warn(self, message: str) -> None:
        self._send(Log(level="warning", message=message))

    # ---- memory ----

    def _report_memory(self, scheduler: Scheduler) -> None:
        if time.monotonic() - self._memory_at >= MEMORY_SECONDS:
            before = self._memory
            scheduler.make_room()
            self._measure()
            if self._memory != before:
                self._send(Memory(use=self._memory))

    def _measure(self) -> None:
        self._memory_at = time.monotonic()
        self._memory = MemoryUse(
            active=mx.get_active_memory(),
            cache=mx.get_cache_memory(),
            peak=mx.get_peak_memory(),
            weights=self._weights,
            prefix_cache=self._prefixes.size,
            resident=self._process.memory_info().rss,
            prefix_disk_silent=self._prefixes.disk_silent,
        )
