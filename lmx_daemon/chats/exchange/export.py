"""A chat as text: its selected branch as Markdown, or the whole tree as JSON, which `import` reads again. Pure."""

import re
import time
from collections.abc import Mapping

import msgspec

from lmx_daemon.contract.admin.chat_import import ImportedChat, ImportedMessage
from lmx_daemon.contract.admin.chat_tree import path_to
from lmx_daemon.contract.admin.chats import Attachment, ChatDetail, ChatExport, ExportForm, StoredMessage

HEADINGS = {"user": "You", "assistant": "Assistant", "system": "System", "tool": "Tool"}


def exported(chat: ChatDetail, files: Mapping[str, tuple[Attachment, ...]], form: ExportForm) -> ChatExport:
    """Return a chat in one of the forms. `files` contains the files by the id of their message."""
    name = re.sub(r"[^\w.-]+", "-", chat.row.name).strip("-.")[:60] or "chat"
    if form == "json":
        text = msgspec.json.format(msgspec.json.encode(as_import(chat, files)), indent=1).decode() + "\n"
        return ChatExport(text=text, name=f"{name}.json")
    return ChatExport(text=markdown(chat), name=f"{name}.md")


def markdown(chat: ChatDetail) -> str:
    """Return the selected branch as Markdown."""
    parts = [f"# {chat.row.name}\n"]
    if chat.settings.system:
        parts.append(f"## System\n\n{chat.settings.system}\n")
    parts += [_section(message) for message in path_to(chat.messages, chat.leaf)]
    return "\n".join(parts)


def as_import(chat: ChatDetail, files: Mapping[str, tuple[Attachment, ...]]) -> ImportedChat:
    """Return the whole chat in the form that an import reads."""
    row = chat.row
    return ImportedChat(
        title=row.title,
        model=row.model,
        settings=chat.settings,
        folder=row.folder,
        tags=row.tags,
        pinned=row.pinned,
        leaf=chat.leaf,
        created_at=row.created_at,
        changed_at=row.changed_at,
        origin=f"lmx:{row.id}",
        messages=tuple(
            ImportedMessage(
                id=message.id,
                role=message.role,
                parent=message.parent,
                text=message.text,
                reasoning=message.reasoning,
                tool_calls=message.tool_calls,
                attachments=files.get(message.id, message.attachments),
                model=message.model,
                figures=message.figures,
                at=message.at,
            )
            for message in chat.messages
        ),
    )


def _section(message: StoredMessage) -> str:
    heading = HEADINGS[message.role]
    about = [message.model] if message.model else []
    if message.at:
        about.append(time.strftime("%Y-%m-%d %H:%M", time.localtime(message.at)))
    lines = [f"## {heading}" + (f" ({', '.join(about)})" if about else ""), ""]
    lines += [f"- file: {file.name} ({file.media_type}, {file.size} bytes)" for file in message.attachments]
    if message.reasoning:
        lines += ["<details><summary>Thinking</summary>", "", message.reasoning.strip(), "", "</details>", ""]
    lines += [f"```json\n{call.name}({call.arguments})\n```" for call in message.tool_calls]
    if message.text:
        lines.append(message.text)
    if message.state not in ("done", "running"):
        lines.append(f"\n*{message.state}*")
    return "\n".join(lines) + "\n"
