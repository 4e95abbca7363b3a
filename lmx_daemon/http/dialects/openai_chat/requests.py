"""Translation of the bodies of the OpenAI routes to `contract.generation.requests.Generate`."""

from typing import Any

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import (
    MEMORY_ONLY,
    Chat,
    Generate,
    Message,
    Prompt,
    Sampling,
)
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialects.durations import keep_alive_seconds
from lmx_daemon.http.dialects.json_limits import check_integer
from lmx_daemon.http.dialects.openai_chat.bodies import (
    MAX_PARTS,
    MAX_TOKEN,
    Body,
    ChatBody,
)
from lmx_daemon.http.dialects.openai_chat.constraints import constraint
from lmx_daemon.http.dialects.openai_chat.messages import message
from lmx_daemon.http.dialects.openai_chat.reasoning import THINKING, effort, thinking, thinking_budget
from lmx_daemon.http.dialects.openai_chat.tools import tools

MAX_STOPS = 64
MAX_STOP_CHARACTERS = 1000
TEMPLATE_ARGUMENTS = frozenset({*THINKING, "reasoning_effort", "preserve_thinking", "thinking_budget"})


def chat_request(body: ChatBody, context: RequestContext) -> Generate:
    """Return the request. Raise RequestError or UnsupportedError that names the field."""
    if body.top_logprobs is not None and not body.logprobs:
        raise RequestError("top_logprobs needs logprobs to be true", param="top_logprobs")
    check_counts(body)
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    messages = tuple(message(position, given) for position, given in enumerate(body.messages))
    offered, rule = tools(body)
    most = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    name = "max_completion_tokens" if body.max_completion_tokens is not None else "max_tokens"
    return generate(
        body,
        Chat(
            messages=messages,
            tools=offered,
            tool_choice=rule,
            continue_last=continues(body, messages[-1]),
            parallel_tool_calls=body.parallel_tool_calls is not False,
            thinking=thinking(body),
            template_arguments=template_arguments(body),
        ),
        context,
        max_tokens=limit(most, name),
        top_logprobs=logprobs,
        thinking_budget=thinking_budget(body),
        constraint=constraint(body, body.response_format),
        route="/v1/chat/completions",
    )


def continues(body: ChatBody, last: Message) -> bool:
    """Return whether the answer continues the last message: it is the beginning of an assistant's."""
    begun = last.role == "assistant" and bool(last.text or last.reasoning) and not last.tool_calls
    if body.continue_final_message and not begun:
        raise RequestError(
            "continue_final_message: the last message has to be the assistant's, with content and without calls",
            param="continue_final_message",
        )
    return begun and body.continue_final_message is not False


def check_counts(body: ChatBody) -> None:
    """Raise RequestError for more content parts or tool calls than the limit."""
    parts = sum(len(given.content) for given in body.messages if isinstance(given.content, list))
    calls = sum(len(given.tool_calls or ()) for given in body.messages)
    for name, count in (("content parts", parts), ("tool calls", calls)):
        if count > MAX_PARTS:
            raise RequestError(f"messages: {count} {name} in all; at most {MAX_PARTS} are allowed", param="messages")


def generate(body: Body, prompt: Prompt, context: RequestContext, **fields: Any) -> Generate:
    """Return the request with the fields that both routes have. Tenant and priority are the principal's."""
    return Generate(
        id=context.id,
        tenant=context.principal.tenant,
        client=context.client,
        user=body.user or "",
        model=body.model,
        prompt=prompt,
        sampling=sampling(body),
        stop=stops(body.stop),
        stop_tokens=tuple(body.stop_token_ids or ()),
        choices=body.n or 1,
        ttl=time_to_live(body),
        deadline=body.deadline,
        queue_deadline=body.queue_deadline,
        priority=context.principal.priority(body.priority or 0),
        overflow=body.overflow,
        preset=body.preset or "",
        cache_namespace=(MEMORY_ONLY if body.cache_on_disk is False else "") + (body.cache_namespace or ""),
        **fields,
    )


def time_to_live(body: Body) -> float | None:
    """Return the idle seconds after which a model that this request loads is unloaded.

    -1 means never, None means the value of the settings. Raise RequestError for an unknown form.
    """
    given = body.keep_alive
    if body.ttl is not None or given is None:
        return body.ttl
    return keep_alive_seconds(given)


def sampling(body: Body) -> Sampling:
    repetition = body.repetition_penalty or body.repeat_penalty
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=None if body.top_k is None else max(0, body.top_k),
        min_p=body.min_p,
        seed=None if body.seed is None else body.seed % 2**63,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repetition_penalty=repetition,
        logit_bias=biases(body.logit_bias or {}),
    )


def biases(given: dict[str, float]) -> dict[int, float]:
    for token in given:
        if not (token.isascii() and token.isdigit() and len(token) <= 10 and int(token) <= MAX_TOKEN):
            raise RequestError("logit_bias: the names must be token ids", param="logit_bias")
    return {int(token): value for token, value in given.items()}


def stops(given: str | list[str] | None) -> tuple[str, ...]:
    found = [given] if isinstance(given, str) else given or []
    if len(found) > MAX_STOPS:
        raise RequestError(f"stop: at most {MAX_STOPS} strings, not {len(found)}", param="stop")
    for text in found:
        if not text or len(text) > MAX_STOP_CHARACTERS:
            raise RequestError(f"stop: each string has 1 to {MAX_STOP_CHARACTERS} characters", param="stop")
    return tuple(found)


def limit(given: int | None, name: str, default: int | None = None) -> int | None:
    """Return the limit on tokens. -1, as LM Studio has it, means no limit. Raise RequestError for 0."""
    if given == 0:
        raise RequestError(f"{name} must be at least 1 (or -1 for no limit)", param=name)
    if given is None:
        return default
    return None if given == -1 else given


def template_arguments(body: ChatBody) -> dict[str, Any]:
    """Return the variables for the template. No other part of a request reaches it."""
    given = body.chat_template_kwargs or {}
    unknown = sorted(given.keys() - TEMPLATE_ARGUMENTS)
    if unknown:
        raise RequestError(
            f"chat_template_kwargs: {unknown[0]!r} is not allowed; allowed: {', '.join(sorted(TEMPLATE_ARGUMENTS))}",
            param=f"chat_template_kwargs.{unknown[0]}",
        )
    kept = {name: value for name, value in given.items() if name not in THINKING and value is not None}
    for name, value in kept.items():
        if not isinstance(value, str | int | float | bool):
            place = f"chat_template_kwargs.{name}"
            raise RequestError(f"{place} must be a text, a number, true or false", param=place)
        if isinstance(value, int):
            check_integer(value, f"chat_template_kwargs.{name}")
    if (named := effort(body)) is not None:
        kept["reasoning_effort"] = named
    return kept
