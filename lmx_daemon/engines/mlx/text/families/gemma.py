"""Gemma 4 and FunctionGemma: `call:NAME{key:value}` between markers, with strings between marks of their own."""

import json
import re
from typing import Any

from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.gemma_syntax import gemma_calls
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall
from lmx_daemon.engines.mlx.text.families.typed import arguments_text

CALL = re.compile(r"\s*(?:,\s*)?call:\s*([\w.:/-]+)\s*(?=\{)")
SPACE = re.compile(r"\s*")
PLAIN = re.compile(r"[^,}\]]*")
MAX_DEPTH = 100


class GemmaValues:
    """A reader of values at a place in a text. `mark` stands before and behind a string."""

    def __init__(self, text: str, mark: str) -> None:
        self._text = text
        self._mark = mark
        self._place = 0

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Return all calls of the text. Raises NotACall."""
        found = []
        while (header := CALL.match(self._text, self._place)) is not None:
            self._place = header.end()
            found.append((header[1], self._object(0)))
        if not found or self._text[self._place :].strip():
            raise NotACall("no call")
        return found

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise NotACall("too deep")
        place = self._skip()
        if self._text.startswith(self._mark, place):
            return self._string(place + len(self._mark), self._mark)
        first = self._text[place : place + 1]
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._items(depth)
        if first == '"':
            return self._string(place + 1, '"')
        plain = PLAIN.match(self._text, place)
        assert plain is not None
        self._place = plain.end()
        try:
            return json.loads(plain[0].strip())
        except ValueError:
            return plain[0].strip()

    def _object(self, depth: int) -> dict[str, Any]:
        self._expect("{")
        found: dict[str, Any] = {}
        while not self._accept("}"):
            place = self._skip()
            if self._text.startswith(self._mark, place):
                key = self._string(place + len(self._mark), self._mark)
                self._expect(":")
            else:
                colon = self._text.find(":", place, place + 512)
                if colon < 0:
                    raise NotACall("a value without a key")
                key, self._place = self._text[place:colon].strip().strip('"'), colon + 1
            found[key] = self._value(depth + 1)
            if not self._accept(","):
                self._expect("}")
                break
        return found

    def _items(self, depth: int) -> list[Any]:
        self._expect("[")
        found: list[Any] = []
        while not self._accept("]"):
            found.append(self._value(depth + 1))
            if not self._accept(","):
                self._expect("]")
                break
        return found

    def _string(self, place: int, mark: str) -> str:
        end = self._text.find(mark, place)
        if end < 0:
            raise NotACall("a string without an end")
        self._place = end + len(mark)
        return self._text[place:end]

    def _skip(self) -> int:
        found = SPACE.match(self._text, self._place)
        assert found is not None
        self._place = found.end()
        return self._place

    def _accept(self, character: str) -> bool:
        if not self._text.startswith(character, self._skip()):
            return False
        self._place += 1
        return True

    def _expect(self, character: str) -> None:
        if not self._accept(character):
            raise NotACall(f"expected {character!r}")


def between(start: str, end: str, mark: str) -> Envelope:
    """Return the envelope of calls whose strings stand between `mark`."""

    def read(source: CallSource, tools: Tools) -> CallReading:
        text, _ = yield from source.until((end,), or_end=True)
        for name, arguments in GemmaValues(text, mark).calls():
            source.call(name, arguments_text(arguments))
        return None

    return Envelope(start, read, end)


GEMMA4 = Family(
    "gemma4",
    (between("<|tool_call>", "<tool_call|>", '<|"|>'),),
    think=("<|channel>thought", "<channel|>"),
    syntaxes=(gemma_calls("<|tool_call>", "<tool_call|>", '<|"|>'),),
)
FUNCTION_GEMMA = Family(
    "function_gemma",
    (between("<start_function_call>", "<end_function_call>", "<escape>"),),
    syntaxes=(gemma_calls("<start_function_call>", "<end_function_call>", "<escape>"),),
)
