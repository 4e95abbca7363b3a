"""Translation of the bodies of Anthropic's routes to `contract.generation.requests`."""

from typing import Any

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.constraint import JsonSchema
from lmx_daemon.contract.generation.requests import Chat, Count, Generate, Sampling
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialects.anthropic.bodies import CountBody, MessagesBody, ThinkingBody
from lmx_daemon.http.dialects.anthropic.messages import conversation
from lmx_daemon.http.dialects.anthropic.tools import is_parallel, tool_choice, tools
from lmx_daemon.http.dialects.ignored import Ignored
from lmx_daemon.http.dialects.json_limits import check_json

MAX_STOPS = 64
MAX_STOP_CHARACTERS = 1000
EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""Names of efforts in the templates of local models."""


def messages_request(body: MessagesBody, context: RequestContext, ignored: Ignored) -> Generate:
    """Return the request. Note what it leaves out in `ignored`. Raise RequestError or UnsupportedError."""
    return Generate(
        id=context.id,
        tenant=context.principal.tenant,
        client=context.client,
        user=(body.metadata and body.metadata.user_id) or "",
        model=body.model,
        preset=body.preset or "",
        prompt=chat(body, ignored),
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p, top_k=body.top_k),
        max_tokens=body.max_tokens,
        stop=stops(body.stop_sequences or []),
        constraint=constraint(body),
        thinking_budget=body.thinking.budget_tokens if body.thinking is not None and thinking(body.thinking) else None,
        priority=context.principal.priority(0),
        route="/v1/messages",
    )


def count_request(body: CountBody, context: RequestContext, ignored: Ignored) -> Count:
    """Return the request for the number of tokens. Raise RequestError or UnsupportedError."""
    return Count(
        id=context.id,
        model=body.model,
        prompt=chat(body, ignored),
        tenant=context.principal.tenant,
        preset=body.preset or "",
    )


def chat(body: CountBody, ignored: Ignored) -> Chat:
    """Return the prompt. Raise RequestError or UnsupportedError that names the field."""
    if body.mcp_servers:
        ignored.note("mcp_servers", str(len(body.mcp_servers)))
    offered = tools(body, ignored)
    messages = conversation(body, ignored)
    return Chat(
        messages=messages,
        tools=offered,
        tool_choice=tool_choice(body, offered, ignored),
        parallel_tool_calls=is_parallel(body),
        continue_last=bool(messages) and messages[-1].role == "assistant",
        thinking=thinking(body.thinking),
        template_arguments=effort(body, ignored),
    )


def thinking(given: ThinkingBody | None) -> bool:
    """Return whether the model thinks. As with Anthropic, it does not unless the request asks for it."""
    return given is not None and given.type != "disabled"


def effort(body: CountBody, ignored: Ignored) -> dict[str, Any]:
    """Return the effort as a variable of the template. An effort of an unknown name is ignored."""
    given = body.output_config and body.output_config.effort
    if not given:
        return {}
    if given not in EFFORTS:
        ignored.note("output_config.effort", given)
        return {}
    return {"reasoning_effort": EFFORTS[given]}


def constraint(body: CountBody) -> JsonSchema | None:
    """Return the schema that the answer has to follow."""
    place = "output_config.format" if body.output_config and body.output_config.format else "output_format"
    given = (body.output_config and body.output_config.format) or body.output_format
    if given is None:
        return None
    check_json(given.schema, f"{place}.schema")
    return JsonSchema(schema=given.schema, param=f"{place}.schema")


def stops(given: list[str]) -> tuple[str, ...]:
    """Return the stop sequences. Raise RequestError for too many, an empty or a long one."""
    if len(given) > MAX_STOPS:
        raise RequestError(f"stop_sequences: at most {MAX_STOPS} texts, not {len(given)}", param="stop_sequences")
    for text in given:
        if not text or len(text) > MAX_STOP_CHARACTERS:
            raise RequestError(
                f"stop_sequences: each text has 1 to {MAX_STOP_CHARACTERS} characters", param="stop_sequences"
            )
    return tuple(given)
