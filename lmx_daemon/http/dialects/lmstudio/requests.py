"""Translation of the body of /api/v1/chat to `contract.generation.requests.Generate`."""

from collections.abc import Sequence

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, Part, Sampling, TextPart
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialects.lmstudio.bodies import LmStudioChatBody, LmStudioInput
from lmx_daemon.http.images.inline import image_of_url


def chat_request(body: LmStudioChatBody, context: RequestContext, earlier: Sequence[Message]) -> Generate:
    """Return the request, whose conversation continues `earlier`. Raise RequestError that names the field."""
    if body.integrations:
        raise UnsupportedError("integrations: plugins and MCP servers are not run by lmx", param="integrations")
    efforts = {} if body.reasoning in (None, "off", "on") else {"reasoning_effort": str(body.reasoning)}
    return Generate(
        id=context.id,
        tenant=context.principal.tenant,
        client=context.client,
        route="/api/v1/chat",
        model=body.model,
        preset=body.preset or "",
        prompt=Chat(
            messages=conversation(body, earlier),
            thinking=None if body.reasoning is None else body.reasoning != "off",
            template_arguments=efforts,  # type: ignore[arg-type]  # texts are a part of the union
        ),
        sampling=Sampling(
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            min_p=body.min_p,
            repetition_penalty=body.repeat_penalty,
        ),
        max_tokens=body.max_output_tokens,
        context_length=body.context_length,
        ttl=body.ttl,
        priority=context.principal.priority(0),
    )


def conversation(body: LmStudioChatBody, earlier: Sequence[Message]) -> tuple[Message, ...]:
    """Return the messages: the system's text, the earlier turns, and the input."""
    turns = tuple(earlier)
    if body.system_prompt is not None:
        system = Message(role="system", content=(TextPart(text=body.system_prompt),))
        turns = (system, *(message for message in turns if message.role != "system"))
    given = [LmStudioInput("text", body.input)] if isinstance(body.input, str) else body.input
    if not given:
        raise RequestError("input is empty", param="input")
    return (*turns, Message(role="user", content=tuple(part_of(index, part) for index, part in enumerate(given))))


def part_of(index: int, given: LmStudioInput) -> Part:
    """Return a part of the user's message. Raise RequestError for one without its content."""
    place = f"input[{index}]"
    if given.type == "image":
        if given.data_url is None:
            raise RequestError(f"{place}: an image needs data_url", param=f"{place}.data_url")
        return image_of_url(given.data_url, f"{place}.data_url")
    if given.content is None:
        raise RequestError(f"{place}: a text needs content", param=f"{place}.content")
    return TextPart(text=given.content)
