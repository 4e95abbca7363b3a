"""Translation of the bodies of /api/chat and /api/generate to `contract.generation.requests.Generate`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.constraint import Constraint, JsonSchema
from lmx_daemon.contract.generation.requests import (
    Chat,
    Generate,
    Infill,
    Message,
    Part,
    Prompt,
    Role,
    Sampling,
    Text,
    TextPart,
    Tool,
    ToolCall,
)
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialects.durations import keep_alive_seconds
from lmx_daemon.http.dialects.json_limits import check_json
from lmx_daemon.http.dialects.ollama.bodies import (
    OllamaBody,
    OllamaCall,
    OllamaChatBody,
    OllamaGenerateBody,
    OllamaMessage,
    OllamaOptions,
)
from lmx_daemon.http.dialects.ollama.context import unpacked
from lmx_daemon.http.dialects.ollama.names import model_name
from lmx_daemon.http.images.inline import image_of_base64, image_of_url

ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
MAX_LIMIT = 2**53
MAX_STOPS = 64
MAX_STOP_CHARACTERS = 1000


def chat_request(body: OllamaChatBody, context: RequestContext) -> Generate:
    """Return the request. Raise RequestError or UnsupportedError that names the field."""
    thinking, arguments = thinking_of(body.think)
    prompt = Chat(
        messages=tuple(message_of(position, given) for position, given in enumerate(body.messages)),
        tools=tools_of(body),
        thinking=thinking,
        template_arguments=arguments,
    )
    return _generate(body, prompt, context, "/api/chat")


def generate_request(body: OllamaGenerateBody, context: RequestContext) -> Generate:
    """Return the request. Raise RequestError or UnsupportedError that names the field."""
    if body.suffix:
        if body.images or body.context:
            raise RequestError("suffix: images and context cannot be combined with it", param="suffix")
        return _generate(body, Infill(prefix=body.prompt, suffix=body.suffix), context, "/api/generate")
    if body.raw:
        if body.images or body.context:
            raise RequestError("raw: images and context need a template", param="raw")
        return _generate(body, Text(text=body.prompt), context, "/api/generate")
    thinking, arguments = thinking_of(body.think)
    prompt = Chat(messages=conversation(body), thinking=thinking, template_arguments=arguments)
    return _generate(body, prompt, context, "/api/generate")


def conversation(body: OllamaGenerateBody) -> tuple[Message, ...]:
    """Return the messages of /api/generate: those of its context, the system's text, and the prompt."""
    earlier = unpacked(body.context) if body.context else []
    if body.system:
        system = Message(role="system", content=(TextPart(text=body.system),))
        earlier = [system, *(message for message in earlier if message.role != "system")]
    return (*earlier, Message(role="user", content=parts_of(body.prompt, body.images or [], "images")))


def message_of(position: int, given: OllamaMessage) -> Message:
    """Return a message. Raise RequestError for an unknown role."""
    place = f"messages[{position}]"
    if given.role not in ROLES:
        raise RequestError(f"{place}.role: {given.role!r} is not known; use {', '.join(ROLES)}", param=f"{place}.role")
    return Message(
        role=ROLES[given.role],
        content=parts_of(given.content or "", given.images or [], f"{place}.images"),
        reasoning=given.thinking,
        tool_calls=tuple(call_of(f"{place}.tool_calls", call) for call in given.tool_calls or []),
        tool_call_id=given.tool_call_id,
        name=given.tool_name,
    )


def parts_of(text: str, images: Sequence[str], place: str) -> tuple[Part, ...]:
    """Return the parts of a message: its images, then its text."""
    found: list[Part] = [
        image_of_url(image, f"{place}[{index}]")
        if ":" in image[:8]  # no character of base64
        else image_of_base64(image, f"{place}[{index}]")
        for index, image in enumerate(images)
    ]
    return (*found, TextPart(text=text)) if text or not found else tuple(found)


