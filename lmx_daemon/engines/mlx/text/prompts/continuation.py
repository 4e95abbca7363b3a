"""A prompt that ends inside of the assistant's last message, which the answer continues.

The end of that message is marked before rendering, and the rendered text is cut at the mark. A template may write more
behind a message, and may remove white space at its ends, so that its end cannot be computed otherwise.
"""

from typing import Any

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.engines.mlx.text.prompts.thinking import ends_in_thought

MARK = "\uf8fe\uf8ff\uf8fe"
"""Characters of the private use area, which no template changes."""


def opened(message: dict[str, Any]) -> dict[str, Any]:
    """Return the last message with its end marked. Raises RequestError if no answer can continue it."""
    if message["role"] != "assistant" or message.get("tool_calls"):
        raise RequestError(
            "only an assistant message without tool calls can be continued",
            param="messages",
            hint="let the last message be the beginning of the answer",
        )
    if not message["content"] and message.get("reasoning_content"):
        reasoning = message["reasoning_content"] + MARK
        return message | {"reasoning_content": reasoning, "thinking": reasoning, "content": MARK}
    return message | {"content": message["content"] + MARK}


def cut(text: str, message: dict[str, Any], start: str | None, end: str | None) -> tuple[str, bool]:
    """Return the rendered prompt up to the mark, and whether it ends inside a thinking block.

    `message` is the opened one; `start` and `end` are the markers of thinking. Raises UnsupportedError.
    """
    place = text.rfind(MARK)
    if place < 0:
        raise UnsupportedError("the model's chat template cannot continue an assistant message", param="messages")
    begun = message["content"].removesuffix(MARK)
    if not begun and (inside := text.find(MARK)) != place:  # the reasoning is rendered, and continues
        return text[:inside], True
    text = text[:place].replace(MARK, "")
    before = text[: max(text.rfind(begun.strip()), 0)] if begun.strip() else text
    if not start or not end:
        return text, False
    first, last = begun.rfind(start), begun.rfind(end)
    if first < 0 and last < 0:
        return text, ends_in_thought(before, start, end)
    return text, first > last
