"""Control tokens in the texts of users and tools: broken apart before rendering and encoded as plain text.

A template writes control tokens (marks of turns, of thinking, of calls) as text, and the tokenizer turns that text into
tokens. The same text in a user's message or a tool's result would open a turn too. A separator, a character that the
prompt does not contain otherwise, is put behind the first character of each such text. The rendered prompt is encoded
piece by piece between the separators: no piece contains the text of a control token that came from outside.

Template text, system and assistant messages keep their control tokens. It imports neither MLX nor Jinja.
"""

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import PreTokenizedString, Regex

from lmx_daemon.contract.errors import RequestError

UNTRUSTED = ("user", "tool")
"""Roles whose texts come from outside: a user's text, a page that a tool has read."""
FIELDS = ("content", "name")
LONGEST = 64
"""Characters of a control token that are compared: enough to find any, and a bound on the depth of the pattern."""
SEPARATORS = range(0xE000, 0xF900)
"""The private use area: no tokenizer gives these characters a meaning, and no filter of a template changes them."""
ESCAPES = re.compile(r"\\u(e[0-9a-f]{3}|f[0-8][0-9a-f]{2})")
"""Separators as a filter that escapes non-ASCII characters would write them."""
NEVER = "(?!)"
"""A pattern that matches nothing."""
ANCHOR = "\n"
"""Pieces are encoded after it, since SentencePiece adds a space at the beginning of a text."""


