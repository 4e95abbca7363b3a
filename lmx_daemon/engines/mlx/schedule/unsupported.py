"""Refusal of request fields that this engine does not support yet. An entry is removed once its field is supported."""

from lmx_daemon.contract.errors import UnsupportedError
from lmx_daemon.contract.requests import Chat, Generate


def check(generate: Generate) -> None:
    """Raise UnsupportedError, which names the field, for a request that this engine cannot serve."""
    prompt = generate.prompt
    if not isinstance(prompt, Chat):
        return
    if prompt.tool_choice.mode in ("auto", "none") and any(tool.strict for tool in prompt.tools):
        raise UnsupportedError("strict tools are supported for calls that tool_choice requires only", param="tools")
