"""The program of a killable child: it answers requests until its parent is gone, with limits on time and memory.

stdin and stdout carry JSON with a 4-byte length. The parent's side is killable_child.py.
"""

import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import IO, Any

LENGTH = struct.Struct(">I")
MAX_TEXT = 64 * 1024 * 1024
EXIT_MEMORY = 7
"""Exit code of a child that exceeded the memory limit."""

AnswerRequest = Callable[[dict[str, Any]], dict[str, Any]]
"""Function that returns the answer to one request. Any exception becomes an answer with an "error"."""


def limit_memory(extra: int) -> bool:
    """Limit the address space to `extra` bytes more than now. Return False if the system cannot.

    macOS does not enforce the limit; the parent watches the child's memory there.
    """
    import resource

    try:
        with open("/proc/self/statm") as statm:
            size = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return False
    resource.setrlimit(resource.RLIMIT_AS, (size + extra, size + extra))
    return True


def serve(answer: AnswerRequest, source: IO[bytes], sink: IO[bytes], seconds: float, bounded: bool) -> None:
    """Answer each request on `source`; `bounded` reports whether this process limits its own memory."""
    _write(sink, {"ready": True, "bounded": bounded})
    while header := source.read(LENGTH.size):
        request = json.loads(source.read(LENGTH.unpack(header)[0]))
        # Ends an endless answer if the worker is gone by then.
        signal.setitimer(signal.ITIMER_REAL, seconds + 1.0)
        try:
            answered = answer(request)
        except MemoryError:
            os._exit(EXIT_MEMORY)
        except Exception as error:  # any exception of foreign code becomes the answer
            answered = {"error": f"{type(error).__name__}: {error}"[:2000]}
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(sink, answered)


def run(answer: AnswerRequest) -> None:
    """Run this process as a child. The arguments are seconds for an answer and bytes of memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    bounded = limit_memory(int(sys.argv[2]))
    serve(answer, sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]), bounded)


def _write(sink: IO[bytes], message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    sink.write(LENGTH.pack(len(body)) + body)
    sink.flush()
