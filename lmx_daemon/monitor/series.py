"""One sample a second of memory and speed, for the last minutes."""

from collections import deque

from lmx_daemon.contract.types import SERIES_SECONDS, Instance, Series


class SeriesRecorder:
    def __init__(self) -> None:
        self._memory: deque[int] = deque(maxlen=SERIES_SECONDS)
        self._decode: deque[float] = deque(maxlen=SERIES_SECONDS)
        self._prefill: deque[float] = deque(maxlen=SERIES_SECONDS)
        self._running: deque[int] = deque(maxlen=SERIES_SECONDS)

    def sample(self, instances: list[Instance], used: int) -> None:
        """Add one sample. `used` is what all of lmx's processes hold, in bytes."""
        self._memory.append(used)
        self._decode.append(round(sum(instance.decode_rate for instance in instances), 1))
        self._prefill.append(round(sum(instance.prefill_rate for instance in instances), 1))
        self._running.append(sum(instance.running for instance in instances))

    def series(self) -> Series:
        return Series(
            memory=tuple(self._memory),
            decode=tuple(self._decode),
            prefill=tuple(self._prefill),
            running=tuple(self._running),
        )
