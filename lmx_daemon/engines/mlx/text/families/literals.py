"""Python literals and calls with keyword arguments, read without Python's compiler. Pure, and linear in the text."""

import re
from typing import Any

from lmx_daemon.engines.mlx.text.families.source import NotACall

SPACE = re.compile(r"\s*")
NAME = re.compile(r"[A-Za-z_][\w.-]*")
NUMBER = re.compile(r"[+-]?(?:\d[\d_]*)?\.?\d[\d_]*(?:[eE][+-]?\d+)?|[+-]?\d[\d_]*\.?(?:[eE][+-]?\d+)?")
WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
STRING_PART = {quote: re.compile(rf"[^{quote}\\]+") for quote in "\"'"}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "a": "\a", "v": "\v", "\n": ""}
CODE_LENGTHS = {"x": 2, "u": 4, "U": 8}
MAX_DEPTH = 100

Call = tuple[str, dict[str, Any]]


class Literals:
    """A reader of literals at a place in a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def calls(self) -> list[Call]:
        """Return the calls of `[f(a=1), g()]` or of a single `f(a=1)`, and take all of the text. Raises NotACall."""
        found: list[Call] = []
        listed = self._accept("[")
        while not found or (self._accept(",") and self._next() != "]"):
            found.append(self._call())
        if listed:
            self._expect("]")
        self.end()
        return found

    def value(self, depth: int = 0) -> Any:
        """Return the literal that comes next. Raises NotACall."""
        if depth > MAX_DEPTH:
            raise NotACall("too deep")
        first = self._next()
        if first in ('"', "'"):
            return self._string(first)
        if first == "{":
            return self._dict(depth)
        if first in ("[", "("):
            return self._items("]" if first == "[" else ")", depth)
        return self._word()

    def end(self) -> None:
        """Raise NotACall if anything but white space is left."""
        if self._next():
            raise NotACall("text behind a literal")

    def _call(self) -> Call:
        found = NAME.match(self._text, self._skip())
        if found is None:
            raise NotACall("no name")
        self._place = found.end()
        self._expect("(")
        arguments: dict[str, Any] = {}
        while self._next() != ")":
            key = NAME.match(self._text, self._skip())
            if key is None:
                raise NotACall("an argument without a name")
            self._place = key.end()
            self._expect("=")
            arguments[key[0]] = self.value()
            if not self._accept(","):
                break
        self._expect(")")
        return found[0], arguments

    def _dict(self, depth: int) -> dict[str, Any]:
        self._expect("{")
        found: dict[str, Any] = {}
        while self._next() != "}":
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise NotACall("a key that is not a text")
            self._expect(":")
            found[key] = self.value(depth + 1)
            if not self._accept(","):
                break
        self._expect("}")
        return found

    def _items(self, end: str, depth: int) -> list[Any]:
        self._place += 1
        found = []
        while self._next() != end:
            found.append(self.value(depth + 1))
            if not self._accept(","):
                break
        self._expect(end)
        return found

    def _word(self) -> Any:
        if (number := NUMBER.match(self._text, self._place)) is not None:
            self._place = number.end()
            text = number[0].replace("_", "")
            try:
                return float(text) if any(sign in text for sign in ".eE") else int(text)
            except ValueError as error:  # an integer of more digits than Python reads
                raise NotACall("a number out of range") from error
        word = NAME.match(self._text, self._place)
        if word is None or word[0] not in WORDS:
            raise NotACall("no literal")
        self._place = word.end()
        return WORDS[word[0]]

    def _string(self, quote: str) -> str:
        self._place += 1
        parts: list[str] = []
        while True:
            if (part := STRING_PART[quote].match(self._text, self._place)) is not None:
                parts.append(part[0])
                self._place = part.end()
            found = self._text[self._place : self._place + 1]
            self._place += 1
            if not found:
                raise NotACall("a string without an end")
            if found == quote:
                return "".join(parts)
            parts.append(self._escape())

    def _escape(self) -> str:
        kind = self._text[self._place : self._place + 1]
        self._place += 1
        length = CODE_LENGTHS.get(kind, 0)
        code = self._text[self._place : self._place + length]
        if length and len(code) == length and all(letter in "0123456789abcdefABCDEF" for letter in code):
            self._place += length
            return chr(min(int(code, 16), 0x10FFFF))
        return ESCAPES.get(kind, kind if kind in "\\\"'" else "\\" + kind)

    def _skip(self) -> int:
        found = SPACE.match(self._text, self._place)
        assert found is not None
        self._place = found.end()
        return self._place

    def _next(self) -> str:
        place = self._skip()
        return self._text[place : place + 1]

    def _accept(self, character: str) -> bool:
        if self._next() != character:
            return False
        self._place += 1
        return True

    def _expect(self, character: str) -> None:
        if not self._accept(character):
            raise NotACall(f"expected {character!r}")


def literal(text: str) -> Any:
    """Return the value of a Python literal. Raises NotACall."""
    reader = Literals(text)
    value = reader.value()
    reader.end()
    return value
