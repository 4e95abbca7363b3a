"""The end of the daemon's process where a thread waits for a disk that does not answer."""

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from lmx_daemon.library.library import Library
from lmx_daemon.monitor.logs import log

THREADS = "lmx-disk"
"""Name of the threads in which the loop lets the disk be read."""
MAX_THREADS = 16
THREAD_SECONDS = 3.0
"""Longest time that the daemon's end waits for such a thread."""


def disk_threads() -> ThreadPoolExecutor:
    """Return the executor in which the loop lets the disk be read."""
    return ThreadPoolExecutor(MAX_THREADS, THREADS)


async def tidy(library: Library) -> None:
    """Save what the library has noted. A disk that does not answer must not hold up the daemon's end."""
    await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(library.tidy))], timeout=THREAD_SECONDS)


async def end_threads(executor: ThreadPoolExecutor, exit_code: int) -> None:
    """Wait for the threads of the loop's executor, then end the process at once where one hangs in a disk: Python and
    uvloop would wait for it without limit. Everything else is done by then."""
    executor.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + THREAD_SECONDS
    while hanging := [t for t in threading.enumerate() if t.name.startswith(THREADS) and t.is_alive()]:
        if time.monotonic() > deadline:
            log("daemon", "warning", f"stopped; {len(hanging)} threads still wait for a disk")
            logging.shutdown()
            os._exit(exit_code)
        await asyncio.sleep(0.02)
