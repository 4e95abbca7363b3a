"""The program of the template child: a separate process, so that a hostile template costs one child only.

stdin and stdout carry JSON with a 4-byte length. It imports neither MLX nor transformers. The parent's side is
template_child.py.
"""

import json
import os
import signal
import struct
import sys
from typing import IO, Any

LENGTH = struct.Struct(">I")
MAX_TEXT = 64 * 1024 * 1024
EXIT_MEMORY = 7
"""Exit code of a child whose template exceeded the memory limit."""


def environment() -> Any:
    """Return a sandboxed Jinja environment, set up for chat templates as transformers does."""
    import datetime

    import jinja2
    import jinja2.ext
    import jinja2.sandbox
    from jinja2 import nodes

    class GenerationBlock(jinja2.ext.Extension):
        """`{% generation %}`, which marks the assistant's text for training; here its body is rendered."""

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


def serve(source: IO[bytes], sink: IO[bytes], seconds: float, bounded: bool) -> None:
    """Answer each request on `source`; `bounded` reports whether this process limits its own memory."""
    made = environment()
    kept: tuple[str, Any] = ("", None)
    _write(sink, {"ready": True, "bounded": bounded})
    while header := source.read(LENGTH.size):
        request = json.loads(source.read(LENGTH.unpack(header)[0]))
        # Ends an endless template if the worker is gone by then.
        signal.setitimer(signal.ITIMER_REAL, seconds + 1.0)
        try:
            if kept[0] != request["template"]:
                kept = (request["template"], made.from_string(request["template"]))
            text = kept[1].render(**request["variables"])
            answer = {"text": text} if len(text) <= MAX_TEXT else {"error": "its text is too long"}
        except MemoryError:
            os._exit(EXIT_MEMORY)
        except Exception as error:  # any exception of foreign code is the answer
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(sink, answer)


def _write(sink: IO[bytes], message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    sink.write(LENGTH.pack(len(body)) + body)
    sink.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    environment().from_string("{{ messages | tojson }}").render(
        messages=[]
    )  # loads the modules that jinja imports late
    bounded = limit_memory(int(sys.argv[2]))
    serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]), bounded)
