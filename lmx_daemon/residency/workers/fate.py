"""The reason for the end of a worker's process, from its exit code and the end of its output. Pure."""

import re
import signal

from lmx_daemon.contract.errors import LmxError, OutOfMemoryError, WorkerError
from lmx_daemon.contract.worker.messages import LAST_WORDS

GPU_MEMORY = re.compile(r"\[METAL\].*(?:Insufficient Memory|kIOGPUCommandBufferCallbackErrorOutOfMemory).*")
"""Words that Metal prints before it aborts a process because memory ran out."""
REASON = re.compile(rf"^{re.escape(LAST_WORDS)}(.+)$", re.MULTILINE)
"""Line in which a worker gives the reason for its end."""
MAX_REASON = 500
"""Maximum number of characters of a reason."""


def fate_of(code: int, printed: str, *, oom_killed: bool = False) -> LmxError:
    """Return the error of a worker that ended with `code`.

    `printed` is the end of its stdout and stderr. `oom_killed` is whether there was an OOM kill at that time.
    """
    if code == -signal.SIGKILL and oom_killed:
        return OutOfMemoryError(
            "the system had no memory left and killed the model's process",
            hint="try again: the next load plans smaller; or lower [engine] memory, or use a shorter context or a "
            "smaller model",
        )
    if code == -signal.SIGABRT and (found := GPU_MEMORY.search(printed)):
        return OutOfMemoryError(
            f"out of GPU memory: {found[0].strip()[:MAX_REASON]}",
            hint="try again: the next load plans smaller; or use a shorter context, or a smaller model",
        )
    if code > 0 and (reasons := REASON.findall(printed)):
        return WorkerError(
            f"the model's process failed: {reasons[-1].strip()[:MAX_REASON]}", hint="try again; see the log"
        )
    if code == 0:  # a worker ends in order after SIGTERM, or when its socket closes
        return WorkerError("the model's process was ended from outside (exit code 0)", hint="try again; see the log")
    how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    return WorkerError(f"the model's process {how}", hint="try again; see the log")


def signal_name(number: int) -> str:
    """Return the name of a signal. Real-time signals have only numbers."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
