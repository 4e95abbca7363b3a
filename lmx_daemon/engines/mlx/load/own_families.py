"""Tool-call families that mlx-lm has no parser for. They are found when a tokenizer is loaded."""

from typing import Any

from lmx_daemon.engines.mlx.load import seed_oss

OWN_FAMILIES = (seed_oss,)
"""Modules with the same three names as those of mlx_lm.tool_parsers."""


def adopt_own_family(tokenizer: Any) -> None:
    """Give mlx-lm's tokenizer wrapper the own family whose marker is in its template, if mlx-lm found no family."""
    template = tokenizer.chat_template
    if tokenizer.has_tool_calling or not isinstance(template, str):
        return
    for family in OWN_FAMILIES:
        if family.tool_call_start in template:
            tokenizer._tool_parser = family.parse_tool_call
            tokenizer._tool_call_start = family.tool_call_start
            tokenizer._tool_call_end = family.tool_call_end