def call_of(place: str, given: OllamaCall) -> ToolCall:
    arguments = given.function.arguments
    if not isinstance(arguments, str):
        check_json(arguments, place)
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCall(id=given.id, name=given.function.name, arguments=arguments)


def tools_of(body: OllamaChatBody) -> tuple[Tool, ...]:
    for position, tool in enumerate(body.tools or []):
        check_json(tool.function.parameters or {}, f"tools[{position}].function.parameters")
    return tuple(
        Tool(
            name=tool.function.name,
            description=tool.function.description or "",
            parameters=tool.function.parameters or {"type": "object", "properties": {}},
        )
        for tool in body.tools or []
    )


def thinking_of(think: bool | str | None) -> tuple[bool | None, dict[str, Any]]:
    """Return whether the model thinks, and the variables of the template. Raise RequestError for an unknown effort."""
    if not isinstance(think, str):
        return think, {}
    if think not in ("low", "medium", "high", "max"):
        raise RequestError(f'think: {think!r} is not known; use true, false, "low", "medium" or "high"', param="think")
    return True, {"reasoning_effort": think}


def constraint_of(form: str | dict[str, Any] | None) -> Constraint | None:
    """Return the constraint of `format`: any JSON object, or a schema."""
    if form is None or form == "":
        return None
    if form == "json":
        return JsonSchema(schema={"type": "object"}, param="format")
    if isinstance(form, str):
        raise RequestError(f'format: {form!r} is not known; use "json" or a JSON schema', param="format")
    check_json(form, "format")
    return JsonSchema(schema=form, param="format")


def sampling_of(options: OllamaOptions) -> Sampling:
    """Return the sampling settings. Raise RequestError that names the option out of range."""
    given = {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": None if options.top_k is None else max(0, options.top_k),
        "min_p": options.min_p,
        # Ollama's clients send -1 for a random seed.
        "seed": None if options.seed is None or options.seed < 0 else options.seed % 2**63,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
        "repetition_penalty": options.repeat_penalty or None,
    }
    for name, value in given.items():
        if value is None:
            continue
        try:
            msgspec.convert({name: value}, Sampling)
        except msgspec.ValidationError as error:
            option = "repeat_penalty" if name == "repetition_penalty" else name
            reason = str(error).partition(" - at ")[0]
            raise RequestError(f"options.{option}: {reason}", param=f"options.{option}") from None
    return Sampling(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def limit_of(options: OllamaOptions) -> int | None:
    """Return the limit on tokens. -1 and -2 mean no limit, as in Ollama. Raise RequestError out of range."""
    given = options.num_predict
    if given is not None and (given == 0 or not -2 <= given <= MAX_LIMIT):
        raise RequestError("options.num_predict: use 1 or more, or -1 for no limit", param="options.num_predict")
    return None if given is None or given < 0 else given


def stops_of(stop: str | list[str] | None) -> tuple[str, ...]:
    found = tuple(text for text in ([stop] if isinstance(stop, str) else stop or []) if text)
    if len(found) > MAX_STOPS or any(len(text) > MAX_STOP_CHARACTERS for text in found):
        raise RequestError(
            f"options.stop: at most {MAX_STOPS} strings of {MAX_STOP_CHARACTERS} characters", param="options.stop"
        )
    return found


def _generate(body: OllamaBody, prompt: Prompt, context: RequestContext, route: str) -> Generate:
    options = body.options or OllamaOptions()
    return Generate(
        id=context.id,
        tenant=context.principal.tenant,
        client=context.client,
        route=route,
        model=model_name(body.model),
        preset=body.preset or "",
        prompt=prompt,
        sampling=sampling_of(options),
        max_tokens=limit_of(options),
        stop=stops_of(options.stop),
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        constraint=constraint_of(body.format),
        ttl=None if body.keep_alive is None else keep_alive_seconds(body.keep_alive),
        priority=context.principal.priority(0),
    )
