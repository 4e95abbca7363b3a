"""Families that mlx-lm supports and lmx does not: its parser reads a whole envelope, with a limit on time and text.

lmx has a family for each parser of the mlx-lm that it requires. This is the way of parsers that later versions add.
"""

from typing import Any

from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall, Wait
from lmx_daemon.engines.mlx.text.families.typed import arguments_text


def from_mlx_lm(tokenizer: Any) -> Family | None:
    """Return the family that mlx-lm chose for a tokenizer, or None."""
    start = getattr(tokenizer, "tool_call_start", None)
    if not start:
        return None
    from lmx_daemon.engines.mlx.text.limited_parser import limited  # imports mlx-lm, whose absence is reported later

    parser, end = limited(tokenizer.tool_parser), tokenizer.tool_call_end

    def read(source: CallSource, tools: Tools) -> CallReading:
        text = (yield from source.until((end,), or_end=True))[0] if end else (yield from to_the_end(source))
        try:
            parsed = parser(text, list(tools))
        except Exception as error:  # foreign code, which may raise anything on a model's text
            raise NotACall(type(error).__name__) from error
        for entry in parsed if isinstance(parsed, list) else [parsed]:
            given = entry.get("arguments", {})
            source.call(str(entry["name"]), given if isinstance(given, str) else arguments_text(given), entry.get("id"))
        return None

    structural = tuple(getattr(tokenizer, "structural_markers", None) or ())
    return Family(parser_name(tokenizer), (Envelope(start, read, end or ""),), dropped=structural)


def to_the_end(source: CallSource) -> Wait[str]:
    """Take all text up to the end of the answer."""
    taken = []
    while not (yield from source.at_end()):
        taken.append(source.rest())
        source.skip(len(taken[-1]))
    return "".join(taken)


def parser_name(tokenizer: Any) -> str:
    """Return the name of mlx-lm's parser."""
    return str(getattr(tokenizer.tool_parser, "__module__", "mlx_lm")).rpartition(".")[2]
