"""Titles that a chat's own model makes while the machine is idle: the request for one, and its answer. Pure."""

import re

from lmx_daemon.contract.admin.chat_tree import path_to
from lmx_daemon.contract.admin.chats import ChatDetail
from lmx_daemon.contract.generation.requests import MEMORY_ONLY, Chat, Generate, Message, Sampling, TextPart
from lmx_daemon.contract.models import GUIDE

MAX_TOKENS = 24
QUOTED = 1500
"""Number of characters of each message that the request contains."""
MAX_CHARACTERS = 60
WORDS = (
    "Write a title for the conversation below, in its language: at most six words, no quotation marks, no period. "
    "Answer with the title only."
)
THOUGHT = re.compile(r"<think>.*?(</think>|$)", re.DOTALL)


def can_title(model: str) -> bool:
    """Return whether a model can make titles. The guide answers questions about lmx only."""
    return bool(model) and model != GUIDE


def title_request(chat: ChatDetail, request_id: str, model: str) -> Generate | None:
    """Return the request for the title of a chat; None while it has no complete first exchange."""
    path = path_to(chat.messages, chat.leaf)
    user = next((message for message in path if message.role == "user"), None)
    answer = next((message for message in path if message.role == "assistant" and message.text), None)
    if user is None or answer is None or answer.state == "running":
        return None
    text = f"{WORDS}\n\nUser: {user.text[:QUOTED]}\n\nAssistant: {answer.text[:QUOTED]}"
    return Generate(
        id=request_id,
        model=model,
        prompt=Chat(messages=(Message(role="user", content=(TextPart(text=text),)),), thinking=False),
        sampling=Sampling(temperature=0.2),
        max_tokens=MAX_TOKENS,
        client="lmx titles",
        route="/admin/chats/title",
        priority=-10,
        cache_namespace=f"{MEMORY_ONLY}titles",
    )


def title_from(text: str) -> str:
    """Return the title in a model's answer; "" if it has none."""
    lines = [line.strip() for line in THOUGHT.sub("", text).splitlines() if line.strip()]
    if not lines:
        return ""
    words = re.sub(r"^(title|titel)\s*:\s*", "", lines[0], flags=re.IGNORECASE).strip(" \"'*#`“”„«».")
    words = "".join(character if character.isprintable() else " " for character in words)
    return words if len(words) <= MAX_CHARACTERS else words[: MAX_CHARACTERS - 1].rstrip() + "…"
