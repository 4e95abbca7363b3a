"""Files of a conversation: texts that a question includes, and the conversation itself as JSON or Markdown."""

import json
from collections.abc import Sequence
from pathlib import Path

from lmx_daemon.client.conversation import Turn
from lmx_daemon.contract.errors import RequestError
from lmx_daemon.storage.durable import read_regular, write_file
from lmx_daemon.storage.failed_write import failed_write

MAX_BYTES = 4 * 1024 * 1024


def text_of(path: str) -> str:
    """Return the text of a file that a question includes. Raises RequestError."""
    file = Path(path).expanduser()
    try:
        return read_regular(file, MAX_BYTES, follow=True).decode()
    except UnicodeDecodeError:
        raise RequestError(f"{file} is not a text in UTF-8", hint="lmx chat sends texts only") from None
    except OSError as error:
        raise RequestError(f"cannot read {file}: {error.strerror or error}") from None


def with_files(question: str, files: Sequence[tuple[str, str]]) -> str:
    """Return a question after the texts of files, each below its name."""
    parts = [f"{Path(name).name}:\n```\n{text.rstrip()}\n```" for name, text in files]
    return "\n\n".join([*parts, question])


def as_json(turns: Sequence[Turn], system: str | None) -> str:
    """Return a conversation as the `messages` of a chat request."""
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages.append({"role": "user", "content": turn.prompt})
        if turn.answer is not None and turn.answer.content:
            messages.append({"role": "assistant", "content": turn.answer.content})
    return json.dumps({"messages": messages}, indent=2, ensure_ascii=False) + "\n"


def as_markdown(turns: Sequence[Turn], system: str | None) -> str:
    """Return a conversation for a reader."""
    parts = [f"## System\n\n{system}"] if system else []
    for turn in turns:
        parts.append(f"## Question\n\n{turn.prompt}")
        if turn.answer is not None and turn.answer.content:
            parts.append(f"## Answer of {turn.answer.model}\n\n{turn.answer.content}")
    return "\n\n".join(parts) + "\n"


def save(path: str, text: str) -> Path:
    """Write a new file, readable by its owner only. Raises RequestError for one that exists, DiskError."""
    file = Path(path).expanduser().absolute()
    if file.exists():
        raise RequestError(f"{file} exists", hint="give another name")
    try:
        write_file(file, text.encode(), 0o600)
    except OSError as error:
        raise failed_write(f"cannot write {file}", file, error) from error
    return file
