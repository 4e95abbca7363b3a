"""The request for the next answer of a chat, from the messages of its branch. Pure."""

from collections.abc import Mapping, Sequence

from lmx_daemon.contract.admin.chats import Attachment, ChatSettings, StoredMessage
from lmx_daemon.contract.generation.requests import Chat, Generate, ImagePart, Message, Part, TextPart

ROUTE = "/admin/chats"
Files = Mapping[str, tuple[Attachment, ...]]
"""Id of a message -> its files with their contents."""


def request_for(
    path: Sequence[StoredMessage],
    files: Files,
    settings: ChatSettings,
    *,
    request_id: str,
    model: str,
    tenant: str,
    client: str,
    continues: bool = False,
) -> Generate:
    """Return the request for the answer to the last message of `path`, or, with `continues`, for the rest of it."""
    return Generate(
        id=request_id,
        model=model,
        prompt=Chat(
            messages=messages_of(path, files, settings.system, continues=continues),
            thinking=settings.thinking,
            continue_last=continues,
        ),
        sampling=settings.sampling,
        max_tokens=settings.max_tokens,
        stop=settings.stop,
        preset=settings.preset,
        tenant=tenant,
        client=client,
        route=ROUTE,
    )


def messages_of(
    path: Sequence[StoredMessage], files: Files, system: str | None, *, continues: bool = False
) -> tuple[Message, ...]:
    """Return the messages to send: without prompts that have no answer, and without reasoning, which uses context."""
    messages = [Message(role="system", content=(TextPart(text=system),))] if system else []
    called: set[str] = set()
    for place, message in enumerate(path):
        following = path[place + 1] if place + 1 < len(path) else None
        if message.role == "user" and following is not None and _is_empty(following):
            continue  # a prompt that was too long would make the next request fail, too
        if _is_empty(message) or (message.role == "tool" and not called):
            continue
        keeps_calls = following is not None and following.role == "tool"
        called = {call.id for call in message.tool_calls} if message.role == "assistant" else called
        messages.append(
            Message(
                role=message.role,
                content=_parts(message, files.get(message.id, ())),
                tool_calls=message.tool_calls if keeps_calls else (),
                reasoning=message.reasoning or None if continues and following is None else None,
            )
        )
    return tuple(messages)


def _is_empty(message: StoredMessage) -> bool:
    return message.role == "assistant" and not message.text and not message.tool_calls


def _parts(message: StoredMessage, files: Sequence[Attachment]) -> tuple[Part, ...]:
    """Return the content of a message: its files first, since a question refers to what stands before it."""
    parts: list[Part] = [
        ImagePart(data=file.data, media_type=file.media_type) for file in files if file.is_image and file.data
    ]
    texts = [_quoted(file) for file in files if not file.is_image]
    return (*parts, TextPart(text="\n\n".join([*texts, message.text] if message.text else texts)))


def _quoted(file: Attachment) -> str:
    """Return a text file in a fence that is longer than any fence in it."""
    text = file.data.decode("utf-8", "replace")
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{file.name}:\n{fence}\n{text.rstrip()}\n{fence}"
