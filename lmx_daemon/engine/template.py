"""The child process that renders chat templates: a program of its own, so that a hostile template costs one child.

stdin and stdout carry JSON with a 4-byte length. It knows neither MLX nor transformers. `TemplateChild` is the worker's
side: it keeps one child alive, and kills it at the deadline.
"""

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from typing import IO, Any

from lmx_daemon.contract.errors import RequestError

LENGTH = struct.Struct(">I")
MAX_TEXT = 64 * 1024 * 1024
START_SECONDS = 20.0
"""How long a child may take to start on a busy machine; the deadline of a rendering begins after it."""


class TemplateChild:
    """Renders templates in a killable child. Not thread-safe: one owner."""

    def __init__(self, seconds: float, memory_bytes: int) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._greeted = False

    def start(self) -> None:
        """Starts the child ahead of its first use, and does not wait for it."""
        if self._process is None or self._process.poll() is not None:
            environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lmx_daemon.engine.template", str(self._seconds), str(self._memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                bufsize=0,
            )
            self._greeted = False

    def render(self, template: str, variables: dict[str, Any]) -> str:
        """The rendered prompt. Raises RequestError where the template refuses, breaks or takes too much."""
        self.start()
        self._wait_for_greeting()
        assert self._process is not None and self._process.stdin is not None
        body = json.dumps({"template": template, "variables": variables}).encode()
        try:
            self._process.stdin.write(LENGTH.pack(len(body)) + body)
            answer = self._read(self._seconds)
        except OSError:
            answer = {}
        if not answer:
            self.close()
            raise RequestError(
                f"the model's chat template took more than {self._seconds:g} s or "
                f"{self._memory_bytes // 2**20} MiB to render",
                param="messages",
                hint="the template, or what it is asked to render, is at fault",
            )
        if "error" in answer:
            raise RequestError(f"the model's chat template refused: {answer['error']}", param="messages")
        text = answer["text"]
        assert isinstance(text, str)
        return text

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def _wait_for_greeting(self) -> None:
        if not self._greeted and self._read(START_SECONDS) is None:
            self.close()  # else its late greeting would be taken for the next one's answer
            raise RequestError("the template renderer did not start", hint="try again; see the log")
        self._greeted = True

    def _read(self, seconds: float) -> dict[str, Any] | None:
        """The next message, or None at the deadline or the child's end."""
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + seconds
        data, wanted = b"", LENGTH.size
        while len(data) < wanted:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([descriptor], [], [], remaining)[0]:
                return None
            part = os.read(descriptor, 1 << 20)
            if not part:
                return None
            data += part
            if wanted == LENGTH.size and len(data) >= LENGTH.size:
                wanted += LENGTH.unpack_from(data)[0]
        message = json.loads(data[LENGTH.size :])
        return message if isinstance(message, dict) else None


# ---- the child -----------------------------------------------------------------------------------------------------


def environment() -> Any:
    """Jinja as transformers sets it up for chat templates, sandboxed."""
    import datetime

    import jinja2
    import jinja2.ext
    import jinja2.sandbox
    from jinja2 import nodes

    class GenerationBlock(jinja2.ext.Extension):
        """`{% generation %}` marks the assistant's words for training; here its body is simply rendered."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        """Return `value` as JSON; the parameters are those of transformers' filter, in its order."""
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = to_json
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return made


def limit_memory(extra: int) -> None:
    """At most `extra` bytes more address space than now. macOS does not enforce it; there the deadline remains."""
    import resource

    try:
        with open("/proc/self/statm") as statm:
            size = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (size + extra, size + extra))


def serve(source: IO[bytes], sink: IO[bytes], seconds: float) -> None:
    made = environment()
    kept: tuple[str, Any] = ("", None)
    _write(sink, {"ready": True})
    while header := source.read(LENGTH.size):
        request = json.loads(source.read(LENGTH.unpack(header)[0]))
        # Should the worker be gone by then, nobody else ends an endless template.
        signal.setitimer(signal.ITIMER_REAL, seconds + 1.0)
        try:
            if kept[0] != request["template"]:
                kept = (request["template"], made.from_string(request["template"]))
            text = kept[1].render(**request["variables"])
            answer = {"text": text} if len(text) <= MAX_TEXT else {"error": "its text is too long"}
        except MemoryError:
            os._exit(1)
        except Exception as error:  # whatever foreign code raises is its answer
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(sink, answer)


def _write(sink: IO[bytes], message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    sink.write(LENGTH.pack(len(body)) + body)
    sink.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    environment().from_string("{{ messages | tojson }}").render(messages=[])  # what jinja loads late is loaded now
    limit_memory(int(sys.argv[2]))
    serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))
