"""Translation of the body of /v1/responses to `contract.generation.requests.Generate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.constraint import Constraint, JsonSchema
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, Sampling, TextPart
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialects.json_limits import check_json
from lmx_daemon.http.dialects.openai_responses.bodies import Object, ResponsesBody
from lmx_daemon.http.dialects.openai_responses.items import ItemReader
from lmx_daemon.http.dialects.openai_responses.tool_table import ToolTable, choice_of

EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""Efforts that clients name, in the words that chat templates know."""
OFF = ("none", "off")


@dataclass(frozen=True)
class Translated:
    """A request, and what its answer has to know of the body."""

    generate: Generate
    table: ToolTable
    skipped: tuple[str, ...]
    """Types of input items that were skipped."""


def responses_request(
    body: ResponsesBody, model: str, context: RequestContext, earlier: Sequence[Message]
) -> Translated:
    """Return the request, whose conversation continues `earlier`. Raise RequestError that names the field."""
    if body.background:
        raise UnsupportedError("background: responses are not computed in the background", param="background")
    if body.conversation is not None:
        raise UnsupportedError(
            "conversation: conversations are not stored; use previous_response_id", param="conversation"
        )
    messages, table, skipped = conversation(body, earlier)
    choice = choice_of(body.tool_choice, table)
    thinking, arguments = thinking_of(body)
    generate = Generate(
        id=context.id,
        tenant=context.principal.tenant,
        client=context.client,
        user=body.user or body.safety_identifier or "",
        route="/v1/responses",
        model=model,
        preset=body.preset or "",
        prompt=Chat(
            messages=messages,
            tools=table.visible(),
            tool_choice=choice,
            parallel_tool_calls=body.parallel_tool_calls is not False,
            thinking=thinking,
            template_arguments=arguments,
        ),
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p),
        max_tokens=body.max_output_tokens,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        constraint=constraint_of(body),
        deadline=body.deadline,
        priority=context.principal.priority(0),
    )
    return Translated(generate, table, skipped)


def conversation(
    body: ResponsesBody, earlier: Sequence[Message]
) -> tuple[tuple[Message, ...], ToolTable, tuple[str, ...]]:
    """Return the messages, the tools, and the types of the items that were skipped.

    The instructions come first; those of an earlier response do not carry over. An empty input is one empty message,
    since clients load a model with it.
    """
    table = ToolTable()
    table.add(body.tools or [])
    built = ItemReader(table, list(earlier))
    built.extend(items_of(body.input))
    messages = tuple(built.messages)
    if body.instructions:
        messages = (Message(role="system", content=(TextPart(text=body.instructions),)), *messages)
    return messages or (Message(role="user", content=(TextPart(text=""),)),), table, tuple(built.skipped)


def items_of(given: str | Sequence[Object] | None) -> list[Object]:
    """Return the input as items."""
    if given is None or given == "":
        return []
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    return list(given)


def thinking_of(body: ResponsesBody) -> tuple[bool | None, dict[str, Any]]:
    """Return whether the model thinks, and the variables of its template. Raise RequestError for an unknown effort."""
    effort = body.reasoning.effort if body.reasoning is not None else None
    if effort is None:
        return None, {}
    if effort in OFF:
        return False, {}
    if effort not in EFFORTS:
        raise RequestError(
            f"reasoning.effort: {effort[:64]!r} is not known; use none, {', '.join(EFFORTS)}", param="reasoning.effort"
        )
    return True, {"reasoning_effort": EFFORTS[effort]}


def constraint_of(body: ResponsesBody) -> Constraint | None:
    """Return the constraint of `text.format`. Raise RequestError for an unknown form."""
    form = body.text.format if body.text is not None else None
    kind = None if form is None else form.get("type")
    if form is None or kind in (None, "text"):
        return None
    if kind == "json_object":
        return JsonSchema(schema={"type": "object"}, param="text.format")
    schema = form.get("schema")
    if kind != "json_schema" or not isinstance(schema, dict):
        raise RequestError("text.format: use text, json_object, or json_schema with a schema", param="text.format")
    check_json(schema, "text.format.schema")
    return JsonSchema(schema=schema, param="text.format.schema")
