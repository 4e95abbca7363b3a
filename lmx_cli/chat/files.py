"""Files of a conversation: texts that a question includes, and the conversation itself as JSON or Markdown."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmx_daemon.client.conversation import Turn
from lmx_daemon.client.image_files import image_type
from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import ImagePart
from lmx_daemon.contract.units import size
from lmx_daemon.storage.durable import read_regular, write_file
from lmx_daemon.storage.failed_write import failed_write

MAX_BYTES = 20 * 1024 * 1024
"""Largest image in bytes."""
MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Largest text file in bytes."""


def content_of(path: str) -> str | ImagePart:
    """Return the text or the image of a file that a question includes. Raises RequestError."""
    file = Path(path).expanduser()
    try:
        data = read_regular(file, MAX_BYTES, follow=True)
    except OSError as error:
        raise RequestError(
            f"cannot read {file}: {error.strerror or error}",
            hint="name a file: a text, or a PNG, JPEG, GIF or WebP image",
        ) from None
    if (kind := image_type(data)) is not None:
        return ImagePart(data=data, media_type=kind)
    if len(data) > MAX_TEXT_BYTES:
        raise RequestError(f"{file} has {size(len(data))}", hint=f"a text file has at most {size(MAX_TEXT_BYTES)}")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RequestError(
            f"{file} is not UTF-8 text", hint="lmx chat sends text files, and PNG, JPEG, GIF and WebP images"
        ) from None


def with_files(question: str, files: Sequence[tuple[str, str]]) -> str:
    """Return the texts of files, then the question. Each text is below its name, in a fence longer than any in it."""
    return "\n\n".join([*(_fenced(Path(name).name, text) for name, text in files), question])


def _fenced(name: str, text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{name}:\n{fence}\n{text.rstrip()}\n{fence}"


def as_json(turns: Sequence[Turn], system: str | None) -> str:
    """Return a conversation as the `messages` of a chat request."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages.append({"role": "user", "content": _content(turn)})
        if turn.answer is not None and turn.answer.content:
            messages.append({"role": "assistant", "content": turn.answer.content})
    return json.dumps({"messages": messages}, indent=2, ensure_ascii=False) + "\n"


def _content(turn: Turn) -> str | list[dict[str, Any]]:
    """Return the `content` of a question in a chat request: a text, or parts if there are images."""
    if not turn.images:
        return turn.prompt
    urls = (f"data:{each.media_type};base64,{base64.b64encode(each.data).decode()}" for each in turn.images)
    return [*({"type": "image_url", "image_url": {"url": url}} for url in urls), {"type": "text", "text": turn.prompt}]


def as_markdown(turns: Sequence[Turn], system: str | None) -> str:
    """Return a conversation as Markdown."""
    parts = [f"## System\n\n{system}"] if system else []
    for turn in turns:
        parts.append(f"## Question\n\n{turn.prompt}")
        if turn.answer is not None and turn.answer.content:
            parts.append(f"## Answer of {turn.answer.model}\n\n{turn.answer.content}")
    return "\n\n".join(parts) + "\n"


def save(path: str, text: str) -> Path:
    """Write a new file that only its owner can read. Raises RequestError if it exists, DiskError if writing fails."""
    file = Path(path).expanduser().absolute()
    if file.exists():
        raise RequestError(f"{file} exists already", hint="name another file")
    try:
        write_file(file, text.encode(), 0o600)
    except OSError as error:
        raise failed_write(f"cannot write {file}", file, error) from error
    return file
