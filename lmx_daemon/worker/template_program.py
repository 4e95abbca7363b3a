"""The program of the template child: a separate process, so that a hostile template costs one child only.

It imports neither MLX nor transformers. The parent's side is template_child.py.
"""

import json
from collections.abc import Callable
from typing import Any

from lmx_daemon.worker.child_program import MAX_TEXT, run


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


def renderer() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function that answers {"template": ..., "variables": ...}. It keeps the last template."""
    made = environment()
    made.from_string("{{ messages | tojson }}").render(messages=[])  # loads the modules that jinja imports late
    kept: tuple[str, Any] = ("", None)

    def render(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal kept
        if kept[0] != request["template"]:
            kept = (request["template"], made.from_string(request["template"]))
        text = kept[1].render(**request["variables"])
        return {"text": text} if len(text) <= MAX_TEXT else {"error": "the rendered text is too long"}

    return render


if __name__ == "__main__":
    run(renderer())