class ControlTokens:
    """The control tokens of one model. Owned by the prompt thread."""

    def __init__(self, tokenizer: Any, template: str | None) -> None:
        """`template`: source text that names non-special control tokens; None takes every added token for one."""
        found = control_tokens(tokenizer, template)
        self._template = template or ""
        self._encode = tokenizer.encode
        self._pattern = _pattern_of(found)
        self._normalizer: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
        self._normalized = _pattern_of(text for text, normalized in found.items() if normalized)
        self._anchor: list[int] = list(tokenizer.encode(ANCHOR, add_special_tokens=False))

    def mark(self, variables: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Return the template's variables with separated control tokens, and the separator.

        If the texts of users and tools contain no control token, the variables are the same object and the separator
        is empty.
        """
        words = [m[f] for m in variables["messages"] if m["role"] in UNTRUSTED for f in FIELDS if m.get(f)]
        if not any(self._starts(text) for text in words):
            return variables, ""
        separator = _separator(json.dumps(variables, ensure_ascii=False) + self._template)
        messages = [
            message | {field: self._separated(message[field], separator) for field in FIELDS if message.get(field)}
            if message["role"] in UNTRUSTED
            else message
            for message in variables["messages"]
        ]
        return variables | {"messages": messages}, separator

    def encode(self, text: str, separator: str, most: int) -> list[int]:
        """Return the tokens of a rendered prompt with separators; only its first ones if there are more than `most`."""
        first, *pieces = re.split(f"{separator}|{re.escape(_escaped(separator))}", text)
        tokens = list(self._encode(first, add_special_tokens=False))
        for piece in pieces:
            if len(tokens) > most:
                break
            tokens += self._encode_after(piece)
        return tokens

    def _encode_after(self, piece: str) -> list[int]:
        tokens = list(self._encode(ANCHOR + piece, add_special_tokens=False))
        if tokens[: len(self._anchor)] == self._anchor:
            return tokens[len(self._anchor) :]
        return list(self._encode(piece, add_special_tokens=False))

    def _separated(self, text: str, separator: str) -> str:
        edges = [0, *self._starts(text), len(text)]
        return separator.join(text[start:end] for start, end in itertools.pairwise(edges))

    def _starts(self, text: str) -> list[int]:
        """Return the places in `text` where a control token is to be broken, in order."""
        places = set()
        found = self._pattern.search(text)
        while found is not None:  # the next search begins inside the token: others may overlap with it
            places.add(found.start() + 1)
            found = self._pattern.search(text, found.start() + 1)
        if self._normalizer is not None and self._normalized.pattern != NEVER:
            places |= self._starts_normalized(text)
        return sorted(places)

    def _starts_normalized(self, text: str) -> set[int]:
        """Return the places of control tokens that appear once the tokenizer has normalized `text`.

        Some are matched only then: a full-width letter, for example, becomes a plain one.
        """
        normal = self._normalizer.normalize_str(text)
        if normal == text or self._normalized.search(normal) is None:
            return set()
        aligned = PreTokenizedString(text)
        aligned.normalize(self._normalizer.normalize)
        aligned.split(lambda _, part: part.split(Regex("(?m)."), "isolated"))
        letters = aligned.get_splits("original", "char")
        normal, origins = "".join(letter for letter, _, _ in letters), [span[0] for _, span, _ in letters]
        places = set()
        found = self._normalized.search(normal)
        while found is not None:
            inside = (place for place in origins[found.start() + 1 : found.end()] if place > origins[found.start()])
            places.update(list(inside)[:1])
            found = self._normalized.search(normal, found.start() + 1)
        return places


def control_tokens(tokenizer: Any, template: str | None) -> dict[str, bool]:
    """Return the texts of the tokenizer's control tokens, and whether each is matched in normalized text.

    These are its special tokens, and added ones that the template or mlx-lm's parsers use as markers. Other added
    tokens are words: runs of spaces, HTML tags. White space and single characters never count.
    """
    markers = {getattr(tokenizer, name, None) for name in ("think_start", "think_end")}
    markers |= {getattr(tokenizer, name, None) for name in ("tool_call_start", "tool_call_end")}
    markers |= set(getattr(tokenizer, "structural_markers", None) or ())
    found = {}
    for token in tokenizer.added_tokens_decoder.values():
        text = token.content
        if len(text) < 2 or text.isspace():
            continue
        if token.special or template is None or text in markers or (len(text) > 2 and text in template):
            found[text] = bool(token.normalized)
    return found


def control_ids(tokenizer: Any, template: str | None, size: int) -> dict[str, int]:
    """Return the ids of the control tokens by their texts, for a model whose logits have `size` entries."""
    control = control_tokens(tokenizer, template)
    added = tokenizer.added_tokens_decoder.items()
    return {entry.content: token for token, entry in added if entry.content in control and token < size}


def template_text(tokenizer: Any) -> str:
    """Return the texts of the model's chat templates; "" if the template is code or is missing."""
    template = getattr(tokenizer, "chat_template", None)
    return "\n".join(template.values()) if isinstance(template, dict) else template or ""


def _pattern_of(texts: Iterable[str]) -> re.Pattern[str]:
    known = sorted({text[:LONGEST] for text in texts})
    return re.compile(_any_of(known) if known else NEVER)


def _any_of(texts: Sequence[str]) -> str:
    """Return a pattern for `texts` that shares their common prefixes.

    A vocabulary may have thousands of special tokens; a plain alternation would try each of them at every `<`.
    """
    rests: dict[str, list[str]] = {}
    for text in texts:
        rests.setdefault(text[0], []).append(text[1:])
    # A text that ends here matches here, even if longer texts continue.
    parts = [re.escape(first) + ("" if "" in rest else _any_of(rest)) for first, rest in rests.items()]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _separator(inputs: str) -> str:
    """Return a character that neither occurs in `inputs` nor is written there as an escape. Raises RequestError."""
    taken = set(inputs) | {chr(int(code, 16)) for code in ESCAPES.findall(inputs)}
    free = next((chr(code) for code in SEPARATORS if chr(code) not in taken), None)
    if free is None:
        raise RequestError(
            "the messages contain a control token and every private use character; one of them must be free",
            param="messages",
        )
    return free


def _escaped(separator: str) -> str:
    return json.dumps(separator)[1:-1]
