"""Samples of memory and speed, one per second, over the last minutes."""

from collections import deque
from collections.abc import Callable

import psutil

from lmx_daemon.contract.admin.snapshot import SERIES_SECONDS, Series
from lmx_daemon.contract.models import Instance


class SeriesRecorder:
    """The samples, at most SERIES_SECONDS of each kind."""

    def __init__(self, cpu: Callable[[], float] = psutil.cpu_percent) -> None:
        """`cpu` returns the load of the machine's CPUs in percent since its last call."""
        self._cpu_percent = cpu
        self._cpu: deque[float] = deque(maxlen=SERIES_SECONDS)
        self._memory: deque[int] = deque(maxlen=SERIES_SECONDS)
        self._decode: deque[float] = deque(maxlen=SERIES_SECONDS)
        self._prefill: deque[float] = deque(maxlen=SERIES_SECONDS)
        self._running: deque[int] = deque(maxlen=SERIES_SECONDS)

    def sample(self, instances: list[Instance], used: int) -> None:
        """Add one sample. `used` is the memory of all processes of lmx in bytes."""
        self._memory.append(used)
        self._decode.append(round(sum(instance.decode_rate for instance in instances), 1))
        self._prefill.append(round(sum(instance.prefill_rate for instance in instances), 1))
        self._running.append(sum(instance.running for instance in instances))
        self._cpu.append(round(self._cpu_percent(), 1))

    def series(self) -> Series:
        return Series(
            memory=tuple(self._memory),
            decode=tuple(self._decode),
            prefill=tuple(self._prefill),
            running=tuple(self._running),
            cpu=tuple(self._cpu),
        )
