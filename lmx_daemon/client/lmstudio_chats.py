"""LM Studio's chats as chats of lmx: a file `*.conversation.json` to an ImportedChat. Pure.

Each message of LM Studio has versions, of which one is selected: they become branches of the tree. A version of an
answer has steps: thinking, text, calls of tools and their results. Wrong and unknown fields are skipped.
"""

import json
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from lmx_daemon.contract.admin.chat_import import ImportedChat, ImportedMessage
from lmx_daemon.contract.admin.chats import MAX_TEXT, MAX_TITLE, ChatRole, ChatSettings, Figures
from lmx_daemon.contract.generation.requests import Sampling, ToolCall
from lmx_daemon.contract.text import valid_text

SUFFIX = ".conversation.json"
MAX_MESSAGES = 10_000
"""Upper bound on the messages of one chat, all versions together."""
MAX_SYSTEM = 200_000
NOTHING: dict[str, Any] = {}
SAMPLING = {
    "llm.prediction.temperature": "temperature",
    "llm.prediction.topPSampling": "top_p",
    "llm.prediction.topKSampling": "top_k",
    "llm.prediction.minPSampling": "min_p",
    "llm.prediction.repeatPenalty": "repetition_penalty",
}
"""Key of LM Studio -> field of Sampling."""


def chat_of(content: bytes, name: str, folder: str = "") -> ImportedChat:
    """Return the chat in a file with this name. Raises ValueError if it is not a chat of LM Studio."""
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}"[:200]) from None
    if not isinstance(found, dict) or not isinstance(found.get("messages"), list):
        raise ValueError("it has no list of messages")
    messages, leaf = _messages(found["messages"])
    created = _seconds(found.get("createdAt"))
    changed = max(_seconds(found.get(key)) for key in ("assistantLastMessagedAt", "userLastMessagedAt", "createdAt"))
    return ImportedChat(
        messages=messages,
        title=_text(found.get("name"))[:MAX_TITLE].strip(),
        model=_model(found.get("lastUsedModel")) or next((each.model for each in reversed(messages) if each.model), ""),
        settings=_settings(found),
        folder=valid_text(folder)[:64],
        pinned=found.get("pinned") is True,
        leaf=leaf,
        created_at=created,
        changed_at=changed,
        origin=valid_text(f"lmstudio:{name}")[:300],
    )


def _messages(entries: list[Any]) -> tuple[tuple[ImportedMessage, ...], str | None]:
    """Return the messages of all versions, and the last message of the selected ones."""
    made: list[ImportedMessage] = []
    leaf: str | None = None
    for number, entry in enumerate(entries):
        versions = _list(_dict(entry).get("versions"))
        selected = _dict(entry).get("currentlySelected")
        chosen = selected if isinstance(selected, int) and 0 <= selected < len(versions) else len(versions) - 1
        following = leaf
        for index, version in enumerate(versions):
            chain = list(_version(_dict(version), f"{number}.{index}", leaf))[: MAX_MESSAGES - len(made)]
            made += chain
            if index == chosen and chain:
                following = chain[-1].id
        leaf = following
    return tuple(made), leaf


def _version(version: dict[str, Any], name: str, parent: str | None) -> Iterator[ImportedMessage]:
    """Yield the messages of one version, each below the one before it: an answer with tools has several."""
    role = version.get("role")
    if role not in ("user", "assistant", "system"):
        return
    if version.get("type") != "multiStep":
        text = _text_of(_list(version.get("content")))
        if text:
            yield ImportedMessage(id=name, role=role, parent=parent, text=text)
        return
    for number, part in enumerate(_parts([_dict(step) for step in _list(version.get("steps"))], role)):
        made = msgspec.structs.replace(part, id=f"{name}.{number}", parent=parent, model=part.model or _sender(version))
        parent = made.id
        yield made


