"""The fields of a chat body on reasoning: whether and how long the model thinks, and how its answer names the text."""

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.http.dialects.openai_chat.bodies import MAX_COUNT, ChatBody

THINKING = ("enable_thinking", "thinking", "reasoning")
"""Names of one switch. The engine passes it to a template under the name that the template reads."""
NAME = "reasoning_content"
NAMES = (NAME, "reasoning")
"""Both names of the reasoning in an answer. Most clients read either one; some read both, and would show it twice."""


def reasoning_names(body: ChatBody) -> tuple[str, ...]:
    """Return the names under which the answer has its reasoning; none if the client excludes it.

    The second name is for clients that show by their body that they read it.
    """
    given = body.reasoning
    if body.include_reasoning is False or (given is not None and given.exclude):
        return ()
    reads = body.include_reasoning or given is not None or any(each.reasoning is not None for each in body.messages)
    return NAMES if reads else (NAME,)


def effort(body: ChatBody) -> str | None:
    """Return the effort that the body names, in OpenAI's form or in OpenRouter's."""
    if body.reasoning_effort is None and body.reasoning is not None:
        return body.reasoning.effort
    return body.reasoning_effort


def thinking(body: ChatBody) -> bool | None:
    """Return whether the model should think; None leaves the choice to the template."""
    arguments = body.chat_template_kwargs or {}
    for name in THINKING:
        if name in arguments:
            if not isinstance(arguments[name], bool):
                raise RequestError(f"{name} must be true or false", param=f"chat_template_kwargs.{name}")
            return bool(arguments[name])
    if body.reasoning is not None and body.reasoning.enabled is not None:
        return body.reasoning.enabled
    named = effort(body)
    return None if named is None else named not in ("none", "off")


def thinking_budget(body: ChatBody) -> int | None:
    """Return the limit on tokens of reasoning, from the body or from the template's variables."""
    if body.thinking_budget is not None:
        return body.thinking_budget
    if body.reasoning is not None and body.reasoning.max_tokens is not None:
        return body.reasoning.max_tokens
    given = (body.chat_template_kwargs or {}).get("thinking_budget")
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or not -1 <= given <= MAX_COUNT:
        place = "chat_template_kwargs.thinking_budget"
        raise RequestError(f"{place}: use a number of tokens, or -1 for no limit", param=place)
    return None if given == -1 else given
