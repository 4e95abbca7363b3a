"""The values of a preset, applied to the fields that a request does not set. Pure.

A value in the request wins. The tool choice "auto" counts as not set, since agents send it with each request.
"""

from typing import TypeVar

import msgspec

from lmx_daemon.contract.generation.preset import Preset
from lmx_daemon.contract.generation.requests import (
    Chat,
    Count,
    Decide,
    Generate,
    Message,
    Sampling,
    TextPart,
    ToolChoice,
)

A = TypeVar("A", bound=Generate | Decide | Count)


def with_preset(request: A, preset: Preset) -> A:
    """Return the request with the preset's values."""
    if isinstance(request.prompt, Chat):
        request = msgspec.structs.replace(request, prompt=_prompt(request.prompt, preset))
    if isinstance(request, Generate):
        request = msgspec.structs.replace(
            request,
            sampling=_sampling(request.sampling, preset),
            max_tokens=preset.max_tokens if request.max_tokens is None else request.max_tokens,
            stop=request.stop or preset.stop,
            thinking_budget=preset.thinking_budget if request.thinking_budget is None else request.thinking_budget,
            overflow=preset.overflow if request.overflow is None else request.overflow,
        )
    if isinstance(request, Decide) and request.overflow is None:
        request = msgspec.structs.replace(request, overflow=preset.overflow)
    return request


def _prompt(chat: Chat, preset: Preset) -> Chat:
    messages = chat.messages
    if preset.system and not any(message.role == "system" for message in messages[:1]):
        messages = (Message(role="system", content=(TextPart(text=preset.system),)), *messages)
    choice, parallel = chat.tool_choice, chat.parallel_tool_calls
    if chat.tools and choice == ToolChoice() and preset.tools.choice is not None:
        choice = ToolChoice(mode=preset.tools.choice)
    if parallel and preset.tools.parallel is False:
        parallel = False
    variables = {name: value for name, value in msgspec.structs.asdict(preset.template).items() if value is not None}
    return msgspec.structs.replace(
        chat,
        messages=messages,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        thinking=preset.thinking if chat.thinking is None else chat.thinking,
        template_arguments=variables | chat.template_arguments,
    )


def _sampling(sampling: Sampling, preset: Preset) -> Sampling:
    missing = {
        name: value
        for name, value in msgspec.structs.asdict(preset.sampling).items()
        if value is not None and getattr(sampling, name) is None
    }
    return msgspec.structs.replace(sampling, **missing)