def _parts(steps: list[dict[str, Any]], role: ChatRole) -> Iterator[ImportedMessage]:
    """Yield the parts of an answer: text with thinking and calls of tools, and the results of tools between them."""
    part = ImportedMessage(id="part", role=role)
    for step in steps:
        if step.get("type") != "contentBlock":
            continue
        blocks, info = _list(step.get("content")), _dict(step.get("genInfo"))
        text = _text_of(blocks)
        kind: Literal["reasoning", "text"] = (
            "reasoning" if _dict(step.get("style")).get("type") == "thinking" else "text"
        )
        results = [block for each in blocks if (block := _dict(each)).get("type") == "toolCallResult"]
        calls = tuple(call for each in blocks if (call := _call(_dict(each))) is not None)
        if results or (part.tool_calls and (text or calls)):
            yield from [part] if _is_filled(part) else []
            part = ImportedMessage(id="part", role=role)
        for result in results:
            yield ImportedMessage(id="part", role="tool", text=_text(result.get("content")))
        if step.get("shouldIncludeInContext") is False and kind == "text" and not calls and not results:
            continue
        changes: dict[str, Any] = {kind: (getattr(part, kind) + text)[:MAX_TEXT]} if not results else {}
        model = _text(info.get("identifier")) or _text(info.get("indexedModelIdentifier")) or part.model
        figures = _figures(_dict(info.get("stats"))) or part.figures
        calls = (*part.tool_calls, *calls)
        part = msgspec.structs.replace(part, **changes, tool_calls=calls, model=model[:200], figures=figures)
    if _is_filled(part):
        yield part


def _is_filled(part: ImportedMessage) -> bool:
    return bool(part.text or part.reasoning or part.tool_calls)


def _call(block: dict[str, Any]) -> ToolCall | None:
    if block.get("type") != "toolCallRequest" or not _text(block.get("name")):
        return None
    parameters = block.get("parameters")
    try:
        arguments = parameters if isinstance(parameters, str) else json.dumps(parameters or {}, ensure_ascii=False)
    except (ValueError, RecursionError):
        arguments = "{}"
    identity = block.get("callId")
    return ToolCall(id=valid_text(str(identity))[:100], name=_text(block["name"])[:200], arguments=_text(arguments))


def _text_of(blocks: list[Any]) -> str:
    """Return the texts of content blocks. An attached file leaves its name."""
    parts = []
    for each in blocks:
        block = _dict(each)
        if block.get("type") == "text":
            parts.append(_text(block.get("text")))
        elif block.get("type") == "file":
            name = _text(block.get("fileIdentifier")) or "unknown"
            parts.append(f"[file that was not imported: {name[:200]}]\n")
    return "".join(parts)[:MAX_TEXT]


def _settings(found: dict[str, Any]) -> ChatSettings:
    fields = {}
    for entry in _list(_dict(found.get("perChatPredictionConfig")).get("fields")):
        if isinstance(key := _dict(entry).get("key"), str):
            fields[key] = _checked(_dict(entry).get("value"))
    system = _text(fields.get("llm.prediction.systemPrompt")) or _text(found.get("systemPrompt"))
    values = {name: fields[key] for key, name in SAMPLING.items() if fields.get(key) is not None}
    sampling = Sampling()
    for name, value in values.items():
        try:
            sampling = msgspec.convert({**msgspec.to_builtins(sampling), name: value}, Sampling)
        except (msgspec.ValidationError, OverflowError):  # a value that lmx does not allow
            continue
    limit = fields.get("llm.prediction.maxPredictedTokens")
    most = limit if isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit < 2**31 else None
    return ChatSettings(system=system[:MAX_SYSTEM] or None, sampling=sampling, max_tokens=most)


def _checked(value: Any) -> Any:
    """Return the value of a setting; None for one with a check mark that is not set."""
    if isinstance(value, dict) and "checked" in value:
        return value.get("value") if value["checked"] is True else None
    return value


def _figures(stats: dict[str, Any]) -> Figures | None:
    names = {"prompt_tokens": "promptTokensCount", "tokens": "predictedTokensCount"}
    times = {"first_token": "timeToFirstTokenSec", "rate": "tokensPerSecond"}
    found: dict[str, Any] = {ours: stats.get(theirs) for ours, theirs in {**names, **times}.items()}
    values = {name: value for name, value in found.items() if isinstance(value, int | float) and 0 <= value < 2**53}
    try:
        return msgspec.convert(values, Figures) if values else None
    except (msgspec.ValidationError, OverflowError):
        return None


def _sender(version: dict[str, Any]) -> str:
    return _text(_dict(version.get("senderInfo")).get("senderName"))[:200]


def _model(value: Any) -> str:
    return (_text(_dict(value).get("identifier")) or _text(_dict(value).get("indexedModelIdentifier")))[:200]


def _seconds(value: Any) -> float:
    """Return a time in milliseconds as seconds; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e14:
        return 0.0
    return value / 1000


def _text(value: Any) -> str:
    return valid_text(value)[:MAX_TEXT] if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else NOTHING


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
