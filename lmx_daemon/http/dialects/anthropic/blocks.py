"""Blocks of content and the parts of messages that they become. Types without use for a local model are ignored."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.requests import ImagePart, Part, TextPart
from lmx_daemon.http.decoding import convert
from lmx_daemon.http.dialects.anthropic.bodies import Blocks
from lmx_daemon.http.dialects.ignored import Ignored
from lmx_daemon.http.images.inline import image_of_base64, image_of_url


class TextBlock(msgspec.Struct, frozen=True):
    """Text."""

    text: str


class Base64Source(msgspec.Struct, frozen=True, tag="base64"):
    """Bytes of an image or a PDF file."""

    data: str


class TextSource(msgspec.Struct, frozen=True, tag="text"):
    """Text of a document."""

    data: str


class ContentSource(msgspec.Struct, frozen=True, tag="content"):
    """Content of a document, as text or as blocks."""

    content: str | Blocks


class UrlSource(msgspec.Struct, frozen=True, tag="url"):
    """Address of an image or a document. Documents are never fetched."""

    url: str


class FileSource(msgspec.Struct, frozen=True, tag="file"):
    """Id of a file that was sent to Anthropic before."""


class ImageBlock(msgspec.Struct, frozen=True):
    """Image."""

    source: Base64Source | UrlSource | FileSource


class DocumentBlock(msgspec.Struct, frozen=True):
    """Document."""

    source: Base64Source | TextSource | ContentSource | UrlSource | FileSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(msgspec.Struct, frozen=True):
    """Result of a search that the client ran."""

    source: str
    title: str
    content: Blocks


class ToolReferenceBlock(msgspec.Struct, frozen=True):
    """Name of a tool that a search for tools has found."""

    tool_name: str


class ToolUseBlock(msgspec.Struct, frozen=True):
    """Tool call of the model."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(msgspec.Struct, frozen=True):
    """Result of a tool call."""

    tool_use_id: str
    content: str | Blocks | None = None
    is_error: bool | None = None


class ThinkingBlock(msgspec.Struct, frozen=True):
    """Reasoning of an earlier answer. Its signature is not checked."""

    thinking: str


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ToolReferenceBlock
    | ToolUseBlock
    | ToolResultBlock
    | ThinkingBlock
)
TYPES: dict[str, type[Block]] = {
    "text": TextBlock,
    "image": ImageBlock,
    "document": DocumentBlock,
    "search_result": SearchResultBlock,
    "tool_reference": ToolReferenceBlock,
    "tool_use": ToolUseBlock,
    "tool_result": ToolResultBlock,
    "thinking": ThinkingBlock,
}
Container = Literal["user", "assistant", "system", "tool result", "document"]
"""Where a block is: in the message of a role, in the result of a tool call, or in a document."""
ALLOWED: dict[Container, tuple[type[Block], ...]] = {
    "user": (TextBlock, ImageBlock, DocumentBlock, SearchResultBlock, ToolReferenceBlock, ToolResultBlock),
    "assistant": (TextBlock, ThinkingBlock, ToolUseBlock),
    "system": (TextBlock,),
    "document": (TextBlock,),
    "tool result": (TextBlock, ImageBlock, DocumentBlock, SearchResultBlock, ToolReferenceBlock),
}


def blocks_of(
    content: str | Blocks | None, container: Container, place: str, ignored: Ignored
) -> list[tuple[str, Block]]:
    """Return the blocks of a content that lmx reads, each with its place. Raise RequestError for a wrong one."""
    if content is None or isinstance(content, str):
        return [(place, TextBlock(content))] if content else []
    found = []
    for position, given in enumerate(content):
        where = f"{place}[{position}]"
        kind = given.get("type")
        if not isinstance(kind, str):
            raise RequestError(f"{where}: a block needs a type, a text", param=f"{where}.type")
        if kind not in TYPES:
            ignored.note(where, kind)
            continue
        block: Block = convert(given, TYPES[kind], where)
        if not isinstance(block, ALLOWED[container]):
            raise RequestError(f"{where}: a block of type {kind!r} is not allowed here", param=f"{where}.type")
        found.append((where, block))
    return found


def parts_of(blocks: Sequence[tuple[str, Block]], ignored: Ignored) -> tuple[Part, ...]:
    """Return the parts of a user's message or of a tool's result. A newline separates texts that follow each other."""
    parts: list[Part] = []
    for place, block in blocks:
        part = part_of(block, place, ignored)
        if isinstance(part, ImagePart):
            parts.append(part)
        elif part and parts and isinstance(last := parts[-1], TextPart):
            parts[-1] = TextPart(text=f"{last.text}\n{part}")
        elif part:
            parts.append(TextPart(text=part))
    return tuple(parts)


def part_of(block: Block, place: str, ignored: Ignored) -> str | ImagePart:
    """Return the text or the image of a block."""
    match block:
        case TextBlock(text=text):
            return text
        case ImageBlock(source=Base64Source(data=data)):
            return image_of_base64(data, f"{place}.source.data")
        case ImageBlock(source=UrlSource(url=url)):
            return image_of_url(url, f"{place}.source.url")
        case ImageBlock():
            raise UnsupportedError(
                f"{place}.source: only images of type 'base64' or 'url' are accepted",
                param=f"{place}.source",
                hint='send the image itself: {"type": "base64", "media_type": "image/png", "data": "..."}',
            )
        case DocumentBlock():
            return document(block, place, ignored)
        case SearchResultBlock(source=source, title=title, content=content):
            inner = parts_of(blocks_of(content, "document", f"{place}.content", ignored), ignored)
            return titled("search_result", f"{title} ({source})", inner)
        case ToolReferenceBlock(tool_name=name):
            return f"The tool {name} is available."
        case _:
            raise AssertionError(block)


def document(block: DocumentBlock, place: str, ignored: Ignored) -> str:
    """Return a document as text between tags. Raise UnsupportedError for a file that lmx cannot read."""
    match block.source:
        case TextSource(data=text):
            inner: tuple[Part, ...] = (TextPart(text=text),)
        case ContentSource(content=content):
            inner = parts_of(blocks_of(content, "document", f"{place}.source.content", ignored), ignored)
        case _:
            raise UnsupportedError(
                f"{place}.source: only documents of type 'text' or 'content' are accepted; PDF files are not read, "
                "addresses are not fetched",
                param=f"{place}.source",
                hint="send the document's text",
            )
    heading = " - ".join(text for text in (block.title, block.context) if text)
    return titled("document", heading, inner)


def titled(tag: str, title: str, parts: Sequence[Part]) -> str:
    """Return text between tags, under its title."""
    lines = [title] if title else []
    return "\n".join([f"<{tag}>", *lines, *(part.text for part in parts if isinstance(part, TextPart)), f"</{tag}>"])
