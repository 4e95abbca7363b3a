"""The program of the grammar child: it compiles sources of clients, which may take any time and memory.

It imports llguidance, and neither MLX nor transformers. The worker's side is compiler.py.
"""

import json
from typing import Any

import llguidance

from lmx_daemon.engines.mlx.grammar.limits import parser_limits
from lmx_daemon.engines.mlx.grammar.source import JSON_OPTIONS
from lmx_daemon.worker.child_program import run

OPTIONS = '\n%llguidance {"no_forcing": true}\n'
"""The model chooses its tokens itself where the text is determined: forced text would have to be tokenised here. They
follow the source, so that errors have the numbers of its lines, and override its own options."""


def check(request: dict[str, Any]) -> dict[str, Any]:
    """Return the "grammar" of {"kind": ..., "source": ...}, or the reason why it is "invalid"."""
    grammar = lark_of(request["kind"], request["source"]) + OPTIONS
    reason = llguidance.LLMatcher.validate_grammar(grammar, None, limits=parser_limits())
    return {"invalid": reason} if reason else {"grammar": grammar}


def lark_of(kind: str, source: str) -> str:
    """Return a source in Lark's notation."""
    match kind:
        case "json_schema":
            schema = json.loads(source)
            schema["x-guidance"] = JSON_OPTIONS
            return f"start: %json {json.dumps(schema, ensure_ascii=False)}"
        case "regex":
            return f"start: /{llguidance.regex_to_lark(source)}/"
        case _:
            return source


if __name__ == "__main__":
    run(check)
