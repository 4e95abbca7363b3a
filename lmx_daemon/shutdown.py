"""The shutdown of the daemon process, also while a thread waits for a disk that does not answer."""

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from lmx_daemon.library.library import Library
from lmx_daemon.monitor.logs import log

THREADS = "lmx-disk"
"""Name of the threads for disk access of the event loop."""
MAX_THREADS = 16
THREAD_SECONDS = 3.0
"""Maximum time that the shutdown waits for such a thread."""


def disk_threads() -> ThreadPoolExecutor:
    """Return the executor for disk access of the event loop."""
    return ThreadPoolExecutor(MAX_THREADS, THREADS)


async def tidy(library: Library) -> None:
    """Save the state of the library. The wait is bounded, since a disk may not answer."""
    await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(library.tidy))], timeout=THREAD_SECONDS)


async def end_threads(executor: ThreadPoolExecutor, exit_code: int) -> None:
    """Wait for the threads of the event loop's executor, and end the process if one hangs.

    Python and uvloop would wait for such a thread without a limit. Everything else is done by then.
    """
    executor.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + THREAD_SECONDS
    while hanging := [t for t in threading.enumerate() if t.name.startswith(THREADS) and t.is_alive()]:
        if time.monotonic() > deadline:
            log("daemon", "warning", f"stopped; {len(hanging)} threads still wait for a disk")
            logging.shutdown()
            os._exit(exit_code)
        await asyncio.sleep(0.02)
